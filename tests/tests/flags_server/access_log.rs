//! `--proxy.access-log.*`.

use piko_tests::flags::{Settings, WAYS, Way};
use piko_tests::process::Line;
use serde_json::Value;

use crate::{SOON, Setup, TO_E};

/// One request, and its record once the server has ended, so that nothing is waited for in vain.
fn record_of_one_request(way: Way, settings: Settings<'_>) -> Option<Value> {
    let mut setup = Setup::start(way, settings);
    let mut client = setup.client();
    let fields = [TO_E, ("x-one", "1"), ("x-two", "2"), ("connection", "close")];
    assert_eq!(client.get("/hello", &fields).expect("an answer").status(), 200);
    setup.server.terminate(SOON).expect("the end");
    let lines = setup.server.process.lines(0);
    lines.iter().filter_map(Line::json).find(|record| record["subsystem"] == "proxy.access")
}

/// The names in one of the record's objects of header fields, in small letters.
fn names(record: &Value, which: &str) -> Vec<String> {
    let headers = record["request"][which].as_object().unwrap_or_else(|| panic!("{which} in {record}"));
    let mut names: Vec<String> = headers.keys().map(|name| name.to_ascii_lowercase()).collect();
    names.sort();
    names
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|n| n == name)
}

#[test]
fn requests_are_logged_unless_switched_off() {
    let record = record_of_one_request(Way::Flag, &[]).expect("a record");
    assert_eq!(record["level"], "info");
    assert_eq!(record["request"]["method"], "GET");
    assert_eq!(record["request"]["path"], "/hello");
    assert_eq!(record["request"]["status"], 200);
    assert!(has(&names(&record, "request_headers"), "x-one"));
    assert!(has(&names(&record, "response_headers"), "content-type"));
    for way in WAYS {
        assert_eq!(record_of_one_request(way, &[("proxy.access-log.disable", "true")]), None);
    }
}

#[test]
fn requests_are_logged_at_the_level_asked_for() {
    for way in WAYS {
        let record = record_of_one_request(way, &[("proxy.access-log.level", "warn")]).expect("a record");
        assert_eq!(record["level"], "warn");
        assert_eq!(record_of_one_request(way, &[("proxy.access-log.level", "debug")]), None);
    }
}

#[test]
fn request_headers_are_filtered() {
    for way in WAYS {
        let allow = [("proxy.access-log.request-headers.allow-list", "X-One")];
        let record = record_of_one_request(way, &allow).expect("a record");
        assert_eq!(names(&record, "request_headers"), ["x-one"]);
        assert!(has(&names(&record, "response_headers"), "content-type"));

        let block = [("proxy.access-log.request-headers.block-list", "x-one,X-Piko-Endpoint")];
        let record = record_of_one_request(way, &block).expect("a record");
        let logged = names(&record, "request_headers");
        assert!(!has(&logged, "x-one") && !has(&logged, "x-piko-endpoint") && has(&logged, "x-two"));
    }
}

#[test]
fn response_headers_are_filtered_in_the_log_only() {
    for way in WAYS {
        let allow = [("proxy.access-log.response-headers.allow-list", "Content-Length")];
        let record = record_of_one_request(way, &allow).expect("a record");
        assert_eq!(names(&record, "response_headers"), ["content-length"]);

        let block = [("proxy.access-log.response-headers.block-list", "content-length")];
        let record = record_of_one_request(way, &block).expect("a record");
        let logged = names(&record, "response_headers");
        assert!(!has(&logged, "content-length") && has(&logged, "content-type"), "{logged:?}");
    }
    // A filter works on the line, not on the response.
    let setup = Setup::start(Way::Flag, &[("proxy.access-log.response-headers.allow-list", "x-none")]);
    let answer = setup.client().get("/hello", &[TO_E]).expect("an answer");
    assert_eq!(answer.value("content-type").as_deref(), Some("text/plain"));
}

/// An answer that Piko makes itself is as visible as one of a service, with the word for what went wrong.
#[test]
fn answers_of_our_own_are_logged() {
    let mut setup = Setup::start(Way::Flag, &[]);
    let mut client = setup.client();
    let fields = [("x-piko-endpoint", "nobody"), ("connection", "close")];
    let answer = client.get("/", &fields).expect("an answer");
    assert_eq!(answer.status(), 502);
    setup.server.terminate(SOON).expect("the end");
    let lines = setup.server.process.lines(0);
    let record = lines.iter().filter_map(Line::json).find(|r| r["subsystem"] == "proxy.access");
    let record = record.expect("a record");
    assert_eq!(record["request"]["status"], 502);
    assert_eq!(record["request"]["cause"], "no-upstream", "{record}");
    assert_eq!(record["request"]["response_headers"]["Content-Length"][0], answer.body.len.to_string());
    assert!(has(&names(&record, "response_headers"), "x-piko-error"), "{record}");
}
