//! The guard, tried on shells.

use super::*;
use std::os::unix::process::ExitStatusExt;

const LONG: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Process {
    Process::spawn("sh", Command::new("sh").args(["-c", script])).expect("a shell")
}

#[test]
fn lines_of_both_streams_arrive() {
    let p = shell("echo out; echo '{\"msg\":\"up\",\"addr\":\"a\"}' >&2; echo last; exec sleep 60");
    let out = p.wait_line(0, LONG, |l| l.text == "out").expect("the line");
    assert_eq!(out.source, Source::Stdout);
    let (_, record) = p.wait_record(0, LONG, "up").expect("the record");
    assert_eq!(record["addr"], "a");
    let last = p.wait_line(out.index + 1, LONG, |l| l.source == Source::Stdout).expect("the line");
    assert_eq!(last.text, "last");
    let late = p.wait_line(p.mark(), Duration::from_millis(50), |_| true);
    assert!(matches!(late, Err(WaitError::Deadline(_))), "{late:?}");
}

#[test]
fn the_end_of_the_output_ends_the_wait() {
    let mut p = shell("echo only; exit 3");
    let start = Instant::now();
    let missing = p.wait_line(0, LONG, |l| l.text == "never").expect_err("there is no such line");
    assert!(start.elapsed() < LONG);
    assert!(matches!(&missing, WaitError::Ended(lines) if lines.contains("only")), "{missing}");
    assert_eq!(p.wait_exit(LONG).expect("the end").code(), Some(3));
    assert_eq!(p.signal(Signal::Term).expect_err("nobody is there").kind(), io::ErrorKind::NotFound);
}

#[test]
fn signals_stop_wake_and_end() {
    let mut p = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    p.wait_line(0, LONG, |l| l.text == "ready").expect("ready");
    p.signal(Signal::Stop).expect("stop");
    p.signal(Signal::Term).expect("term");
    let early = p.wait_exit(Duration::from_millis(100)).expect_err("a stopped process does not end");
    assert_eq!(early.kind(), io::ErrorKind::TimedOut);
    p.signal(Signal::Cont).expect("cont");
    assert_eq!(p.wait_exit(LONG).expect("the end").code(), Some(0));
    p.wait_line(0, LONG, |l| l.text == "bye").expect("the trap ran");
}

#[test]
fn drop_kills_the_child_and_nobody_else() {
    let other = shell("exec sleep 60");
    let p = shell("exec sleep 60");
    let pid = p.pid();
    drop(p);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "killed and waited for");
    assert!(Path::new(&format!("/proc/{}", other.pid())).exists(), "the other one lives");
}

#[test]
fn grace_lets_a_program_end_by_itself() {
    let dir = std::env::temp_dir().join(format!("piko-guard-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("output");
    let mut command = Command::new("sh");
    command.args(["-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done"]);
    let p = Process::spawn_with("sh", &mut command, Capture::File(&file)).expect("a shell").with_grace(LONG);
    let deadline = Instant::now() + LONG;
    while std::fs::read_to_string(&file).unwrap_or_default() != "ready\n" {
        assert!(Instant::now() < deadline, "the shell does not start");
        thread::sleep(STEP);
    }
    drop(p);
    assert_eq!(std::fs::read_to_string(&file).expect("the output"), "ready\nbye\n");
    std::fs::remove_dir_all(&dir).expect("cleaning up");
}

#[test]
fn a_killed_process_says_so() {
    let mut p = shell("exec sleep 60");
    p.signal(Signal::Kill).expect("kill");
    assert_eq!(p.wait_exit(LONG).expect("the end").signal(), Some(9));
}
