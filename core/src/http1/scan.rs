//! Finding the end of a head or of a trailer section while it arrives, in O(n) over all calls.

use super::config::Config;
use super::error::{FOLDED, Fault, NOT_A_NAME};
use super::facts::Block;
use super::fields::find;

/// Which line ends count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Bare LF is taken as a line end (RFC 9112 2.2) and folded lines can be repaired (5.2): responses.
    Lenient,
    /// CRLF only, nothing folded: requests and all trailers.
    Strict,
}

impl Ends {
    /// The status of a fault in what is read so.
    pub(super) fn status(self) -> u16 {
        if self == Self::Strict { 400 } else { 502 }
    }
}

/// How far an unfinished block was looked at. The block starts at the start of the input in every call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    looked: usize,
    line_start: usize,
    /// Where the fields start.
    fields_at: usize,
    /// Complete lines before the blank one, the start line included.
    lines: usize,
    folded: bool,
    /// Where a field line starts that was not asked for its colon; zero, where the start line is, for none.
    unasked: usize,
    start_line_taken: bool,
}

/// A complete block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The first byte of the fields; everything before is the start line with its line end.
    pub(super) fields_at: usize,
    /// The first byte of the blank line.
    pub(super) blank_at: usize,
    /// The first byte behind the blank line.
    pub(super) end: usize,
    /// Field lines.
    pub(super) fields: usize,
}

impl Scan {
    /// For a block without a start line.
    pub(super) fn trailers() -> Self {
        Self { lines: 1, ..Self::default() }
    }

    /// Nothing was looked at.
    pub(super) fn is_fresh(&self) -> bool {
        self.looked == 0
    }

    /// The start line without its line end, as soon as that was found, and only once: whoever judges it before the
    /// head is complete does not do so again with every byte.
    pub(super) fn take_start_line<'i>(&mut self, input: &'i [u8]) -> Option<&'i [u8]> {
        if self.start_line_taken || self.fields_at == 0 {
            return None;
        }
        self.start_line_taken = true;
        Some(start_line(input, self.fields_at))
    }

    /// As [`find_end`](Self::find_end), with the block where it could be read on the way: nearly every head arrives
    /// whole and stands as this product would write it.
    pub(super) fn find_block<'i>(
        &mut self,
        input: &'i [u8],
        config: &Config,
        ends: Ends,
    ) -> Result<Option<(Found, Option<Block<'i>>)>, Fault> {
        if self.is_fresh() {
            if let Some((found, block)) = Block::at_once(input, config) {
                return Ok(Some((found, Some(block))));
            }
        }
        Ok(self.find_end(input, config, ends)?.map(|found| (found, None)))
    }

    /// Looks at what is new in `input`. `None`: the blank line is not there yet.
    ///
    /// A block that folds lines is reported once it is complete, and forgotten: the caller may repair it in
    /// place and scan it again.
    pub(super) fn find_end(
        &mut self,
        input: &[u8],
        config: &Config,
        ends: Ends,
    ) -> Result<Option<Found>, Fault> {
        let status = ends.status();
        // Only what may belong to a legal head is looked at, so that the verdict does not depend on how much
        // of an illegal one arrived at once.
        let window = input.get(..config.head_bytes_max).unwrap_or(input);
        while let Some(offset) = window.get(self.looked..).and_then(|fresh| find(b'\n', fresh)) {
            let lf = self.looked + offset;
            let line = window.get(self.line_start..lf).unwrap_or_default();
            let blank_at = self.line_start;
            self.looked = lf + 1;
            self.line_start = lf + 1;
            let content = match line {
                [content @ .., b'\r'] => content,
                _ if ends == Ends::Strict => {
                    return Err(Fault::new(status, "a line ends in a bare LF (RFC 9112 2.2)"));
                }
                content => content,
            };
            match content.first() {
                None if self.lines == 0 => {
                    return Err(Fault::new(status, "the start line is empty (RFC 9112 2.2)"));
                }
                None if self.folded => {
                    *self = Self::default();
                    return Err(Fault::new(status, FOLDED));
                }
                None => {
                    let fields = self.lines - 1;
                    return Ok(Some(Found { fields_at: self.fields_at, blank_at, end: lf + 1, fields }));
                }
                Some(b' ' | b'\t') if self.lines == 1 => {
                    return Err(Fault::new(status, "whitespace before the first field (RFC 9112 2.2)"));
                }
                Some(b' ' | b'\t') if ends == Ends::Strict => {
                    return Err(Fault::new(status, "a field line is folded (RFC 9112 5.2)"));
                }
                Some(b' ' | b'\t') => {
                    // Only values fold. Once repaired, a name that did would be one with whitespace behind it.
                    let at = core::mem::take(&mut self.unasked);
                    let field = window.get(at..blank_at).filter(|_| at > 0);
                    if field.is_some_and(|field| find(b':', field).is_none()) {
                        return Err(Fault::new(status, NOT_A_NAME));
                    }
                    self.folded = true;
                }
                Some(_) if self.lines == 0 => self.fields_at = lf + 1,
                Some(_) => self.unasked = blank_at,
            }
            self.lines += 1;
            if self.lines - 1 > config.fields_max {
                return Err(Fault::TOO_LARGE);
            }
        }
        self.looked = self.looked.max(window.len());
        if input.len() > config.head_bytes_max { Err(Fault::TOO_LARGE) } else { Ok(None) }
    }
}

/// The line in front of the fields, without its line end.
pub(super) fn start_line(input: &[u8], fields_at: usize) -> &[u8] {
    match input.get(..fields_at).unwrap_or_default() {
        [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] => line,
        line => line,
    }
}

/// Repairs the folded lines of a response head in place: every line end that is followed by whitespace becomes
/// as many spaces (RFC 9112 5.2). The length stays, so that the caller's buffer needs no room. Stops at the
/// blank line and never touches the status line's end.
pub fn unfold(head: &mut [u8]) {
    let mut lines = 0;
    let mut line_start = 0;
    while let Some(offset) = head.get(line_start..).and_then(|rest| find(b'\n', rest)) {
        let lf = line_start + offset;
        let end_start = if lf > line_start && head.get(lf - 1) == Some(&b'\r') { lf - 1 } else { lf };
        if end_start == line_start {
            return;
        }
        if lines > 0 && matches!(head.get(lf + 1), Some(b' ' | b'\t')) {
            if let Some(line_end) = head.get_mut(end_start..=lf) {
                line_end.fill(b' ');
            }
        }
        lines += 1;
        line_start = lf + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn scan_by(step: usize, input: &[u8], config: &Config, ends: Ends) -> Result<Option<Found>, Fault> {
        let mut scan = Scan::default();
        let mut given = step.min(input.len());
        loop {
            match scan.find_end(&input[..given], config, ends) {
                Ok(None) if given < input.len() => given = (given + step).min(input.len()),
                verdict => return verdict,
            }
        }
    }

    #[test]
    fn the_verdict_does_not_depend_on_the_pieces() {
        let config = Config { head_bytes_max: 30, fields_max: 2, ..Config::default() };
        let cases: [(&[u8], Ends, Result<bool, u16>); 12] = [
            (b"GET /\r\nA: b\r\n\r\nmore", Ends::Strict, Ok(true)),
            (b"GET /\r\n\r\n", Ends::Strict, Ok(true)),
            (b"GET /\r\nA: b\r\n", Ends::Strict, Ok(false)),
            (b"GET /\nA: b\r\n\r\n", Ends::Strict, Err(400)),
            (b"GET /\nA: b\n\n", Ends::Lenient, Ok(true)),
            (b"GET /\r\nA: b\r\n c\r\n\r\n", Ends::Strict, Err(400)),
            (b"GET /\r\nA: b\r\n c\r\n\r\n", Ends::Lenient, Err(502)),
            (b"GET /\r\n A: b\r\n\r\n", Ends::Lenient, Err(502)),
            (b"G\r\na:\r\nb:\r\nc:\r\n\r\n", Ends::Strict, Err(431)),
            (b"G\r\na:\r\nb:\r\nc:\r\n\r\n", Ends::Lenient, Err(431)),
            (b"0123456789012345678901234567890", Ends::Strict, Err(431)),
            (b"GET /\r\nLonger: than thirty bytes\r\n\r\n", Ends::Strict, Err(431)),
        ];
        for (input, ends, want) in cases {
            for step in 1..=input.len() {
                let got = scan_by(step, input, &config, ends);
                assert_eq!(
                    got.map(|found| found.is_some()).map_err(|f| f.status),
                    want,
                    "{input:?} by {step}"
                );
            }
        }
    }

    #[test]
    fn the_start_line_is_given_once_however_the_head_drips() {
        let input = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n";
        for step in 1..=input.len() {
            let mut scan = Scan::default();
            let mut taken = Vec::new();
            for given in (step..input.len()).step_by(step).chain([input.len()]) {
                let given = &input[..given];
                assert_eq!(scan.find_end(given, &Config::default(), Ends::Strict), Ok(None));
                taken.extend(scan.take_start_line(given));
                // Not before its end is there, and not late either.
                assert_eq!(!taken.is_empty(), given.len() >= 16, "{given:?} by {step}");
            }
            assert_eq!(taken, [b"GET / HTTP/1.1"], "by {step}");
        }
    }

    #[test]
    fn only_values_fold() {
        for (input, folded) in [
            (&b"HTTP/1.1 200 OK\r\nA:\r\n b\r\n c: d\r\n\r\n"[..], true),
            (b"HTTP/1.1 200 OK\r\nA :\n\tb\n\n", true),
            (b"HTTP/1.1 200 OK\r\nA\r\n : b\r\n\r\n", false),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nB\r\n \r\n : d\r\n\r\n", false),
        ] {
            for step in 1..=input.len() {
                let fault = scan_by(step, input, &Config::default(), Ends::Lenient).unwrap_err();
                assert_eq!((fault.status, fault.is_folded()), (502, folded), "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn the_borders_are_exact() {
        let mut scan = Scan::default();
        let found = scan.find_end(b"GET /\r\nA: b\r\n\r\nmore", &Config::default(), Ends::Strict);
        assert_eq!(found, Ok(Some(Found { fields_at: 7, blank_at: 13, end: 15, fields: 1 })));
        let mut scan = Scan::trailers();
        let found = scan.find_end(b"\r\n", &Config::default(), Ends::Strict);
        assert_eq!(found, Ok(Some(Found { fields_at: 0, blank_at: 0, end: 2, fields: 0 })));
    }

    #[test]
    fn unfolding_keeps_the_length_and_stops_at_the_blank_line() {
        let mut head = *b"HTTP/1.1 200 OK\r\nA: b\r\n c\n\td\r\nE: f\r\n\r\nx: y\r\n z";
        unfold(&mut head);
        assert_eq!(&head, b"HTTP/1.1 200 OK\r\nA: b   c \td\r\nE: f\r\n\r\nx: y\r\n z");
        // A field folded into the status line would become a part of the reason.
        let mut head = *b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n";
        unfold(&mut head);
        assert_eq!(&head, b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n");
    }
}
