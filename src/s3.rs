//! Names and paths of S3 as the `upstream` room needs them.

use std::fmt::Write;

/// A bucket's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketName(String);

impl BucketName {
    /// Takes the name as it is.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A decoded object key: any UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Takes the key as it is.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The key, decoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// S3's canonical path: every byte but `A-Za-z0-9-_.~/` percent-encoded once, a leading `/`.
pub fn encode_path(bucket: Option<&BucketName>, object: Option<&ObjectKey>) -> String {
    let mut path = String::from("/");
    if let Some(bucket) = bucket {
        path.push_str(bucket.as_str());
        if object.is_some() {
            path.push('/');
        }
    }
    for byte in object.map(ObjectKey::as_str).unwrap_or_default().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                path.push(byte as char)
            }
            _ => write!(path, "%{byte:02X}").expect("a String takes every write"),
        }
    }
    path
}
