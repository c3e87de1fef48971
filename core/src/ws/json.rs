//! The member `error` of a JSON object, which is all that the client reads of a refusal (wire protocol 3.4).

use alloc::string::String;
use alloc::vec::Vec;

/// The text of the string member `error` of the first object in `body`, unescaped.
///
/// Tolerant: what stands in front of the object is skipped (a chunk header, a byte order mark), other members
/// are passed over without being judged. `None` when there is no such member, or not all of it. Takes one pass
/// and no recursion, so the cost is bounded by the caller's bound on `body`.
pub(super) fn error_member(body: &[u8]) -> Option<Vec<u8>> {
    let open = body.iter().position(|byte| *byte == b'{')?;
    let mut scan = Scan { rest: &body[open + 1..] };
    loop {
        if scan.next()? != b'"' {
            return None;
        }
        let name = scan.string()?;
        if scan.next()? != b':' {
            return None;
        }
        if scan.peek()? == b'"' {
            scan.next()?;
            let value = scan.string()?;
            if name == b"error" {
                return Some(value);
            }
        } else {
            scan.skip_value()?;
        }
        if scan.next()? != b',' {
            return None;
        }
    }
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.rest = &self.rest[1..];
        Some(byte)
    }

    /// As `next`, and leaves it there.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// What stands up to the closing quote, whose opening one is done with.
    fn string(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            match self.take()? {
                b'"' => return Some(text),
                b'\\' => match self.take()? {
                    b'b' => text.push(8),
                    b'f' => text.push(12),
                    b'n' => text.push(b'\n'),
                    b'r' => text.push(b'\r'),
                    b't' => text.push(b'\t'),
                    b'u' => self.unicode(&mut text)?,
                    byte => text.push(byte),
                },
                byte => text.push(byte),
            }
        }
    }

    /// Four hexadecimal digits, or twice that for a surrogate pair; half a pair becomes U+FFFD.
    fn unicode(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let mut units = [self.hex4()?, 0];
        let mut count = 1;
        if (0xd800..0xdc00).contains(&units[0]) && self.rest.starts_with(b"\\u") {
            let before = self.rest;
            self.rest = &self.rest[2..];
            units[1] = self.hex4()?;
            if (0xdc00..0xe000).contains(&units[1]) {
                count = 2;
            } else {
                self.rest = before;
            }
        }
        text.extend_from_slice(String::from_utf16_lossy(&units[..count]).as_bytes());
        Some(())
    }

    fn hex4(&mut self) -> Option<u16> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit << 4 | char::from(self.take()?).to_digit(16)? as u16;
        }
        Some(unit)
    }

    /// Passes over a value that is no string, up to the comma or brace behind it.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b',' | b'}' if depth == 0 => return Some(()),
                b'"' => {
                    self.next()?;
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.next()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> Option<String> {
        error_member(body.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn finds_the_member_wherever_it_stands() {
        assert_eq!(error(r#"{"error":"expired token"}"#).as_deref(), Some("expired token"));
        assert_eq!(error(r#" { "a" : [1, {"error": "x"}, "]"], "error" : "y" } "#).as_deref(), Some("y"));
        assert_eq!(error("19\r\n{\"error\":\"a\"}\r\n0\r\n\r\n").as_deref(), Some("a"));
        assert_eq!(error(r#"{"b":null,"c":-1.5e3,"error":""}"#).as_deref(), Some(""));
        assert_eq!(error(r#"{"x":"error","error":"z","error":"second"}"#).as_deref(), Some("z"));
    }

    #[test]
    fn unescapes() {
        assert_eq!(error(r#"{"error":"a\"b\\\/\n\u00e9\ud83d\ude00"}"#).as_deref(), Some("a\"b\\/\né😀"));
        assert_eq!(error(r#"{"error":"\ud83dx\ud83d\u0041"}"#).as_deref(), Some("\u{fffd}x\u{fffd}A"));
        assert_eq!(error(r#"{"\u0065rror":"a"}"#).as_deref(), Some("a"));
    }

    #[test]
    fn nothing_is_found_in_what_is_none_and_no_cut_panics() {
        for body in
            ["", "{", "[]", "null", "{}", r#"{"error":1}"#, r#"{"error":{"error":"x"}}"#, r#"{"error" "x"}"#]
        {
            assert_eq!(error(body), None, "{body}");
        }
        let whole = r#"{"a":[{"b":"\ud83d\ude00"}],"error":"\ud83d\ude00"}"#;
        for cut in 0..whole.len() - 1 {
            assert_eq!(error(&whole[..cut]), None, "cut at {cut}");
        }
        assert!(error(whole).is_some());
    }
}
