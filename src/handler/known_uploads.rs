//! What this process happens to remember of uploads. Nothing depends on it: another node, or this one after a restart,
//! does the same work from tokens and from what the storage lists.
//!
//! It spares clients a loss that they could notice: ListMultipartUploads gives the ids they were given, ListParts
//! the exact length and checksum of every part.

use std::sync::Arc;

use aws_lc_rs::digest;
use moka::future::Cache;

use crate::envelope::native::UploadToken;
use crate::envelope::native::multipart::TailMark;
use crate::s3::BucketName;

/// Tokens remembered, of about 1 KiB each.
const MAX_UPLOADS: u64 = 10_000;
/// Parts remembered, of about 150 bytes each: ten uploads of the most parts there can be.
const MAX_PARTS: u64 = 100_000;

/// Uploads and parts that came by. Cloning shares them.
#[derive(Clone)]
pub struct KnownUploads {
    tokens: Cache<(String, String), Arc<str>>,
    marks: Cache<[u8; 32], TailMark>,
}

impl Default for KnownUploads {
    fn default() -> Self {
        let tokens = Cache::builder().max_capacity(MAX_UPLOADS).build();
        Self { tokens, marks: Cache::builder().max_capacity(MAX_PARTS).build() }
    }
}

impl KnownUploads {
    pub(super) async fn remember(&self, bucket: &BucketName, token: &UploadToken) {
        let name = (bucket.as_str().to_owned(), token.upstream_id().to_owned());
        if !self.tokens.contains_key(&name) {
            self.tokens.insert(name, token.to_text().into()).await;
        }
    }

    /// The id that the client was given for one of the storage's.
    pub(super) async fn token(&self, bucket: &BucketName, upstream_id: &str) -> Option<Arc<str>> {
        self.tokens.get(&(bucket.as_str().to_owned(), upstream_id.to_owned())).await
    }

    pub(super) async fn remember_part(&self, upstream_id: &str, number: u16, etag: &str, mark: TailMark) {
        self.marks.insert(part_name(upstream_id, number, etag), mark).await;
    }

    /// The mark of a part of this ETag (the storage's).
    pub(super) async fn mark(&self, upstream_id: &str, number: u16, etag: &str) -> Option<TailMark> {
        self.marks.get(&part_name(upstream_id, number, etag)).await
    }
}

/// SHA-256 of what names a part's bytes, each piece behind its length.
fn part_name(upstream_id: &str, number: u16, etag: &str) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for piece in [upstream_id.as_bytes(), &number.to_be_bytes(), etag.as_bytes()] {
        hash.update(&(piece.len() as u64).to_be_bytes());
        hash.update(piece);
    }
    hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}
