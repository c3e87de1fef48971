//! The beginning of a connection, from a hostile peer: the bytes are read as a ClientHello and as a PROXY header.

use piko_core::preface::{
    HEADER_BYTES_MAX, HELLO_BYTES_MAX, HeaderVersion, Judged, NAME_BYTES_MAX, Source, begins_header,
    parse_header, server_name, write_header,
};

/// Reads every beginning of the input, and the whole.
///
/// # Panics
/// When a verdict changes with what follows, a limit is exceeded, or a header does not survive being written and read.
pub fn preface(data: &[u8]) {
    let whole = data.get(..HELLO_BYTES_MAX).unwrap_or(data);
    hello(whole);
    header(whole);
}

fn hello(whole: &[u8]) {
    let verdict = server_name(whole);
    // All of them where that is quick, else every seventh.
    let step = if whole.len() > 512 { 7 } else { 1 };
    for end in (0..whole.len()).step_by(step) {
        let early = server_name(&whole[..end]);
        assert!(
            early == Judged::Partial || early == verdict,
            "what follows changes {early:?} to {verdict:?}"
        );
    }
    match &verdict {
        Judged::Done(name) => {
            assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "a name of {} bytes", name.len());
            assert!(
                name.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b)),
                "no name: {name:?}"
            );
        }
        Judged::Partial => assert!(whole.len() < HELLO_BYTES_MAX, "it may go on for ever"),
        Judged::Bad(_) => {}
    }
}

fn header(whole: &[u8]) {
    let verdict = parse_header(whole);
    for end in 0..whole.len().min(256) {
        let early = parse_header(&whole[..end]);
        assert!(
            early == Judged::Partial || early == verdict,
            "what follows changes {early:?} to {verdict:?}"
        );
    }
    match verdict {
        Judged::Done((length, source)) => {
            assert!(length <= whole.len() && length <= HEADER_BYTES_MAX, "{length} bytes");
            assert!(begins_header(whole), "it does not begin as one");
            for version in [HeaderVersion::V1, HeaderVersion::V2] {
                round_trip(version, source);
            }
        }
        Judged::Partial => assert!(whole.len() < HEADER_BYTES_MAX, "it may go on for ever"),
        Judged::Bad(_) => {}
    }
}

/// What is written is read, and written again as before: mapped addresses are of version 4 from then on.
fn round_trip(version: HeaderVersion, source: Source) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    write_header(version, source, &mut first);
    let Judged::Done((length, read)) = parse_header(&first) else { panic!("{}", first.escape_ascii()) };
    assert_eq!(length, first.len(), "all of it is header");
    write_header(version, read, &mut second);
    assert_eq!(first, second, "{source:?} became {read:?}");
}
