//! YAML as Go's status command prints it: two blanks for maps, list dashes under their key, its rules of quoting.

use super::model::{ClusterNode, Counts, GossipNode, GossipState, ListedNode, Upstream};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Appends a line. Writing to a string does not fail.
macro_rules! line {
    ($out:expr, $($what:tt)*) => {{
        let _ = writeln!($out, $($what)*);
    }};
}

pub(super) fn cluster_nodes(nodes: &[ListedNode]) -> String {
    if nodes.is_empty() {
        return "nodes: []\n".to_owned();
    }
    let mut out = String::from("nodes:\n");
    for node in nodes {
        line!(out, "- id: {}", scalar(&node.id));
        line!(out, "  status: {}", scalar(&node.status));
        line!(out, "  proxy_addr: {}", scalar(&node.proxy_addr));
        line!(out, "  admin_addr: {}", scalar(&node.admin_addr));
        line!(out, "  endpoints: {}", node.endpoints);
        line!(out, "  upstreams: {}", node.upstreams);
    }
    out
}

pub(super) fn cluster_node(node: &ClusterNode) -> String {
    let mut out = String::new();
    line!(out, "id: {}", scalar(&node.id));
    line!(out, "status: {}", scalar(&node.status));
    line!(out, "proxy_addr: {}", scalar(&node.proxy_addr));
    line!(out, "admin_addr: {}", scalar(&node.admin_addr));
    match node.endpoints.as_ref().filter(|endpoints| !endpoints.is_empty()) {
        None => out.push_str("endpoints: {}\n"),
        Some(endpoints) => {
            out.push_str("endpoints:\n");
            for (id, listeners) in endpoints {
                line!(out, "  {}: {listeners}", scalar(id));
            }
        }
    }
    out
}

pub(super) fn counts(counts: &Counts) -> String {
    if counts.is_empty() {
        return "{}\n".to_owned();
    }
    let mut out = String::new();
    for (id, listeners) in counts {
        line!(out, "{}: {listeners}", scalar(id));
    }
    out
}

/// With a blank line at its end, as Go prints it.
pub(super) fn gossip_nodes(nodes: &[GossipNode]) -> String {
    if nodes.is_empty() {
        return "nodes: []\n\n".to_owned();
    }
    let mut out = String::from("nodes:\n");
    for node in nodes {
        gossip_members(node, ["- ", "  "], &mut out);
    }
    out.push('\n');
    out
}

/// With a blank line at its end, as Go prints it.
pub(super) fn gossip_node(state: &GossipState) -> String {
    let mut out = String::from("nodemetadata:\n");
    gossip_members(&state.node, ["  ", "  "], &mut out);
    match state.entries.as_deref() {
        None | Some([]) => out.push_str("entries: []\n"),
        Some(entries) => {
            out.push_str("entries:\n");
            for entry in entries {
                line!(out, "- key: {}", scalar(&entry.key));
                line!(out, "  value: {}", scalar(&entry.value));
                line!(out, "  version: {}", entry.version);
                line!(out, "  internal: {}", entry.internal);
                line!(out, "  deleted: {}", entry.deleted);
            }
        }
    }
    out.push('\n');
    out
}

fn gossip_members(node: &GossipNode, [first, other]: [&str; 2], out: &mut String) {
    line!(out, "{first}id: {}", scalar(&node.id));
    line!(out, "{other}addr: {}", scalar(&node.addr));
    line!(out, "{other}version: {}", node.version);
    line!(out, "{other}left: {}", node.left);
    line!(out, "{other}unreachable: {}", node.unreachable);
    // A time, not text: without quotes, as long as it is one.
    let is_time = node.expiry.bytes().all(|b| b.is_ascii_digit() || b"-:.TZ+".contains(&b));
    let expiry = if is_time && !node.expiry.is_empty() { node.expiry.clone() } else { scalar(&node.expiry) };
    line!(out, "{other}expiry: {expiry}");
}

/// The form of the oldest documents: endpoints with the addresses of their upstreams.
pub(super) fn proxy_endpoints(upstreams: &[Upstream]) -> String {
    let mut endpoints: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for upstream in upstreams {
        endpoints.entry(&upstream.endpoint).or_default().push(&upstream.addr);
    }
    if endpoints.is_empty() {
        return "endpoints: {}\n".to_owned();
    }
    let mut out = String::from("endpoints:\n");
    for (endpoint, addrs) in endpoints {
        line!(out, "  {}:", scalar(endpoint));
        for addr in addrs {
            line!(out, "  - {}", scalar(addr));
        }
    }
    out
}

/// Text as a scalar: plain, or in double quotes where the library that Go Piko uses puts them. Text with control
/// characters, which that library prints as they are, is quoted as well: a terminal would obey them.
fn scalar(text: &str) -> String {
    if is_plain(text) && !text.chars().any(char::is_control) { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x80 && c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_plain(text: &str) -> bool {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().last()) else { return false };
    !(" *&[{}],!|>%'\"@#`".contains(first)
        || ": ".contains(last)
        || text.contains(['#', '\\'])
        || text.contains(": ")
        || is_word(text)
        || is_number(text)
        || is_time(text))
}

/// What YAML 1.1 and 1.2 read as null or a truth value.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 8] = ["null", "true", "false", "yes", "no", "on", "off", "y"];
    let lower = text.to_ascii_lowercase();
    let title = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    let spelled =
        |word: &str| [word.to_owned(), title(word), word.to_ascii_uppercase()].iter().any(|w| w == text);
    text == "~" || lower == "n" || (WORDS.contains(&&lower[..]) && spelled(&lower))
}

/// Whole and decimal numbers, with a sign and with `_` between digits; an exponent only behind a point.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.starts_with('_') {
        return false;
    }
    let digits = unsigned.replace('_', "");
    let all = |digits: &str, radix: u32| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return all(rest, radix);
        }
    }
    match digits.split_once('.') {
        Some((whole, part)) => {
            let (part, exponent) = match part.split_once(['e', 'E']) {
                Some((part, exponent)) => (part, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
                None => (part, None),
            };
            // At least one digit on either side.
            !(whole.is_empty() && part.is_empty())
                && [whole, part].iter().all(|side| side.is_empty() || all(side, 10))
                && exponent.is_none_or(|exponent| all(exponent, 10))
        }
        None if digits.len() > 1 && digits.starts_with('0') => all(&digits, 8),
        None => all(&digits, 10),
    }
}

/// `h:m`, a date, a date with a time and a zone, or with a blank and a time.
fn is_time(text: &str) -> bool {
    let is_short = |(hour, minute)| number(hour, 1..=2, 23).is_some() && number(minute, 1..=2, 59).is_some();
    if text.split_once(':').is_some_and(is_short) {
        return true;
    }
    let Some((date, rest)) = text.split_at_checked(10) else { return false };
    if !is_date(date) {
        return false;
    }
    match rest.split_at_checked(1) {
        None => true,
        Some((" ", rest)) => is_clock(rest).is_some_and(str::is_empty),
        Some(("T" | "t", rest)) => is_clock(rest).is_some_and(is_zone),
        Some(_) => false,
    }
}

/// A number of so many digits, at most `max`.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>, max: u32) -> Option<u32> {
    let fits = digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| fits && *number <= max)
}

fn is_date(date: &str) -> bool {
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let (Some(year), Some(month)) = (number(year, 4..=4, 9999), number(month, 2..=2, 12)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        0 => return false,
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    number(day, 2..=2, days).is_some_and(|day| day > 0)
}

/// What stands behind `hh:mm:ss` and its decimals.
fn is_clock(text: &str) -> Option<&str> {
    let (clock, rest) = text.split_at_checked(8)?;
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts[..] else { return None };
    number(hour, 2..=2, 23)?;
    number(minute, 2..=2, 59)?;
    number(second, 2..=2, 59)?;
    let Some(decimals) = rest.strip_prefix('.') else { return Some(rest) };
    let behind = decimals.trim_start_matches(|c: char| c.is_ascii_digit());
    (behind.len() < decimals.len()).then_some(behind)
}

fn is_zone(text: &str) -> bool {
    let Some(zone) = text.strip_prefix(['+', '-']) else { return text == "Z" };
    let offset = zone.split_once(':');
    offset.is_some_and(|(h, m)| number(h, 2..=2, 24).is_some() && number(m, 2..=2, 60).is_some())
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
