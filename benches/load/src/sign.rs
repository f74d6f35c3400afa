//! Signature Version 4 in the header, for the few shapes of request that the benchmark sends.

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use time::OffsetDateTime;
use time::macros::format_description;

/// The payload word of bodies that are not hashed.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Signs for one client, one day, one region.
pub struct Signer {
    access_key_id: String,
    scope: String,
    date_time: String,
    key: hmac::Key,
}

impl Signer {
    /// Signs as of now; good for the 15 minutes that servers allow.
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        let date_time = now
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .expect("the format has nothing that can be missing");
        let date = &date_time[..8];
        let mut key = format!("AWS4{secret_access_key}").into_bytes();
        for step in [date, "us-east-1", "s3", "aws4_request"] {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes()).as_ref().to_vec();
        }
        Self {
            access_key_id: access_key_id.to_owned(),
            scope: format!("{date}/us-east-1/s3/aws4_request"),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            date_time,
        }
    }

    /// The head of a signed request. `path` is percent-encoded, `query` canonical (encoded and sorted),
    /// `payload` the value of `x-amz-content-sha256`; of the header lines in `more`, those with a lowercase
    /// name of S3's (`x-amz-...`) and `content-encoding` are signed.
    pub fn head(
        &self,
        method: &str,
        host: &str,
        path: &str,
        query: &str,
        payload: &str,
        more: &str,
    ) -> Vec<u8> {
        let mut signed =
            vec![("host", host), ("x-amz-content-sha256", payload), ("x-amz-date", &*self.date_time)];
        let is_signed = |name: &str| name.starts_with("x-amz-") || name == "content-encoding";
        let lines = more.lines().filter_map(|line| line.split_once(": "));
        signed.extend(lines.filter(|(name, _)| is_signed(name)));
        signed.sort_unstable();
        let fields: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let canonical = format!("{method}\n{path}\n{query}\n{fields}\n{names}\n{payload}");
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.date_time,
            self.scope,
            sha256_hex(canonical.as_bytes())
        );
        let signature = hex(hmac::sign(&self.key, to_sign.as_bytes()).as_ref());
        let separator = if query.is_empty() { "" } else { "?" };
        format!(
            "{method} {path}{separator}{query} HTTP/1.1\r\nHost: {host}\r\nx-amz-date: {}\r\n\
             x-amz-content-sha256: {payload}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={}/{}, \
             SignedHeaders={names}, Signature={signature}\r\n{more}\r\n",
            self.date_time, self.access_key_id, self.scope
        )
        .into_bytes()
    }
}

/// SHA-256 in hexadecimal, as the payload word wants it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text
}
