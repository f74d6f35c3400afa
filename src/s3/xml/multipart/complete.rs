//! CompleteMultipartUpload: the client's list of parts, the list for the storage, and the response.

use super::super::reader::{Element, Limits, is_blank, read};
use super::super::{ErrorDocument, XmlError, parse_error_document};
use super::ABOUT_CIPHERTEXT;
use crate::s3::checksum::ObjectChecksum;
use crate::s3::error::{ErrorCode, S3Error};
use crate::wire::checksum::{Checksum, ChecksumAlgorithm};
use crate::wire::limits::MAX_PARTS;

/// How large the client's list may be: 10,000 parts of less than 800 bytes each, every checksum among them.
pub const MAX_COMPLETE_REQUEST: usize = 8 << 20;
/// The root, and per part itself, number, ETag and the checksums.
const MAX_ELEMENTS: usize = 1 + 8 * MAX_PARTS as usize;

/// A part as the client lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number, 1 to 10,000.
    pub number: u16,
    /// Its ETag, without quotes.
    pub etag: String,
    /// The checksums the client gives for it.
    pub checksums: Vec<Checksum>,
}

/// Reads the body of CompleteMultipartUpload. The order of the parts is the client's.
///
/// # Errors
/// `MalformedXML` for what S3's schema does not allow, no part, or more than 10,000; `InvalidArgument` for a
/// part number that no part has; `MaxMessageLengthExceeded` over [`MAX_COMPLETE_REQUEST`].
pub fn complete_request(body: &[u8]) -> Result<Vec<CompletedPart>, S3Error> {
    if body.len() > MAX_COMPLETE_REQUEST {
        return Err(ErrorCode::MaxMessageLengthExceeded.into());
    }
    let limits = Limits { bytes: MAX_COMPLETE_REQUEST, elements: MAX_ELEMENTS };
    let root = read(body, limits).map_err(|_: XmlError| malformed())?;
    // Some old clients write the name of the response's type or of the schema's.
    let is_named = matches!(root.name.as_str(), "CompleteMultipartUpload" | "CompleteMultipartUploadRequest");
    if !is_named || root.children.is_empty() || root.children.len() > usize::from(MAX_PARTS) {
        return Err(malformed());
    }
    root.children.iter().map(part).collect()
}

fn part(element: &Element) -> Result<CompletedPart, S3Error> {
    if element.name != "Part" || !is_blank(element.text.as_bytes()) {
        return Err(malformed());
    }
    let (mut number, mut etag, mut checksums) = (None, None, Vec::new());
    for field in &element.children {
        let text = field.text.trim();
        match field.name.as_str() {
            "PartNumber" if number.is_none() => number = Some(part_number(text)?),
            "ETag" if etag.is_none() => etag = Some(text.trim_matches('"').to_owned()),
            name => match name.strip_prefix("Checksum").and_then(ChecksumAlgorithm::parse) {
                Some(_) if text.is_empty() => (),
                Some(algorithm) => {
                    checksums.push(Checksum::parse(algorithm, text).ok_or_else(malformed)?);
                }
                None => return Err(malformed()),
            },
        }
    }
    match (number, etag) {
        (Some(number), Some(etag)) if !etag.is_empty() => Ok(CompletedPart { number, etag, checksums }),
        _ => Err(malformed()),
    }
}

fn part_number(text: &str) -> Result<u16, S3Error> {
    let number: u32 = text.parse().map_err(|_| malformed())?;
    u16::try_from(number).ok().filter(|number| (1..=MAX_PARTS).contains(number)).ok_or_else(|| {
        let message = "PartNumber must be >= 1 and <= 10000";
        S3Error::invalid_argument("PartNumber", text, message)
    })
}

fn malformed() -> S3Error {
    ErrorCode::MalformedXML.into()
}

/// The body for the storage: numbers and the storage's own ETags, unquoted.
#[must_use]
pub fn write_complete_request<'a>(parts: impl IntoIterator<Item = (u16, &'a str)>) -> String {
    let parts = parts.into_iter().map(|(number, etag)| {
        let fields = vec![
            Element::with_text("PartNumber", number.to_string()),
            Element::with_text("ETag", format!("\"{etag}\"")),
        ];
        Element::with_children("Part", fields)
    });
    Element::with_children("CompleteMultipartUpload", parts.collect()).to_document()
}

/// What the storage said when it had finished; it may say so long after its status of 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletionResponse {
    /// The object is there.
    Done(CompletionResult),
    /// The object does not exist: an error document. S3 writes one behind a status of 200, too.
    Failed(ErrorDocument),
}

/// The response to a completed upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionResult {
    root: Element,
}

/// Reads the storage's response.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for a document that is neither of the two.
pub fn parse_completion_response(document: &[u8]) -> Result<CompletionResponse, XmlError> {
    let root = read(document, Limits { bytes: 64 << 10, elements: 256 })?;
    match root.name.as_str() {
        "CompleteMultipartUploadResult" => Ok(CompletionResponse::Done(CompletionResult { root })),
        "Error" => Ok(CompletionResponse::Failed(parse_error_document(document)?)),
        _ => Err(XmlError::Unexpected),
    }
}

impl CompletionResult {
    /// The proxy's own result, for an upload that turned out to be complete already.
    #[must_use]
    pub fn new(bucket: &str, object_key: &str, etag: &str) -> Self {
        let children = vec![
            Element::with_text("Location", ""),
            Element::with_text("Bucket", bucket),
            Element::with_text("Key", object_key),
            Element::with_text("ETag", etag),
        ];
        Self { root: Element::with_children("CompleteMultipartUploadResult", children) }
    }

    /// The object's ETag, in quotes; empty if the storage named none.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.root.text_of("ETag").unwrap_or_default().trim()
    }

    /// The result with another ETag, in quotes.
    #[must_use]
    pub fn with_etag(mut self, etag: &str) -> Self {
        self.root.set("ETag", etag);
        self
    }

    /// The result with the name of the bucket that the client uses.
    #[must_use]
    pub fn with_bucket(mut self, bucket: &str) -> Self {
        self.root.set("Bucket", bucket);
        self
    }

    /// The response for the client: at the client's address, with the plaintext's checksum in place of the
    /// ciphertext's. A composite checksum's text ends in `-` and the number of parts. Without XML
    /// declaration.
    #[must_use]
    pub fn write(mut self, location: &str, checksum: Option<ObjectChecksum>) -> String {
        self.root.remove(&ABOUT_CIPHERTEXT);
        self.root.set("Location", location);
        if let Some(checksum) = checksum {
            let name = format!("Checksum{}", checksum.value.algorithm().token());
            self.root.children.push(Element::with_text(&name, checksum.to_string()));
            self.root.children.push(Element::with_text("ChecksumType", checksum.kind().token()));
        }
        self.root.to_undeclared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &[u8] = b"<Error><Code>InternalError</Code></Error>";

    fn refused(body: &str) -> &'static str {
        complete_request(body.as_bytes()).unwrap_err().code.code()
    }

    #[test]
    fn lists_of_real_clients() {
        let body = "<?xml version=\"1.0\"?>\n<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n\
            <Part><ETag>&quot;a-AAAAAAAA&quot;</ETag><PartNumber>1</PartNumber>\
            <ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>\n\
            <Part><PartNumber>10000</PartNumber><ETag>b</ETag><ChecksumSHA256/></Part></CompleteMultipartUpload>";
        let parts = complete_request(body.as_bytes()).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].number, parts[0].etag.as_str()), (1, "a-AAAAAAAA"));
        assert_eq!(parts[0].checksums[0].to_string(), "y/Q5Jg==");
        assert_eq!((parts[1].number, parts[1].etag.as_str(), parts[1].checksums.len()), (10_000, "b", 0));
    }

    #[test]
    fn other_documents_are_refused() {
        let list = |part: &str| format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
        for (body, code) in [
            (String::new(), "MalformedXML"),
            (list(""), "MalformedXML"),
            ("<Delete><Part/></Delete>".to_owned(), "MalformedXML"),
            (list("<Part><PartNumber>1</PartNumber></Part>"), "MalformedXML"),
            (list("<Part><ETag>a</ETag></Part>"), "MalformedXML"),
            (list("<Part><PartNumber>1</PartNumber><ETag></ETag></Part>"), "MalformedXML"),
            (list("<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>"), "MalformedXML"),
            (list("<Part><PartNumber>0</PartNumber><ETag>a</ETag></Part>"), "InvalidArgument"),
            (list("<Part><PartNumber>10001</PartNumber><ETag>a</ETag></Part>"), "InvalidArgument"),
            (
                list("<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber><ETag>a</ETag></Part>"),
                "MalformedXML",
            ),
            (
                list("<Part><PartNumber>1</PartNumber><ETag>a</ETag><ChecksumCRC32>?</ChecksumCRC32></Part>"),
                "MalformedXML",
            ),
            (list("<Part><PartNumber>1</PartNumber><ETag>a</ETag><Size>4</Size></Part>"), "MalformedXML"),
            (list(&"<Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>".repeat(10_001)), "MalformedXML"),
            (" ".repeat(MAX_COMPLETE_REQUEST + 1), "MaxMessageLengthExceeded"),
        ] {
            assert_eq!(refused(&body), code, "{}", &body[..body.len().min(120)]);
        }
    }

    #[test]
    fn what_goes_to_the_storage_reads_back() {
        let written = write_complete_request([(1, "a"), (10_000, "b")]);
        let read = complete_request(written.as_bytes()).unwrap();
        let pairs: Vec<_> = read.iter().map(|part| (part.number, part.etag.as_str())).collect();
        assert_eq!(pairs, [(1, "a"), (10_000, "b")]);
    }

    #[test]
    fn the_answer_speaks_of_the_plaintext_and_of_this_place() {
        let stored = "<CompleteMultipartUploadResult><Location>http://storage/b/k</Location><Bucket>b</Bucket><Key>k</Key>\
            <ETag>\"e-2\"</ETag><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>\
            </CompleteMultipartUploadResult>";
        let Ok(CompletionResponse::Done(result)) = parse_completion_response(stored.as_bytes()) else {
            panic!()
        };
        let value = Checksum::parse(ChecksumAlgorithm::Crc32, "y/Q5Jg==").unwrap();
        let checksum = ObjectChecksum { value, parts: Some(2) };
        let written = result.write("http://here/b/k", Some(checksum));
        assert!(written.starts_with("<CompleteMultipartUploadResult"), "{written}");
        assert!(!written.contains("storage") && !written.contains("CRC64"), "{written}");
        for expected in [
            "<Location>http://here/b/k</Location>",
            "<ETag>\"e-2\"</ETag>",
            "<ChecksumCRC32>y/Q5Jg==-2</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType>",
        ] {
            assert!(written.contains(expected), "{written}");
        }
        assert_eq!(
            parse_completion_response(FAILED),
            Ok(CompletionResponse::Failed(parse_error_document(FAILED).unwrap()))
        );
        assert_eq!(parse_completion_response(b"<html/>"), Err(XmlError::Unexpected));
        let own = CompletionResult::new("b", "a&b", "\"e-1\"").write("http://here/b/a%26b", None);
        assert!(own.contains("<Key>a&amp;b</Key><ETag>\"e-1\"</ETag>") && own.contains("here/b/a%26b"));
    }
}
