//! Which formats a bucket's objects may have, and how the foreign ones are treated.

use std::collections::BTreeMap;

use crate::envelope::article_cbc;

/// The format of new objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFormat {
    /// `native`: 64 KiB chunks, each authenticated.
    Native,
    /// `cbc`: the seed article's.
    Cbc,
    /// `s3ec-v2`: the S3 Encryption Client's, without a key commitment.
    S3ecV2,
    /// `s3ec-v3`: the S3 Encryption Client's, with a key commitment.
    S3ecV3,
}

/// A kind of object that may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFormat {
    /// `native`
    Native,
    /// `cbc`
    Cbc,
    /// `s3ec`: V2 and V3.
    S3ec,
    /// `plaintext`: not encrypted at all.
    Plaintext,
}

/// What becomes of multipart uploads where objects are written in a format that has no parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Multipart {
    /// They are refused.
    Refuse,
    /// Their objects are native ones.
    Native,
}

/// What becomes of messages that do not fit the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Large {
    /// They are refused.
    Refuse,
    /// They are released as they come, and the connection is cut at their end if they are not authentic.
    Stream,
}

/// How a range of a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// The whole message is verified, and the range cut out of it.
    Verify,
    /// The range alone is read, and nothing authenticates it.
    Unauthenticated,
}

/// How the seed article's objects are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CbcRules {
    /// What fills the last block.
    pub padding: article_cbc::Padding,
    /// What becomes of multipart uploads.
    pub multipart: Multipart,
}

/// How the S3 Encryption Client's objects are read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3ecRules {
    /// Whether AES-CBC and data keys that nothing binds to their algorithm are read.
    pub legacy: bool,
    /// Stored bytes of a message that is verified before any of it is released.
    pub buffer: u64,
    /// What becomes of larger ones.
    pub large: Large,
    /// How ranges are read.
    pub ranges: Ranges,
    /// The encryption context of new objects, beside what the format adds to it. Where it is not empty, objects with
    /// another one are refused.
    pub context: BTreeMap<String, String>,
}

/// The formats of a bucket's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    /// Of new objects.
    pub write: WriteFormat,
    /// Of those that are read; holds the one that is written.
    pub read: Vec<ReadFormat>,
    /// Where objects are written as `cbc`.
    pub cbc: CbcRules,
    /// Where objects of the S3 Encryption Client are read or written.
    pub s3ec: S3ecRules,
}

impl Default for Formats {
    fn default() -> Self {
        Self {
            write: WriteFormat::Native,
            read: vec![ReadFormat::Native],
            cbc: CbcRules { padding: article_cbc::Padding::Pkcs7, multipart: Multipart::Refuse },
            s3ec: S3ecRules::default(),
        }
    }
}

impl Default for S3ecRules {
    fn default() -> Self {
        Self {
            legacy: false,
            buffer: 64 * 1024 * 1024,
            large: Large::Refuse,
            ranges: Ranges::Verify,
            context: BTreeMap::new(),
        }
    }
}

impl Formats {
    /// Whether objects of this kind are read.
    #[must_use]
    pub fn reads(&self, format: ReadFormat) -> bool {
        self.read.contains(&format)
    }

    /// Whether nothing but native objects is read: then a listing's arithmetic holds for all of them.
    #[must_use]
    pub fn reads_native_only(&self) -> bool {
        self.read == [ReadFormat::Native]
    }

    /// What a client is told that `formats.read` accepts: `["native", "cbc"]`.
    #[must_use]
    pub fn readable(&self) -> String {
        let names: Vec<_> = self.read.iter().map(|format| format!("\"{}\"", format.name())).collect();
        format!("[{}]", names.join(", "))
    }
}

impl WriteFormat {
    /// As it is written in `formats.write`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cbc => "cbc",
            Self::S3ecV2 => "s3ec-v2",
            Self::S3ecV3 => "s3ec-v3",
        }
    }

    /// The kind that objects written so are read as.
    #[must_use]
    pub fn read_as(self) -> ReadFormat {
        match self {
            Self::Native => ReadFormat::Native,
            Self::Cbc => ReadFormat::Cbc,
            Self::S3ecV2 | Self::S3ecV3 => ReadFormat::S3ec,
        }
    }
}

impl ReadFormat {
    /// As it is written in `formats.read`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cbc => "cbc",
            Self::S3ec => "s3ec",
            Self::Plaintext => "plaintext",
        }
    }
}
