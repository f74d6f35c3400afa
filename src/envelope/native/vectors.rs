//! The published vectors, made in Python from docs/FORMAT.md and opened here, one expectation each.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde_json::Value;

use super::multipart::{
    BodyClaim, Ending, Layout, MultipartLength, MultipartOpener, Part, PartNumber, SegmentEnd,
    SegmentEntropy, SegmentSealer, carried_checksum, layout_tail_length, multipart_plaintext_length,
    open_layout_tail, seal_terminator, seal_terminator_for_end_key,
};
use super::*;
use crate::envelope::{ContentKey, DataKey};
use crate::wire::checksum::{Checksum, ChecksumAlgorithm};
use crate::wire::customer_key::CustomerKey;

fn hex(value: &Value) -> [u8; 32] {
    let text = value.as_str().unwrap();
    let bytes: Vec<u8> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

fn binding(value: &Value) -> Option<Binding> {
    match value.as_str()? {
        "none" => Some(Binding::None),
        "realm" => Some(Binding::Realm),
        "realm+key" => Some(Binding::RealmAndKey),
        other => panic!("unknown binding {other}"),
    }
}

fn name(value: &Value) -> ObjectName<'_> {
    ObjectName {
        realm: value["realm"].as_str().unwrap(),
        object_key: value["object_key"].as_str().unwrap().as_bytes(),
    }
}

fn seal_chunks(content_key: &ContentKey, content: &[u8]) -> Vec<BytesMut> {
    seal_with(ChunkSealer::for_put(content_key), content)
}

fn seal_with(mut sealer: ChunkSealer, content: &[u8]) -> Vec<BytesMut> {
    let mut chunks = Vec::new();
    let mut rest = content;
    while rest.len() > CHUNK {
        let mut chunk = BytesMut::from(&rest[..CHUNK]);
        sealer.seal_next(&mut chunk);
        chunks.push(chunk);
        rest = &rest[CHUNK..];
    }
    let mut chunk = BytesMut::from(rest);
    sealer.seal_last(&mut chunk);
    chunks.push(chunk);
    chunks
}

/// The stored body that the vector describes; where the vector's object is honest, sealing must produce
/// exactly its bytes.
fn stored_body(vector: &Value, content_key: &ContentKey) -> Vec<u8> {
    if vector.get("layout").is_some() {
        return stored_segments(vector, content_key);
    }
    let content = pattern(vector["plaintext_length"].as_u64().unwrap() as usize);
    let chunks = seal_chunks(content_key, &content);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &chunks.concat());
    assert_eq!(digest.as_ref(), hex(&vector["body_sha256"]), "sealing gives other bytes than the reference");
    if let Some(body) = vector.get("body") {
        return STANDARD.decode(body.as_str().unwrap()).unwrap();
    }
    let Some(order) = vector.get("chunks") else { return chunks.concat() };
    let picked = order.as_array().unwrap().iter().map(|index| match index.as_u64() {
        Some(index) => chunks[index as usize].to_vec(),
        None => seal_chunks(content_key, b"").concat(),
    });
    picked.collect::<Vec<_>>().concat()
}

fn open(vector: &Value) -> Result<Vec<u8>, FormatError> {
    let reader = &vector["opened_as"];
    let envelope = Envelope::parse(vector["envelope"].as_str().unwrap().as_bytes())?;
    let policy = Policy { least_binding: binding(&reader["least_binding"]).unwrap() };
    let data_key = DataKey::from_bytes(hex(&reader["data_key"]));
    let customer_key = customer_key_of(reader);
    let keys = EnvelopeKeys { data_key: &data_key, customer_key: customer_key.as_ref() };
    let opened = envelope.open(keys, policy, name(reader))?;
    if envelope.is_multipart() {
        return open_multipart(vector, opened);
    }
    let body = stored_body(vector, &opened.content_key);
    let length = opened.body.put_length(body.len() as u64)?.unwrap();
    let mut opener = ChunkOpener::for_put(&opened.content_key, length, 0)?;
    let (mut rest, mut content) = (&body[..], Vec::new());
    while let Some(length) = opener.next_length() {
        let (chunk, after) = rest.split_at_checked(length).ok_or(FormatError::BodyLength)?;
        let mut chunk = BytesMut::from(chunk);
        opener.open_next(&mut chunk)?;
        content.extend_from_slice(&chunk);
        rest = after;
    }
    if rest.is_empty() { Ok(content) } else { Err(FormatError::BodyLength) }
}

fn layout(vector: &Value) -> Layout {
    let parts = vector["layout"]["parts"].as_array().unwrap().iter().map(|part| Part {
        number: PartNumber::new(part[0].as_u64().unwrap() as u16).unwrap(),
        length: part[1].as_u64().unwrap(),
    });
    match vector["layout"]["terminated"].as_bool().unwrap() {
        true => Layout::terminated(parts.collect()).unwrap(),
        false => Layout::ended_by_last(parts.collect()).unwrap(),
    }
}

/// The segments of the vector's upload as an honest writer seals them, under the vector's fixed salts.
/// With `with_end_key`, the upload has a customer key (F-74).
fn seal_segments(
    layout: &Layout,
    content_key: &ContentKey,
    carried: Option<&Checksum>,
    with_end_key: bool,
) -> Vec<Vec<u8>> {
    let content = pattern(layout.plaintext_total() as usize);
    let entropy = |index: usize| SegmentEntropy::fixed([100_u8.wrapping_add(index as u8); 32]);
    let mut segments = Vec::new();
    for (index, part) in layout.parts().iter().enumerate() {
        let end = match index + 1 == layout.parts().len() && !layout.is_terminated() {
            true if layout.is_regular() => SegmentEnd::Last,
            true if with_end_key => SegmentEnd::LastCarryingForEndKey(layout),
            true => SegmentEnd::LastCarrying(layout),
            false => SegmentEnd::Middle,
        };
        let carried = carried.filter(|_| !matches!(end, SegmentEnd::Middle));
        let sealer = SegmentSealer::carrying(content_key, *part, end, carried, entropy(index)).unwrap();
        let from = layout.plaintext_offset(index) as usize;
        let plaintext = &content[from..from + part.length as usize];
        let chunks = sealer.chunks.map_or_else(Vec::new, |chunks| seal_with(chunks, plaintext).concat());
        segments.push([&sealer.header[..], &chunks, &sealer.tail].concat());
    }
    if layout.is_terminated() {
        let entropy = entropy(layout.parts().len());
        segments.push(match with_end_key {
            true => seal_terminator_for_end_key(content_key, layout, carried, entropy).unwrap(),
            false => seal_terminator(content_key, layout, carried, entropy).unwrap(),
        });
    }
    segments
}

/// The checksum in the last segment with its zeros, as if it were a checksum of 32 bytes.
fn carried(vector: &Value) -> Option<Checksum> {
    let text = vector.get("carried_checksum")?.as_str().unwrap();
    let padded = format!("{text:0<64}");
    Checksum::new(ChecksumAlgorithm::Sha256, &hex(&Value::String(padded)))
}

/// A multipart upload as a storage keeps it.
fn stored_segments(vector: &Value, content_key: &ContentKey) -> Vec<u8> {
    let segments = seal_segments(
        &layout(vector),
        content_key,
        carried(vector).as_ref(),
        vector.get("with_end_key").is_some(),
    );
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &segments.concat());
    assert_eq!(digest.as_ref(), hex(&vector["body_sha256"]), "sealing gives other bytes than the reference");
    let Some(pieces) = vector.get("pieces") else { return segments.concat() };
    let mut body = Vec::new();
    for piece in pieces.as_array().unwrap() {
        let number = |name: &str| piece.get(name).map(|value| value.as_u64().unwrap() as usize);
        if let Some(bytes) = piece.get("bytes") {
            body.extend_from_slice(&STANDARD.decode(bytes.as_str().unwrap()).unwrap());
            continue;
        }
        let mut segment = segments[number("segment").unwrap()].clone();
        if let Some(flip) = number("flip") {
            segment[flip] ^= 1;
        }
        body.extend_from_slice(&segment[number("from").unwrap_or(0)..number("to").unwrap_or(segment.len())]);
    }
    body
}

fn open_multipart(vector: &Value, opened: Opened) -> Result<Vec<u8>, FormatError> {
    let Opened { content_key, attributes, .. } = opened;
    let body = stored_body(vector, &content_key);
    let (content_key, ciphertext_total) = (Arc::new(content_key), body.len() as u64);
    let parts = vector["claimed_parts"].as_u64().map(|parts| parts as u16);
    let claim = BodyClaim { ciphertext_total, parts };
    let mut opener = MultipartOpener::new(content_key.clone(), claim, None)?;
    let (mut rest, mut content) = (&body[..], Vec::new());
    while let Some(length) = opener.next_length() {
        let (piece, after) = rest.split_at_checked(length).ok_or(FormatError::BodyLength)?;
        let mut piece = BytesMut::from(piece);
        opener.open_next(&mut piece)?;
        content.extend_from_slice(&piece);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(FormatError::BodyLength);
    }
    let layout = layout(vector);
    let header = layout.last_header_offset() as usize;
    let found = carried_checksum(&content_key, &layout, Ending::Header(&body[header..header + 80]))?;
    if !layout.is_regular() {
        let footer = Ending::Footer(&body[body.len() - 80..]);
        assert_eq!(carried_checksum(&content_key, &layout, footer), Ok(found), "the footer says the same");
    }
    assert_eq!(found.map(|found| found.read_as(ChecksumAlgorithm::Sha256).unwrap()), carried(vector));
    if let (Some(found), Some(tag)) = (found, attributes.upload_checksum().algorithm()) {
        let value = found.read_as(tag)?;
        assert_eq!(
            Value::String(value.bytes().iter().map(|byte| format!("{byte:02x}")).collect()),
            vector["carried_checksum"]
        );
    }
    match multipart_plaintext_length(ciphertext_total, layout.segments())? {
        MultipartLength::Exact(length) => assert_eq!(length, content.len() as u64),
        MultipartLength::NeedsLayout => {
            let tail = &body[body.len() - layout_tail_length(layout.segments()) as usize..];
            assert_eq!(open_layout_tail(&content_key, tail, ciphertext_total, layout.segments()), Ok(layout));
        }
    }
    Ok(content)
}

/// The customer key of a writer or a reader, if there is one.
fn customer_key_of(of: &Value) -> Option<CustomerKey> {
    let bytes: [u8; 32] = hex(of.get("customer_key").filter(|key| !key.is_null())?);
    CustomerKey::from_slice(&bytes)
}

/// Sealing under the vector's fixed salt and content key gives the vector's envelope, byte for byte.
fn assert_sealing_agrees(vector: &Value, file: &str) {
    let writer = &vector["sealed_as"];
    let envelope = Envelope::parse(vector["envelope"].as_str().unwrap().as_bytes()).unwrap();
    let data_key = DataKey::from_bytes(hex(&vector["data_key"]));
    let binding = binding(&writer["binding"]).unwrap();
    let policy = Policy { least_binding: Binding::None };
    let customer_key = customer_key_of(vector);
    let keys = EnvelopeKeys { data_key: &data_key, customer_key: customer_key.as_ref() };
    let attributes = envelope.open(keys, policy, name(writer)).unwrap().attributes;
    let plaintext_length = vector["plaintext_length"].as_u64().unwrap();
    let body = if envelope.is_multipart() { BodyKind::Multipart } else { BodyKind::Put { plaintext_length } };
    let request =
        SealRequest { keys, binding, body, sse: envelope.sse(), name: name(writer), attributes: &attributes };
    let entropy = Entropy::fixed(hex(&vector["salt"]), hex(&vector["content_key"]));
    assert_eq!(Envelope::seal(&request, entropy).envelope, envelope, "{file}");
    if let Some(source) = vector.get("copied_from") {
        let sealed = Envelope::parse(source["envelope"].as_str().unwrap().as_bytes()).unwrap();
        let (data_key, customer_key) =
            (DataKey::from_bytes(hex(&source["data_key"])), customer_key_of(source));
        let of_source = EnvelopeKeys { data_key: &data_key, customer_key: customer_key.as_ref() };
        let opened = sealed.open(of_source, policy, name(source)).unwrap();
        let copy = RewrapRequest { keys, binding, sse: envelope.sse(), name: name(writer), checksum: None };
        assert_eq!(opened.rewrap(&copy, EnvelopeSalt::fixed(hex(&vector["salt"]))), envelope, "{file}");
    }
}

#[test]
fn every_vector_does_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/format");
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let vector: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let expected = vector["expect"].as_str().unwrap();
        match open(&vector) {
            Ok(content) => {
                assert_eq!(expected, "ok", "This is a security issue: {file} must be refused.");
                assert_eq!(content, pattern(vector["plaintext_length"].as_u64().unwrap() as usize), "{file}");
                assert_sealing_agrees(&vector, &file);
            }
            Err(error) if format!("{error:?}") == expected => {}
            Err(error) => wrong.push(format!("{file}: {error:?} instead of {expected}")),
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 165, "the vectors are gone: {seen}");
}
