//! The formats that objects under a rule may have, and how objects in foreign formats are read and written.
//!
//! It must not know the configuration's syntax or how a format is sealed and opened. It promises defaults
//! that read and write only the native format and release nothing unverified.

use std::collections::BTreeMap;

use crate::envelope::article_cbc;

/// The format of new objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFormat {
    /// `native`: 64 KiB chunks, each authenticated.
    Native,
    /// `cbc`: the CBC format of docs/FOREIGN.md.
    Cbc,
    /// `s3ec-v2`: the S3 Encryption Client's format without a key commitment.
    S3ecV2,
    /// `s3ec-v3`: the S3 Encryption Client's format with a key commitment.
    S3ecV3,
    /// `plaintext`: not encrypted, for what its clients encrypt themselves.
    Plaintext,
}

/// The format of objects that may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFormat {
    /// `native`: 64 KiB chunks, each authenticated.
    Native,
    /// `cbc`: the CBC format of docs/FOREIGN.md.
    Cbc,
    /// `s3ec`: the S3 Encryption Client's format, versions V2 and V3.
    S3ec,
    /// `plaintext`: not encrypted.
    Plaintext,
}

impl WriteFormat {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Native, Self::Cbc, Self::S3ecV2, Self::S3ecV3, Self::Plaintext];
}

impl ReadFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Native, Self::Cbc, Self::S3ec, Self::Plaintext];
}

/// How multipart uploads are handled under a rule whose written format has no parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Multipart {
    /// Multipart uploads are refused.
    Refuse,
    /// Multipart uploads are written as native objects.
    Native,
}

/// How messages that exceed the buffer are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Large {
    /// Larger messages are refused.
    Refuse,
    /// Larger messages are released while they are received. If the tag at the end is wrong, the connection
    /// is closed before the response is complete.
    Stream,
}

/// How a range of an AES-GCM message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// The whole message is verified, and the range is cut out of the plaintext.
    Verify,
    /// Only the range is read, and nothing authenticates it.
    Unauthenticated,
}

/// How objects in the CBC format of docs/FOREIGN.md are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CbcRules {
    /// The padding of the last block.
    pub padding: article_cbc::Padding,
    /// How multipart uploads are handled.
    pub multipart: Multipart,
}

/// How objects in the S3 Encryption Client's format are read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3ecRules {
    /// Whether AES-CBC objects are read, and objects whose data key is not bound to its algorithm.
    pub legacy: bool,
    /// The maximum number of stored bytes of a message that is verified before any of its plaintext is
    /// released.
    pub buffer: u64,
    /// How messages larger than `buffer` are handled.
    pub large: Large,
    /// How ranges of messages are read.
    pub ranges: Ranges,
    /// The encryption context of new objects, in addition to the pairs of the format. If not empty, objects
    /// with a different context are refused.
    pub context: BTreeMap<String, String>,
}

/// The formats of objects under a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    /// The format of new objects.
    pub write: WriteFormat,
    /// The formats that are read, including the written one.
    pub read: Vec<ReadFormat>,
    /// Settings for objects that are written as `cbc`.
    pub cbc: CbcRules,
    /// Settings for objects that are read or written in the S3 Encryption Client's format.
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
    /// Whether objects in this format are read.
    #[must_use]
    pub fn reads(&self, format: ReadFormat) -> bool {
        self.read.contains(&format)
    }

    /// Whether only native objects are read, so that the size arithmetic of listings holds for all objects.
    #[must_use]
    pub fn reads_native_only(&self) -> bool {
        self.read == [ReadFormat::Native]
    }

    /// The formats that are read, in the syntax of `formats.read`, for error messages: `["native", "cbc"]`.
    #[must_use]
    pub fn readable(&self) -> String {
        let names: Vec<_> = self.read.iter().map(|format| format!("\"{}\"", format.name())).collect();
        format!("[{}]", names.join(", "))
    }
}

impl WriteFormat {
    /// The name in `formats.write`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cbc => "cbc",
            Self::S3ecV2 => "s3ec-v2",
            Self::S3ecV3 => "s3ec-v3",
            Self::Plaintext => "plaintext",
        }
    }

    /// The format that objects written in this format are read as.
    #[must_use]
    pub fn read_as(self) -> ReadFormat {
        match self {
            Self::Native => ReadFormat::Native,
            Self::Cbc => ReadFormat::Cbc,
            Self::S3ecV2 | Self::S3ecV3 => ReadFormat::S3ec,
            Self::Plaintext => ReadFormat::Plaintext,
        }
    }
}

impl ReadFormat {
    /// The name in `formats.read`.
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
