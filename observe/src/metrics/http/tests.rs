use super::*;
use crate::metrics::Number;

fn text(metrics: &[&HttpMetrics]) -> String {
    let mut out = String::new();
    render_all(metrics, &mut out);
    out
}

/// The lines of `text` that begin so.
fn lines<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

#[test]
fn a_port_without_requests_shows_what_go_shows() {
    let text = text(&[&HttpMetrics::new("piko_proxy", None)]);
    let heads: Vec<_> = lines(&text, "# TYPE ");
    let want = [
        "# TYPE piko_proxy_request_size_bytes histogram",
        "# TYPE piko_proxy_requests_in_flight gauge",
        "# TYPE piko_proxy_response_size_bytes histogram",
    ];
    assert_eq!(heads, want);
    assert_eq!(lines(&text, "piko_proxy_requests_in_flight"), ["piko_proxy_requests_in_flight 0"]);
    assert_eq!(lines(&text, "piko_proxy_request_size_bytes_sum"), ["piko_proxy_request_size_bytes_sum 0"]);
}

#[test]
fn a_request_is_counted_in_every_family() {
    let metrics = HttpMetrics::new("piko_proxy", None);
    metrics.begin();
    metrics.begin();
    metrics.cancel();
    metrics.count(b"GET", 200, Duration::from_micros(7_500), [0, 4_194_305]);
    metrics.count(b"GET", 200, Duration::from_millis(5), [256, 257]);
    metrics.count(b"POST", 101, Duration::from_secs(3_600), [257, 0]);
    let text = text(&[&metrics]);
    let want = [
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="0.005"} 1"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="0.01"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="0.025"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="0.05"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="0.1"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="0.25"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="0.5"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="1"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="2.5"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="5"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="10"} 2"#,
        r#"piko_proxy_request_latency_seconds_bucket{method="GET",status="200",le="+Inf"} 2"#,
        r#"piko_proxy_request_latency_seconds_sum{method="GET",status="200"} 0.0125"#,
        r#"piko_proxy_request_latency_seconds_count{method="GET",status="200"} 2"#,
    ];
    assert_eq!(lines(&text, "piko_proxy_request_latency")[..14], want);
    let upgraded = r#"_seconds_bucket{method="POST",status="101",le="10"} 0"#;
    assert!(text.contains(upgraded), "{text}");
    assert!(text.contains(r#"_seconds_sum{method="POST",status="101"} 3600"#), "{text}");
    let totals = [
        r#"piko_proxy_requests_total{method="GET",status="200"} 2"#,
        r#"piko_proxy_requests_total{method="POST",status="101"} 1"#,
    ];
    assert_eq!(lines(&text, "piko_proxy_requests_total"), totals);
    let sizes = [
        r#"piko_proxy_request_size_bytes_bucket{le="256"} 2"#,
        r#"piko_proxy_request_size_bytes_bucket{le="1024"} 3"#,
        r#"piko_proxy_request_size_bytes_bucket{le="4096"} 3"#,
        r#"piko_proxy_request_size_bytes_bucket{le="16384"} 3"#,
        r#"piko_proxy_request_size_bytes_bucket{le="65536"} 3"#,
        r#"piko_proxy_request_size_bytes_bucket{le="262144"} 3"#,
        r#"piko_proxy_request_size_bytes_bucket{le="1.048576e+06"} 3"#,
        r#"piko_proxy_request_size_bytes_bucket{le="4.194304e+06"} 3"#,
        r#"piko_proxy_request_size_bytes_bucket{le="+Inf"} 3"#,
        "piko_proxy_request_size_bytes_sum 513",
        "piko_proxy_request_size_bytes_count 3",
    ];
    assert_eq!(lines(&text, "piko_proxy_request_size"), sizes);
    assert!(text.contains("piko_proxy_response_size_bytes_bucket{le=\"4.194304e+06\"} 2\n"), "{text}");
    assert!(text.contains("piko_proxy_response_size_bytes_sum 4.194562e+06\n"), "{text}");
    assert!(text.contains("piko_proxy_requests_in_flight 1\n"), "{text}");
}

#[test]
fn families_and_series_are_in_order_and_once() {
    let metrics = HttpMetrics::new("piko_proxy", None);
    for method in ["TRACE", "GET", "PUT", "get", "BREW", "PATCH"] {
        for status in [999, 0, 404, 200, 1_000, u16::MAX] {
            metrics.count(method.as_bytes(), status, Duration::ZERO, [0, 0]);
        }
    }
    let text = text(&[&metrics]);
    let families: Vec<_> = lines(&text, "# HELP ");
    assert!(families.is_sorted() && families.len() == 5, "{families:?}");
    let totals = lines(&text, "piko_proxy_requests_total{");
    assert!(totals.is_sorted(), "{totals:?}");
    assert_eq!(totals.len(), 5 * 4);
    assert!(totals.contains(&r#"piko_proxy_requests_total{method="OTHER",status="0"} 2"#), "{totals:?}");
    assert!(totals.contains(&r#"piko_proxy_requests_total{method="GET",status="999"} 3"#), "{totals:?}");
    let mut names: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup_by_key(|(name, _)| *name);
    assert_eq!(names.len(), all, "a series stands there once");
}

#[test]
fn every_method_finds_its_name() {
    assert!(METHODS.is_sorted());
    for (index, method) in METHODS.iter().enumerate() {
        assert_eq!(method_index(method.as_bytes()), index);
    }
    for other in [&b""[..], b"get", b"GETX", b"\xff"] {
        assert_eq!(METHODS[method_index(other)], "OTHER");
    }
}

#[test]
fn listeners_share_their_families_and_equal_ones_are_summed() {
    let listener = |endpoint: &str, status: u16, bytes: u64| {
        let metrics = HttpMetrics::new("piko_agent", Some(endpoint));
        metrics.begin();
        metrics.count(b"GET", status, Duration::from_secs(1), [bytes, 0]);
        metrics
    };
    let (b, a, again) = (listener("b", 200, 1), listener("a\"", 200, 2), listener("b", 200, 4));
    let other = HttpMetrics::new("piko_other", None);
    assert_eq!(text(&[]), "");
    let text = text(&[&b, &other, &a, &again]);
    assert_eq!(lines(&text, "# TYPE piko_agent_").len(), 5);
    assert_eq!(lines(&text, "# TYPE piko_other_").len(), 3);
    let totals = [
        r#"piko_agent_requests_total{endpoint="a\"",method="GET",status="200"} 1"#,
        r#"piko_agent_requests_total{endpoint="b",method="GET",status="200"} 2"#,
    ];
    assert_eq!(lines(&text, "piko_agent_requests_total"), totals);
    let in_flight = [
        r#"piko_agent_requests_in_flight{endpoint="a\""} 1"#,
        r#"piko_agent_requests_in_flight{endpoint="b"} 2"#,
    ];
    assert_eq!(lines(&text, "piko_agent_requests_in_flight"), in_flight);
    let sums = [
        r#"piko_agent_request_size_bytes_sum{endpoint="a\""} 2"#,
        r#"piko_agent_request_size_bytes_sum{endpoint="b"} 5"#,
    ];
    assert_eq!(lines(&text, "piko_agent_request_size_bytes_sum"), sums);
    assert!(text.contains(r#"_seconds_sum{endpoint="b",method="GET",status="200"} 2"#), "{text}");
}

#[test]
fn buckets_of_a_histogram_agree_with_a_count_by_hand() {
    let metrics = HttpMetrics::new("p", None);
    let values =
        [0, 1, 255, 256, 257, 1_023, 1_024, 1_025, 4_194_303, 4_194_304, 4_194_305, u64::from(u32::MAX)];
    for value in values {
        metrics.count(b"GET", 200, Duration::ZERO, [value, 0]);
    }
    let text = text(&[&metrics]);
    for bound in SIZE.bounds {
        let mut le = String::new();
        Number::from(*bound).write(&mut le);
        let count = values.iter().filter(|&value| value <= bound).count();
        let want = format!("p_request_size_bytes_bucket{{le=\"{le}\"}} {count}\n");
        assert!(text.contains(&want), "{want} {text}");
    }
}
