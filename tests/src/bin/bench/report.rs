//! Samples to Markdown: medians, and ratios taken within each round.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::args::Args;
use crate::load::{Sample, Workload};

/// All samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// By workload, contender and pinning, then by round.
    samples: BTreeMap<(&'static str, &'static str, bool), BTreeMap<usize, Sample>>,
    missing: BTreeMap<&'static str, String>,
}

impl Results {
    /// Adds one measurement.
    pub(crate) fn add(
        &mut self,
        workload: &'static str,
        contender: &'static str,
        pinned: bool,
        round: usize,
        sample: Sample,
    ) {
        self.samples.entry((workload, contender, pinned)).or_default().insert(round, sample);
    }

    /// Notes why a contender has no numbers.
    pub(crate) fn not_measured(&mut self, contender: &'static str, why: String) {
        self.missing.insert(contender, why);
    }

    fn median(
        &self,
        w: &'static str,
        c: &'static str,
        pinned: bool,
        of: impl Fn(&Sample) -> f64,
    ) -> Option<f64> {
        let rounds = self.samples.get(&(w, c, pinned))?;
        Spread::of(rounds.values().map(of).collect()).map(|s| s.median)
    }

    /// The ratios of two contenders, each taken within one round.
    fn ratio(
        &self,
        w: &'static str,
        (mine, other): (&'static str, &str),
        pinned: bool,
        of: impl Fn(&Sample) -> f64,
        base: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let mine = self.samples.get(&(w, mine, pinned))?;
        let key = self.samples.keys().find(|k| k.0 == w && k.1 == other && k.2 == pinned)?;
        let other = self.samples.get(key)?;
        let pairs = mine.iter().filter_map(|(round, m)| Some((of(m), base(other.get(round)?))));
        Spread::of(pairs.filter(|(_, b)| *b > 0.0).map(|(m, b)| m / b).collect())
    }
}

/// Median, minimum and maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let odd = values.len() % 2 == 1;
        let median = if odd { upper } else { (upper + values.get(middle - 1)?) / 2.0 };
        Some(Self { median, min, max })
    }
}

fn ratio_cell(spread: Option<Spread>) -> String {
    let text = |s: Spread| format!("{:.2} ({:.2}..{:.2})", s.median, s.min, s.max);
    spread.map_or_else(|| "-".to_owned(), text)
}

fn number_cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
}

/// What the numbers were measured on.
pub(crate) fn machine() {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default().to_owned();
        line.rsplit(": ").next().unwrap_or_default().to_owned()
    };
    let said = |program: &str, flag: &str| {
        let path = piko_tests::process::find(program)?;
        let output = Command::new(path).arg(flag).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("- processor: {}", first("/proc/cpuinfo", "model name"));
    println!("- processors: {}", std::thread::available_parallelism().map_or(0, std::num::NonZero::get));
    println!("- kernel: {}", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim());
    // BBR paces what it sends by timers, which costs CPU on loopback too.
    let pace = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    println!("- congestion control: {}", pace.trim());
    println!("- load before the run: {}", load.split_whitespace().next().unwrap_or_default());
    for (program, flag) in [("nginx", "-v"), ("haproxy", "-v"), ("wrk", "-v")] {
        println!("- {}", said(program, flag).unwrap_or_else(|| format!("{program}: not found")));
    }
    println!();
}

/// Prints one table per workload.
pub(crate) fn print(args: &Args, names: &[&'static str], workloads: &[Workload], results: &Results) {
    println!(
        "{} rounds of {} s. Medians; ratios within each round, with minimum and maximum, relative to {}.",
        args.rounds, args.seconds, args.base
    );
    for workload in workloads {
        let chain = results.samples.contains_key(&(workload.name, "nginx-chain", true));
        let hop = if chain { "nginx-chain" } else { args.base.as_str() };
        println!("\n### {}\n", workload.title);
        println!(
            "| contender | req/s | ratio | p50 us | ratio to {hop} | p99 us | CPU us/request | ratio | req/s unpinned | ratio | errors |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for name in names {
            if let Some(line) = row(args, results, workload.name, name, hop) {
                println!("{line}");
            }
        }
    }
    for (name, why) in &results.missing {
        println!("\nNot measured: {name}: {}", why.lines().next().unwrap_or_default());
    }
}

fn row(args: &Args, results: &Results, w: &'static str, c: &'static str, hop: &str) -> Option<String> {
    if results.missing.contains_key(c) {
        return Some(format!("| {c} | not measured | | | | | | | | | |"));
    }
    let of = |pinned: bool| results.samples.get(&(w, c, pinned));
    let any = of(true).or_else(|| of(false))?;
    let base = args.base.as_str();
    let rate = |s: &Sample| s.load.per_second;
    let p50 = |s: &Sample| s.load.p50_us;
    let rates = |pinned| {
        let ratio = results.ratio(w, (c, base), pinned, rate, rate);
        (number_cell(results.median(w, c, pinned, rate), 0), ratio_cell(ratio))
    };
    // Processor time does not need pinning to mean something, so an unpinned run alone shows it too.
    let cpu_pinned = of(true).is_some();
    let roles = any.values().next().map(|s| s.cpu_us.iter().map(|(r, _)| r.clone()).collect::<Vec<_>>());
    let (mut cpu, mut cpu_ratio) = (Vec::new(), Vec::new());
    for (i, role) in roles.unwrap_or_default().iter().enumerate() {
        let own = |s: &Sample| s.cpu_us.get(i).map_or(0.0, |(_, us)| *us);
        let label = if any.values().all(|s| s.cpu_us.len() > 1) { format!("{role} ") } else { String::new() };
        cpu.push(format!("{label}{}", number_cell(results.median(w, c, cpu_pinned, own), 1)));
        let ratio = results.ratio(w, (c, base), cpu_pinned, own, Sample::cpu_sum);
        cpu_ratio.push(format!("{label}{}", ratio_cell(ratio)));
    }
    let errors: u64 =
        [true, false].into_iter().filter_map(of).flat_map(|r| r.values()).map(|s| s.load.errors).sum();
    let (rate_pinned, ratio_pinned) = rates(true);
    let (rate_unpinned, ratio_unpinned) = rates(false);
    let cells = [
        c.to_owned(),
        rate_pinned,
        ratio_pinned,
        number_cell(results.median(w, c, true, p50), 0),
        ratio_cell(results.ratio(w, (c, hop), true, p50, p50)),
        number_cell(results.median(w, c, true, |s| s.load.p99_us), 0),
        if cpu.is_empty() { "-".to_owned() } else { cpu.join(", ") },
        if cpu_ratio.is_empty() { "-".to_owned() } else { cpu_ratio.join(", ") },
        rate_unpinned,
        ratio_unpinned,
        errors.to_string(),
    ];
    Some(format!("| {} |", cells.join(" | ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;

    fn sample(per_second: f64, cpu: &[f64]) -> Sample {
        let load = Load { requests: 1, per_second, p50_us: 1.0, p99_us: 2.0, errors: 0 };
        Sample { load, cpu_us: cpu.iter().map(|us| ("p".to_owned(), *us)).collect() }
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut results = Results::default();
        // The machine halves its speed in the second round; the ratio does not care.
        for (round, speed) in [(0, 100.0), (1, 50.0)] {
            results.add("small", "nginx", true, round, sample(speed, &[10.0]));
            results.add("small", "piko", true, round, sample(speed * 2.0, &[5.0, 6.0]));
        }
        let rate = |s: &Sample| s.load.per_second;
        let ratio = results.ratio("small", ("piko", "nginx"), true, rate, rate);
        assert_eq!(ratio, Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(results.ratio("small", ("piko", "haproxy"), true, rate, rate), None);
        let line = row(&Args::default(), &results, "small", "piko", "nginx").expect("a row");
        assert!(line.contains("| 150 | 2.00 (2.00..2.00) |"), "{line}");
        assert!(line.contains("p 5.0, p 6.0 | p 0.50 (0.50..0.50), p 0.60 (0.60..0.60)"), "{line}");
    }

    #[test]
    fn a_missing_contender_says_so() {
        let mut results = Results::default();
        results.not_measured("rathole", "not found".to_owned());
        let line = row(&Args::default(), &results, "small", "rathole", "nginx").expect("a row");
        assert!(line.starts_with("| rathole | not measured |"), "{line}");
        assert_eq!(row(&Args::default(), &results, "small", "nginx", "nginx"), None);
    }
}
