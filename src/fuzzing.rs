//! Properties of every parser of foreign bytes: one function for each fuzzing target.
//!
//! It must not know where inputs come from: in `fuzz/` libFuzzer makes them, in the tests of this module a
//! few mutations of the seeds in `fuzz/seeds` do. It promises that a target returns for every input, and
//! panics only where a property does not hold.

mod audit;
mod documents;
mod formats;
mod holders;
mod requests;
mod settings;
#[cfg(test)]
mod tests;

pub use audit::audit_log;
pub use documents::{listing, xml_request, xml_response};
pub use formats::{attributes, cbc, multipart_body, native_body, native_envelope, s3ec, upload_token};
pub use holders::{holders, recovery_key};
pub use requests::{authorization, aws_chunked, dates, form, form_policy, headers, ranges, routing};
pub use settings::{configuration, keyring_file};

/// A fuzzing target: takes any bytes, and panics for a finding.
pub type Target = fn(&[u8]);

/// Every target, by the name of its file in `fuzz/fuzz_targets` and of its folder in `fuzz/seeds`.
pub const TARGETS: &[(&str, Target)] = &[
    ("attributes", attributes),
    ("audit_log", audit_log),
    ("authorization", authorization),
    ("aws_chunked", aws_chunked),
    ("cbc", cbc),
    ("configuration", configuration),
    ("dates", dates),
    ("form", form),
    ("form_policy", form_policy),
    ("headers", headers),
    ("holders", holders),
    ("keyring_file", keyring_file),
    ("listing", listing),
    ("multipart_body", multipart_body),
    ("native_body", native_body),
    ("native_envelope", native_envelope),
    ("ranges", ranges),
    ("recovery_key", recovery_key),
    ("routing", routing),
    ("s3ec", s3ec),
    ("upload_token", upload_token),
    ("xml_request", xml_request),
    ("xml_response", xml_response),
];

/// An input that is taken from the front, as choices and as content.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The next byte, 0 at the end.
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// The next two bytes, big-endian.
    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.number()) % end
    }

    /// The bytes up to the next line feed, without it and without a carriage return before it.
    fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Xorshift: an input determines its run.
struct Random(u64);

impl Random {
    /// Begins at the FNV-1a hash of `seed`.
    fn new(seed: &[u8]) -> Self {
        let hash = seed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("usize has at most 64 bits");
        usize::try_from(self.next() % end).expect("it is below a usize")
    }
}

/// `data`, cut where `data` itself says; some pieces are empty.
fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let mut random = Random::new(data);
    let longest = [2, 16, 1 + data.len()][random.below(3)];
    let (mut pieces, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.below(longest).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Bytes that differ from place to place, chunk to chunk.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| ((index * 31 + index / 251) & 0xff) as u8).collect()
}
