//! The chain: each line holds its number and the SHA-256 of the line before it, and a checkpoint signs all
//! lines before it (docs/AUDIT.md). It must not know files or time. It promises that a line is read only in
//! the form in which it is written.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::signing_key::{PublicKey, SigningKey};
use crate::wire::hex;

/// SHA-256 of a line, without its line break.
pub(super) type Hash = [u8; 32];

/// What a signature begins with, so that it can't be taken for one of something else.
const SIGNED: &[u8] = b"s3veil-audit-1\n";

/// The field after all that a checkpoint signs.
const SIGNATURE: &[u8] = b",\"signature\":\"";

/// A line of the chain: its number, and the hash of its text. Written as `NUMBER:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The number, from 1.
    pub sequence: u64,
    /// SHA-256 of the line.
    pub hash: [u8; 32],
}

/// The text is no [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write SEQUENCE:HASH as a checkpoint in the log has it, the hash in 64 hexadecimal digits")]
pub struct InvalidPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, hex::encode(&self.hash))
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (sequence, hash) = text.split_once(':').ok_or(InvalidPosition)?;
        let sequence = sequence.parse().map_err(|_| InvalidPosition)?;
        Ok(Self { sequence, hash: hex::decode(hash).ok_or(InvalidPosition)? })
    }
}

impl Position {
    /// The position before the first line.
    pub(super) const ORIGIN: Self = Self { sequence: 0, hash: [0; 32] };

    /// Appends the next line to `out`: `body` is the line from its type on, as [`super::entry`] formats it,
    /// without a line break. Returns the position of the new line.
    #[must_use]
    pub(super) fn seal(self, body: &[u8], out: &mut Vec<u8>) -> Self {
        let begin = self.push_head(out);
        out.extend_from_slice(body);
        self.end_line(begin, out)
    }

    /// Appends a checkpoint to `out`, signed if there is a key.
    #[must_use]
    pub(super) fn seal_checkpoint(self, body: &[u8], key: Option<&SigningKey>, out: &mut Vec<u8>) -> Self {
        let begin = self.push_head(out);
        let open = body.strip_suffix(b"}").expect("a body is a JSON object");
        out.extend_from_slice(open);
        if let Some(key) = key {
            out.extend_from_slice(format!(",\"key\":\"{}\"", key.public_key().name()).as_bytes());
            let signature = key.sign(&[SIGNED, &out[begin..]].concat());
            out.extend_from_slice(SIGNATURE);
            out.extend_from_slice(signature.as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
        self.end_line(begin, out)
    }

    fn push_head(self, out: &mut Vec<u8>) -> usize {
        let begin = out.len();
        out.extend_from_slice(b"{\"seq\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.sequence + 1).as_bytes());
        out.extend_from_slice(b",\"prev\":\"");
        out.extend_from_slice(hex::encode_array(&self.hash).as_flattened());
        out.extend_from_slice(b"\",");
        begin
    }

    fn end_line(self, begin: usize, out: &mut Vec<u8>) -> Self {
        let hash = hash(&out[begin..]);
        out.push(b'\n');
        Self { sequence: self.sequence + 1, hash }
    }
}

pub(super) fn hash(line: &[u8]) -> Hash {
    digest(&SHA256, line).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// A line that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    text: &'a [u8],
    /// Its number.
    pub(super) sequence: u64,
    /// The hash of the line before it, as it says.
    pub(super) previous: Hash,
    /// Its `type`.
    pub(super) kind: &'a str,
    /// Its `ts`, RFC 3339.
    pub(super) time: &'a str,
}

/// The fields of lines about the file itself.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Remarks {
    /// The hashes of the cut lines before this one, which are no part of the chain.
    #[serde(default)]
    pub(super) torn: Vec<String>,
    /// Why there is a checkpoint.
    #[serde(default)]
    pub(super) reason: String,
    /// Whether this file follows one whose last lines are not known.
    #[serde(default)]
    pub(super) after_kill: bool,
}

/// What the signature of a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// The checkpoint has none.
    Missing,
    /// It was made with another key.
    UnknownKey,
    /// The line is not the one that was signed.
    Invalid,
    /// It is one of the keys' for this line.
    Valid,
}

impl<'a> Line<'a> {
    /// Reads a line without its line break; `None` for anything that is not written by [`Position::seal`].
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<IgnoredAny>(text).ok()?;
        let whole = std::str::from_utf8(text).ok()?;
        let (sequence, rest) = whole.strip_prefix("{\"seq\":")?.split_once(",\"prev\":\"")?;
        let (previous, rest) = rest.split_once("\",\"type\":\"")?;
        let (kind, rest) = rest.split_once("\",\"ts\":\"")?;
        let (time, _) = rest.split_once('"')?;
        let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_canonical =
            !sequence.starts_with(['0', '+']) && previous.bytes().all(|byte| !byte.is_ascii_uppercase());
        if !is_kind || !is_canonical {
            return None;
        }
        let (sequence, previous) = (sequence.parse().ok()?, hex::decode(previous)?);
        Some(Self { text, sequence, previous, kind, time })
    }

    /// The position of the line.
    pub(super) fn position(&self) -> Position {
        Position { sequence: self.sequence, hash: hash(self.text) }
    }

    /// The fields of a line about the file itself; none for a line of a request.
    pub(super) fn remarks(&self) -> Remarks {
        if self.kind == "request" {
            return Remarks::default();
        }
        serde_json::from_slice(self.text).unwrap_or_default()
    }

    /// Verifies the signature of a checkpoint.
    pub(super) fn verify(&self, keys: &[PublicKey]) -> Signature {
        let Some(at) = self.text.windows(SIGNATURE.len()).rposition(|window| window == SIGNATURE) else {
            return Signature::Missing;
        };
        let (signed, rest) = self.text.split_at(at);
        let signature = rest[SIGNATURE.len()..].strip_suffix(b"\"}");
        let signature =
            signature.and_then(|signature| std::str::from_utf8(signature).ok()).unwrap_or_default();
        let named = |key: &PublicKey| signed.ends_with(format!(",\"key\":\"{}\"", key.name()).as_bytes());
        let Some(key) = keys.iter().find(|key| named(key)) else { return Signature::UnknownKey };
        if key.verifies(&[SIGNED, signed].concat(), signature) {
            Signature::Valid
        } else {
            Signature::Invalid
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#""type":"request","ts":"2026-01-31T12:00:00.000000Z","client":"c"}"#;

    #[test]
    fn lines_are_chained_by_number_and_hash() {
        let mut out = Vec::new();
        let first = Position::ORIGIN.seal(BODY, &mut out);
        let second = first.seal(BODY, &mut out);
        let lines: Vec<_> = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let read: Vec<_> = lines.iter().map(|line| Line::parse(line).expect("a line")).collect();
        assert_eq!((read[0].position(), read[1].position()), (first, second));
        assert_eq!((read[0].sequence, read[0].previous), (1, [0; 32]));
        assert_eq!((read[1].sequence, read[1].previous), (2, hash(lines[0])));
        assert_eq!((read[0].kind, read[0].time), ("request", "2026-01-31T12:00:00.000000Z"));
        assert_eq!(second.to_string().parse(), Ok(second));
        for bad in ["", "1", "1:", "x:00", &format!("{second}0"), &format!("-{second}")] {
            assert_eq!(bad.parse::<Position>(), Err(InvalidPosition), "{bad}");
        }
    }

    #[test]
    fn a_line_has_one_form() {
        let mut out = Vec::new();
        let _ = Position::ORIGIN.seal(BODY, &mut out);
        let line = std::str::from_utf8(&out).unwrap().trim_end();
        assert!(Line::parse(line.as_bytes()).is_some());
        for bad in [
            &line[1..],
            &line[..line.len() - 1],
            &line.replace("\"seq\":1", "\"seq\":01"),
            &line.replace("\"seq\":1", "\"seq\": 1"),
            &line.replace("\"type\"", " \"type\""),
            &line.replace("request", ""),
            &line.replace("000", "0A0"),
            &format!("{line}{line}"),
            &format!("{line},"),
        ] {
            assert_eq!(Line::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_checkpoint_signs_all_of_its_line() {
        let (key, _) = SigningKey::generate().unwrap();
        let keys = [key.public_key()];
        let body = br#""type":"checkpoint","ts":"2026-01-31T12:00:00.000000Z","reason":"minute"}"#;
        let mut out = Vec::new();
        let _ = Position::ORIGIN.seal_checkpoint(body, Some(&key), &mut out);
        let line = std::str::from_utf8(&out).unwrap().trim_end();
        let verified =
            |line: &str, keys: &[PublicKey]| Line::parse(line.as_bytes()).expect("a line").verify(keys);
        assert_eq!(verified(line, &keys), Signature::Valid);
        assert_eq!(verified(&line.replace("minute", "end"), &keys), Signature::Invalid);
        assert_eq!(verified(&line.replace("\"seq\":1", "\"seq\":2"), &keys), Signature::Invalid);
        assert_eq!(verified(&line.replace("\"}", "\",\"more\":1}"), &keys), Signature::Invalid);
        let (other, _) = SigningKey::generate().unwrap();
        assert_eq!(verified(line, &[other.public_key()]), Signature::UnknownKey);
        let mut out = Vec::new();
        let _ = Position::ORIGIN.seal_checkpoint(body, None, &mut out);
        let line = Line::parse(out.trim_ascii_end()).expect("a line");
        assert_eq!((line.verify(&keys), line.remarks().reason.as_str()), (Signature::Missing, "minute"));
    }
}
