//! The policy of a form: what its signer allows the people who fill it in.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>

use std::fmt;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Form, is_ignored};
use crate::s3::error::{ErrorCode, Result, S3Error};
use crate::s3::name::BucketName;

/// The fields that need no condition: the policy itself, and what is computed from it.
const UNCONDITIONAL: [&str; 4] = ["awsaccesskeyid", "policy", "signature", "x-amz-signature"];

/// A policy that was read, and not yet compared with anything.
#[derive(Debug, PartialEq)]
pub struct PostPolicy {
    expiration: OffsetDateTime,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// The field, in lower case, has this value.
    Equals(String, String),
    /// The field, in lower case, has a value that begins so.
    StartsWith(String, String),
    /// The file's length in bytes, both ends included.
    ContentLength(u64, u64),
}

/// How long the file may be; in plaintext bytes, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentLengthRange {
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl ContentLengthRange {
    /// Any length.
    pub const ANY: Self = Self { min: 0, max: u64::MAX };

    /// Checks a file that is not at its end yet.
    ///
    /// # Errors
    /// `EntityTooLarge`.
    pub fn check_so_far(self, length: u64) -> Result<()> {
        if length <= self.max {
            return Ok(());
        }
        let error = S3Error::from(ErrorCode::EntityTooLarge).with("ProposedSize", length.to_string());
        Err(error.with("MaxSizeAllowed", self.max.to_string()))
    }

    /// Checks a file at its end.
    ///
    /// # Errors
    /// `EntityTooLarge`, `EntityTooSmall`.
    pub fn check(self, length: u64) -> Result<()> {
        self.check_so_far(length)?;
        if length >= self.min {
            return Ok(());
        }
        let error = S3Error::from(ErrorCode::EntityTooSmall).with("ProposedSize", length.to_string());
        Err(error.with("MinSizeAllowed", self.min.to_string()))
    }
}

impl PostPolicy {
    /// Reads the policy field: base64 of a JSON document.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`, with what is wrong.
    pub fn parse(base64: &str) -> Result<Self> {
        // A form may wrap a long value; the signature covers it as sent.
        let packed: String = base64.split(['\r', '\n']).collect();
        let json = STANDARD.decode(packed).map_err(|_| invalid("it is not base64"))?;
        let document: Document = serde_json::from_slice(&json).map_err(invalid)?;
        let expiration = expiration(&document.expiration)?;
        let conditions = document.conditions.into_iter().flat_map(|Entry(conditions)| conditions).collect();
        Ok(Self { expiration, conditions })
    }

    /// Compares a form with the policy, and returns the condition on the file's length.
    ///
    /// # Errors
    /// `AccessDenied` when the policy has expired, when a condition is not met, and when a field has no
    /// condition (the bucket, which is no field of its own, included).
    pub fn check(&self, form: &Form, bucket: &BucketName, now: SystemTime) -> Result<ContentLengthRange> {
        if OffsetDateTime::from(now) >= self.expiration {
            return Err(violated("Policy expired."));
        }
        if form.field("bucket").is_some_and(|named| named != bucket.as_str()) {
            return Err(violated("The form's bucket is not the one it was sent to."));
        }
        let mut range = ContentLengthRange::ANY;
        for condition in &self.conditions {
            let met = match condition {
                Condition::ContentLength(min, max) => {
                    range = ContentLengthRange { min: range.min.max(*min), max: range.max.min(*max) };
                    continue;
                }
                Condition::Equals(name, expected) => value(form, bucket, name) == Some(expected),
                Condition::StartsWith(name, start) => {
                    value(form, bucket, name).is_some_and(|value| begins(name, value, start))
                }
            };
            if !met {
                return Err(violated(format_args!("Policy Condition failed: {condition}")));
            }
        }
        let conditional = |name: &str| {
            self.conditions.iter().any(|condition| match condition {
                Condition::Equals(covered, _) | Condition::StartsWith(covered, _) => covered == name,
                Condition::ContentLength(..) => false,
            })
        };
        let names = form.iter().map(|(name, _)| name).chain(["bucket"]);
        let extra: Vec<&str> = names
            .filter(|name| !UNCONDITIONAL.contains(name) && !is_ignored(name) && !conditional(name))
            .collect();
        if extra.is_empty() {
            return Ok(range);
        }
        Err(violated(format_args!("Extra input fields: {}", extra.join(", "))))
    }
}

/// `2030-01-01T00:00:00Z`, with or without a fraction of the second. S3 takes the `Z` form alone, no offset.
fn expiration(text: &str) -> Result<OffsetDateTime> {
    let is_utc = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|_| is_utc);
    moment.ok_or_else(|| {
        let message = format!("Invalid Policy: Invalid 'expiration' value: '{text}'");
        S3Error::new(ErrorCode::InvalidPolicyDocument, message)
    })
}

fn value<'a>(form: &'a Form, bucket: &'a BucketName, name: &str) -> Option<&'a str> {
    if name == "bucket" { Some(bucket.as_str()) } else { form.field(name) }
}

/// A Content-Type may be a list, and then each of it has to begin so.
fn begins(name: &str, value: &str, start: &str) -> bool {
    match name {
        "content-type" => value.split(',').all(|one| one.trim_start().starts_with(start)),
        _ => value.starts_with(start),
    }
}

fn invalid(what: impl fmt::Display) -> S3Error {
    S3Error::new(ErrorCode::InvalidPolicyDocument, format!("Invalid Policy: {what}."))
}

fn violated(what: impl fmt::Display) -> S3Error {
    S3Error::new(ErrorCode::AccessDenied, format!("Invalid according to Policy: {what}"))
}

/// As the policy spells it, for the message.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(name, value) => write!(f, "[\"eq\", \"${name}\", \"{value}\"]"),
            Self::StartsWith(name, value) => write!(f, "[\"starts-with\", \"${name}\", \"{value}\"]"),
            Self::ContentLength(min, max) => write!(f, "[\"content-length-range\", {min}, {max}]"),
        }
    }
}

/// serde refuses unknown, missing and repeated members.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    expiration: String,
    conditions: Vec<Entry>,
}

/// One entry of the list: an operator with its two operands, or an object whose members each mean `eq`.
struct Entry(Vec<Condition>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a condition: {\"field\": \"value\"}, or [\"operator\", a, b]")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entry, M::Error> {
        let mut conditions = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            conditions.push(Condition::Equals(name.to_ascii_lowercase(), value));
        }
        if conditions.is_empty() {
            return Err(de::Error::custom("a condition is empty"));
        }
        Ok(Entry(conditions))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Entry, S::Error> {
        let short = || de::Error::custom("a condition has too few members");
        let operator: String = list.next_element()?.ok_or_else(short)?;
        let condition = match operator.to_ascii_lowercase().as_str() {
            "content-length-range" => {
                let min: Number = list.next_element()?.ok_or_else(short)?;
                let max: Number = list.next_element()?.ok_or_else(short)?;
                Condition::ContentLength(min.0, max.0)
            }
            operator @ ("eq" | "starts-with") => {
                let field: String = list.next_element()?.ok_or_else(short)?;
                let value: String = list.next_element()?.ok_or_else(short)?;
                let name = field.strip_prefix('$').ok_or_else(|| {
                    de::Error::custom(format_args!(
                        "the field {field:?} of a condition does not begin with $"
                    ))
                })?;
                let name = name.to_ascii_lowercase();
                match operator {
                    "eq" => Condition::Equals(name, value),
                    _ => Condition::StartsWith(name, value),
                }
            }
            _ => return Err(de::Error::custom(format_args!("the operator {operator:?} is unknown"))),
        };
        match list.next_element::<de::IgnoredAny>()? {
            None => Ok(Entry(vec![condition])),
            Some(_) => Err(de::Error::custom("a condition has too many members")),
        }
    }
}

/// A number of bytes; some signers write it as a string.
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(u64),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Number(number) => Ok(Self(number)),
            Spelling::Text(text) => text.parse().map(Self).map_err(de::Error::custom),
        }
    }
}
