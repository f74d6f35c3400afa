//! Targets for what a storage returns: envelopes, bodies, upload ids, metadata of other formats.
//!
//! They must not know more than `envelope`. They promise that whatever opens is what was sealed, byte for
//! byte, and that nothing altered opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;

use super::{Input, pattern, pieces};
use crate::envelope::native::multipart::{
    BodyClaim, CarriedChecksum, Ending, Layout, MultipartOpener, Part, PartNumber, PartReceipt,
    SEGMENT_HEADER, SegmentEnd, SegmentEntropy, SegmentSealer, carried_checksum, layout_tail_length,
    open_layout_tail, seal_terminator,
};
use crate::envelope::native::{
    Attributes, Binding, BodyKind, CHUNK, ChunkOpener, ChunkSealer, Entropy, Envelope, EnvelopeKeys,
    FormatError, ObjectName, Opened, PieceOpener, Policy, ReadWindow, SEALED_CHUNK, SealRequest, Sealed,
    SseAlgorithm, UploadChecksum, UploadTarget, UploadToken,
};
use crate::envelope::{ContentKey, DataKey, article_cbc, s3ec};
use crate::wire::checksum::{Checksum, ChecksumAlgorithm};
use crate::wire::customer_key::CustomerKey;

const NAME: ObjectName<'static> = ObjectName { realm: "realm", object_key: b"dir/key" };
const OTHER_NAME: ObjectName<'static> = ObjectName { realm: "realm", object_key: b"dir/other" };
const STRICT: Policy = Policy { least_binding: Binding::RealmAndKey };

fn data_key() -> DataKey {
    DataKey::from_bytes([7; 32])
}

/// The keys of an object, with a customer key if it has one.
fn with_keys<T>(has_customer_key: bool, work: impl FnOnce(EnvelopeKeys<'_>) -> T) -> T {
    let customer_key = CustomerKey::from_slice(&[8; 32]).filter(|_| has_customer_key);
    work(EnvelopeKeys { data_key: &data_key(), customer_key: customer_key.as_ref() })
}

fn open_envelope(envelope: &Envelope, name: ObjectName<'_>) -> Result<Opened, FormatError> {
    with_keys(envelope.has_customer_key(), |keys| envelope.open(keys, STRICT, name))
}

/// A new envelope, as the first byte chooses; that of one PUT has its length from the upper bits.
fn sealed(choice: u8, attributes: &Attributes) -> Sealed {
    let body = match choice & 1 {
        0 => BodyKind::Put { plaintext_length: u64::from(choice) << (choice >> 3) },
        _ => BodyKind::Multipart,
    };
    let sse = if choice & 2 == 0 { SseAlgorithm::AwsKms } else { SseAlgorithm::Aes256 };
    with_keys(choice & 4 != 0, |keys| {
        let binding = Binding::RealmAndKey;
        Envelope::seal(&SealRequest { keys, binding, body, sse, name: NAME, attributes }, Entropy::fresh())
    })
}

/// Attributes as they are inside an envelope: what is read is written as it was.
pub fn attributes(data: &[u8]) {
    if let Ok(attributes) = Attributes::parse(data) {
        assert_eq!(*attributes.write(), data);
        let _ = attributes.upload_checksum();
    }
}

/// The value of an envelope's header, and one flipped bit of a new envelope.
pub fn native_envelope(data: &[u8]) {
    if let Ok(envelope) = Envelope::parse(data) {
        assert_eq!(envelope.to_header().as_bytes(), data, "there is one spelling");
        let opened = open_envelope(&envelope, NAME);
        assert!(opened.is_err(), "This is a security issue: it was sealed under another key.");
    }
    let mut input = Input(data);
    let checksum =
        Checksum::new(ChecksumAlgorithm::Crc32, &[input.byte(), 1, 2, 3]).expect("4 bytes are a CRC-32");
    let honest = Attributes::new(vec![checksum]);
    let Sealed { envelope, .. } = sealed(input.byte(), &honest);
    let opened = open_envelope(&envelope, NAME).expect("it was sealed so");
    assert_eq!((&opened.attributes, opened.body), (&honest, envelope.body()));
    assert!(open_envelope(&envelope, OTHER_NAME).is_err(), "This is a security issue.");
    let mut header = envelope.to_header().into_bytes();
    let at = input.below(header.len());
    header[at] ^= 1 << (input.byte() % 8);
    let opened = Envelope::parse(&header).and_then(|altered| open_envelope(&altered, NAME));
    assert!(opened.is_err(), "This is a security issue: byte {at} of an envelope was altered.");
}

/// The body of one PUT, sealed, then altered as the input says, then opened.
pub fn native_body(data: &[u8]) {
    let mut input = Input(data);
    let content_key = sealed(0, &Attributes::default()).content_key;
    let content = pattern(usize::from(input.number()) * 4);
    let honest = seal_chunks(ChunkSealer::for_put(&content_key), &content);
    if let Some(end) = content.len().checked_sub(1) {
        let first = input.below(content.len());
        let last = (first + input.below(content.len())).min(end);
        let window =
            ReadWindow::slice(content.len() as u64, 0, first as u64, last as u64).expect("it is inside");
        let mut opener =
            ChunkOpener::for_put(&content_key, content.len() as u64, window.first_chunk).expect("inside");
        let mut chunk = BytesMut::from(next_of(&honest[index(window.discard)..], opener.next_length()));
        opener.open_next(&mut chunk).expect("it was sealed so");
        let there = index(window.length).min(chunk.len() - index(window.skip));
        assert_eq!(&chunk[index(window.skip)..][..there], &content[first..first + there]);
    }
    let mut chunks: Vec<_> = honest.chunks(SEALED_CHUNK).map(<[u8]>::to_vec).collect();
    alter(&mut chunks, &mut input);
    let body = chunks.concat();
    match open_put(&content_key, content.len(), &body) {
        Ok(opened) => {
            assert!(body == honest, "This is a security issue: an altered body opens.");
            assert!(opened == content);
        }
        Err(error) => assert!(body != honest, "{error}"),
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("it is inside what is in memory")
}

fn next_of(rest: &[u8], length: Option<usize>) -> &[u8] {
    &rest[..length.expect("there is another chunk")]
}

fn seal_chunks(mut sealer: ChunkSealer, content: &[u8]) -> Vec<u8> {
    let (mut body, mut rest) = (Vec::new(), content);
    while rest.len() > CHUNK {
        let mut chunk = BytesMut::from(&rest[..CHUNK]);
        sealer.seal_next(&mut chunk);
        body.extend_from_slice(&chunk);
        rest = &rest[CHUNK..];
    }
    let mut chunk = BytesMut::from(rest);
    sealer.seal_last(&mut chunk);
    body.extend_from_slice(&chunk);
    body
}

/// Opens the body of one PUT whose envelope names a plaintext of `length` bytes.
fn open_put(content_key: &ContentKey, length: usize, body: &[u8]) -> Result<Vec<u8>, FormatError> {
    let kind = BodyKind::Put { plaintext_length: length as u64 };
    let plaintext_length = kind.put_length(body.len() as u64)?.expect("it is the body of one PUT");
    let mut opener = ChunkOpener::for_put(content_key, plaintext_length, 0)?;
    let (mut rest, mut content) = (body, Vec::new());
    while let Some(length) = opener.next_length() {
        let (chunk, after) = rest.split_at_checked(length).ok_or(FormatError::BodyLength)?;
        let mut chunk = BytesMut::from(chunk);
        let opened = opener.open_next(&mut chunk);
        assert!(opened.is_ok() || chunk.is_empty(), "This is a security issue: F-25.");
        opened?;
        content.extend_from_slice(&chunk);
        rest = after;
    }
    if rest.is_empty() { Ok(content) } else { Err(FormatError::BodyLength) }
}

/// Does to the units of a body what the rest of the input says: at most eight alterations.
fn alter(units: &mut Vec<Vec<u8>>, input: &mut Input<'_>) {
    for _ in 0..8 {
        if units.is_empty() || input.is_empty() {
            return;
        }
        let (kind, at) = (input.byte() % 8, input.below(units.len()));
        match kind {
            0 if !units[at].is_empty() => {
                let byte = input.below(units[at].len());
                units[at][byte] ^= 1 << (input.byte() % 8);
            }
            1 => drop(units.remove(at)),
            2 => units.insert(at, units[at].clone()),
            3 => {
                let other = input.below(units.len());
                units.swap(at, other);
            }
            4 => {
                let length = input.below(units[at].len() + 1);
                units[at].truncate(length);
            }
            5 => units[at].push(input.byte()),
            6 => units.truncate(at),
            _ => {}
        }
    }
}

/// The body of an upload in parts: sealed, altered as the input says, then opened; and the input itself as a
/// body.
pub fn multipart_body(data: &[u8]) {
    let mut input = Input(data);
    let content_key = Arc::new(sealed(1, &Attributes::default()).content_key);
    let claim =
        BodyClaim { ciphertext_total: data.len() as u64, parts: Some(1 + u16::from(input.byte() % 4)) };
    assert!(open_multipart(&content_key, claim, data).is_err(), "This is a security issue.");
    drop(open_layout_tail(&content_key, data, claim.ciphertext_total, 1));

    let Some(layout) = layout(&mut input) else { return };
    let content = pattern(index(layout.plaintext_total()));
    let honest = seal_segments(&content_key, &layout, &content);
    let body = honest.concat();
    assert_eq!(body.len() as u64, layout.stored_total());
    if !layout.is_regular() {
        let tail = &body[body.len() - index(layout_tail_length(layout.segments()))..];
        let read = open_layout_tail(&content_key, tail, body.len() as u64, layout.segments());
        assert_eq!(read.as_ref(), Ok(&layout));
    }
    let header = &body[index(layout.last_header_offset())..][..SEGMENT_HEADER];
    let carried: Result<Option<CarriedChecksum>, _> =
        carried_checksum(&content_key, &layout, Ending::Header(header));
    assert!(matches!(carried, Ok(None)), "{carried:?}");

    let mut segments = honest;
    alter(&mut segments, &mut input);
    let stored = segments.concat();
    let is_honest = stored == body;
    let claimed = [None, Some(layout.segments()), Some(u16::from(input.byte()))][input.below(3)];
    match open_multipart(
        &content_key,
        BodyClaim { ciphertext_total: stored.len() as u64, parts: claimed },
        &stored,
    ) {
        Ok(opened) => {
            assert!(is_honest, "This is a security issue: an altered body opens.");
            assert!(opened == content);
        }
        Err(error) => {
            assert!(!is_honest || claimed.is_some_and(|parts| parts != layout.segments()), "{error}")
        }
    }
}

/// A layout of one to four parts of a few chunks.
fn layout(input: &mut Input<'_>) -> Option<Layout> {
    let choice = input.byte();
    let mut number = 0;
    let parts = (0..=choice % 4).map(|_| {
        number += 1 + u16::from(input.byte() % 2);
        let length = [u64::from(input.byte()), u64::from(input.number()) * 2, 65_536];
        Part { number: PartNumber::new(number).expect("1 to 8"), length: length[input.below(3)] }
    });
    let parts = parts.collect();
    if choice & 4 == 0 { Layout::ended_by_last(parts).ok() } else { Layout::terminated(parts).ok() }
}

fn seal_segments(content_key: &ContentKey, layout: &Layout, content: &[u8]) -> Vec<Vec<u8>> {
    let (mut segments, mut rest) = (Vec::new(), content);
    for (at, part) in layout.parts().iter().enumerate() {
        let is_last = at + 1 == layout.parts().len() && !layout.is_terminated();
        let end = match (is_last, layout.is_regular()) {
            (false, _) => SegmentEnd::Middle,
            (true, true) => SegmentEnd::Last,
            (true, false) => SegmentEnd::LastCarrying(layout),
        };
        let sealer = SegmentSealer::new(content_key, *part, end, SegmentEntropy::fresh());
        let sealer = sealer.expect("a layout's parts can be sealed");
        let (plaintext, after) = rest.split_at(index(part.length));
        let chunks = sealer.chunks.map_or_else(Vec::new, |chunks| seal_chunks(chunks, plaintext));
        segments.push([&sealer.header[..], &chunks, &sealer.tail].concat());
        rest = after;
    }
    if layout.is_terminated() {
        let terminator = seal_terminator(content_key, layout, None, SegmentEntropy::fresh());
        segments.push(terminator.expect("the layout is one that a terminator ends"));
    }
    segments
}

fn open_multipart(key: &Arc<ContentKey>, claim: BodyClaim, body: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut opener = MultipartOpener::new(Arc::clone(key), claim, None)?;
    let promised = opener.plaintext_total();
    let (mut rest, mut content) = (body, Vec::new());
    while let Some(length) = opener.next_length() {
        let (piece, after) = rest.split_at_checked(length).ok_or(FormatError::BodyLength)?;
        let mut piece = BytesMut::from(piece);
        let opened = opener.open_next(&mut piece);
        assert!(opened.is_ok() || piece.is_empty(), "This is a security issue: F-25.");
        opened?;
        content.extend_from_slice(&piece);
        rest = after;
    }
    assert!(
        promised.is_none_or(|promised| promised == content.len() as u64),
        "the announced length is the content's"
    );
    if rest.is_empty() { Ok(content) } else { Err(FormatError::BodyLength) }
}

/// An upload id, and a part's mark; then a new upload id with one character altered.
pub fn upload_token(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(token) = UploadToken::parse(text) {
            assert_eq!(token.to_text(), text, "there is one spelling");
        }
        if let Ok(mark) = PartReceipt::parse(text) {
            assert_eq!(mark.to_text(), text, "there is one spelling");
        }
    }
    let mut input = Input(data);
    let Sealed { envelope, content_key } = sealed(1 | input.byte(), &Attributes::default());
    let checksum = match input.byte() % 3 {
        0 => UploadChecksum::Undeclared,
        1 => UploadChecksum::Composite(ChecksumAlgorithm::Sha256),
        _ => UploadChecksum::FullObject(ChecksumAlgorithm::Crc64Nvme),
    };
    let target = UploadTarget { bucket: "bucket", object_key: NAME.object_key };
    let id = String::from_utf8_lossy(input.line()).into_owned();
    let token = UploadToken::new(&content_key, target, checksum, id, (input.line().to_vec(), None), envelope);
    let Ok(token) = token else { return };
    let text = token.to_text();
    let parsed = UploadToken::parse(&text).expect("it was written here");
    assert_eq!(parsed, token);
    assert_eq!(parsed.verify(&content_key, target), Ok(()));
    let other = UploadTarget { bucket: "bucket2", ..target };
    assert!(parsed.verify(&content_key, other).is_err(), "This is a security issue: another bucket.");
    let mut altered = text.into_bytes();
    let at = input.below(altered.len());
    altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).expect("base64 is ASCII");
    let verified = UploadToken::parse(&altered).and_then(|token| token.verify(&content_key, target));
    assert!(verified.is_err(), "This is a security issue: character {at} was altered.");
}

/// An object of the S3 Encryption Client: a line with the data key in hexadecimal digits, metadata as lines
/// `name: value`, an empty line, and the stored body or the instruction file. Then a new object.
pub fn s3ec(data: &[u8]) {
    let mut input = Input(data);
    let data_key = hex(input.line())
        .and_then(|key| DataKey::try_from_slice(&key).or_else(|| DataKey::short_from_slice(&key)));
    let mut metadata = Vec::new();
    loop {
        let line = input.line();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
        let Ok(name) = std::str::from_utf8(&line[..colon]) else { return };
        metadata.push((name, line[colon + 1..].trim_ascii()));
    }
    let body = input.rest();
    let object = s3ec::Entries::from_metadata(metadata);
    let file = s3ec::Entries::parse_instruction_file(body);
    for policy in [s3ec::Policy { legacy: false }, s3ec::Policy { legacy: true }] {
        let Ok(object) = &object else { continue };
        let envelope = match (&file, s3ec::Envelope::parse(object, policy)) {
            (_, Ok(envelope)) => envelope,
            (Ok(file), Err(_)) => match s3ec::Envelope::parse_with_file(object, file, policy) {
                Ok(envelope) => envelope,
                Err(_) => continue,
            },
            (Err(_), Err(_)) => continue,
        };
        assert!(policy.legacy || !envelope.is_legacy(), "This is a security issue.");
        assert!(!envelope.wrapped().is_empty());
        if let Some(content) = data_key.as_ref().and_then(|key| envelope.unlock(key).ok()) {
            open_content(&envelope, &content, body);
        }
    }
    new_s3ec_object(data);
}

fn open_content(envelope: &s3ec::Envelope, content: &s3ec::Content, body: &[u8]) {
    let length = envelope.plaintext_length(body.len() as u64);
    match content {
        s3ec::Content::Message(message) => {
            let whole = message.open_whole(BytesMut::from(body));
            assert!(
                whole.is_err()
                    || length == whole.as_ref().map(|whole| Some(whole.len() as u64)).map_err(|e| *e)
            );
            let Ok(mut opener) = message.delayed(body.len() as u64) else { return };
            let mut released = BytesMut::new();
            let pushed = pieces(body).into_iter().try_for_each(|piece| opener.push(piece, &mut released));
            let delayed = pushed.and_then(|()| opener.finish(&mut released));
            assert_eq!(delayed.is_ok(), whole.is_ok());
            assert!(whole.is_err() || whole.as_ref() == Ok(&released));
        }
        s3ec::Content::Cbc(chain) => open_chain(chain, body),
    }
}

/// The tail of a chain and the whole of it agree on its length, and pieces on its content.
fn open_chain(chain: &article_cbc::CbcBody, body: &[u8]) {
    let stored = body.len() as u64;
    let whole = chain.open_whole(body, None);
    let by_tail = chain
        .tail(stored)
        .and_then(|range| chain.length_by_tail(stored, &body[index(range.first())..=index(range.last())]));
    assert_eq!(whole.as_ref().map(|whole| whole.len() as u64), by_tail.as_ref().copied());
    let Ok(whole) = whole else { return };
    let Some(last) = whole.len().checked_sub(1) else { return };
    let first = last / 2;
    let range = chain.slice(first as u64, last as u64);
    let mut opener = chain.opener(first as u64, (last - first + 1) as u64);
    let mut released = BytesMut::new();
    for piece in pieces(&body[index(range.first())..=index(range.last())]) {
        opener.push(piece, &mut released).expect("the slice has the length that the opener expects");
    }
    opener.finish(&mut released).expect("the slice has the length that the opener expects");
    assert_eq!(released, whole[first..]);
}

fn new_s3ec_object(data: &[u8]) {
    let mut input = Input(data);
    let version = if input.byte() & 1 == 0 { s3ec::Version::V2 } else { s3ec::Version::V3 };
    let own = BTreeMap::from([("name".to_owned(), String::from_utf8_lossy(input.line()).into_owned())]);
    let (context, random) = (version.context(&own), [input.byte(); s3ec::ENTROPY]);
    let mut object = s3ec::NewObject::new(version, &data_key(), b"wrapped", &context, &random);
    let content = input.rest();
    let mut body = BytesMut::new();
    pieces(content).into_iter().for_each(|piece| object.sealer.update(piece, &mut body));
    object.sealer.finish(&mut body);
    let entries = object.entries.iter().map(|(name, value)| (*name, value.as_bytes()));
    let entries = s3ec::Entries::from_metadata(entries).expect("it was written here");
    let envelope = s3ec::Envelope::parse(&entries, s3ec::Policy::default()).expect("it was written here");
    assert!(envelope.has_own_context(&own));
    let Ok(s3ec::Content::Message(message)) = envelope.unlock(&data_key()) else { panic!("it is a message") };
    assert_eq!(message.open_whole(body.clone()).as_deref(), Ok(content));
    let at = usize::from(random[0]) % body.len();
    body[at] ^= 1;
    assert!(message.open_whole(body).is_err(), "This is a security issue: byte {at} was altered.");
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digits = std::str::from_utf8(digits).ok()?;
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

/// An object of the format `cbc`: a line with its recorded length, then the stored body. Then a new one.
pub fn cbc(data: &[u8]) {
    let mut input = Input(data);
    let recorded = input.line();
    let stored = input.rest();
    let chain = article_cbc::body(&data_key());
    open_chain(&chain, stored);
    if let Ok(length) = std::str::from_utf8(recorded)
        .map_or(Err(article_cbc::Unreadable), |text| article_cbc::recorded_length(text, stored.len() as u64))
    {
        assert!(chain.fits(stored.len() as u64, length));
        let opened = chain.open_whole(stored, Some(length)).expect("it fits");
        assert_eq!(opened.len() as u64, length);
    }
    let mut sealer = article_cbc::sealer(
        &data_key(),
        &[recorded.len() as u8; article_cbc::IV],
        article_cbc::Padding::Pkcs7,
    );
    let mut body = BytesMut::new();
    pieces(data).into_iter().for_each(|piece| sealer.update(piece, &mut body));
    sealer.finish(&mut body);
    assert_eq!(Some(body.len() as u64), article_cbc::ciphertext_length(data.len() as u64));
    assert_eq!(chain.open_whole(&body, Some(data.len() as u64)).as_deref(), Ok(data));
    open_chain(&chain, &body);
}
