//! The pure modules, each beside the one-shot speed of the library under it.
//!
//! `cargo bench -p s3veil-micro`. A name is `what/bytes`; the library's own is `library-what/bytes`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, Request};
use s3veil::envelope::native::{
    Attributes, Binding, BodyKind, CHUNK, ChunkOpener, ChunkSealer, Entropy, Envelope, EnvelopeKeys,
    ObjectName, PieceOpener, SealRequest, SseAlgorithm, TAG,
};
use s3veil::envelope::s3ec::{self, Content, ENTROPY, Entries, NewObject, Policy, Version};
use s3veil::envelope::{ContentKey, DataKey};
use s3veil::s3::xml::{ClientEntry, ListRewriter, ListingPiece, NameEncoding};
use s3veil::s3::{DeclaredIntegrity, Verifier};
use s3veil::sigv4::{PayloadSigning, RequestHead, SecretAccessKey, Signer, VerifyPolicy, authenticate};

/// Part of a chunk, one chunk, sixteen.
const SIZES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];

fn content_key() -> ContentKey {
    let data_key = DataKey::from_bytes([7; 32]);
    let attributes = Attributes::new(Vec::new());
    let request = SealRequest {
        keys: EnvelopeKeys::without_customer(&data_key),
        binding: Binding::RealmAndKey,
        body: BodyKind::Put { plaintext_length: 1 },
        sse: SseAlgorithm::AwsKms,
        name: ObjectName { realm: "bench", object_key: b"key" },
        attributes: &attributes,
    };
    Envelope::seal(&request, Entropy::fresh()).content_key
}

fn library_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("the key is 32 bytes long"))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// An object in chunks with room for their tags.
fn plaintext(size: usize) -> Vec<BytesMut> {
    let chunk = |length| {
        let mut chunk = BytesMut::with_capacity(CHUNK + TAG);
        chunk.resize(length, 0x5a);
        chunk
    };
    (0..size.div_ceil(CHUNK)).map(|index| chunk((size - index * CHUNK).min(CHUNK))).collect()
}

/// Key set-up included: once for each object.
fn seal(content_key: &ContentKey, chunks: &mut [BytesMut]) {
    let mut sealer = ChunkSealer::for_put(content_key);
    let (last, others) = chunks.split_last_mut().expect("there is a chunk");
    for chunk in others {
        sealer.seal_next(chunk);
    }
    sealer.seal_last(last);
}

fn sealing(criterion: &mut Criterion) {
    let (content_key, library) = (content_key(), library_key());
    let mut group = criterion.benchmark_group("aead");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("seal", size), |bencher| {
            bencher.iter_batched_ref(
                || plaintext(size),
                |chunks| seal(&content_key, chunks),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("library-seal", size), |bencher| {
            bencher.iter_batched_ref(
                || vec![0x5a; size],
                |whole| {
                    library.seal_in_place_separate_tag(nonce(), Aad::empty(), whole).expect("it is short")
                },
                BatchSize::SmallInput,
            );
        });
        let mut sealed = plaintext(size);
        seal(&content_key, &mut sealed);
        group.bench_function(BenchmarkId::new("open", size), |bencher| {
            bencher.iter_batched_ref(
                || sealed.clone(),
                |chunks| {
                    let mut opener =
                        ChunkOpener::for_put(&content_key, size as u64, 0).expect("there is a chunk");
                    for chunk in chunks {
                        opener.open_next(chunk).expect("it was sealed so");
                    }
                },
                BatchSize::SmallInput,
            );
        });
        let mut whole = vec![0x5a; size];
        library.seal_in_place_append_tag(nonce(), Aad::empty(), &mut whole).expect("it is short");
        group.bench_function(BenchmarkId::new("library-open", size), |bencher| {
            bencher.iter_batched_ref(
                || whole.clone(),
                |whole| library.open_in_place(nonce(), Aad::empty(), whole).expect("it was sealed so").len(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A long body's chunks, one by one, without the key set-up: the library gets them one by one too.
fn chunks(criterion: &mut Criterion) {
    const COUNT: usize = 64;
    let (content_key, library) = (content_key(), library_key());
    let mut group = criterion.benchmark_group("chunks");
    group.throughput(Throughput::Bytes((COUNT * CHUNK) as u64));
    group.bench_function(BenchmarkId::new("seal-chunks", CHUNK), |bencher| {
        bencher.iter_batched_ref(
            || plaintext(COUNT * CHUNK),
            |chunks| seal(&content_key, chunks),
            BatchSize::LargeInput,
        );
    });
    group.bench_function(BenchmarkId::new("library-seal-chunks", CHUNK), |bencher| {
        bencher.iter_batched_ref(
            || plaintext(COUNT * CHUNK),
            |chunks| {
                for chunk in chunks {
                    let tag = library.seal_in_place_separate_tag(nonce(), Aad::empty(), chunk);
                    drop(black_box(tag.expect("it is short")));
                }
            },
            BatchSize::LargeInput,
        );
    });
    let mut sealed = plaintext(COUNT * CHUNK);
    seal(&content_key, &mut sealed);
    group.bench_function(BenchmarkId::new("open-chunks", CHUNK), |bencher| {
        bencher.iter_batched_ref(
            || sealed.clone(),
            |chunks| {
                let mut opener =
                    ChunkOpener::for_put(&content_key, (COUNT * CHUNK) as u64, 0).expect("there is a chunk");
                for chunk in chunks {
                    opener.open_next(chunk).expect("it was sealed so");
                }
            },
            BatchSize::LargeInput,
        );
    });
    let mut whole = plaintext(COUNT * CHUNK);
    for chunk in &mut whole {
        library.seal_in_place_append_tag(nonce(), Aad::empty(), chunk).expect("it is short");
    }
    group.bench_function(BenchmarkId::new("library-open-chunks", CHUNK), |bencher| {
        bencher.iter_batched_ref(
            || whole.clone(),
            |chunks| {
                for chunk in chunks {
                    black_box(
                        library.open_in_place(nonce(), Aad::empty(), chunk).expect("it was sealed so").len(),
                    );
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn checksums(criterion: &mut Criterion) {
    let content = vec![0x5a; 1 << 20];
    let mut group = criterion.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(content.len() as u64));
    for (name, header, value, algorithm) in [
        ("crc64nvme", "x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", CrcAlgorithm::Crc64Nvme),
        ("crc32", "x-amz-checksum-crc32", "AAAAAA==", CrcAlgorithm::Crc32IsoHdlc),
        ("crc32c", "x-amz-checksum-crc32c", "AAAAAA==", CrcAlgorithm::Crc32Iscsi),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header, value.parse().expect("base64 is a header value"));
        let declared = DeclaredIntegrity::from_headers(&headers).expect("it is well formed");
        group.bench_function(BenchmarkId::new(name, content.len()), |bencher| {
            bencher.iter(|| {
                let mut verifier = Verifier::new(&declared);
                // As a body comes: in pieces.
                for piece in content.chunks(CHUNK) {
                    verifier.update(black_box(piece));
                }
                verifier.finish(&HeaderMap::new()).is_ok()
            });
        });
        group.bench_function(BenchmarkId::new(format!("library-{name}"), content.len()), |bencher| {
            bencher.iter(|| crc_fast::checksum(algorithm, black_box(&content)));
        });
    }
    group.finish();
}

fn signatures(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sigv4");
    let now = SystemTime::now();
    let unsigned = || {
        let request = Request::builder().method("GET").uri("http://127.0.0.1:8333/bucket/some/object/key");
        request.body(()).expect("the request is well formed").into_parts().0
    };
    let credentials = Credentials::new("bench", "bench-secret", None, None, "bench");
    let signer = Signer::new("us-east-1");
    group.bench_function("sign", |bencher| {
        bencher.iter_batched_ref(
            unsigned,
            |parts| signer.sign(parts, PayloadSigning::Unsigned, &credentials, now).expect("it signs"),
            BatchSize::SmallInput,
        );
    });
    let mut parts = unsigned();
    signer.sign(&mut parts, PayloadSigning::Unsigned, &credentials, now).expect("it signs");
    let secret = SecretAccessKey::new("bench-secret".to_owned());
    let policy = VerifyPolicy::default();
    group.bench_function("verify", |bencher| {
        bencher.iter(|| {
            let head = RequestHead {
                method: "GET",
                raw_path: "/bucket/some/object/key",
                raw_query: "",
                headers: &parts.headers,
                virtual_host_bucket: None,
                is_parameter: |_| true,
            };
            authenticate(&head, &policy, now, |_| Some(&secret)).expect("it was signed so")
        });
    });
    group.finish();
}

/// An S3EC object is one GCM message: in one call, and in pieces with an incremental GCM.
fn messages(criterion: &mut Criterion) {
    const LENGTH: usize = 16 << 20;
    let data_key = DataKey::from_bytes([7; 32]);
    let context = Version::V3.context(&BTreeMap::new());
    let seal = |plaintext: &[u8], sealed: &mut BytesMut| {
        let object = NewObject::new(Version::V3, &data_key, b"wrapped", &context, &[3; ENTROPY]);
        let NewObject { entries, mut sealer } = object;
        for piece in plaintext.chunks(64 << 10) {
            sealer.update(piece, sealed);
        }
        sealer.finish(sealed);
        entries
    };
    let plaintext = vec![0x5a; LENGTH];
    let mut stored = BytesMut::with_capacity(LENGTH + TAG);
    let entries = seal(&plaintext, &mut stored);
    let entries: Vec<_> = entries.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let entries = Entries::from_metadata(entries).expect("they were written so");
    let envelope = s3ec::Envelope::parse(&entries, Policy { legacy: false }).expect("they were written so");
    let Content::Message(message) = envelope.unlock(&data_key).expect("it is its key") else {
        panic!("V3 is one message");
    };
    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    group.bench_function("seal in pieces", |bencher| {
        bencher.iter_batched_ref(
            || BytesMut::with_capacity(LENGTH + TAG),
            |sealed| seal(&plaintext, sealed),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("open in pieces", |bencher| {
        bencher.iter(|| {
            let mut opener = message.delayed(stored.len() as u64).expect("it is long enough");
            let mut released = BytesMut::with_capacity(128 << 10);
            for piece in stored.chunks(64 << 10) {
                released.clear();
                opener.push(piece, &mut released).expect("it is authentic");
            }
            opener.finish(&mut released).expect("it is authentic");
        });
    });
    group.bench_function("open in one call", |bencher| {
        let whole = || stored.clone();
        bencher.iter_batched(
            whole,
            |stored| message.open_whole(stored).expect("it is authentic"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn listing(criterion: &mut Criterion) {
    let mut page = String::from("<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name>");
    for number in 0..1000 {
        page.push_str(&format!(
            "<Contents><Key>folder/object-{number:06}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag><Size>{}</Size>\
             <StorageClass>STANDARD</StorageClass></Contents>",
            4112 + number
        ));
    }
    page.push_str("</ListBucketResult>");
    let page = Bytes::from(page);
    let mut group = criterion.benchmark_group("xml");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function(BenchmarkId::new("listing", page.len()), |bencher| {
        bencher.iter(|| {
            let mut rewriter = ListRewriter::new(NameEncoding::Verbatim);
            let mut written = BytesMut::with_capacity(page.len());
            for piece in page.chunks(16 << 10) {
                rewriter.push(piece);
                while let Some(piece) = rewriter.next_piece().expect("it is well formed") {
                    match piece {
                        ListingPiece::Passed(bytes) => written.extend_from_slice(&bytes),
                        ListingPiece::Entry(entry) => {
                            let told = ClientEntry { size: entry.size - 16, etag_suffix: "-v" };
                            entry.write(told, &mut written);
                        }
                    }
                }
            }
            rewriter.finish().expect("it is whole");
            written
        });
    });
    group.finish();
}

criterion_group! {
    name = micro;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000))
        .sample_size(30);
    targets = sealing, chunks, messages, checksums, signatures, listing
}
criterion_main!(micro);
