use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use proptest::prelude::*;

use super::*;
use crate::sigv4::SecretAccessKey;
use crate::sigv4::chunk_signer::ChunkSigner;
use crate::sigv4::payload::{ChunkedPayload, Framing};
use crate::sigv4::scope::{CredentialScope, Timestamp};
use crate::sigv4::signing_key::SigningKey;

const CRC32: &str = "x-amz-checksum-crc32";

/// One chain of signatures; a client and a server have one each.
fn signer() -> ChunkSigner {
    let scope = CredentialScope { date: "20130524", region: "us-east-1" };
    let signing_key = SigningKey::derive(&SecretAccessKey::new(String::from("secret")), &scope);
    let seed = signing_key.sign(b"seed");
    let time = Timestamp::parse_basic("20130524T000000Z").unwrap().basic();
    ChunkSigner::new(signing_key, time, &scope, seed)
}

/// What a client that signs correctly sends, chunk by chunk.
struct Client {
    signer: ChunkSigner,
    wire: BytesMut,
}

impl Client {
    fn new() -> Self {
        Self { signer: signer(), wire: BytesMut::new() }
    }

    fn chunk(mut self, data: &[u8]) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
        self.signer.chunk_matches(hash.as_ref(), "");
        let signature = self.signer.previous.as_str();
        self.wire.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", data.len()).as_bytes());
        if !data.is_empty() {
            self.wire.extend_from_slice(data);
            self.wire.extend_from_slice(CRLF);
        }
        self
    }

    fn raw(mut self, bytes: &str) -> Self {
        self.wire.extend_from_slice(bytes.as_bytes());
        self
    }

    /// The trailer line, `between`, and the signature line.
    fn trailer(mut self, name: &str, value: &str, between: &str) -> Self {
        let mut trailers = Trailers::default();
        trailers.push(name.to_owned(), value.to_owned());
        self.signer.trailers_match(&trailers.canonical(), "");
        let signature = self.signer.previous.as_str().to_owned();
        self.raw(&format!("{name}:{value}{between}x-amz-trailer-signature:{signature}\r\n"))
    }

    fn text(self) -> String {
        String::from_utf8(self.wire.to_vec()).unwrap()
    }
}

fn payload(framing: Framing, decoded_length: Option<u64>, announced: &[&str]) -> ChunkedPayload {
    let announced = announced.iter().map(|name| (*name).to_owned()).collect();
    ChunkedPayload { framing, decoded_length, announced }
}

fn signed(decoded_length: u64) -> ChunkedPayload {
    payload(Framing::Signed(Box::new(signer())), Some(decoded_length), &[])
}

fn signed_trailer(decoded_length: u64) -> ChunkedPayload {
    payload(Framing::SignedTrailer(Box::new(signer())), Some(decoded_length), &[CRC32])
}

fn unsigned(decoded_length: u64) -> ChunkedPayload {
    payload(Framing::UnsignedTrailer, Some(decoded_length), &[CRC32])
}

/// Feeds `frames` one by one; the body and its trailers.
fn decode_frames<'a>(
    payload: ChunkedPayload,
    frames: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, Trailers), ChunkError> {
    let mut decoder = AwsChunkedDecoder::new(payload);
    let mut body = Vec::new();
    for frame in frames {
        let mut input = Bytes::copy_from_slice(frame);
        while let Decoded::Data(data) = decoder.decode(&mut input)? {
            assert!(!data.is_empty());
            body.extend_from_slice(&data);
        }
        assert!(input.is_empty());
    }
    decoder.finish().map(|trailers| (body, trailers))
}

fn decode(payload: ChunkedPayload, wire: &str) -> Result<(Vec<u8>, Trailers), ChunkError> {
    decode_frames(payload, [wire.as_bytes()])
}

fn error(payload: ChunkedPayload, wire: &str) -> ChunkError {
    decode(payload, wire).expect_err("the body must be refused")
}

#[test]
fn data_is_a_slice_of_the_input() {
    let mut decoder = AwsChunkedDecoder::new(unsigned(5));
    let whole = Bytes::from_static(b"5\r\nhello\r\n0\r\n");
    let mut input = whole.clone();
    let Decoded::Data(data) = decoder.decode(&mut input).unwrap() else { panic!("no data") };
    assert_eq!(data, "hello");
    assert_eq!(data.as_ptr(), whole[3..].as_ptr());
}

#[test]
fn sizes_are_hex_in_either_case_with_leading_zeros() {
    for size in ["a", "A", "000a", "000000000000000A"] {
        let wire = format!("{size}\r\n0123456789\r\n0\r\n{CRC32}:AAAAAA==\r\n\r\n");
        let (body, trailers) = decode(unsigned(10), &wire).unwrap();
        assert_eq!(body, b"0123456789");
        assert_eq!(trailers.value(CRC32), Some("AAAAAA=="));
    }
}

#[test]
fn an_empty_body_is_one_chunk_of_size_zero() {
    assert_eq!(decode(signed(0), &Client::new().chunk(b"").raw("\r\n").text()).unwrap().0, b"");
    let bare = payload(Framing::UnsignedTrailer, None, &[]);
    assert!(decode(bare, "0\r\n\r\n").unwrap().1.is_empty());
}

/// What SDKs and AWS's own pages put after the last chunk.
#[test]
fn every_known_way_to_end_is_understood() {
    let line = format!("{CRC32}:AAAAAA==");
    for end in [
        format!("{line}\r\n\r\n"),
        format!("{line}\r\n"),
        format!("{line}\n\r\n"),
        format!("{line}\n\r\n\r\n"),
        format!("{CRC32}: AAAAAA== \r\n\r\n"),
        format!("{}:AAAAAA==\r\n\r\n", CRC32.to_uppercase()),
    ] {
        let (_, trailers) = decode(unsigned(1), &format!("1\r\nx\r\n0\r\n{end}")).unwrap();
        assert_eq!(trailers.value(CRC32), Some("AAAAAA=="), "{end:?}");
    }
    for between in ["\r\n", "\n", "\n\r\n"] {
        for end in ["", "\r\n"] {
            let client = Client::new().chunk(b"x").chunk(b"").trailer(CRC32, "AAAAAA==", between).raw(end);
            let (_, trailers) = decode(signed_trailer(1), &client.text()).unwrap();
            assert_eq!(trailers.iter().collect::<Vec<_>>(), [(CRC32, "AAAAAA==")], "{between:?}{end:?}");
        }
    }
    for end in ["", "\r\n"] {
        assert!(decode(signed(1), &Client::new().chunk(b"x").chunk(b"").raw(end).text()).is_ok());
    }
}

#[test]
fn bad_chunk_headers_are_refused() {
    let long = format!("{}\r\n", "0".repeat(400));
    for header in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1\n",
        "1;a=b\r\n",
        "é\r\n",
        "00000000000000001\r\n",
        &long,
    ] {
        assert_eq!(error(unsigned(1), header), ChunkError::BadChunkHeader, "{header:?}");
    }
    for header in ["1\r\n", "1;chunk-signature\r\n", "1;signature=ab\r\n"] {
        assert_eq!(error(signed(1), header), ChunkError::BadChunkHeader, "{header:?}");
    }
}

#[test]
fn a_header_without_end_is_refused_before_it_is_all_there() {
    let mut decoder = AwsChunkedDecoder::new(unsigned(1));
    let mut input = Bytes::from(vec![b'0'; 1 << 20]);
    assert_eq!(decoder.decode(&mut input), Err(ChunkError::BadChunkHeader));
}

#[test]
fn chunk_data_ends_with_crlf() {
    for end in ["\n", "\rx", "xx", "0\r\n"] {
        assert_eq!(error(unsigned(1), &format!("1\r\nx{end}")), ChunkError::BadChunkEnd, "{end:?}");
    }
}

#[test]
fn the_decoded_length_is_kept() {
    let wire = format!("5\r\nhello\r\n0\r\n{CRC32}:AAAAAA==\r\n\r\n");
    assert!(decode(unsigned(5), &wire).is_ok());
    assert_eq!(error(unsigned(6), &wire), ChunkError::Incomplete);
    // As soon as the chunk says how long it is, before its data.
    assert_eq!(error(unsigned(4), "5\r\n"), ChunkError::TooLong);
    assert_eq!(error(unsigned(u64::MAX), "ffffffffffffffff\r\n"), ChunkError::Incomplete);
    assert_eq!(error(unsigned(4), "ffffffffffffffff\r\n"), ChunkError::TooLong);
}

#[test]
fn an_early_end_is_incomplete_wherever_it_is() {
    for client in [
        Client::new().chunk(b"hello").chunk(b"").raw("\r\n"),
        Client::new().chunk(b"hello").chunk(b"").trailer(CRC32, "AAAAAA==", "\r\n"),
    ] {
        let wire = client.text();
        let last_chunk = wire.find("\r\n0;").unwrap() + "\r\n0;chunk-signature=\r\n".len() + 64;
        for cut in 0..last_chunk {
            let frames = || [&wire.as_bytes()[..cut]];
            assert_eq!(decode_frames(signed(5), frames()), Err(ChunkError::Incomplete), "{cut}");
            assert_eq!(decode_frames(signed_trailer(5), frames()), Err(ChunkError::Incomplete), "{cut}");
        }
        for cut in last_chunk..wire.len() {
            assert!(decode_frames(signed_trailer(5), [&wire.as_bytes()[..cut]]).is_err(), "{cut}");
        }
    }
}

/// This is a security issue if it fails: chunks could be altered, dropped, repeated or moved.
#[test]
fn a_chunk_signature_binds_data_and_place() {
    let chunk = |client: Client, data: &[u8]| client.chunk(data);
    let wire = chunk(chunk(chunk(Client::new(), b"one"), b"two"), b"").raw("\r\n").text();
    assert_eq!(decode(signed(6), &wire).unwrap().0, b"onetwo");

    let (first, rest) = wire.split_at(wire.find("3;").unwrap() + wire[2..].find("3;").unwrap() + 2);
    let (second, last) = rest.split_at(rest.find("0;").unwrap());
    for altered in [
        wire.replace("two", "twO"),
        format!("{second}{first}{last}"),
        format!("{first}{first}{last}"),
        format!("{first}{last}"),
        wire.replace("3;chunk", "2;chunk").replace("one", "on").replace("two", "tw"),
    ] {
        let length = if altered.contains("2;chunk") { 4 } else { 6 };
        let refused = error(signed(length), &altered);
        assert_eq!(refused, ChunkError::ChunkSignatureDoesNotMatch, "{altered}");
    }
    // The end is signed, too.
    let forged = format!("{first}0;chunk-signature={}\r\n\r\n", "0".repeat(64));
    assert_eq!(error(signed(3), &forged), ChunkError::ChunkSignatureDoesNotMatch);
    let other_key = payload(
        Framing::Signed(Box::new(ChunkSigner {
            previous: signer().signing_key.sign(b"other seed"),
            ..signer()
        })),
        Some(6),
        &[],
    );
    assert_eq!(error(other_key, &wire), ChunkError::ChunkSignatureDoesNotMatch);
}

#[test]
fn a_trailer_signature_binds_the_trailers() {
    let whole = || Client::new().chunk(b"x").chunk(b"");
    let good = whole().trailer(CRC32, "AAAAAA==", "\r\n").text();
    assert!(decode(signed_trailer(1), &good).is_ok());
    assert_eq!(
        error(signed_trailer(1), &good.replace("AAAAAA==", "AAAAAB==")),
        ChunkError::TrailerSignatureDoesNotMatch
    );
    let unsigned_line = whole().raw("x-amz-checksum-crc32:AAAAAA==\r\n\r\n").text();
    assert_eq!(error(signed_trailer(1), &unsigned_line), ChunkError::TrailerSignatureDoesNotMatch);
    assert_eq!(
        error(signed_trailer(1), &whole().raw("\r\n").text()),
        ChunkError::TrailerSignatureDoesNotMatch
    );
    let after = whole().trailer(CRC32, "AAAAAA==", "\r\n").raw("x-amz-checksum-sha1:a\r\n").text();
    assert_eq!(error(signed_trailer(1), &after), ChunkError::BadTrailer);
}

#[test]
fn trailers_are_signed_in_the_order_of_their_names() {
    let mut trailers = Trailers::default();
    for name in ["x-b", "x-a-b", "x-a"] {
        trailers.push(name.to_owned(), "1".to_owned());
    }
    assert_eq!(String::from_utf8(trailers.canonical()).unwrap(), "x-a:1\nx-a-b:1\nx-b:1\n");
}

#[test]
fn trailers_are_those_announced() {
    let wire = |trailers: &str| format!("1\r\nx\r\n0\r\n{trailers}\r\n");
    assert_eq!(error(unsigned(1), &wire("")), ChunkError::TrailerMissing(CRC32.into()));
    assert_eq!(
        error(unsigned(1), &wire("x-amz-checksum-sha1:a\r\n")),
        ChunkError::TrailerNotAnnounced("x-amz-checksum-sha1".into())
    );
    let twice = format!("{CRC32}:a\r\n{CRC32}:a\r\n");
    assert_eq!(error(unsigned(1), &wire(&twice)), ChunkError::BadTrailer);
}

#[test]
fn trailers_are_lines_of_header_text() {
    for trailer in
        ["x-amz-checksum-crc32\r\n", ":a\r\n", "a b:c\r\n", "x-amz-checksum-crc32:a\rb\r\n", "é:a\r\n"]
    {
        assert_eq!(error(unsigned(0), &format!("0\r\n{trailer}\r\n")), ChunkError::BadTrailer, "{trailer:?}");
    }
    let binary = [b"0\r\nx-amz-checksum-crc32:".as_slice(), b"\xff\r\n"];
    assert_eq!(decode_frames(unsigned(0), binary), Err(ChunkError::BadTrailer));
}

#[test]
fn trailers_have_a_limit() {
    let too_long = ChunkError::TrailersTooLong { limit: 4096 };
    let long_line = format!("0\r\n{CRC32}:{}\r\n", "a".repeat(4096));
    assert_eq!(error(unsigned(0), &long_line), too_long);
    assert_eq!(error(unsigned(0), &format!("0\r\n{}", "a".repeat(1 << 20))), too_long);
    let names: Vec<String> = (0..16).map(|n| format!("t{n}")).collect();
    let lines: String = names.iter().map(|name| format!("{name}:{}\r\n", "a".repeat(300))).collect();
    let announced: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = payload(Framing::UnsignedTrailer, None, &announced);
    assert_eq!(error(many, &format!("0\r\n{lines}\r\n")), too_long);
}

#[test]
fn nothing_comes_after_the_end() {
    let end = Client::new().chunk(b"x").chunk(b"").raw("\r\n");
    assert_eq!(error(signed(1), &end.raw("GET / HTTP/1.1\r\n").text()), ChunkError::DataAfterEnd);
    let blank = Client::new().chunk(b"x").chunk(b"").raw("\r\n\r\n");
    assert_eq!(error(signed(1), &blank.text()), ChunkError::DataAfterEnd);
    let wire = format!("1\r\nx\r\n0\r\n{CRC32}:AAAAAA==\r\n\r\n");
    assert_eq!(error(unsigned(1), &format!("{wire}1\r\nx\r\n")), ChunkError::DataAfterEnd);
    assert_eq!(error(unsigned(1), &format!("{wire}\r\n\r\n")), ChunkError::DataAfterEnd);
    // An unfinished line is not an end either.
    assert_eq!(error(unsigned(1), &format!("{wire}x")), ChunkError::Incomplete);
}

#[test]
fn a_failure_is_final() {
    let mut decoder = AwsChunkedDecoder::new(unsigned(5));
    assert_eq!(decoder.decode(&mut Bytes::from_static(b"zz\r\n")), Err(ChunkError::BadChunkHeader));
    for next in ["", "5\r\nhello\r\n0\r\n\r\n"] {
        let again = decoder.decode(&mut Bytes::from_static(next.as_bytes()));
        assert_eq!(again, Err(ChunkError::BadChunkHeader));
    }
    assert_eq!(decoder.finish(), Err(ChunkError::BadChunkHeader));
}

#[test]
fn every_chunk_error_has_its_s3_code() {
    for (error, code) in [
        (ChunkError::BadChunkHeader, "InvalidRequest"),
        (ChunkError::BadChunkEnd, "InvalidRequest"),
        (ChunkError::DataAfterEnd, "InvalidRequest"),
        (ChunkError::BadTrailer, "MalformedTrailerError"),
        (ChunkError::TrailersTooLong { limit: 1 }, "MalformedTrailerError"),
        (ChunkError::TrailerNotAnnounced(String::new()), "MalformedTrailerError"),
        (ChunkError::TrailerMissing(String::new()), "MalformedTrailerError"),
        (ChunkError::TooLong, "IncompleteBody"),
        (ChunkError::Incomplete, "IncompleteBody"),
        (ChunkError::ChunkSignatureDoesNotMatch, "SignatureDoesNotMatch"),
        (ChunkError::TrailerSignatureDoesNotMatch, "SignatureDoesNotMatch"),
    ] {
        assert_eq!(error.s3_code().code(), code);
    }
}

mod encoding {
    use std::num::NonZeroU64;

    use super::*;

    fn size(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    fn encoder(content_length: u64, chunk_size: u64) -> AwsChunkedEncoder {
        AwsChunkedEncoder::new(content_length, size(chunk_size), HeaderName::from_static(CRC32), 8).unwrap()
    }

    fn encode(mut encoder: AwsChunkedEncoder, frames: &[&[u8]]) -> Vec<u8> {
        let mut wire = Vec::new();
        for frame in frames {
            encoder.encode(Bytes::copy_from_slice(frame), |piece| wire.extend_from_slice(&piece)).unwrap();
        }
        wire.extend_from_slice(&encoder.finish("AAAAAA==").unwrap());
        wire
    }

    #[test]
    fn chunks_are_full_but_the_last_however_the_data_comes() {
        let expected = "4\r\nabcd\r\n4\r\nefgh\r\n2\r\nij\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for frames in [vec![b"abcdefghij".as_slice()], vec![b"a", b"", b"bcdef", b"ghij"]] {
            assert_eq!(String::from_utf8(encode(encoder(10, 4), &frames)).unwrap(), expected);
        }
        assert_eq!(encode(encoder(0, 4), &[]), b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    }

    #[test]
    fn the_length_is_known_at_the_edges() {
        let name = HeaderName::from_static(CRC32);
        for (content_length, chunk_size) in
            [(0, 1), (1, 1), (15, 16), (16, 16), (17, 16), (255, 256), (4096, 256)]
        {
            let body = vec![b'x'; usize::try_from(content_length).unwrap()];
            let wire = encode(encoder(content_length, chunk_size), &[&body]);
            assert_eq!(encoded_length(content_length, size(chunk_size), &name, 8), Some(wire.len() as u64));
        }
        assert_eq!(encoded_length(u64::MAX, size(1 << 20), &name, 8), None);
        assert_eq!(
            AwsChunkedEncoder::new(u64::MAX, UPSTREAM_CHUNK_SIZE, name, 8).err(),
            Some(EncodeError::LengthOverflow(u64::MAX))
        );
    }

    #[test]
    fn a_body_of_another_length_is_refused() {
        let mut long = encoder(1, 4);
        let sent = long.encode(Bytes::from_static(b"ab"), |_| panic!("nothing may be sent"));
        assert_eq!(sent, Err(EncodeError::TooLong(1)));
        let mut short = encoder(3, 4);
        short.encode(Bytes::from_static(b"ab"), |_| ()).unwrap();
        assert_eq!(short.finish("AAAAAA=="), Err(EncodeError::Incomplete { missing: 1 }));
    }

    #[test]
    fn a_trailer_of_another_shape_is_refused() {
        let refused = Err(EncodeError::TrailerValue { expected: 8 });
        assert_eq!(encoder(0, 4).finish("AAAA"), refused);
        assert_eq!(encoder(0, 4).finish("AAAA\r\nA="), refused);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(body in proptest::collection::vec(any::<u8>(), 0..600), chunk in 1u64..300, cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let encoder = encoder(body.len() as u64, chunk);
            let length = encoder.encoded_length();
            let wire = encode(encoder, &split(&body, &cuts));
            prop_assert_eq!(wire.len() as u64, length);
            let (decoded, trailers) = decode_frames(unsigned(body.len() as u64), split(&wire, &cuts)).unwrap();
            prop_assert_eq!(decoded, body);
            prop_assert_eq!(trailers.value(CRC32), Some("AAAAAA=="));
        }
    }
}

/// `bytes` cut at every one of `cuts`; empty pieces included.
fn split<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn any_framing_gives_the_same_body(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..100), 0..5),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let body = chunks.concat();
        let mut client = Client::new();
        for chunk in &chunks {
            client = client.chunk(chunk);
        }
        let wire = client.chunk(b"").trailer(CRC32, "AAAAAA==", "\r\n").raw("\r\n").wire;
        let (decoded, trailers) = decode_frames(signed_trailer(body.len() as u64), split(&wire, &cuts)).unwrap();
        prop_assert_eq!(decoded, body);
        prop_assert_eq!(trailers.value(CRC32), Some("AAAAAA=="));
    }

    /// This is a security issue if it fails: an attacker on the network could change the body.
    #[test]
    fn any_flipped_bit_of_a_signed_body_is_noticed(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..4),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let body = chunks.concat();
        let mut client = Client::new();
        for chunk in &chunks {
            client = client.chunk(chunk);
        }
        let wire = client.chunk(b"").trailer(CRC32, "AAAAAA==", "\r\n").wire;
        let mut altered = wire.to_vec();
        altered[at.index(wire.len())] ^= 1 << bit;
        if let Ok((decoded, trailers)) = decode_frames(signed_trailer(body.len() as u64), [altered.as_slice()]) {
            // Letter case in names and line ends are the only slack; neither carries meaning.
            prop_assert_eq!(decoded, body);
            prop_assert_eq!(trailers.iter().collect::<Vec<_>>(), [(CRC32, "AAAAAA==")]);
        }
    }

    #[test]
    fn no_input_makes_it_panic(wire in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"0123af;:\r\n=".to_vec())], 0..200)) {
        let _ = decode_frames(unsigned(50), [wire.as_slice()]);
        let _ = decode_frames(signed(50), [wire.as_slice()]);
        let _ = decode_frames(signed_trailer(50), [wire.as_slice()]);
    }
}

#[test]
fn no_length_means_any_length() {
    let any_length = ChunkedPayload::new(Framing::UnsignedTrailer, &HeaderMap::new()).unwrap();
    assert_eq!(any_length.decoded_length(), None);
    assert_eq!(decode(any_length, "5\r\nhello\r\n0\r\n\r\n").unwrap().0, b"hello");
}
