//! Counts of values by size.

use super::cell::Counter;
use super::number::Number;
use super::text::sample;

/// One cell per bound of its [`Scale`], and a last one for values above them all.
#[derive(Debug)]
pub(super) struct Histogram<const CELLS: usize> {
    cells: [Counter; CELLS],
    sum: Counter,
}

impl<const CELLS: usize> Histogram<CELLS> {
    pub(super) const fn new() -> Self {
        Self { cells: [const { Counter::new() }; CELLS], sum: Counter::new() }
    }

    /// Counts `value` into the first bucket whose bound it does not exceed.
    pub(super) fn observe(&self, scale: &Scale, value: u64) {
        let at = scale.bounds.iter().position(|&bound| value <= bound).unwrap_or(CELLS - 1);
        self.cells[at.min(CELLS - 1)].inc();
        self.sum.add(value);
    }

    /// How many values were counted.
    pub(super) fn count(&self) -> u64 {
        self.cells.iter().map(Counter::value).sum()
    }
}

/// Bounds in the unit that is counted, of which 10^`decimals` make the unit that is shown.
pub(super) struct Scale {
    /// Inclusive, ascending.
    pub(super) bounds: &'static [u64],
    pub(super) decimals: u8,
}

/// Appends the samples of the sum of `parts`, which is one series. `labels` come before `le`.
pub(super) fn render<const CELLS: usize>(
    out: &mut String,
    name: &str,
    labels: &[(&str, &str)],
    scale: &Scale,
    parts: &[&Histogram<CELLS>],
) {
    let bucket = format!("{name}_bucket");
    let mut total = 0;
    for at in 0..CELLS {
        // Counted up from the cells, so that the count equals the last bucket while others go on counting.
        total += parts.iter().map(|part| part.cells[at].value()).sum::<u64>();
        let mut bound = String::new();
        match scale.bounds.get(at) {
            Some(&count) => Number::scaled(count, scale.decimals).write(&mut bound),
            None => bound.push_str("+Inf"),
        }
        let mut with_bound = labels.to_vec();
        with_bound.push(("le", &bound));
        sample(out, &bucket, &with_bound, total.into());
    }
    let sum: u64 = parts.iter().map(|part| part.sum.value()).sum();
    sample(out, &format!("{name}_sum"), labels, Number::scaled(sum, scale.decimals));
    sample(out, &format!("{name}_count"), labels, total.into());
}
