//! From YAML to settings of the table, strictly: every key is known, stands once and has a value of its kind.
//!
//! The parser tells the line of a value only when that value is refused, so the table judges while the file is being
//! read. No other module knows which parser it is.

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::Settings;
use crate::error::{did_you_mean, nearest, quoted, shortened};
use crate::table::{Effect, Flag, Program, Yaml, flags};
use crate::value::{Kind, Value, parse_whole};
use entry::{Pair, Word, entry_keys};

/// What is wrong with a file.
#[derive(Debug)]
pub(super) struct Fault {
    /// Counted from 1.
    pub(super) line: Option<usize>,
    /// Names the key where there is one.
    pub(super) message: String,
}

/// All that a file says.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) settings: Settings,
    pub(super) entries: Vec<Settings>,
    /// The keys that [guard](Flag::guards) something and have a value, with its text; in a [`probe`] also sections of
    /// nothing else that have a word in their place.
    pub(super) guarded: BTreeMap<String, String>,
}

impl Document {
    /// Whether a guarding key has a value, or a section of such keys has one in it.
    pub(super) fn is_guarded(&self, key: &str) -> bool {
        let is_within = |other: &String| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        self.guarded.contains_key(key) || self.guarded.keys().any(is_within)
    }
}

/// More entries of one list than any machine has ports or tunnels to spare for.
const ENTRIES_MAX: usize = 10_000;

/// Keys of earlier versions of Go Piko, by the beginning of their path, and what became of them (behaviour reference,
/// operations 7).
const FORMER: [(&str, &str); 10] = [
    ("gossip", "cluster.gossip"),
    ("auth.token_hmac_secret_key", "upstream.auth.hmac_secret_key"),
    ("auth.token_rsa_public_key", "upstream.auth.rsa_public_key"),
    ("auth.token_ecdsa_public_key", "upstream.auth.ecdsa_public_key"),
    ("auth.token_audience", "upstream.auth.audience"),
    ("auth.token_issuer", "upstream.auth.issuer"),
    ("auth", "upstream.auth, or connect.token of an agent"),
    ("proxy.gateway_timeout", "proxy.timeout"),
    ("forwarder.timeout", "timeout of each listener"),
    ("endpoints", "listeners"),
];

/// Keys that are gone, and why nothing takes their place.
const GONE: [(&str, &str); 4] = [
    ("usage", "Piko reports nothing to anybody; leave it out"),
    ("proxy.tls.enabled", "TLS is on when cert and key are set; leave it out"),
    ("upstream.tls.enabled", "TLS is on when cert and key are set; leave it out"),
    ("admin.tls.enabled", "TLS is on when cert and key are set; leave it out"),
];

/// Reads the first document of `text`. An empty one says nothing.
pub(super) fn read(program: Program, text: &str) -> Result<Document, Fault> {
    read_as(program, text, false)
}

/// As [`read`], of a file in which a word may stand in the place of any value, list or section.
pub(super) fn probe(program: Program, text: &str) -> Result<Document, Fault> {
    read_as(program, text, true)
}

fn read_as(program: Program, text: &str, probing: bool) -> Result<Document, Fault> {
    let Some(document) = yaml_serde::Deserializer::from_str(text).next() else {
        return Ok(Document::default());
    };
    let mut reader = Reader {
        program,
        probing,
        guarded: BTreeMap::new(),
        fault: None,
        at: String::new(),
        merging: None,
        found: Vec::new(),
        explicit: BTreeSet::new(),
        entries: 0,
    };
    let root = Place { entry: None, path: String::new() };
    match (Section { reader: &mut reader, place: root }).deserialize(document) {
        Ok(()) => Ok(reader.finish()),
        Err(error) => Err(about_tabs(reader.blame(&error), text)),
    }
}

/// What stood there in place of a section may be a secret that was indented badly.
fn without_value(told: &str) -> String {
    for (quote, end) in [(" \"", "\", expected "), (" `", "`, expected ")] {
        if let (Some((kind, _)), Some((_, wanted))) = (told.split_once(quote), told.rsplit_once(end)) {
            return format!("{kind}, expected {wanted}");
        }
    }
    told.to_owned()
}

/// The parser's words for a tab in front of a key are about tokens.
fn about_tabs(mut fault: Fault, text: &str) -> Fault {
    let line = fault.line.and_then(|line| text.lines().nth(line.checked_sub(1)?)).unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    if fault.message.contains("cannot start any token") && line[..indent].contains('\t') {
        fault.message = "the line begins with a tab; YAML is indented with spaces".to_owned();
    }
    fault
}

/// A mapping: that of the whole file, or that of one entry of its list, at a path from there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    entry: Option<usize>,
    /// With dots, without one at the end; empty for the mapping itself.
    path: String,
}

impl Place {
    fn below(&self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { entry: self.entry, path }
    }
}

/// One setting, where it stood, and through which key of a merged mapping it came.
struct Found {
    entry: Option<usize>,
    flag: &'static Flag,
    value: Value,
    merged: Option<Place>,
}

struct Reader {
    program: Program,
    /// A word in the place of anything else is no mistake.
    probing: bool,
    /// Sections with a word in their place.
    guarded: BTreeMap<String, String>,
    /// The complaint, where it is ours.
    fault: Option<String>,
    /// The key that is being read, as it is told to users.
    at: String,
    /// Inside of `<<`: the mapping that takes the merged keys.
    merging: Option<Place>,
    found: Vec<Found>,
    /// All keys that stand in the file themselves.
    explicit: BTreeSet<Place>,
    /// How many entries the list has so far.
    entries: usize,
}

/// What a key stands for.
enum Meaning {
    Leaf(&'static Flag),
    List,
    Merge,
    Section,
}

impl Reader {
    /// The settings of the file. A key of a merged mapping counts only where the mapping has no such key itself
    /// (YAML 1.1, merge key type), and the first of several merged mappings wins.
    fn finish(self) -> Document {
        let mut document = Document {
            settings: Settings::new(),
            entries: vec![Settings::new(); self.entries],
            guarded: self.guarded,
        };
        let (merged, own): (Vec<_>, Vec<_>) =
            self.found.into_iter().partition(|found| found.merged.is_some());
        let wanted = merged
            .into_iter()
            .filter(|found| !found.merged.as_ref().is_some_and(|place| self.explicit.contains(place)));
        for found in own.into_iter().chain(wanted) {
            let settings = match found.entry {
                None => &mut document.settings,
                Some(at) => &mut document.entries[at],
            };
            if settings.iter().any(|(flag, _)| flag.name == found.flag.name) {
                continue;
            }
            if found.flag.guards() && !found.value.protects_nothing() {
                let key = found.flag.yaml_path().unwrap_or_default();
                document.guarded.insert(key, text_of(&found.value));
            }
            settings.push((found.flag, found.value));
        }
        document
    }

    /// Words for an error of the parser, which may be one of ours in disguise.
    fn blame(&mut self, error: &yaml_serde::Error) -> Fault {
        let line = error.location().map(|location| location.line());
        let message = self.fault.take().unwrap_or_else(|| {
            let text = error.to_string();
            // The parser puts its own path in front and the position behind; a wrong type is about a key, all else
            // about the text.
            match text.find("invalid type").or_else(|| text.find("invalid value")) {
                Some(at) => {
                    let told = text[at..].rsplit_once(" at line ").map_or(&text[at..], |(told, _)| told);
                    // Of a file that is no mapping at all no key has been read.
                    let key = if self.at.is_empty() { String::new() } else { format!("{}: ", self.at) };
                    key + &without_value(told)
                }
                None => text,
            }
        });
        Fault { line, message }
    }

    fn told(&self, place: &Place) -> String {
        match place.entry {
            None => place.path.clone(),
            Some(at) => format!("{}[{at}].{}", list_name(self.program), place.path),
        }
    }

    /// Notes a word in the place of a section, where that is one of guards alone.
    fn note_word(&mut self, place: &Place, word: &str) {
        let mut below = keys(self.program, place.entry.is_some())
            .filter(|(_, key)| key.strip_prefix(&place.path).is_some_and(|rest| rest.starts_with('.')));
        let is_refused = |flag: &Flag| matches!(flag.effect, Effect::Refused(_));
        if below.next().is_some_and(|(flag, _)| is_refused(flag)) && below.all(|(flag, _)| is_refused(flag)) {
            self.guarded.insert(self.told(place), word.to_owned());
        }
    }

    fn meaning(&self, place: &Place) -> Option<Meaning> {
        if place.path == "<<" || place.path.ends_with(".<<") {
            return Some(Meaning::Merge);
        }
        if place.entry.is_none() && place.path == list_name(self.program) {
            return Some(Meaning::List);
        }
        let mut meaning = None;
        for (flag, key) in keys(self.program, place.entry.is_some()) {
            if key == place.path {
                return Some(Meaning::Leaf(flag));
            }
            if key.strip_prefix(&place.path).is_some_and(|rest| rest.starts_with('.')) {
                meaning = Some(Meaning::Section);
            }
        }
        meaning
    }

    /// The complaint about a key that nobody knows.
    fn unknown(&self, section: &Place, key: &str) -> String {
        let place = section.below(key);
        let told = shortened(&self.told(&place));
        if place.entry.is_none() {
            let under = |former: &str| {
                place.path == former
                    || place.path.strip_prefix(former).is_some_and(|rest| rest.starts_with('.'))
            };
            if let Some((_, why)) = GONE.iter().find(|(former, _)| under(former)) {
                return format!("{told}: unknown key: {why}");
            }
            if let Some((_, now)) = FORMER.iter().find(|(former, _)| under(former)) {
                return format!("{told}: unknown key (it became {now})");
            }
        }
        if let (Some((first, rest)), Some(_)) = (key.split_once('.'), self.meaning(&place)) {
            return format!("{told}: unknown key (did you mean a section `{first}:` with `{rest}`?)");
        }
        let mut known: Vec<String> = keys(self.program, section.entry.is_some())
            .filter_map(|(_, key)| {
                let rest = if section.path.is_empty() {
                    key.as_str()
                } else {
                    key.strip_prefix(&section.path)?.strip_prefix('.')?
                };
                rest.split('.').next().map(str::to_owned)
            })
            .collect();
        if *section == (Place { entry: None, path: String::new() }) && !list_name(self.program).is_empty() {
            known.push(list_name(self.program).to_owned());
        }
        known.sort();
        known.dedup();
        // Flags are written with hyphens, and that is what people try first.
        let near = nearest(&key.replace('-', "_"), known.iter().map(String::as_str));
        format!("{told}: unknown key{}", did_you_mean(near))
    }
}

/// The list whose entries have keys of their own; empty for a program that has none.
fn list_name(program: Program) -> &'static str {
    let has = |yaml| flags(program).iter().any(|flag| flag.yaml == yaml);
    match (has(Yaml::Listener), has(Yaml::Port)) {
        (true, _) => "listeners",
        (_, true) => "ports",
        _ => "",
    }
}

/// The keys of the whole file, or of an entry of its list.
fn keys(program: Program, of_entry: bool) -> impl Iterator<Item = (&'static Flag, String)> {
    flags(program).iter().filter_map(move |flag| {
        let path = flag.yaml_path()?;
        match flag.yaml {
            Yaml::Listener | Yaml::Port if of_entry => {
                path.split_once("[].").map(|(_, key)| (flag, key.to_owned()))
            }
            Yaml::Same | Yaml::At(_) if !of_entry => Some((flag, path)),
            _ => None,
        }
    })
}

/// Reads a mapping, or nothing at all.
struct Section<'r> {
    reader: &'r mut Reader,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section of keys")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if self.reader.probing { from.deserialize_any(self) } else { from.deserialize_map(self) }
    }

    /// Only in a [`probe`]. A file that is one word tells nothing.
    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<(), E> {
        if self.place.entry.is_none() && self.place.path.is_empty() {
            return Err(E::custom("a word in the place of a file"));
        }
        self.reader.note_word(&self.place, word);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) =
            map.next_key_seed(Key { reader: self.reader, section: &self.place, seen: &mut seen })?
        {
            let (place, meaning) = key;
            let reader = &mut *self.reader;
            reader.at = reader.told(&place);
            match meaning {
                Meaning::Leaf(flag) => map.next_value_seed(Leaf { reader, flag, place })?,
                Meaning::List => map.next_value_seed(List { reader })?,
                Meaning::Merge => map.next_value_seed(Merge { reader, place: &self.place })?,
                Meaning::Section => map.next_value_seed(Section { reader, place })?,
            }
        }
        Ok(())
    }
}

/// Reads a key and finds what it stands for.
struct Key<'r> {
    reader: &'r mut Reader,
    section: &'r Place,
    seen: &'r mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = (Place, Meaning);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        self.reader.at = self.reader.told(self.section);
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = (Place, Meaning);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let place = self.section.below(key);
        // The path of a key with a dot would be that of another key, which could then stand there twice.
        let known = if key.contains('.') { None } else { self.reader.meaning(&place) };
        let Some(meaning) = known else {
            self.reader.fault = Some(self.reader.unknown(self.section, key));
            return Err(E::custom("unknown key"));
        };
        if !self.seen.insert(key.to_owned()) {
            self.reader.fault = Some(format!("{}: the key stands here twice", self.reader.told(&place)));
            return Err(E::custom("duplicate key"));
        }
        if self.reader.merging.is_none() {
            self.reader.explicit.insert(place.clone());
        }
        Ok((place, meaning))
    }
}

/// Reads the value of one line of the table.
struct Leaf<'r> {
    reader: &'r mut Reader,
    flag: &'static Flag,
    place: Place,
}

impl Leaf<'_> {
    fn is_refused(&self) -> bool {
        matches!(self.flag.effect, Effect::Refused(_))
    }

    fn keep(self, value: Value) {
        let merged = self.reader.merging.as_ref().map(|target| {
            // The key of the mapping itself, whatever is nested in it.
            let rest = self.place.path.strip_prefix(&target.path).unwrap_or(&self.place.path);
            let first = rest.trim_start_matches('.').split('.').next().unwrap_or_default();
            target.below(first)
        });
        self.reader.found.push(Found { entry: self.place.entry, flag: self.flag, value, merged });
    }

    fn refuse<E: serde::de::Error>(self, text: &str) -> E {
        let expected = self.flag.kind.expected(text);
        self.reader.fault = Some(match self.flag.secret {
            true => format!("{}: the value {expected}", self.reader.at),
            false => format!("{}: {} {expected}", self.reader.at, quoted(text)),
        });
        E::custom("bad value")
    }
}

impl<'de> DeserializeSeed<'de> for Leaf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Leaf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.flag.kind {
            Kind::Bind => "an address to listen on (examples: \":8000\", \"127.0.0.1:8000\")",
            Kind::Bool => "true or false",
            Kind::Duration | Kind::SignedDuration => "a duration (examples: 300ms, 10s, 1m30s)",
            #[cfg(feature = "server")]
            Kind::Float => "a number",
            #[cfg(feature = "server")]
            Kind::Count => "a whole number",
            Kind::Int => "a whole number",
            Kind::List => "a list (example: [a, b])",
            Kind::Size => "a size (examples: 65536, 64KiB, 1MiB)",
            Kind::Text if takes_several(self.flag) => "a text, or a list of them",
            Kind::Text => "a text",
        })
    }

    /// A key without a value keeps its default, as in Go.
    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.flag.kind {
            Kind::List if self.is_refused() || self.reader.probing => from.deserialize_any(Unread(self)),
            Kind::List => from.deserialize_seq(self),
            // Whatever is neither text nor list is no URL, either.
            _ if takes_several(self.flag) => from.deserialize_any(self),
            _ => from.deserialize_str(self),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match value(self.flag.kind, text) {
            Some(value) => {
                self.keep(value);
                Ok(())
            }
            // A word in the place of a number or a time.
            None if self.reader.probing => Ok(()),
            None => Err(self.refuse(text)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut entries = Vec::new();
        let keys = entry_keys(self.flag);
        let list = self.reader.at.clone();
        loop {
            let entry = match keys {
                None => seq.next_element_seed(Word)?,
                Some(keys) => {
                    self.reader.at = format!("{list}[{}]", entries.len());
                    seq.next_element_seed(Pair { reader: &mut *self.reader, keys })?
                }
            };
            let Some(entry) = entry else { break };
            entries.push(entry);
            if entries.len() > ENTRIES_MAX {
                return Err(A::Error::custom("too many entries"));
            }
        }
        self.reader.at = list;
        let value = match self.flag.kind {
            Kind::Text => Value::Text(entries.join(",")),
            _ => Value::List(entries),
        };
        self.keep(value);
        Ok(())
    }
}

/// A list that is refused unless it is empty: what is in it need not be understood.
struct Unread<'r>(Leaf<'r>);

impl Unread<'_> {
    fn keep(self, is_empty: bool) {
        self.0.keep(Value::List(if is_empty { Vec::new() } else { vec!["[…]".to_owned()] }));
    }
}

impl<'de> Visitor<'de> for Unread<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.keep(false);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        serde::de::IgnoredAny.visit_map(map)?;
        self.keep(false);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut is_empty = true;
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
            is_empty = false;
        }
        self.keep(is_empty);
        Ok(())
    }
}

/// The value of a key. Beyond what a flag takes: the switches of YAML 1.1, which Go takes where a switch is wanted, and
/// addresses that are a port alone are not among them; and whole numbers with a point or an exponent, as Helm writes
/// large ones.
fn value(kind: Kind, text: &str) -> Option<Value> {
    if kind == Kind::Bool {
        match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(Value::Bool(true)),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some(Value::Bool(false)),
            _ => {}
        }
    }
    kind.parse(text).or_else(|| match kind {
        #[cfg(feature = "server")]
        Kind::Count => parse_whole(text).map(Value::Int),
        Kind::Int => parse_whole(text).map(Value::Int),
        Kind::Size => parse_whole(text).map(Value::Size),
        _ => None,
    })
}

/// The text of a value that guards something.
fn text_of(value: &Value) -> String {
    match value {
        Value::List(entries) => entries.join(","),
        Value::Text(text) => text.clone(),
        _ => String::new(),
    }
}

/// Whether a text has parts behind commas, which may stand as a list in a file.
fn takes_several(flag: &Flag) -> bool {
    flag.name == "connect.url"
}

/// Reads the list whose entries have keys.
struct List<'r> {
    reader: &'r mut Reader,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, each entry of which begins with a dash")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        if self.reader.probing { from.deserialize_any(self) } else { from.deserialize_seq(self) }
    }

    /// Only in a [`probe`].
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let at = self.reader.entries;
            if at >= ENTRIES_MAX {
                return Err(A::Error::custom("too many entries"));
            }
            let place = Place { entry: Some(at), path: String::new() };
            self.reader.at = format!("{}[{at}]", list_name(self.reader.program));
            self.reader.entries += 1;
            if seq.next_element_seed(Section { reader: self.reader, place })?.is_none() {
                self.reader.entries -= 1;
                return Ok(());
            }
        }
    }
}

/// Reads what stands behind `<<`: a mapping or a list of them, the first of which wins.
struct Merge<'r> {
    reader: &'r mut Reader,
    place: &'r Place,
}

impl<'de> DeserializeSeed<'de> for Merge<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Merge<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping to merge, or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        // What is merged into a merged mapping is in any case weaker than the mapping in the file.
        let before = self.reader.merging.clone();
        self.reader.merging = before.clone().or_else(|| Some(self.place.clone()));
        Section { reader: self.reader, place: self.place.clone() }.visit_map(map)?;
        self.reader.merging = before;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Merge { reader: self.reader, place: self.place })?.is_some() {}
        Ok(())
    }
}

#[cfg(all(test, feature = "server"))]
mod tests;
