use super::*;
use std::sync::{Arc, Mutex, RwLock};
use tracing::{debug, error, info, trace, warn};

/// What `work` logs under `options`, with the time cut out.
fn lines(options: Options, work: impl FnOnce()) -> Vec<String> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&kept);
    let write = move |_: Level, line: &[u8]| {
        let line = String::from_utf8(line.to_vec()).expect("lines are UTF-8");
        sink.lock().expect("no test panics under the lock").push(line);
    };
    // A few hundred bytes per test, for a log that lives as long as a process.
    let log = Log { options: Box::leak(Box::new(RwLock::new(options))), write };
    tracing::subscriber::with_default(log, work);
    let lines = kept.lock().expect("no test panics under the lock").clone();
    lines.iter().map(|line| without_time(line)).collect()
}

/// Checks and removes `"ts":"…",`.
fn without_time(line: &str) -> String {
    let (head, rest) = line.split_once("\"ts\":\"").expect("every line has a time");
    let (time, tail) = rest.split_once("\",").expect("the time ends");
    assert!(time.starts_with("20") && time.ends_with('Z') && (20..=24).contains(&time.len()), "{time}");
    format!("{head}{tail}")
}

fn all() -> Options {
    Options { level: Level::Debug, subsystems: Vec::new() }
}

#[test]
fn a_line_has_the_order_of_go() {
    let got = lines(all(), || {
        info!(target: "gossip", { "node-id" = %"n-1", count = 3_u64, ok = true }, "joined cluster");
    });
    let want = "{\"level\":\"info\",\"subsystem\":\"gossip\",\"msg\":\"joined cluster\",\
                \"node-id\":\"n-1\",\"count\":3,\"ok\":true}\n";
    assert_eq!(got, [want]);
}

#[test]
fn values_of_every_kind_are_json() {
    let io = std::io::Error::other("bad \"quote\"\n");
    let error: &(dyn std::error::Error + 'static) = &io;
    let ids = ["a\"", "b"];
    let got = lines(all(), || {
        info!(
            target: "main",
            text = "t\\",
            neg = -1_i64,
            big = u128::MAX,
            small = i128::MIN,
            half = 0.5_f64,
            none = f64::NAN,
            error,
            shown = %io,
            debug = ?Some("x"),
            ids = ?List(&ids),
            empty = ?List::<u8>(&[]),
            nested = ?Some(List(&ids)),
            nothing = %"",
            r#type = 1,
            "x"
        );
    });
    let want = [
        r#"{"level":"info","subsystem":"main","msg":"x","text":"t\\","neg":-1,"#,
        r#""big":340282366920938463463374607431768211455,"#,
        r#""small":-170141183460469231731687303715884105728,"half":0.5,"none":"NaN","#,
        r#""error":"bad \"quote\"\n","shown":"bad \"quote\"\n","debug":"Some(\"x\")","#,
        r#""ids":["a\"","b"],"empty":[],"nested":"Some([\"a\\\"\",\"b\"])","nothing":"","type":1}"#,
        "\n",
    ];
    assert_eq!(got, [want.concat()]);
}

#[test]
fn text_that_looks_like_a_list_stays_text() {
    // A list that somebody else formats must not colour what follows.
    assert_eq!(format!("{:?}", List(&[1])), "[\"1\"]");
    let got = lines(all(), || {
        info!(target: "m", zero = ?"[]", first = ?List(&[1]), second = %"[1]", third = ?["]"], "[x]");
    });
    let want = r#"{"level":"info","subsystem":"m","msg":"[x]","zero":"\"[]\"","first":["1"],"second":"[1]","third":"[\"]\"]"}"#;
    assert_eq!(got, [format!("{want}\n")]);
}

#[test]
fn the_message_may_be_formatted_missing_or_last() {
    let got = lines(all(), || {
        info!(target: "m", "a {}\n", 1);
        info!(target: "m", only = 1);
        info!(target: "m", before = 1, message = "late");
    });
    let want = [
        "{\"level\":\"info\",\"subsystem\":\"m\",\"msg\":\"a 1\\n\"}\n",
        "{\"level\":\"info\",\"subsystem\":\"m\",\"msg\":\"\",\"only\":1}\n",
        "{\"level\":\"info\",\"subsystem\":\"m\",\"msg\":\"late\",\"before\":1}\n",
    ];
    assert_eq!(got, want);
}

#[test]
fn levels_are_cut_off_except_in_named_subsystems() {
    let work = || {
        error!(target: "a", "error");
        warn!(target: "a", "warn");
        info!(target: "a", "info");
        debug!(target: "a", "debug");
        trace!(target: "a", "trace");
        info!(target: "a.b", "sub");
        debug!(target: "piko_core::mux::session", "core");
    };
    let messages = |options: Options| -> Vec<String> {
        lines(options, work)
            .iter()
            .map(|line| {
                let msg = line.split_once("\"msg\":\"").expect("a message").1;
                msg.trim_end_matches("\"}\n").to_owned()
            })
            .collect()
    };
    let options = |level, names: &[&str]| Options {
        level,
        subsystems: names.iter().map(|&name| name.to_owned()).collect(),
    };
    assert_eq!(messages(options(Level::Error, &[])), ["error"]);
    assert_eq!(messages(options(Level::Warn, &[])), ["error", "warn"]);
    assert_eq!(messages(options(Level::Info, &[])), ["error", "warn", "info", "sub"]);
    assert_eq!(messages(options(Level::Debug, &[])), ["error", "warn", "info", "debug", "sub", "core"]);
    assert_eq!(messages(options(Level::Error, &["a"])), ["error", "warn", "info", "debug", "trace"]);
    assert_eq!(messages(options(Level::Error, &["a.b", "core"])), ["error", "sub", "core"]);
    assert_eq!(messages(options(Level::Error, &["A", "mux"])), ["error"]);
}

#[test]
fn trace_of_a_named_subsystem_says_debug() {
    let options = Options { level: Level::Error, subsystems: vec!["driver".to_owned()] };
    let got = lines(options, || trace!(target: "piko_driver::drive", "t"));
    assert_eq!(got, ["{\"level\":\"debug\",\"subsystem\":\"driver\",\"msg\":\"t\"}\n"]);
}

#[test]
fn targets_become_subsystems() {
    for (target, want) in [
        ("proxy.access", "proxy.access"),
        ("piko_core::mux", "core"),
        ("piko_driver", "driver"),
        ("rustls::conn", "rustls"),
        ("piko_", "piko_"),
        ("", ""),
    ] {
        assert_eq!(subsystem(target), want);
    }
}

#[test]
fn levels_are_lower_case_words() {
    for level in [Level::Debug, Level::Info, Level::Warn, Level::Error] {
        assert_eq!(level.to_string().parse(), Ok(level));
    }
    for bad in ["", "INFO", "Info", "trace", "warning", "info "] {
        assert_eq!(bad.parse::<Level>(), Err(BadLevel), "{bad}");
    }
    assert!(Level::Debug < Level::Info && Level::Info < Level::Warn && Level::Warn < Level::Error);
}

#[test]
fn a_value_that_logs_while_it_is_formatted_gets_a_line_of_its_own() {
    struct Chatty;
    impl fmt::Display for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            BUFFER.with(|buffer| assert!(buffer.take().is_empty(), "the outer line holds its buffer"));
            f.write_str("value")
        }
    }
    let got = lines(all(), || info!(target: "m", v = %Chatty, "outer"));
    assert_eq!(got, ["{\"level\":\"info\",\"subsystem\":\"m\",\"msg\":\"outer\",\"v\":\"value\"}\n"]);
}

#[test]
fn spans_cost_nothing_and_do_not_disturb() {
    let got = lines(all(), || {
        let span = tracing::info_span!("s", id = 1);
        assert!(span.is_disabled());
        let _entered = span.enter();
        info!(target: "m", "inside");
    });
    assert_eq!(got, ["{\"level\":\"info\",\"subsystem\":\"m\",\"msg\":\"inside\"}\n"]);
}

#[test]
fn a_second_log_is_refused() {
    // Whoever installs the first one, a second one is always an error and never a panic.
    let first = init(Options { level: Level::Error, subsystems: Vec::new() });
    assert_eq!(first, Ok(()));
    assert_eq!(init(Options::default()), Err(AlreadySet));
}
