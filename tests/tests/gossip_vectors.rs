//! The golden gossip vectors (wire protocol, section 11): our encoders against Go's bytes, our decoder against
//! what Go's made of hand-made input. Where we differ on purpose, the [`DEVIATIONS`] table says how and why.

use piko_core::gossip::wire::{
    self, DigestEntry, Entry, Header, Packet, PacketWriter, Reply, Request, Section, StreamKind,
};
use piko_core::gossip::{PacketError, Progress, StreamReader};
use piko_tests::vectors::{load, unhex};
use serde_json::Value;

/// Intended differences of the decoder: vector, whether we accept it, and the reason with its section.
const DEVIATIONS: [(&str, bool, &str); 5] = [
    ("decode_accept_digest_array_header", false, "structs come as maps only (7.2.4, last paragraph)"),
    ("decode_accept_digest_array_header_short", false, "structs come as maps only (7.2.4, last paragraph)"),
    ("decode_accept_digest_array_header_long", false, "structs come as maps only (7.2.4, last paragraph)"),
    ("decode_accept_digest_version_float_integral", false, "a version is no float (7.2.4, last paragraph)"),
    (
        "decode_accept_digest_header_then_nil",
        true,
        "a stray nil makes no ghost node: it is passed over (7.2.4)",
    ),
];

/// The bytes of a string, in whichever form the vector has it.
fn text(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Object(form) => {
            form["repeat"].as_str().expect("a character").repeat(number(&form["times"]) as usize).into_bytes()
        }
        other => panic!("no string: {other}"),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("no boolean: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Owned forms of what the codec borrows.
struct Named {
    id: Vec<u8>,
    addr: Vec<u8>,
}

impl Named {
    fn of(value: &Value, id: &str) -> Self {
        Self { id: text(&value[id]), addr: text(&value["addr"]) }
    }

    fn header(&self) -> Header<'_> {
        Header { node_id: &self.id, addr: &self.addr }
    }
}

struct Digest(Named, u64, bool);

impl Digest {
    fn all(value: &Value) -> Vec<Self> {
        let one = |v: &Value| Self(Named::of(v, "id"), number(&v["version"]), flag(&v["left"]));
        list(value).iter().map(one).collect()
    }

    fn entry(&self) -> DigestEntry<'_> {
        DigestEntry { id: &self.0.id, addr: &self.0.addr, version: self.1, left: self.2 }
    }
}

struct OwnedEntry {
    key: Vec<u8>,
    value: Vec<u8>,
    version: u64,
    internal: bool,
    deleted: bool,
}

impl OwnedEntry {
    fn entry(&self) -> Entry<'_> {
        let Self { key, value, version, internal, deleted } = self;
        Entry { key, value, version: *version, internal: *internal, deleted: *deleted }
    }
}

struct Delta(Named, Vec<OwnedEntry>);

impl Delta {
    fn all(value: &Value) -> Vec<Self> {
        let entry = |v: &Value| OwnedEntry {
            key: text(&v["key"]),
            value: text(&v["value"]),
            version: number(&v["version"]),
            internal: flag(&v["internal"]),
            deleted: flag(&v["deleted"]),
        };
        let one = |v: &Value| Self(Named::of(v, "id"), list(&v["entries"]).iter().map(entry).collect());
        list(value).iter().map(one).collect()
    }

    fn section(&self) -> Section<'_> {
        let entries = self.1.iter().map(OwnedEntry::entry).collect();
        Section { id: &self.0.id, addr: &self.0.addr, since: 0, entries }
    }

    fn put(&self, out: &mut Vec<u8>) {
        wire::put_section(out, &self.0.header(), self.1.len(), None);
        for entry in &self.1 {
            entry.entry().put(out);
        }
    }
}

fn put_digest_list(out: &mut Vec<u8>, digest: &[Digest]) {
    wire::put_list(out, digest.len());
    digest.iter().for_each(|entry| entry.entry().put(out));
}

fn put_delta_list(out: &mut Vec<u8>, delta: &[Delta]) {
    wire::put_list(out, delta.len());
    delta.iter().for_each(|section| section.put(out));
}

fn limit(fields: &Value) -> usize {
    fields["max_packet_size"].as_u64().map_or(usize::MAX, |n| n as usize)
}

/// Encodes a digest packet by the rules of 7.7: whole entries until one does not fit.
fn encode_digest(fields: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Named::of(&fields["header"], "node_id");
    let request = flag(&fields["header"]["request"]);
    let Some(mut writer) = PacketWriter::digest(&mut out, limit(fields), &header.header(), request) else {
        assert!(flag(&fields["error"]));
        return out;
    };
    let digest = Digest::all(&fields["digest"]);
    let sent = digest.iter().take_while(|entry| writer.digest_entry(&entry.entry())).count();
    if let Some(wanted) = fields["digest_entries_sent"].as_u64() {
        assert_eq!(sent as u64, wanted);
    }
    out
}

/// Encodes a delta packet by the rules of 7.7.
fn encode_delta(fields: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Named::of(&fields["header"], "node_id");
    let mut writer = PacketWriter::delta(&mut out, limit(fields), &header.header()).expect("room");
    for section in Delta::all(&fields["delta"]) {
        let fits = writer.section(&section.0.header(), section.1.len() as u32, None);
        if !(fits && section.1.iter().all(|entry| writer.entry(&entry.entry()))) {
            break;
        }
    }
    out
}

fn encode_stream(name: &str, fields: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Named::of(&fields["header"], "node_id");
    let (delta, digest) = (Delta::all(&fields["delta"]), Digest::all(&fields["digest"]));
    if name.starts_with("stream_join_request") {
        wire::put_request(&mut out, StreamKind::Join, &header.header());
        put_delta_list(&mut out, &delta);
        put_digest_list(&mut out, &digest);
    } else if name.starts_with("stream_leave_request") {
        wire::put_request(&mut out, StreamKind::Leave, &header.header());
        put_delta_list(&mut out, &delta);
    } else {
        header.header().put_stream(&mut out);
        if name.starts_with("stream_join_response") {
            put_delta_list(&mut out, &delta);
        }
    }
    out
}

fn encode_fragment(name: &str, fields: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match name {
        _ if name.starts_with("fragment_delta_header") => {
            // A section header is what follows the header of a delta packet.
            let (node, entries) = (Named::of(fields, "node_id"), number(&fields["entries"]) as u32);
            let mut writer = PacketWriter::delta(&mut out, usize::MAX, &Header::default()).expect("no limit");
            let before = writer.room();
            assert!(writer.section(&node.header(), entries, None));
            assert_eq!(before - writer.room(), node.header().delta_len(entries));
            let header = out.len() - node.header().delta_len(entries);
            out.drain(..header);
        }
        "fragment_join_header" | "fragment_leave_header" => {
            Named::of(fields, "node_id").header().put_stream(&mut out);
        }
        "fragment_stream_digest_empty" | "fragment_stream_delta_empty" => wire::put_empty(&mut out),
        "fragment_stream_delta_entries_empty" => {
            put_delta_list(&mut out, &Delta::all(&fields["delta"]));
            assert_eq!(out.pop(), Some(0xc0), "a nil list in our own form");
            wire::put_empty(&mut out);
        }
        _ if fields.get("digest").is_some() => put_digest_list(&mut out, &Digest::all(&fields["digest"])),
        _ => put_delta_list(&mut out, &Delta::all(&fields["delta"])),
    }
    out
}

/// The sequence of decoded values of a captured message, as the fields of the other vectors.
fn captured(fields: &Value, hex: &[u8]) -> (String, Value) {
    let sequence = list(&fields["decoded_sequence"]);
    let header = &sequence[0];
    let none = Value::Null;
    let at = |n: usize| sequence.get(n).unwrap_or(&none).clone();
    match hex {
        [1, 0, ..] => {
            ("digest".into(), serde_json::json!({ "header": header, "digest": sequence[1..].to_vec() }))
        }
        [2, 0, ..] => {
            let mut delta: Vec<Value> = Vec::new();
            for value in &sequence[1..] {
                if value.get("node_id").is_some() {
                    delta.push(
                        serde_json::json!({ "id": value["node_id"], "addr": value["addr"], "entries": [] }),
                    );
                } else if let Some(last) = delta.last_mut() {
                    last["entries"].as_array_mut().expect("a list").push(value.clone());
                }
            }
            ("delta".into(), serde_json::json!({ "header": header, "delta": delta }))
        }
        [3, 0, ..] => (
            "stream_join_request".into(),
            serde_json::json!({ "header": header, "delta": at(1), "digest": at(2) }),
        ),
        [4, 0, ..] => {
            ("stream_leave_request".into(), serde_json::json!({ "header": header, "delta": at(1) }))
        }
        _ if sequence.len() > 1 => {
            ("stream_join_response".into(), serde_json::json!({ "header": header, "delta": at(1) }))
        }
        _ => ("stream_leave_response".into(), serde_json::json!({ "header": header })),
    }
}

/// What reading a stream message byte by byte says, at its last byte.
fn read_in_pieces(mut reader: StreamReader, bytes: &[u8]) {
    for (at, byte) in bytes.iter().enumerate() {
        let progress = reader.push(&[*byte]).expect("a message");
        let wanted = if at + 1 == bytes.len() { Progress::Complete } else { Progress::More };
        assert_eq!(progress, wanted, "at byte {at} of {}", bytes.len());
    }
    assert_eq!(reader.message(), bytes);
}

/// Decodes what Go sent and compares with the fields.
fn check_decoded(name: &str, fields: &Value, bytes: &[u8]) {
    let header = Named::of(&fields["header"], "node_id");
    let (delta, digest) = (Delta::all(&fields["delta"]), Digest::all(&fields["digest"]));
    let delta: Vec<Section<'_>> = delta.iter().map(Delta::section).collect();
    let digest: Vec<DigestEntry<'_>> = digest.iter().map(Digest::entry).collect();
    let (header, max) = (header.header(), 1 << 20);
    if name.starts_with("stream_join_request") {
        assert_eq!(Request::decode(bytes), Ok(Request::Join { header, delta, digest }));
        read_in_pieces(StreamReader::request(max), bytes);
    } else if name.starts_with("stream_leave_request") {
        assert_eq!(Request::decode(bytes), Ok(Request::Leave { header, delta }));
        read_in_pieces(StreamReader::request(max), bytes);
    } else if name.starts_with("stream_join_response") {
        assert_eq!(Reply::decode(StreamKind::Join, bytes), Ok(Reply { header, delta }));
        read_in_pieces(StreamReader::reply(StreamKind::Join, max), bytes);
    } else if name.starts_with("stream_leave_response") {
        assert_eq!(Reply::decode(StreamKind::Leave, bytes), Ok(Reply { header, delta }));
        read_in_pieces(StreamReader::reply(StreamKind::Leave, max), bytes);
    } else if name.starts_with("digest") {
        let request = flag(&fields["header"]["request"]);
        let entries = match fields["digest_entries_sent"].as_u64() {
            Some(sent) => digest[..sent as usize].to_vec(),
            None => digest,
        };
        assert_eq!(Packet::decode(bytes), Ok(Packet::Digest { header, request, entries }), "{name}");
    } else if fields["max_packet_size"].is_null() {
        assert_eq!(Packet::decode(bytes), Ok(Packet::Delta { header, sections: delta }), "{name}");
    } else {
        // Cut to size: what is there is a prefix.
        let Ok(Packet::Delta { header: found, sections }) = Packet::decode(bytes) else { panic!("{name}") };
        assert_eq!(found, header);
        for (found, all) in sections.iter().zip(&delta) {
            assert_eq!((found.id, found.addr), (all.id, all.addr));
            assert!(all.entries.starts_with(&found.entries), "{name}");
        }
    }
}

/// A decoder's vector names bytes that are no text in hex.
fn header_of(fields: &Value) -> Named {
    let mut header = Named::of(&fields["header"], "node_id");
    if fields["note"].as_str().is_some_and(|note| note.contains("hex")) {
        header.id = unhex(fields["header"]["node_id"].as_str().expect("hex digits"));
    }
    header
}

fn check_decoder(name: &str, fields: &Value, bytes: &[u8]) {
    let decoded = Packet::decode(bytes);
    let mut accept = name.starts_with("decode_accept");
    assert_eq!(accept, fields["error"].is_null(), "{name}");
    let deviation = DEVIATIONS.iter().find(|(deviant, ..)| *deviant == name);
    if let Some((_, ours, why)) = deviation {
        accept = *ours;
        if !accept {
            assert_eq!(decoded, Err(PacketError::Malformed), "{name} is no deviation any more: {why}");
        }
    }
    if !accept {
        assert!(decoded.is_err(), "{name}: {decoded:?}");
        return;
    }
    let header = header_of(fields);
    let (delta, digest) = (Delta::all(&fields["delta"]), Digest::all(&fields["digest"]));
    let digest: Vec<DigestEntry<'_>> = digest.iter().map(Digest::entry).collect();
    match decoded.unwrap_or_else(|error| panic!("{name}: {error}")) {
        Packet::Digest { header: found, request, entries } => {
            assert_eq!(found, header.header(), "{name}");
            assert_eq!(request, flag(&fields["header"]["request"]), "{name}");
            match deviation {
                Some((_, _, why)) => assert!(entries.is_empty() && !digest.is_empty(), "{name}: {why}"),
                None => assert_eq!(entries, digest, "{name}"),
            }
        }
        Packet::Delta { header: found, sections } => {
            assert_eq!(found, header.header(), "{name}");
            assert_eq!(sections, delta.iter().map(Delta::section).collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn all_vectors() {
    let vectors = load("gossip.json");
    assert_eq!(vectors.len(), 188);
    let (mut encoded, mut decoded) = (0, 0);
    for vector in &vectors {
        let name = vector["name"].as_str().expect("a name");
        let bytes = unhex(vector["hex"].as_str().expect("hex digits"));
        let fields = &vector["fields"];
        if name.starts_with("decode_") {
            check_decoder(name, fields, &bytes);
            decoded += 1;
            continue;
        }
        let (name, fields) = match name.starts_with("captured_") {
            true => captured(fields, &bytes),
            false => (name.to_owned(), fields.clone()),
        };
        let ours = match name.split('_').next() {
            Some("digest") => encode_digest(&fields),
            Some("delta") => encode_delta(&fields),
            Some("stream") => encode_stream(&name, &fields),
            _ => encode_fragment(&name, &fields),
        };
        assert!(ours == bytes, "{name}: {} bytes of ours are not the {} of Go", ours.len(), bytes.len());
        encoded += 1;
        if !name.starts_with("fragment_") && !bytes.is_empty() {
            check_decoded(&name, &fields, &bytes);
        }
    }
    assert_eq!(encoded + decoded, 188);
    println!("{encoded} encoded, {decoded} decoded");
}

#[test]
fn fragments_are_read_too() {
    for vector in load("gossip.json") {
        let name = vector["name"].as_str().expect("a name");
        let bytes = unhex(vector["hex"].as_str().expect("hex digits"));
        let fields = &vector["fields"];
        if name.starts_with("fragment_stream_digest") {
            let digest = Digest::all(&fields["digest"]);
            let digest: Vec<_> = digest.iter().map(Digest::entry).collect();
            assert_eq!(wire::decode_digest(&bytes), Ok(digest), "{name}");
        } else if name.starts_with("fragment_stream_delta") {
            let delta = Delta::all(&fields["delta"]);
            let delta: Vec<_> = delta.iter().map(Delta::section).collect();
            assert_eq!(wire::decode_delta(&bytes), Ok(delta), "{name}");
        }
    }
}

/// Every deviation names a vector.
#[test]
fn the_table_is_not_older_than_the_vectors() {
    let vectors = load("gossip.json");
    for (name, ..) in DEVIATIONS {
        assert!(vectors.iter().any(|vector| vector["name"] == name), "{name}");
    }
}
