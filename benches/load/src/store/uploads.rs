//! Multipart uploads: their parts by number, with content only where it is kept.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::object::{Object, STORED_XML, new_etag};

/// All uploads that were begun and not completed.
#[derive(Default)]
pub(super) struct Uploads {
    open: Mutex<HashMap<String, Upload>>,
    next: AtomicU64,
}

struct Upload {
    metadata: Vec<u8>,
    parts: BTreeMap<u32, Part>,
}

struct Part {
    length: u64,
    etag: String,
    content: Vec<u8>,
}

impl Uploads {
    /// Begins an upload: the answer's document.
    pub(super) fn begin(&self, bucket: &str, key: &str, metadata: &[u8]) -> String {
        let id = format!("upload{:08}", self.next.fetch_add(1, Ordering::Relaxed));
        let upload = Upload { metadata: metadata.to_vec(), parts: BTreeMap::new() };
        self.open().insert(id.clone(), upload);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        )
    }

    /// Takes a part; its ETag.
    pub(super) fn put(&self, id: Option<&str>, number: u32, length: u64, content: Vec<u8>) -> String {
        let etag = new_etag();
        if let Some(upload) = self.open().get_mut(id.unwrap_or_default()) {
            upload.parts.insert(number, Part { length, etag: etag.clone(), content });
        }
        etag
    }

    /// ListParts.
    pub(super) fn list(&self, id: &str, bucket: &str, key: &str) -> String {
        let mut parts = String::new();
        if let Some(upload) = self.open().get(id) {
            for (number, part) in &upload.parts {
                let etag = part.etag.replace('"', "&quot;");
                write!(
                    parts,
                    "<Part><PartNumber>{number}</PartNumber><LastModified>{STORED_XML}</LastModified>\
                     <ETag>{etag}</ETag><Size>{}</Size></Part>",
                    part.length
                )
                .expect("a String takes every write");
            }
        }
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListPartsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>{bucket}</Bucket>\
             <Key>{key}</Key><UploadId>{id}</UploadId><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>"
        )
    }

    /// All parts as one object; `None` if there is no such upload.
    pub(super) fn complete(&self, id: &str) -> Option<Object> {
        let upload = self.open().remove(id)?;
        let etag = format!("{}-{}\"", new_etag().trim_end_matches('"'), upload.parts.len());
        let content = upload.parts.into_values().map(|part| part.content).collect::<Vec<_>>().concat();
        Some(Object::with_etag(content, &upload.metadata, etag))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
