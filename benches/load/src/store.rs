//! A store that is nothing but fast: S3's requests from memory, without a check of anything.
//!
//! Objects whose key begins with `swallow` are read and dropped. In buckets whose name begins with `faulty`,
//! a share of the requests is cut off in the middle, as an overloaded store does it.

mod counts;
mod listing;
mod object;
mod request;
mod uploads;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use self::counts::Counts;
use self::object::Object;
use self::request::{Request, Target};
use self::uploads::Uploads;
use crate::http::{Framing, Wire};
use crate::tls::Stream;

/// Where the numbers of the store itself are asked for.
const COUNTS: &str = "/-/counts";
/// Sets how many of a million requests to faulty buckets are cut: `/-/faults?100`.
const FAULTS: &str = "/-/faults";

/// Everything that is stored.
#[derive(Default)]
pub struct Store {
    /// By bucket and key, both as they stand in the path.
    buckets: RwLock<HashMap<String, BTreeMap<String, Arc<Object>>>>,
    /// Listings that were written before, by path and query; emptied when an object comes or goes.
    listings: RwLock<HashMap<String, Arc<Vec<u8>>>>,
    uploads: Uploads,
    counts: Counts,
    faults_per_million: AtomicU64,
    dice: AtomicU64,
}

impl Store {
    /// Serves until the future is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            let (store, tls) = (Arc::clone(&self), tls.clone());
            // A connection's end is the other side's business.
            tokio::spawn(async move { drop(store.connection(stream, tls).await) });
        }
    }

    async fn connection(&self, stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
        let mut wire = Wire::new(match tls {
            None => Stream::Plain(stream),
            Some(acceptor) => Stream::Tls(Box::new(acceptor.accept(stream).await?.into())),
        })?;
        while let Some(request) = wire.request(Request::parse).await? {
            if request.expects_continue {
                wire.write(b"HTTP/1.1 100 Continue\r\n\r\n", b"").await?;
            }
            if request.path == COUNTS {
                let counts = self.counts.to_json();
                wire.write(&plain(200, counts.len()), counts.as_bytes()).await?;
                continue;
            }
            if request.path == FAULTS {
                self.faults_per_million.store(request.query.parse().unwrap_or(0), Ordering::Relaxed);
                wire.write(&plain(200, 0), b"").await?;
                continue;
            }
            self.counts.request(request.operation());
            if self.falls_ill(&request) {
                return self.break_off(wire, &request).await;
            }
            self.answer(&mut wire, request).await?;
        }
        Ok(())
    }

    async fn answer(&self, wire: &mut Wire, request: Request) -> io::Result<()> {
        match (request.method.as_str(), request.target()) {
            ("GET", Target::Object(bucket, key)) if request.parameter("uploadId").is_none() => {
                match self.object(bucket, key) {
                    Some(object) => self.give(wire, &object, &request, true).await,
                    None => refuse(wire, 404, "NoSuchKey").await,
                }
            }
            ("HEAD", Target::Object(bucket, key)) => match self.object(bucket, key) {
                Some(object) => self.give(wire, &object, &request, false).await,
                None => wire.write(&plain(404, 0), b"").await,
            },
            ("PUT", Target::Object(bucket, key)) => self.put(wire, &request, bucket, key).await,
            ("DELETE", Target::Object(bucket, key)) => {
                self.buckets_mut().get_mut(bucket).and_then(|objects| objects.remove(key));
                self.listings_mut().clear();
                wire.write(&plain(204, 0), b"").await
            }
            ("GET" | "POST", Target::Object(bucket, key)) => self.upload(wire, &request, bucket, key).await,
            ("GET", Target::Bucket(bucket)) => {
                let listing = self.listing(bucket, &request);
                self.counts.out(listing.len() as u64);
                wire.write(&xml(listing.len()), &listing).await
            }
            _ => {
                wire.body(request.framing(), |_| {}).await?;
                wire.write(&plain(200, 0), b"").await
            }
        }
    }

    /// Content out of an object: all, or the range that was asked for.
    async fn give(&self, wire: &mut Wire, object: &Object, request: &Request, body: bool) -> io::Result<()> {
        let (head, content) = object.answer(request.range);
        let content = if body { content } else { &[] };
        self.counts.out(content.len() as u64);
        wire.write(&head, content).await
    }

    async fn put(&self, wire: &mut Wire, request: &Request, bucket: &str, key: &str) -> io::Result<()> {
        let part = request.parameter("partNumber").and_then(|number| number.parse::<u32>().ok());
        let keeps = !key.starts_with("swallow");
        let mut content = Vec::new();
        if keeps {
            content.reserve_exact(usize::try_from(request.length).unwrap_or(0));
        }
        let read = wire.body(request.framing(), |piece| {
            if keeps {
                content.extend_from_slice(piece)
            }
        });
        let read = read.await?;
        self.counts.come(read);
        if request.is_aws_chunked && keeps {
            content = object::unframed(&content)?;
        }
        let length = request.decoded_length.unwrap_or(read);
        let etag = match part {
            Some(number) => self.uploads.put(request.parameter("uploadId"), number, length, content),
            None => {
                let object = Object::new(content, &request.metadata);
                let etag = object.etag.clone();
                if keeps {
                    let mut buckets = self.buckets_mut();
                    buckets.entry(bucket.to_owned()).or_default().insert(key.to_owned(), Arc::new(object));
                    drop(buckets);
                    self.listings_mut().clear();
                }
                etag
            }
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nETag: {etag}\r\nx-amz-request-id: BENCH\r\nContent-Length: 0\r\n\r\n"
        );
        wire.write(head.as_bytes(), b"").await
    }

    /// The requests of a multipart upload but for its parts.
    async fn upload(&self, wire: &mut Wire, request: &Request, bucket: &str, key: &str) -> io::Result<()> {
        let mut document = Vec::new();
        wire.body(request.framing(), |piece| document.extend_from_slice(piece)).await?;
        let answer = match request.parameter("uploadId") {
            None => self.uploads.begin(bucket, key, &request.metadata),
            Some(id) if request.method == "GET" => self.uploads.list(id, bucket, key),
            Some(id) => match self.uploads.complete(id) {
                Some(object) => {
                    let etag = object.etag.replace('"', "&quot;");
                    if !key.starts_with("swallow") {
                        let mut buckets = self.buckets_mut();
                        let objects = buckets.entry(bucket.to_owned()).or_default();
                        objects.insert(key.to_owned(), Arc::new(object));
                        drop(buckets);
                        self.listings_mut().clear();
                    }
                    format!(
                        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult>\
                         <Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>{etag}</ETag>\
                         </CompleteMultipartUploadResult>"
                    )
                }
                None => return refuse(wire, 404, "NoSuchUpload").await,
            },
        };
        wire.write(&xml(answer.len()), answer.as_bytes()).await
    }

    fn listing(&self, bucket: &str, request: &Request) -> Arc<Vec<u8>> {
        let name = format!("{}?{}", request.path, request.query);
        let known = self.listings.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        known.unwrap_or_else(|| {
            let buckets = self.buckets();
            let none = BTreeMap::new();
            let document = Arc::new(listing::write(bucket, buckets.get(bucket).unwrap_or(&none), request));
            drop(buckets);
            self.listings_mut().insert(name, Arc::clone(&document));
            document
        })
    }

    /// Whether this request is one of those that are cut.
    fn falls_ill(&self, request: &Request) -> bool {
        let share = self.faults_per_million.load(Ordering::Relaxed);
        if share == 0 || !request.path.starts_with("/faulty") {
            return false;
        }
        // Knuth's multiplicative hash of a counter: evenly spread and reproducible.
        let thrown = self.dice.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        thrown % 1_000_000 < share
    }

    /// Half an answer, or half of the body read, and a reset.
    async fn break_off(&self, mut wire: Wire, request: &Request) -> io::Result<()> {
        self.counts.request("cut");
        match (request.method.as_str(), request.target()) {
            ("GET", Target::Object(bucket, key)) => {
                if let Some(object) = self.object(bucket, key) {
                    let (head, content) = object.answer(request.range);
                    wire.write(&head, &content[..content.len() / 2]).await?;
                }
            }
            _ => {
                wire.body(Framing::Length(request.length / 2), |_| {}).await?;
            }
        }
        wire.reset();
        Ok(())
    }

    fn object(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.buckets().get(bucket)?.get(key).cloned()
    }

    fn buckets(&self) -> RwLockReadGuard<'_, HashMap<String, BTreeMap<String, Arc<Object>>>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn buckets_mut(&self) -> RwLockWriteGuard<'_, HashMap<String, BTreeMap<String, Arc<Object>>>> {
        self.buckets.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn listings_mut(&self) -> RwLockWriteGuard<'_, HashMap<String, Arc<Vec<u8>>>> {
        self.listings.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plain(status: u16, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nx-amz-request-id: BENCH\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

fn xml(length: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nx-amz-request-id: BENCH\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

async fn refuse(wire: &mut Wire, status: u16, code: &str) -> io::Result<()> {
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
        document.len()
    );
    wire.write(head.as_bytes(), document.as_bytes()).await
}
