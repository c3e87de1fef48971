//! Runs every committed corpus file through its target, on stable.

use piko_fuzz_targets::TARGETS;
use std::fs;
use std::path::Path;

/// Files above this size belong into an issue, not into the repository.
const FILE_BYTES_MAX: usize = 1024;
/// Per target; `cargo fuzz cmin` brings a grown corpus back below it.
const FILES_MAX: usize = 220;

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{name} has only {} corpus files", files.len());
    assert!(files.len() <= FILES_MAX, "{name} has {} corpus files", files.len());
    for file in files {
        let data = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(data.len() <= FILE_BYTES_MAX, "{} has {} bytes", file.display(), data.len());
        // Shown only when the target panics.
        println!("{}", file.display());
        target(&data);
    }
}

#[test]
fn gossip_datagram() {
    replay("gossip_datagram");
}

#[test]
fn gossip_stream() {
    replay("gossip_stream");
}

#[test]
fn http1_request() {
    replay("http1_request");
}

#[test]
fn http1_response() {
    replay("http1_response");
}

#[test]
fn mux_input() {
    replay("mux_input");
}

#[test]
fn preface() {
    replay("preface");
}

#[test]
fn via() {
    replay("via");
}

#[test]
fn ws_input() {
    replay("ws_input");
}

/// No input at all, and every input of one or two bytes: what the seeds never are.
#[test]
fn the_shortest_inputs_are_harmless() {
    for (_, target) in TARGETS {
        target(&[]);
        for first in 0..=255 {
            target(&[first]);
            target(&[first, first.rotate_left(3)]);
        }
    }
}
