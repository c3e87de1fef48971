//! Entries of lists of texts, some of which may be written as sections.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::Reader;
use crate::error::{did_you_mean, nearest, shortened};
use crate::table::Flag;

/// Reads one entry of a list of texts; no value is the empty text.
pub(super) struct Word;

impl<'de> DeserializeSeed<'de> for Word {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Word {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_none<E>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_str(self)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// The keys of an entry of a list whose flag takes `<first>=<second>`: in a file an entry may be a section, too.
pub(super) fn entry_keys(flag: &Flag) -> Option<[&'static str; 2]> {
    (flag.name == "proxy.tcp.ports").then_some(["bind_addr", "endpoint"])
}

/// Reads an entry of such a list, as one text.
pub(super) struct Pair<'r> {
    pub(super) reader: &'r mut Reader,
    pub(super) keys: [&'static str; 2],
}

impl Pair<'_> {
    fn refuse<E: serde::de::Error>(&mut self, message: &str) -> E {
        self.reader.fault = Some(format!("{}: {message}", self.reader.at));
        E::custom("bad entry")
    }
}

impl<'de> DeserializeSeed<'de> for Pair<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a section with {} and {}", self.keys[0], self.keys[1])
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<String, A::Error> {
        let mut found: [Option<String>; 2] = [None, None];
        while let Some(key) = map.next_key_seed(Word)? {
            let Some(at) = self.keys.iter().position(|known| *known == key) else {
                let near = nearest(&key.replace('-', "_"), self.keys.iter().copied());
                let message = format!("{}: unknown key{}", shortened(&key), did_you_mean(near));
                return Err(self.refuse(&message));
            };
            if found[at].replace(map.next_value_seed(Word)?).is_some() {
                return Err(self.refuse(&format!("{key}: the key stands here twice")));
            }
        }
        match found {
            [Some(first), Some(second)] => Ok(format!("{first}={second}")),
            [None, _] => Err(self.refuse(&format!("missing {}", self.keys[0]))),
            [_, None] => Err(self.refuse(&format!("missing {}", self.keys[1]))),
        }
    }
}
