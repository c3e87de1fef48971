//! What was found in a block of fields when it was judged, so that nobody has to split it into lines again.

use super::fields::Line;
use super::kind::Kind;

/// Lines with a [`Kind`] that are remembered of one block. Heads with more are split anew by whoever asks; those of
/// browsers and of nodes have fewer.
const MARKS_MAX: usize = 10;

/// Where one line stands in its block, which ends within 64 KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    kind: Kind,
    name_len: u8,
    at: u16,
    end: u16,
}

/// The lines of a block that have a [`Kind`], in order. Only of blocks whose every line stands as this product
/// writes it, `name ": " value CRLF`: what is between the marked lines may be copied as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    marks: [Mark; MARKS_MAX],
    count: u8,
}

impl Marks {
    pub(super) const NONE: Self =
        Self { marks: [Mark { kind: Kind::Other, name_len: 0, at: 0, end: 0 }; MARKS_MAX], count: 0 };

    /// Remembers a line, which is `name ": " value CRLF`, of a [`Kind`] and behind the others, from `at` to
    /// `end`. `None` when there is no room for it.
    pub(super) fn add(&mut self, kind: Kind, name_len: usize, at: usize, end: usize) -> Option<()> {
        let free = self.marks.get_mut(usize::from(self.count))?;
        let end = u16::try_from(end).ok()?;
        // A name with a kind is short, and the line starts before it ends.
        *free = Mark { kind, name_len: name_len as u8, at: at as u16, end };
        self.count += 1;
        Some(())
    }

    fn as_slice(&self) -> &[Mark] {
        self.marks.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The line of the mark at `index`.
    pub(super) fn line<'i>(&self, index: usize, block: &'i [u8]) -> Option<Line<'i>> {
        self.as_slice().get(index).map(|mark| line_of(block, mark))
    }
}

/// Collects the marks of a block, line by line.
#[derive(Debug)]
pub(super) struct Marker<'i> {
    block: &'i [u8],
    at: usize,
    marks: Option<Marks>,
}

impl<'i> Marker<'i> {
    /// `block` is the field lines, with whatever stands behind them.
    pub(super) fn new(block: &'i [u8]) -> Self {
        Self { block, at: 0, marks: Some(Marks::NONE) }
    }

    /// The next line of the block was read as `name` and `value`, the latter without whitespace around it. How it
    /// stands is not known yet.
    pub(super) fn note(&mut self, kind: Kind, name: &[u8], value: &[u8]) {
        let value_at = self.at + name.len() + 2;
        let end = value_at + value.len();
        // Neither a name nor a value holds a line end. With a colon and one blank in front of the value and a line
        // end right behind it, the line is therefore this one, whole, and nothing else.
        let separator = self.block.get(value_at - 2..value_at);
        let line_end = self.block.get(end..end + 2);
        let stands = separator == Some(b": ") && line_end == Some(b"\r\n");
        let at = self.at;
        self.at = end + 2;
        let add = |marks: &mut Marks| marks.add(kind, name.len(), at, end + 2);
        if !stands || (kind != Kind::Other && self.marks.as_mut().and_then(add).is_none()) {
            self.marks = None;
        }
    }

    /// Where the lines end that were noted, each of them as this product writes it; `None` when some are not, or
    /// when there are too many to remember.
    pub(super) fn finish(self) -> Option<(usize, Marks)> {
        self.marks.map(|marks| (self.at, marks))
    }
}

fn line_of<'i>(block: &'i [u8], mark: &Mark) -> Line<'i> {
    let (at, end) = (usize::from(mark.at), usize::from(mark.end));
    let raw = block.get(at..end).unwrap_or_default();
    let name_len = usize::from(mark.name_len);
    let name = raw.get(..name_len).unwrap_or_default();
    let value = raw.get(name_len + 2..raw.len().saturating_sub(2)).unwrap_or_default();
    Line { kind: mark.kind, at, skipped: 0, raw, name, value }
}
