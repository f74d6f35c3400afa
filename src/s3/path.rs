//! What a request is about: the account, a bucket, or an object; read from the wire and written back to it.

use std::borrow::Cow;

use super::error::{ErrorCode, S3Error};
use super::name::{BucketName, ObjectKey};
use crate::wire::percent::{self, InvalidEncoding, Plus};

/// The resource of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum S3Path {
    /// `/`: the account and its buckets.
    Root,
    /// A bucket.
    Bucket(BucketName),
    /// An object, existing or not.
    Object(BucketName, ObjectKey),
}

impl S3Path {
    /// Reads a path as it came over the wire (percent-encoded, with its leading `/`) together with the Host.
    ///
    /// A host of the form `bucket.domain`, for one of `domains`, names the bucket (virtual-hosted style);
    /// every other host, and a domain by itself, leaves it to the path (path style).
    ///
    /// # Errors
    /// As [`Self::in_namespace`].
    pub fn parse(raw_path: &str, host: Option<&str>, domains: &[impl AsRef<str>]) -> Result<Self, S3Error> {
        let bucket = host.and_then(|host| virtual_host_bucket(host, domains));
        Self::in_namespace(bucket.as_deref(), raw_path)
    }

    /// Reads a path as it came over the wire, below the bucket that the host names (`None`: the path names
    /// it). The key is kept byte for byte: no segment is normalised, no slash merged.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>
    ///
    /// # Errors
    /// `InvalidURI` for a bad escape, bytes that are not UTF-8 and a path without leading `/`;
    /// `InvalidBucketName`; `KeyTooLongError`.
    pub fn in_namespace(virtual_host_bucket: Option<&str>, raw_path: &str) -> Result<Self, S3Error> {
        let path = match raw_path {
            "" => "",
            path => path.strip_prefix('/').ok_or(ErrorCode::InvalidURI)?,
        };
        if let Some(bucket) = virtual_host_bucket {
            return Self::in_bucket(BucketName::parse(bucket)?, path);
        }
        if path.is_empty() {
            return Ok(Self::Root);
        }
        let (bucket, object) = path.split_once('/').unwrap_or((path, ""));
        Self::in_bucket(BucketName::parse(decoded(bucket)?)?, object)
    }

    fn in_bucket(bucket: BucketName, raw_object: &str) -> Result<Self, S3Error> {
        if raw_object.is_empty() {
            return Ok(Self::Bucket(bucket));
        }
        Ok(Self::Object(bucket, ObjectKey::parse(decoded(raw_object)?)?))
    }

    /// The bucket, if the resource is one or lies in one.
    #[must_use]
    pub fn bucket(&self) -> Option<&BucketName> {
        match self {
            Self::Root => None,
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }

    /// The object, if the resource is one.
    #[must_use]
    pub fn object(&self) -> Option<&ObjectKey> {
        match self {
            Self::Root | Self::Bucket(_) => None,
            Self::Object(_, object) => Some(object),
        }
    }
}

/// A piece of a path without its escapes.
fn decoded(raw: &str) -> Result<Cow<'_, str>, InvalidEncoding> {
    if raw.contains('%') {
        percent::decode_strict(raw, Plus::Literal).map(Cow::Owned)
    } else {
        Ok(Cow::Borrowed(raw))
    }
}

/// The `bucket` of a Host `bucket.domain`, in lower case since a host has none; the longest domain wins.
#[must_use]
pub fn virtual_host_bucket(host: &str, domains: &[impl AsRef<str>]) -> Option<String> {
    if domains.is_empty() {
        return None;
    }
    let host = without_port(host);
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    domains
        .iter()
        .map(|domain| domain.as_ref().trim_matches('.'))
        .filter_map(|domain| {
            let before = host.strip_suffix(&domain.to_ascii_lowercase())?;
            // The whole domain is the shortest "bucket": it says path style, even where a shorter domain
            // matches too.
            if before.is_empty() { Some("") } else { before.strip_suffix('.') }
        })
        .min_by_key(|bucket| bucket.len())
        .filter(|bucket| !bucket.is_empty())
        .map(str::to_owned)
}

/// `[::1]:8333` is an IPv6 literal, whose own colons are no port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') && port.bytes().all(|digit| digit.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

/// Writes a resource in S3's canonical URI encoding: unreserved characters and `/` kept, everything else
/// `%XX`.
///
/// `None` for the bucket is for virtual-hosted style, where the host names it.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
#[must_use]
pub fn encode_path(bucket: Option<&BucketName>, object: Option<&ObjectKey>) -> String {
    // Exactly the length of most paths: without escapes.
    let (bucket_length, key_length) = (
        bucket.map_or(0, |bucket| bucket.as_str().len()),
        object.map_or(0, |object| object.as_str().len() + 1),
    );
    let mut path = String::with_capacity((bucket_length + key_length + usize::from(bucket.is_some())).max(1));
    path.push('/');
    if let Some(bucket) = bucket {
        percent::push_path(&mut path, bucket.as_str());
    }
    if let Some(object) = object {
        if bucket.is_some() {
            path.push('/');
        }
        percent::push_path(&mut path, object.as_str());
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_DOMAIN: [&str; 0] = [];

    fn bucket(name: &str) -> S3Path {
        S3Path::Bucket(BucketName::parse(name).unwrap())
    }

    fn object(bucket: &str, object: &str) -> S3Path {
        S3Path::Object(BucketName::parse(bucket).unwrap(), ObjectKey::parse(object).unwrap())
    }

    #[test]
    fn path_style() {
        for (raw, expected) in [
            ("/", S3Path::Root),
            ("", S3Path::Root),
            ("/b", bucket("b")),
            ("/b/", bucket("b")),
            ("/my%2Ebucket", bucket("my.bucket")),
            ("/b/k", object("b", "k")),
            ("/b/a/b/c", object("b", "a/b/c")),
            ("/b/dir/", object("b", "dir/")),
            ("/b//", object("b", "/")),
            ("/b//k", object("b", "/k")),
            ("/b/a//b", object("b", "a//b")),
            ("/b/../c", object("b", "../c")),
            ("/b/./c/.", object("b", "./c/.")),
            ("/b/..", object("b", "..")),
            ("/b/a+b", object("b", "a+b")),
            ("/b/a%2Bb", object("b", "a+b")),
            ("/b/a%20b", object("b", "a b")),
            ("/b/a%2525", object("b", "a%25")),
            ("/b/a%2Fb", object("b", "a/b")),
            ("/b/%2F", object("b", "/")),
            ("/b/%00%01%7f", object("b", "\0\u{1}\u{7f}")),
            ("/b/'%22%3C%3E%26", object("b", "'\"<>&")),
            ("/b/%F0%9F%A6%80", object("b", "🦀")),
            ("/b/a;b=c:d@e", object("b", "a;b=c:d@e")),
        ] {
            assert_eq!(S3Path::parse(raw, Some("127.0.0.1:8333"), &NO_DOMAIN).unwrap(), expected, "{raw}");
        }
    }

    #[test]
    fn what_is_no_path() {
        let long = format!("/b/{}", "k".repeat(1025));
        for (raw, code) in [
            ("*", ErrorCode::InvalidURI),
            ("b/k", ErrorCode::InvalidURI),
            ("/b/%", ErrorCode::InvalidURI),
            ("/b/%4", ErrorCode::InvalidURI),
            ("/b/%GG", ErrorCode::InvalidURI),
            ("/b/%ff", ErrorCode::InvalidURI),
            ("/%ff/k", ErrorCode::InvalidURI),
            ("//k", ErrorCode::InvalidBucketName),
            ("/a%2Fb/k", ErrorCode::InvalidBucketName),
            ("/../k", ErrorCode::InvalidBucketName),
            ("/%2e%2e/k", ErrorCode::InvalidBucketName),
            ("/a%0Ab", ErrorCode::InvalidBucketName),
            ("/127.0.0.2:/latest/meta-data/", ErrorCode::InvalidBucketName),
            ("/127.0.0.2%3A80/x", ErrorCode::InvalidBucketName),
            ("/team-x@other-secret/k", ErrorCode::InvalidBucketName),
            ("/team-x%40other-secret/k", ErrorCode::InvalidBucketName),
            ("/a%20b/k", ErrorCode::InvalidBucketName),
            ("/_localstack/health", ErrorCode::InvalidBucketName),
            ("/.minio.sys/config", ErrorCode::InvalidBucketName),
            (long.as_str(), ErrorCode::KeyTooLongError),
        ] {
            assert_eq!(S3Path::parse(raw, None, &NO_DOMAIN).unwrap_err().code, code, "{raw}");
        }
    }

    #[test]
    fn virtual_hosted_style() {
        let domains = ["s3.example.com", "example.com", "localhost"];
        for (host, raw, expected) in [
            ("photos.s3.example.com", "/", bucket("photos")),
            ("photos.s3.example.com", "/k", object("photos", "k")),
            ("photos.s3.example.com:8333", "/a/b", object("photos", "a/b")),
            ("my.dotted.bucket.s3.example.com", "/k", object("my.dotted.bucket", "k")),
            ("Photos.S3.Example.COM", "/K", object("photos", "K")),
            ("photos.s3.example.com.", "/k", object("photos", "k")),
            ("photos.localhost:8333", "//k", object("photos", "/k")),
            ("photos.example.com", "/k", object("photos", "k")),
            // The domain itself, an address, another name: path style.
            ("s3.example.com", "/b/k", object("b", "k")),
            ("example.com", "/b/k", object("b", "k")),
            ("localhost:8333", "/", S3Path::Root),
            ("127.0.0.1:8333", "/b/k", object("b", "k")),
            ("[::1]:8333", "/b/k", object("b", "k")),
            ("[::1]", "/b/k", object("b", "k")),
            ("evils3.example.org", "/b/k", object("b", "k")),
            ("notlocalhost", "/b/k", object("b", "k")),
        ] {
            assert_eq!(S3Path::parse(raw, Some(host), &domains).unwrap(), expected, "{host} {raw}");
        }
        let nobody = S3Path::parse("/k", Some(".s3.example.com"), &["s3.example.com"]).unwrap();
        assert_eq!(nobody, bucket("k"));
    }

    #[test]
    fn writes_the_canonical_form() {
        let name = BucketName::parse("b").unwrap();
        let odd = ObjectKey::parse("/a b+c%25/é//'*\u{1}~").unwrap();
        assert_eq!(encode_path(None, None), "/");
        assert_eq!(encode_path(Some(&name), None), "/b");
        assert_eq!(encode_path(Some(&name), Some(&odd)), "/b//a%20b%2Bc%2525/%C3%A9//%27%2A%01~");
        assert_eq!(encode_path(None, Some(&odd)), "//a%20b%2Bc%2525/%C3%A9//%27%2A%01~");
    }

    proptest! {
        #[test]
        fn any_key_survives_the_wire(name in "[a-z][a-z0-9.-]{2,62}", text in "\\PC{1,200}|[\\x00-\\x7f]{1,200}") {
            let bucket = BucketName::parse(name).unwrap();
            let object = ObjectKey::parse(text).unwrap();
            let path_style = encode_path(Some(&bucket), Some(&object));
            let expected = S3Path::Object(bucket.clone(), object.clone());
            prop_assert_eq!(S3Path::parse(&path_style, None, &NO_DOMAIN).unwrap(), expected.clone());

            let host = format!("{bucket}.s3.test:80");
            let virtual_hosted = encode_path(None, Some(&object));
            prop_assert_eq!(S3Path::parse(&virtual_hosted, Some(&host), &["s3.test"]).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_a_path_or_an_error(raw in "/[%/a-f0-9+.]{0,60}") {
            if let Ok(S3Path::Object(bucket, object)) = S3Path::parse(&raw, None, &NO_DOMAIN) {
                let again = encode_path(Some(&bucket), Some(&object));
                prop_assert_eq!(S3Path::parse(&again, None, &NO_DOMAIN).unwrap(), S3Path::Object(bucket, object));
            }
        }
    }
}
