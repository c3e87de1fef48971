//! The command line of the bench.

use std::path::PathBuf;

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) pinned: bool,
    pub(crate) unpinned: bool,
    /// Names of contenders; empty means all.
    pub(crate) contenders: Vec<String>,
    /// Names of workloads; empty means all.
    pub(crate) workloads: Vec<String>,
    /// What ratios are relative to.
    pub(crate) base: String,
    /// A directory with an older build.
    pub(crate) old: Option<PathBuf>,
    pub(crate) syscalls: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            rounds: 5,
            seconds: 2,
            pinned: true,
            unpinned: true,
            contenders: Vec::new(),
            workloads: Vec::new(),
            base: "nginx".to_owned(),
            old: None,
            syscalls: false,
        }
    }
}

/// The text of `--help`.
pub(crate) const HELP: &str = "\
usage: bench [flags]
  --rounds N           rounds, interleaved (5; at most 100)
  --seconds N          seconds per measurement (2; at most 60)
  --pin pinned|unpinned|both
  --contenders a,b     of direct, nginx, haproxy, nginx-chain, rathole, piko, piko-far, piko-many, piko-log, piko-old;
                       with TLS towards clients: nginx-tls, piko-tls; between the two programs: nginx-tls-inner,
                       piko-tls-tunnel; and both: nginx-tls-both, piko-tls-both
  --workloads a,b      of small, one, 64k, 1m, 1m-paced, close
  --base NAME          the contender that ratios are relative to (nginx)
  --old DIR            an older build of piko-server and piko-agent, as one more row
  --syscalls           count system calls and tunnel writes per request, and nothing else
environment: PIKO_BIN_DIR, RATHOLE_BIN
";

/// Reads the arguments; `Ok(None)` is a wish for help.
pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let mut parsed = Args::default();
    let mut args = args;
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--help" | "-h" => return Ok(None),
            "--rounds" => parsed.rounds = number(&flag, &value()?, 100)? as usize,
            "--seconds" => parsed.seconds = number(&flag, &value()?, 60)?,
            "--pin" => {
                (parsed.pinned, parsed.unpinned) = match value()?.as_str() {
                    "both" => (true, true),
                    "pinned" => (true, false),
                    "unpinned" => (false, true),
                    other => return Err(format!("--pin {other}")),
                }
            }
            "--contenders" => parsed.contenders = list(&value()?),
            "--workloads" => parsed.workloads = list(&value()?),
            "--base" => parsed.base = value()?,
            "--old" => parsed.old = Some(PathBuf::from(value()?)),
            "--syscalls" => parsed.syscalls = true,
            other => return Err(format!("unknown flag {other}")),
        }
    }
    Ok(Some(parsed))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()
}

/// A whole number from 1 to `max`: the load stays bounded in time.
fn number(flag: &str, text: &str, max: u64) -> Result<u64, String> {
    let parsed = text.parse().ok().filter(|n| (1..=max).contains(n));
    parsed.ok_or_else(|| format!("{flag} takes a number from 1 to {max}, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Option<Args>, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_land_in_their_fields() {
        assert_eq!(of(""), Ok(Some(Args::default())));
        let args = of("--rounds 3 --seconds 1 --pin pinned --workloads one,64k --syscalls --old /x");
        let args = args.expect("legal flags").expect("no help");
        assert_eq!((args.rounds, args.seconds, args.pinned, args.unpinned), (3, 1, true, false));
        assert_eq!(args.workloads, ["one", "64k"]);
        assert!(args.syscalls && args.old.is_some());
        assert_eq!(of("-h"), Ok(None));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--rounds", "--rounds 0", "--seconds 61", "--pin maybe", "--fast"] {
            assert!(of(line).is_err(), "{line}");
        }
    }
}
