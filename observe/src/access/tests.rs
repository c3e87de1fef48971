use super::*;
use piko_core::http1::{BodyLength, Fields, ResponseHead, Version};
use piko_core::proxy::Ended;
use std::io::{self, Write};
use std::sync::Mutex;

/// A stderr that a test can read.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    log: AccessLog,
    kept: Kept,
}

fn bench(options: AccessOptions) -> Bench {
    let kept = Kept::default();
    let log = AccessLog::to(options, Sink::new(Box::new(kept.clone()), "proxy.access"));
    Bench { log, kept }
}

impl Bench {
    /// The lines so far, with their times cut out.
    fn lines(&self) -> Vec<String> {
        assert!(self.log.flush(Duration::from_secs(10)), "a writer that takes everything is never behind");
        let text = String::from_utf8(self.kept.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        text.lines()
            .map(|line| {
                let (head, rest) = line.split_once("\"ts\":\"").expect("a time");
                let (_, tail) = rest.split_once("\",").expect("the time ends");
                format!("{head}{tail}")
            })
            .collect()
    }

    /// One request through the log.
    fn request(&self, peer: Option<&str>, head: &RequestHead<'_>, response: Option<&str>, facts: &Facts<'_>) {
        let peer = peer.map(|peer| peer.parse().expect("an address"));
        let Some(mut note) = self.log.note(peer, head) else { return };
        if let Some(block) = response {
            note.response(&ResponseHead {
                status: facts.status,
                reason: b"",
                version: Version::Http11,
                fields: Fields::from_block(block.as_bytes()),
                body: BodyLength::None,
            });
        }
        self.log.write_facts(note, facts);
    }
}

fn get<'i>(target: &'i str, block: &'i str) -> RequestHead<'i> {
    RequestHead {
        method: b"GET",
        target: target.as_bytes(),
        version: Version::Http11,
        fields: Fields::from_block(block.as_bytes()),
        body: BodyLength::None,
        expects_continue: false,
        upgrade: false,
    }
}

fn facts(status: u16) -> Facts<'static> {
    Facts {
        endpoint: None,
        status,
        duration: Duration::from_nanos(304_658_549),
        request_bytes: 0,
        response_bytes: 2,
        retries: 0,
        cause: None,
    }
}

/// A request is logged as its log was told when it began.
#[test]
fn new_options_count_for_requests_that_begin_after_them() {
    let bench = bench(AccessOptions::new("proxy.access"));
    let block = b"Host: h\r\nA: 1\r\nB: 2\r\n";
    let head = RequestHead {
        method: b"GET",
        target: b"/",
        version: Version::Http11,
        fields: Fields::from_block(block),
        body: BodyLength::None,
        expects_continue: false,
        upgrade: false,
    };
    let facts = Facts {
        endpoint: None,
        status: 200,
        duration: Duration::from_millis(1),
        request_bytes: 0,
        response_bytes: 0,
        retries: 0,
        cause: None,
    };
    let earlier = bench.log.note(None, &head).expect("everything is logged");
    let mut options = AccessOptions::new("proxy.access");
    options.level = Level::Error;
    options.request_headers = HeaderFilter { allow: vec!["b".to_owned()], block: Vec::new() };
    bench.log.set(options.clone());
    bench.log.write_facts(earlier, &facts);
    bench.request(None, &head, None, &facts);
    options.disable = true;
    bench.log.set(options);
    assert!(bench.log.note(None, &head).is_none());
    let lines = bench.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("{\"level\":\"info\"") && lines[0].contains("\"A\":"), "{lines:?}");
    assert!(lines[1].starts_with("{\"level\":\"error\"") && !lines[1].contains("\"A\":"), "{lines:?}");
}

#[test]
fn a_line_is_that_of_go_and_more_at_its_end() {
    let bench = bench(AccessOptions::new("proxy.access"));
    let head = get("/x?secret=1", "Host: a.b\r\nx-piko-endpoint: ep\r\nAuthorization: Bearer s3cret\r\n");
    let facts = Facts { endpoint: Some(b"ep"), retries: 1, ..facts(200) };
    bench.request(Some("::ffff:192.0.2.1"), &head, Some("content-length: 2\r\n"), &facts);
    let want = [
        r#"{"level":"info","subsystem":"proxy.access","msg":"request","request":{"proto":"HTTP/1.1","#,
        r#""method":"GET","host":"a.b","path":"/x","request_headers":{"Authorization":["[redacted]"],"#,
        r#""X-Piko-Endpoint":["ep"]},"response_headers":{"Content-Length":["2"]},"status":200,"#,
        r#""duration":"304.658549ms","client_ip":"192.0.2.1","endpoint_id":"ep","request_bytes":0,"#,
        r#""response_bytes":2,"retries":1}}"#,
    ];
    assert_eq!(bench.lines(), [want.concat()]);
}

/// The framing of a response stands apart from its fields; Go shows its length among them.
#[test]
fn the_length_of_a_response_is_shown_like_a_field() {
    let mut options = AccessOptions::new("proxy.access");
    options.response_headers.block = vec!["x-b".to_owned(), "content-length".to_owned()];
    for (options, want) in [
        (AccessOptions::new("proxy.access"), r#""response_headers":{"Content-Length":["7"],"X-B":["1"]}"#),
        (options, r#""response_headers":{}"#),
    ] {
        let bench = bench(options);
        let mut note = bench.log.note(None, &get("/", "")).expect("a note");
        note.response(&ResponseHead {
            status: 200,
            reason: b"",
            version: Version::Http11,
            fields: Fields::from_block(b"x-b: 1\r\n"),
            body: BodyLength::Known(7),
        });
        bench.log.write_facts(note, &facts(200));
        let lines = bench.lines();
        assert!(lines[0].contains(want), "{lines:?}");
    }
}

#[test]
fn an_agents_line_names_its_endpoint_beside_the_request() {
    let mut options = AccessOptions::new("proxy.http.access");
    options.endpoint = Some("e\"p".to_owned());
    options.request_headers.allow = vec!["none".to_owned()];
    let bench = bench(options);
    bench.request(None, &get("/", "A: 1\r\n"), None, &facts(200));
    let want = [
        r#"{"level":"info","subsystem":"proxy.http.access","msg":"request","endpoint-id":"e\"p","request":{"#,
        r#""proto":"HTTP/1.1","method":"GET","host":"","path":"/","request_headers":{},"response_headers":{},"#,
        r#""status":200,"duration":"304.658549ms","request_bytes":0,"response_bytes":2}}"#,
    ];
    assert_eq!(bench.lines(), [want.concat()]);
}

#[test]
fn failures_are_named_by_the_answer_or_else_by_the_end() {
    let bench = bench(AccessOptions::new("proxy.access"));
    let head = get("/", "");
    let with_end = |how| Facts { cause: note::failure(how), ..facts(502) };
    let answers = [
        Some("x-piko-error: hop=server; cause=no-upstream\r\n"),
        Some("x-piko-error: nonsense\r\n"),
        Some("X-Piko-Error: cause=\r\n"),
        None,
    ];
    for answer in answers {
        bench.request(None, &head, answer, &with_end(Ended::Answered));
        bench.request(None, &head, answer, &with_end(Ended::Aborted));
    }
    let causes: Vec<_> = bench
        .lines()
        .iter()
        .map(|line| line.split_once("\"cause\":").map(|(_, cause)| cause.trim_end_matches('}').to_owned()))
        .collect();
    let (answered, aborted) = (Some("\"no-upstream\"".to_owned()), Some("\"aborted\"".to_owned()));
    let want = [answered.clone(), answered, None, aborted.clone(), None, aborted.clone(), None, aborted];
    assert_eq!(causes, want);
}

#[test]
fn statuses_from_500_raise_the_level_to_warn_and_never_lower_it() {
    for (level, below, from_500) in [
        (Level::Debug, "debug", "warn"),
        (Level::Info, "info", "warn"),
        (Level::Warn, "warn", "warn"),
        (Level::Error, "error", "error"),
    ] {
        let mut options = AccessOptions::new("a");
        options.level = level;
        options.log.level = Level::Debug;
        let bench = bench(options);
        for status in [0, 101, 200, 404, 499, 500, 502, 599] {
            bench.request(None, &get("/", ""), None, &facts(status));
        }
        let lines = bench.lines();
        assert_eq!(lines.len(), 8);
        for (n, line) in lines.iter().enumerate() {
            let want = if n < 5 { below } else { from_500 };
            assert!(line.starts_with(&format!("{{\"level\":\"{want}\"")), "{level} {line}");
        }
        assert!(lines[0].contains("\"status\":0,") && lines[1].contains("\"status\":101,"), "{lines:?}");
    }
}

#[test]
fn nothing_is_noted_where_nothing_would_be_written() {
    let noted = |change: fn(&mut AccessOptions), target: &str| {
        let mut options = AccessOptions::new("proxy.access");
        change(&mut options);
        bench(options).log.note(None, &get(target, "")).is_some()
    };
    assert!(noted(|_| {}, "/"));
    assert!(!noted(|_| {}, "/_piko/v1/tcp/ep"));
    assert!(!noted(|options| options.disable = true, "/"));
    assert!(!noted(|options| options.log.level = Level::Error, "/"));
    // A failure would be a warning, so that the request must be remembered.
    assert!(noted(|options| options.log.level = Level::Warn, "/"));
    let named = |options: &mut AccessOptions| {
        options.log = log::Options { level: Level::Error, subsystems: vec!["proxy.access".to_owned()] };
    };
    assert!(noted(named, "/"));
}

#[test]
fn the_level_of_the_process_decides_per_line() {
    let mut options = AccessOptions::new("proxy.access");
    options.log.level = Level::Warn;
    let bench = bench(options);
    for status in [200, 404, 502] {
        bench.request(None, &get("/", ""), None, &facts(status));
    }
    let lines = bench.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("\"status\":502"), "{lines:?}");
}

#[test]
fn a_second_response_takes_the_place_of_the_first_and_a_note_starts_clean() {
    let bench = bench(AccessOptions::new("a"));
    for (answer, want) in [(true, "no-upstream"), (false, "")] {
        let mut note = bench.log.note(None, &get("/", "")).expect("the log is on");
        let block = |text: &'static str| Fields::from_block(text.as_bytes());
        let head = |fields| ResponseHead {
            status: 200,
            reason: b"",
            version: Version::Http11,
            fields,
            body: BodyLength::None,
        };
        if answer {
            note.response(&head(block("first: 1\r\nx-piko-error: cause=other\r\n")));
            note.response(&head(block("second: 2\r\nx-piko-error: hop=agent; cause=no-upstream\r\n")));
        }
        bench.log.write_facts(note, &facts(200));
        let line = bench.lines().pop().expect("a line");
        assert!(!line.contains("First"), "{line}");
        assert_eq!(line.contains("\"Second\":[\"2\"]"), answer, "{line}");
        assert_eq!(line.contains("\"cause\""), answer, "{line}");
        assert!(line.contains(want), "{line}");
        assert_eq!(line.matches("response_headers").count(), 1, "{line}");
    }
}

#[test]
fn what_peers_send_stays_one_line_of_text() {
    let bench = bench(AccessOptions::new("a"));
    let mut head = get("/%0a%22%ff/\"x", "Host: \"\u{1b}[31m\r\n");
    head.method = b"G\"\nT";
    bench.request(None, &head, Some("a: \u{9b}\"\r\n"), &facts(200));
    let lines = bench.lines();
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].chars().any(char::is_control), "{lines:?}");
    assert!(lines[0].contains(r#""method":"G\"\nT","host":"\"\u001b[31m","path":"/\n\""#), "{lines:?}");
}

#[test]
fn a_dropped_log_has_written_its_lines() {
    let Bench { log, kept } = bench(AccessOptions::new("a"));
    let note = log.note(None, &get("/", "")).expect("the log is on");
    log.write_facts(note, &facts(200));
    drop(log);
    assert!(kept.0.lock().expect("not poisoned").ends_with(b"}}\n"));
}

#[test]
fn hosts_in_the_target_go_before_the_field() {
    let bench = bench(AccessOptions::new("a"));
    bench.request(None, &get("http://t:1/p?q", "Host: f\r\n"), None, &facts(200));
    let line = bench.lines().pop().expect("a line");
    assert!(line.contains(r#""host":"t:1","path":"/p","request_headers":{}"#), "{line}");
}
