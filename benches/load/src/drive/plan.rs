//! What is asked for: the heads of all requests, signed once.

use std::io;

use super::exchange::{Content, Exchange};
use super::sdk;
use crate::arguments::Arguments;
use crate::documents::{completion, upload_id};
use crate::sign::{Signer, UNSIGNED, sha256_hex};
use crate::tls::Dialer;

/// As many ranges of an object are asked for in turn.
const RANGES: u64 = 512;

/// The header lines of a customer key (SSE-C) of 32 bytes, and its MD5.
const CUSTOMER_KEY: &str = "x-amz-server-side-encryption-customer-algorithm: AES256\r\n\
    x-amz-server-side-encryption-customer-key: YSBjdXN0b21lcidzIGtleSBvZiB0aGlydHktdHdvIGI=\r\n\
    x-amz-server-side-encryption-customer-key-md5: l67G5g4vOjc6oGZZdbkkqg==\r\n";

/// What to do over and over.
pub struct Plan {
    /// Where.
    pub dialer: Dialer,
    operation: Operation,
    signer: Signer,
    bucket: String,
    prefix: String,
    /// The content of every object.
    content: Vec<u8>,
    /// The content as an SDK frames it, for `--sdk`.
    framed: Option<Vec<u8>>,
    part_size: usize,
    /// Header lines of every request for an object.
    customer_key: &'static str,
    heads: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Get,
    Put,
    Range,
    List,
    Multipart,
}

impl Plan {
    /// Reads the plan and signs its requests.
    pub fn from_arguments(arguments: &Arguments) -> io::Result<Self> {
        let operation = match arguments.or("operation", "get".to_owned())?.as_str() {
            "get" => Operation::Get,
            "put" => Operation::Put,
            "range" => Operation::Range,
            "list" => Operation::List,
            "multipart" => Operation::Multipart,
            other => return Err(io::Error::other(format!("no such operation: {other}"))),
        };
        let sends = matches!(operation, Operation::Put | Operation::Multipart) || arguments.what == "fill";
        let mut plan = Self {
            dialer: Dialer::from_arguments(arguments)?,
            operation,
            signer: Signer::new(arguments.text("access-key")?, arguments.text("secret-key")?),
            bucket: arguments.text("bucket")?.to_owned(),
            prefix: arguments.or("prefix", String::new())?,
            content: if sends { content(arguments.or("size", 4096)?) } else { Vec::new() },
            framed: None,
            part_size: arguments.or("part-size", 8 << 20)?,
            customer_key: if arguments.or("customer-key", false)? { CUSTOMER_KEY } else { "" },
            heads: Vec::new(),
        };
        if arguments.or("sdk", false)? {
            plan.framed = Some(sdk::body(&plan.content));
        }
        plan.heads = plan.sign(arguments)?;
        Ok(plan)
    }

    fn sign(&self, arguments: &Arguments) -> io::Result<Vec<Vec<u8>>> {
        let keys = arguments.or("keys", 1usize)?;
        let get = |key, more: &str| self.object_head("GET", key, UNSIGNED, more);
        Ok(match self.operation {
            Operation::Get => (0..keys).map(|key| get(key, "")).collect(),
            Operation::Put if self.framed.is_some() => {
                let more = sdk::headers(&self.content);
                (0..keys).map(|key| self.object_head("PUT", key, sdk::PAYLOAD, &more)).collect()
            }
            Operation::Put => {
                let signed = arguments.or("signed-payload", false)?;
                let payload = if signed { sha256_hex(&self.content) } else { UNSIGNED.to_owned() };
                (0..keys).map(|key| self.put_head(key, &payload)).collect()
            }
            Operation::Range => {
                let (size, object): (u64, u64) =
                    (arguments.or("size", 1 << 20)?, arguments.or("object-size", 1 << 30)?);
                let ranges = (0..RANGES).map(|turn| {
                    let first = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (object - size + 1);
                    get(0, &format!("Range: bytes={first}-{}\r\n", first + size - 1))
                });
                ranges.collect()
            }
            Operation::List => {
                let query = format!("list-type=2&max-keys=1000&prefix={}", self.prefix);
                vec![self.head("GET", &format!("/{}", self.bucket), &query, UNSIGNED, "")]
            }
            Operation::Multipart => Vec::new(),
        })
    }

    /// One request, or one whole multipart upload.
    pub async fn once(&self, exchange: &mut Exchange<'_>, turn: usize) -> io::Result<()> {
        if self.operation == Operation::Multipart {
            return self.multipart(exchange, turn).await;
        }
        let head = &self.heads[turn % self.heads.len()];
        let body: &[u8] = match self.operation {
            Operation::Put => self.framed.as_ref().unwrap_or(&self.content),
            Operation::Get | Operation::Range | Operation::List | Operation::Multipart => &[],
        };
        exchange.run(head, body, Content::Dropped).await.map(drop)
    }

    /// Stores an object.
    pub async fn put(&self, exchange: &mut Exchange<'_>, key: usize) -> io::Result<()> {
        exchange.run(&self.put_head(key, UNSIGNED), &self.content, Content::Dropped).await.map(drop)
    }

    /// Reads an object back.
    pub async fn check(&self, exchange: &mut Exchange<'_>, key: usize) -> io::Result<()> {
        let head = self.object_head("GET", key, UNSIGNED, "");
        exchange.run(&head, b"", Content::Compared(&self.content)).await.map(drop)
    }

    async fn multipart(&self, exchange: &mut Exchange<'_>, turn: usize) -> io::Result<()> {
        let path = self.path(turn % 64);
        let create = self.head("POST", &path, "uploads=", UNSIGNED, "Content-Length: 0\r\n");
        let mut document = Vec::new();
        exchange.run(&create, b"", Content::Kept(&mut document)).await?;
        let id = upload_id(&document)?;
        let mut parts = Vec::new();
        for (index, part) in self.content.chunks(self.part_size).enumerate() {
            let number = index + 1;
            let query = format!("partNumber={number}&uploadId={id}");
            let length = format!("Content-Length: {}\r\n", part.len());
            let head = self.head("PUT", &path, &query, UNSIGNED, &length);
            let etag = exchange.run(&head, part, Content::Dropped).await?.etag;
            parts.push((number, etag));
        }
        let complete = completion(&parts);
        let length = format!("Content-Length: {}\r\n", complete.len());
        let head =
            self.head("POST", &path, &format!("uploadId={id}"), &sha256_hex(complete.as_bytes()), &length);
        let mut answer = Vec::new();
        exchange.run(&head, complete.as_bytes(), Content::Kept(&mut answer)).await?;
        let answer = String::from_utf8_lossy(&answer);
        if answer.contains("<Error>") {
            return Err(io::Error::other(answer.into_owned()));
        }
        Ok(())
    }

    fn put_head(&self, key: usize, payload: &str) -> Vec<u8> {
        let length = format!("Content-Length: {}\r\n", self.content.len());
        self.object_head("PUT", key, payload, &length)
    }

    fn object_head(&self, method: &str, key: usize, payload: &str, more: &str) -> Vec<u8> {
        self.head(method, &self.path(key), "", payload, &format!("{}{more}", self.customer_key))
    }

    fn path(&self, key: usize) -> String {
        format!("/{}/{}{key:04}", self.bucket, self.prefix)
    }

    fn head(&self, method: &str, path: &str, query: &str, payload: &str, more: &str) -> Vec<u8> {
        self.signer.head(method, self.dialer.address(), path, query, payload, more)
    }
}

/// Bytes without a pattern that anything on the way could profit from (xorshift64).
pub fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(length);
    content
}
