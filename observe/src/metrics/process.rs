//! What the operating system knows of this process, and which build it is.

use super::number::Number;
use super::text::{Kind, family, sample};
use std::fs;
use std::sync::OnceLock;

const NANOS: u64 = 1_000_000_000;

/// Appends `piko_build_info`, whose value is always 1.
pub fn render_build_info(version: &str, out: &mut String) {
    const NAME: &str = "piko_build_info";
    family(out, Kind::Gauge, NAME, "The version that runs, as a label.");
    sample(out, NAME, &[("version", version)], Number::from(1_u64));
}

/// Appends the `process_*` families that the platform can tell: on Linux all of them, elsewhere none.
pub fn render_process(out: &mut String) {
    let stat = Stat::read();
    let mut one = |kind, name, help, value: Option<Number>| {
        if let Some(value) = value {
            family(out, kind, name, help);
            sample(out, name, &[], value);
        }
    };
    let cpu = stat.as_ref().map(|stat| Number::scaled(stat.cpu_nanos, 9));
    one(Kind::Counter, "process_cpu_seconds_total", "CPU time in user and system mode.", cpu);
    one(
        Kind::Gauge,
        "process_max_fds",
        "Most file descriptors that may be open.",
        max_fds().map(Number::from),
    );
    one(Kind::Gauge, "process_open_fds", "File descriptors that are open.", open_fds().map(Number::from));
    let resident = stat.as_ref().map(|stat| stat.resident_bytes.into());
    one(Kind::Gauge, "process_resident_memory_bytes", "Memory in RAM.", resident);
    let started = stat.as_ref().and_then(|stat| stat.start_nanos).map(|nanos| Number::scaled(nanos, 9));
    one(Kind::Gauge, "process_start_time_seconds", "Start of the process in Unix time.", started);
    let virtual_bytes = stat.as_ref().map(|stat| stat.virtual_bytes.into());
    one(Kind::Gauge, "process_virtual_memory_bytes", "Address space.", virtual_bytes);
}

/// A part of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_nanos: u64,
    /// Since 1970.
    start_nanos: Option<u64>,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let auxiliary = Auxiliary::parse(&fs::read("/proc/self/auxv").unwrap_or_default());
        // Read once: it never changes, and the file has a line per CPU in front of it.
        static BOOT: OnceLock<Option<u64>> = OnceLock::new();
        let boot = BOOT.get_or_init(|| boot_seconds(&fs::read_to_string("/proc/stat").ok()?));
        Self::parse(&text, &auxiliary, *boot)
    }

    /// Fields are numbered from 1 in proc(5); the second one, a name in parentheses, may hold anything.
    fn parse(text: &str, auxiliary: &Auxiliary, boot_seconds: Option<u64>) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let number = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
        let nanos = |ticks: u64| {
            let per_second = auxiliary.ticks_per_second;
            let rest = (ticks % per_second).saturating_mul(NANOS) / per_second;
            (ticks / per_second).saturating_mul(NANOS).saturating_add(rest)
        };
        Some(Self {
            cpu_nanos: nanos(number(14)?.saturating_add(number(15)?)),
            start_nanos: boot_seconds
                .zip(number(22))
                .map(|(boot, start)| boot.saturating_mul(NANOS).saturating_add(nanos(start))),
            virtual_bytes: number(23)?,
            resident_bytes: number(24)?.saturating_mul(auxiliary.page_bytes),
        })
    }
}

/// Units that the kernel hands to each process.
#[derive(Debug, PartialEq, Eq)]
struct Auxiliary {
    page_bytes: u64,
    /// Never zero.
    ticks_per_second: u64,
}

impl Auxiliary {
    /// Reads the pairs of words of getauxval(3), with the usual values for what is missing.
    fn parse(bytes: &[u8]) -> Self {
        const WORD: usize = size_of::<usize>();
        const PAGE_BYTES: usize = 6;
        const CLOCK_TICKS: usize = 17;
        let mut found = Self { page_bytes: 4096, ticks_per_second: 100 };
        let mut words =
            bytes.chunks_exact(WORD).filter_map(|word| word.try_into().ok()).map(usize::from_ne_bytes);
        while let (Some(kind), Some(value)) = (words.next(), words.next()) {
            match kind {
                PAGE_BYTES if value > 0 => found.page_bytes = value as u64,
                CLOCK_TICKS if value > 0 => found.ticks_per_second = value as u64,
                _ => {}
            }
        }
        found
    }
}

/// Unix time of the boot from `/proc/stat`.
fn boot_seconds(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn max_fds() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    Some(open.saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_is_found_behind_other_lines() {
        assert_eq!(boot_seconds("cpu 1 2\nintr 9\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000));
        assert_eq!(boot_seconds("cpu 1 2\n"), None);
    }

    #[test]
    fn the_fields_are_those_of_the_manual() {
        let mut fields: Vec<_> = (3..=52).map(|n| (n * 100).to_string()).collect();
        fields[22 - 3] = "250".to_owned();
        let text = format!("1 (a) b) {}", fields.join(" "));
        let auxiliary = Auxiliary { page_bytes: 10, ticks_per_second: 100 };
        let want = Stat {
            cpu_nanos: 29 * NANOS,
            start_nanos: Some(1_002_500_000_000),
            virtual_bytes: 2300,
            resident_bytes: 24_000,
        };
        assert_eq!(Stat::parse(&text, &auxiliary, Some(1000)), Some(want));
        for bad in ["", "1 (a", "1 (a) S 1 2", "1 (a) x x x x x x x x x x x x x x x x x x x x x x"] {
            assert_eq!(Stat::parse(bad, &auxiliary, None), None, "{bad}");
        }
    }

    #[test]
    fn units_come_from_the_kernel_or_are_the_usual_ones() {
        let usual = Auxiliary { page_bytes: 4096, ticks_per_second: 100 };
        assert_eq!(Auxiliary::parse(b""), usual);
        let words: Vec<u8> =
            [6_usize, 16_384, 3, 1, 17, 250, 6].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(Auxiliary::parse(&words), Auxiliary { page_bytes: 16_384, ticks_per_second: 250 });
        let zeros: Vec<u8> = [17_usize, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(Auxiliary::parse(&zeros), usual);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_looks_like_one() {
        let mut out = String::new();
        render_process(&mut out);
        let value = |name: &str| -> f64 {
            let start = format!("{name} ");
            let line = out.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_else(|| panic!("{name} in {out}")).parse().expect("a number")
        };
        assert!((0.0..86_400.0).contains(&value("process_cpu_seconds_total")), "{out}");
        assert!(value("process_open_fds") >= 3.0, "{out}");
        assert!(value("process_max_fds") >= value("process_open_fds"), "{out}");
        assert!(value("process_resident_memory_bytes") > 100_000.0, "{out}");
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"), "{out}");
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-5.0..3600.0).contains(&age), "{age}");
        let types: Vec<_> = out.lines().filter(|line| line.starts_with("# TYPE")).collect();
        assert!(types.is_sorted() && types.len() == 6, "{types:?}");
    }

    #[test]
    fn the_version_is_a_label() {
        let mut out = String::new();
        render_build_info("0.9.0", &mut out);
        assert!(
            out.ends_with("# TYPE piko_build_info gauge\npiko_build_info{version=\"0.9.0\"} 1\n"),
            "{out}"
        );
    }
}
