//! `--access-log.*` and `--log.*`.

use piko_tests::flags::{Settings, WAYS, Way};
use piko_tests::process::{Line, Signal};
use serde_json::Value;

use crate::{SOON, Setup, TO_E};

/// One request, and its record once the agent has ended, so that nothing is waited for in vain.
fn record_of_one_request(way: Way, settings: Settings<'_>) -> Option<Value> {
    let mut setup = Setup::start(way, settings);
    let answer = setup.client().get("/hello", &[TO_E, ("x-one", "1"), ("x-two", "2")]).expect("an answer");
    // A filter works on the line, not on the response.
    assert_eq!(answer.value("content-type").as_deref(), Some("text/plain"));
    setup.agent.process.signal(Signal::Term).expect("sent");
    assert!(setup.agent.process.wait_exit(SOON).expect("the end").success());
    let lines = setup.agent.process.lines(0);
    lines.iter().filter_map(Line::json).find(|record| record["subsystem"] == "proxy.http.access")
}

/// The names in one of the record's objects of header fields, in small letters.
fn names(record: &Value, which: &str) -> Vec<String> {
    let headers = record["request"][which].as_object().unwrap_or_else(|| panic!("{which} in {record}"));
    headers.keys().map(|name| name.to_ascii_lowercase()).collect()
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|n| n == name)
}

#[test]
fn requests_are_logged_unless_switched_off() {
    let record = record_of_one_request(Way::Flag, &[]).expect("a record");
    assert_eq!((&record["level"], &record["endpoint-id"]), (&"info".into(), &"e".into()));
    assert_eq!((&record["request"]["path"], &record["request"]["status"]), (&"/hello".into(), &200.into()));
    assert!(has(&names(&record, "request_headers"), "x-one"));
    assert!(has(&names(&record, "response_headers"), "content-length"));
    for way in WAYS {
        assert_eq!(record_of_one_request(way, &[("access-log.disable", "true")]), None);
    }
}

#[test]
fn requests_are_logged_at_the_level_asked_for() {
    for way in WAYS {
        let record = record_of_one_request(way, &[("access-log.level", "error")]).expect("a record");
        assert_eq!(record["level"], "error");
        assert_eq!(record_of_one_request(way, &[("access-log.level", "debug")]), None);
    }
}

#[test]
fn headers_are_filtered() {
    for way in WAYS {
        let allow = [
            ("access-log.request-headers.allow-list", "X-One"),
            ("access-log.response-headers.allow-list", "Content-Type"),
        ];
        let record = record_of_one_request(way, &allow).expect("a record");
        assert_eq!(names(&record, "request_headers"), ["x-one"]);
        assert_eq!(names(&record, "response_headers"), ["content-type"]);

        let block = [
            ("access-log.request-headers.block-list", "x-one"),
            ("access-log.response-headers.block-list", "content-type"),
        ];
        let record = record_of_one_request(way, &block).expect("a record");
        let (request, response) = (names(&record, "request_headers"), names(&record, "response_headers"));
        assert!(!has(&request, "x-one") && has(&request, "x-two"), "{request:?}");
        assert!(!has(&response, "content-type") && has(&response, "content-length"), "{response:?}");
    }
}

#[test]
fn the_log_has_a_level_and_exceptions() {
    for way in WAYS {
        // The tunnel is noticed by a record of this subsystem.
        let settings = [("log.level", "error"), ("log.subsystems", "client")];
        let mut setup = Setup::start(way, &settings);
        assert_eq!(setup.client().get("/hello", &[TO_E]).expect("an answer").status(), 200);
        setup.agent.process.signal(Signal::Term).expect("sent");
        assert!(setup.agent.process.wait_exit(SOON).expect("the end").success());
        let lines = setup.agent.process.lines(0);
        let records: Vec<Value> = lines.iter().filter_map(Line::json).collect();
        assert!(!records.is_empty());
        assert!(records.iter().all(|record| record["subsystem"] == "client"), "{records:?}");
    }
    // Debug shows more than info: here the end of the tunnel's loop.
    for (level, seen) in [("debug", true), ("info", false)] {
        let mut setup = Setup::start(Way::Flag, &[("log.level", level)]);
        setup.agent.process.signal(Signal::Term).expect("sent");
        assert!(setup.agent.process.wait_exit(SOON).expect("the end").success());
        let lines = setup.agent.process.lines(0);
        let debug = |line: &Line| line.json().is_some_and(|record| record["level"] == "debug");
        assert_eq!(lines.iter().any(debug), seen, "{}", setup.agent.process.tail());
    }
}
