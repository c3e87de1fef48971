//! Small samples of the long runs on clusters of real processes (`src/bin/rolling`, `src/bin/converge`).

use std::process::Command;

use piko_tests::process::{need, previous};

fn sample(program: &str, run: &str) {
    sample_with(program, run, &[]);
}

fn sample_with(program: &str, run: &str, args: &[&str]) {
    let output = Command::new(program).args([run, "--quick"]).args(args).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
}

const ROLLING: &str = env!("CARGO_BIN_EXE_rolling");
const CONVERGE: &str = env!("CARGO_BIN_EXE_converge");

#[test]
fn no_request_is_lost_when_everything_restarts() {
    sample(ROLLING, "direct");
}

#[test]
fn no_request_is_lost_through_nginx_when_everything_restarts() {
    if need("nginx").is_some() {
        sample(ROLLING, "nginx");
    }
}

#[test]
fn a_killed_node_takes_only_what_was_under_way_on_it() {
    sample(ROLLING, "kill");
}

#[test]
fn a_new_endpoint_is_routable_everywhere() {
    sample(CONVERGE, "endpoint");
    sample(CONVERGE, "many");
}

#[test]
fn reconnects_leave_nothing_behind() {
    sample(CONVERGE, "reconnects");
}

/// The release before this commit and this commit, in one cluster: node by node and agent by agent from the one to the other,
/// and back.
#[test]
fn no_request_is_lost_between_two_releases() {
    if let Some(dir) = previous() {
        sample_with(ROLLING, "releases", &["--previous", dir.to_str().expect("a path of text")]);
    }
}
