//! `piko test cluster`: nodes of one process.

use crate::nodes::{SOON, text, until};
use piko_tests::flags::run;
use piko_tests::process::{Process, Signal, binary};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

#[test]
fn some_nodes_form_a_cluster() {
    let mut command = Command::new(binary("piko"));
    let mut process =
        Process::spawn("piko test", command.args(["test", "cluster", "--nodes", "2"])).expect("piko starts");
    let mut admins: BTreeMap<String, SocketAddr> = BTreeMap::new();
    let mut from = 0;
    while admins.len() < 2 {
        let (index, record) = process.wait_record(from, SOON, "node started").expect("a node");
        from = index + 1;
        let field =
            |name: &str| record[name].as_str().unwrap_or_else(|| panic!("{name} in {record}")).to_owned();
        admins.insert(field("node"), field("admin-addr").parse().expect("an address"));
    }
    for (id, admin) in &admins {
        until(|| text(*admin, "/status/cluster/nodes").matches("\"active\"").count() == 2);
        assert!(text(*admin, "/status/cluster/nodes/local").contains(id.as_str()));
    }
    process.signal(Signal::Term).expect("it runs");
    assert!(process.wait_exit(SOON).expect("the end").success(), "{}", process.tail());

    let output = run("piko", &["test", "cluster", "--nodes", "0"], &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "config: missing nodes [--nodes]\n");
    assert_eq!(output.status.code(), Some(2));
    let output = run("piko", &["test", "cluster"], &[("PIKO_NODES", "0")]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "config: missing nodes [PIKO_NODES]\n");
    assert_eq!(output.status.code(), Some(2));
}
