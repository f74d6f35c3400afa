//! The body of a DeleteObjects request, and the result.

use super::element::NAMESPACE;
use super::reader::{Element, Limits, Step, XmlReader, is_blank, read};
use super::{XmlError, push_text};
use crate::s3::error::{ErrorCode, S3Error};
use crate::s3::name::ObjectKey;
use crate::wire::limits::MAX_DELETE_KEYS;

/// How large the body may be: 1,000 keys of 1,024 bytes, each escaped to six times its length, with as much
/// again for versions and tags. The body is held in memory while it is judged.
pub const MAX_DELETE_REQUEST: usize = 8 << 20;
/// Delete, Quiet, and per object itself and its five fields.
const MAX_ELEMENTS: usize = 2 + 6 * MAX_DELETE_KEYS;

/// The objects that a client wants deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Whether the response names only what failed.
    pub quiet: bool,
    /// 1 to 1,000 objects, in order.
    pub objects: Vec<ObjectIdentifier>,
}

/// One object of a [`DeleteRequest`]; all but the key are conditions or choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectIdentifier {
    /// The object.
    pub object: ObjectKey,
    /// The version to delete for good.
    pub version_id: Option<String>,
    /// Delete only if the ETag is this.
    pub etag: Option<String>,
    /// Delete only if last modified then.
    pub last_modified_time: Option<String>,
    /// Delete only if this large; in plaintext bytes, since that is what the client sees.
    pub size: Option<u64>,
}

/// Reads and validates a whole body.
///
/// # Errors
/// `MalformedXML` for anything S3's schema does not allow, no key, or more than 1,000; `KeyTooLongError`;
/// `MaxMessageLengthExceeded` over [`MAX_DELETE_REQUEST`].
pub fn delete_objects_request(body: &[u8]) -> Result<DeleteRequest, S3Error> {
    if body.len() > MAX_DELETE_REQUEST {
        return Err(S3Error::from(ErrorCode::MaxMessageLengthExceeded)
            .with("MaxMessageLengthBytes", MAX_DELETE_REQUEST.to_string()));
    }
    // XML has no U+0000 (XML 1.0, 2.2). The reader takes it, and the request for the storage has U+FFFD in
    // its place: that would delete another object.
    if body.contains(&0) {
        return Err(malformed());
    }
    let limits = Limits { bytes: MAX_DELETE_REQUEST, elements: MAX_ELEMENTS };
    let root = read(body, limits).map_err(|error| match error {
        XmlError::Malformed | XmlError::Unexpected | XmlError::TooLarge => malformed(),
    })?;
    if root.name != "Delete" || !is_blank(root.text.as_bytes()) {
        return Err(malformed());
    }
    let mut quiet = None;
    let mut objects = Vec::with_capacity(root.children.len().min(MAX_DELETE_KEYS));
    for child in root.children {
        match child.name.as_str() {
            "Object" => objects.push(object(child)?),
            "Quiet" => set(&mut quiet, boolean(&child.text)?)?,
            _ => return Err(malformed()),
        }
    }
    if objects.is_empty() || objects.len() > MAX_DELETE_KEYS {
        return Err(malformed());
    }
    Ok(DeleteRequest { quiet: quiet.unwrap_or(false), objects })
}

impl DeleteRequest {
    /// The body of a request with this content.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let quiet = self.quiet.then(|| Element::with_text("Quiet", "true"));
        let objects = self.objects.iter().map(ObjectIdentifier::to_element);
        Element::with_children("Delete", objects.chain(quiet).collect()).to_document()
    }
}

impl ObjectIdentifier {
    fn to_element(&self) -> Element {
        let size = self.size.map(|size| size.to_string());
        let fields = [
            ("Key", Some(self.object.as_str())),
            ("VersionId", self.version_id.as_deref()),
            ("ETag", self.etag.as_deref()),
            ("LastModifiedTime", self.last_modified_time.as_deref()),
            ("Size", size.as_deref()),
        ];
        let fields = fields.into_iter().filter_map(|(name, text)| Some(Element::with_text(name, text?)));
        Element::with_children("Object", fields.collect())
    }
}

/// An object that was not deleted, as the result says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteError {
    /// The object.
    pub object: ObjectKey,
    /// The requested version.
    pub version_id: Option<String>,
    /// Why not.
    pub code: ErrorCode,
    /// The sentence for people.
    pub message: String,
}

impl DeleteError {
    fn push(&self, document: &mut String) {
        let version = self.version_id.as_deref().map(|version_id| ("VersionId", version_id));
        let error = [("Code", self.code.code()), ("Message", &self.message)];
        document.push_str("<Error>");
        for (name, text) in [("Key", self.object.as_str())].into_iter().chain(version).chain(error) {
            document.extend(["<", name, ">"]);
            push_text(document, text);
            document.extend(["</", name, ">"]);
        }
        document.push_str("</Error>");
    }
}

/// The result document of a request that deleted nothing.
pub fn delete_result<'a>(errors: impl Iterator<Item = &'a DeleteError>) -> String {
    let mut document =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DeleteResult xmlns=\"{NAMESPACE}\">");
    errors.for_each(|error| error.push(&mut document));
    document.push_str("</DeleteResult>");
    document
}

/// The storage's result with further errors at its end.
///
/// # Errors
/// Any [`XmlError`]; `Unexpected` for a document that is no `DeleteResult`.
pub fn add_delete_errors<'a>(
    result: &[u8],
    errors: impl Iterator<Item = &'a DeleteError>,
) -> Result<Vec<u8>, XmlError> {
    let mut reader = XmlReader::new(result)?;
    let mut end = None;
    loop {
        let before = reader.position();
        match reader.step()? {
            Step::Open if reader.path().len() == 1 && reader.path()[0] != "DeleteResult" => {
                return Err(XmlError::Unexpected);
            }
            Step::Close if reader.path().is_empty() => end = Some(before),
            Step::Open | Step::Close | Step::Text(_) => (),
            Step::End => break,
        }
    }
    let end = end.ok_or(XmlError::Unexpected)?;
    let (before, behind) = result.split_at_checked(end).ok_or(XmlError::Unexpected)?;
    if !behind.starts_with(b"</") {
        // `<DeleteResult/>`: nothing was deleted, or the request was quiet.
        return Ok(delete_result(errors).into_bytes());
    }
    let mut added = String::new();
    errors.for_each(|error| error.push(&mut added));
    Ok([before, added.as_bytes(), behind].concat())
}

fn object(element: Element) -> Result<ObjectIdentifier, S3Error> {
    if !is_blank(element.text.as_bytes()) {
        return Err(malformed());
    }
    let (mut object, mut version_id, mut etag, mut last_modified_time, mut size) =
        (None, None, None, None, None);
    for field in element.children {
        if !field.children.is_empty() {
            return Err(malformed());
        }
        match field.name.as_str() {
            "Key" if field.text.is_empty() => return Err(malformed()),
            "Key" => set(&mut object, ObjectKey::parse(field.text)?)?,
            "VersionId" => set(&mut version_id, field.text)?,
            "ETag" => set(&mut etag, field.text)?,
            "LastModifiedTime" => set(&mut last_modified_time, field.text)?,
            "Size" => set(&mut size, field.text.trim().parse().map_err(|_| malformed())?)?,
            _ => return Err(malformed()),
        }
    }
    Ok(ObjectIdentifier { object: object.ok_or_else(malformed)?, version_id, etag, last_modified_time, size })
}

/// Fills a field that may occur once.
fn set<T>(field: &mut Option<T>, value: T) -> Result<(), S3Error> {
    field.replace(value).map_or(Ok(()), |_| Err(malformed()))
}

/// `xs:boolean`, in the letter cases clients use.
fn boolean(text: &str) -> Result<bool, S3Error> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(malformed()),
    }
}

fn malformed() -> S3Error {
    ErrorCode::MalformedXML.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> String {
        format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(count))
    }

    #[test]
    fn reads_what_sdks_send() {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n \
            <Object><Key> a&amp;b/&#13;é </Key><VersionId>v1</VersionId></Object>\n \
            <Object><Key><![CDATA[<k>]]></Key><ETag>\"e\"</ETag><Size>7</Size><LastModifiedTime>t</LastModifiedTime></Object>\n \
            <Quiet>true</Quiet></Delete>";
        let request = delete_objects_request(body.as_bytes()).unwrap();
        assert!(request.quiet);
        let [first, second] = request.objects.as_slice() else { panic!("{request:?}") };
        assert_eq!((first.object.as_str(), first.version_id.as_deref()), (" a&b/\ré ", Some("v1")));
        assert_eq!((first.etag.as_deref(), first.size), (None, None));
        assert_eq!((second.object.as_str(), second.etag.as_deref()), ("<k>", Some("\"e\"")));
        assert_eq!((second.size, second.last_modified_time.as_deref()), (Some(7), Some("t")));
        assert!(!delete_objects_request(keys(1).as_bytes()).unwrap().quiet);
        assert_eq!(delete_objects_request(request.to_xml().as_bytes()), Ok(request));
        let request = delete_objects_request(keys(2).as_bytes()).unwrap();
        assert_eq!(delete_objects_request(request.to_xml().as_bytes()), Ok(request));
    }

    #[test]
    fn one_to_a_thousand_keys() {
        assert_eq!(delete_objects_request(keys(1000).as_bytes()).unwrap().objects.len(), 1000);
        for count in [0, 1001, 2000] {
            assert_eq!(
                delete_objects_request(keys(count).as_bytes()).unwrap_err().code,
                ErrorCode::MalformedXML
            );
        }
        let object = "<Object><Key>k</Key><VersionId>v</VersionId><ETag>e</ETag><LastModifiedTime>t</LastModifiedTime><Size>1</Size></Object>";
        let richest = format!("<Delete><Quiet>false</Quiet>{}</Delete>", object.repeat(1000));
        assert_eq!(delete_objects_request(richest.as_bytes()).unwrap().objects.len(), 1000);
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            "junk",
            "<Delete/>",
            "<Delete><Object/></Delete>",
            "<Delete><Object><Key></Key></Object></Delete>",
            "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
            "<Delete><Object><VersionId>v</VersionId></Object></Delete>",
            "<Delete><Object><Key>a<b/></Key></Object></Delete>",
            "<Delete><Object>x<Key>a</Key></Object></Delete>",
            "<Delete><Object><Key>a</Key><New>b</New></Object></Delete>",
            "<Delete><Object><Key>a\0b</Key></Object></Delete>",
            "<Delete><Object><Key>a</Key><Size>-1</Size></Object></Delete>",
            "<Delete><Object><Key>a</Key></Object><Quiet>perhaps</Quiet></Delete>",
            "<Delete><Object><Key>a</Key></Object><Quiet>true</Quiet><Quiet>false</Quiet></Delete>",
            "<Delete><Object><Key>a</Key></Object><New/></Delete>",
            "<Delete>x<Object><Key>a</Key></Object></Delete>",
            "<Remove><Object><Key>a</Key></Object></Remove>",
            "<Delete><Object><Key>a</Key></Object>",
            "<!DOCTYPE Delete [<!ENTITY e 'b'>]><Delete><Object><Key>&e;</Key></Object></Delete>",
        ] {
            assert_eq!(
                delete_objects_request(bad.as_bytes()).unwrap_err().code,
                ErrorCode::MalformedXML,
                "{bad}"
            );
        }
        let long = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "k".repeat(1025));
        assert_eq!(delete_objects_request(long.as_bytes()).unwrap_err().code, ErrorCode::KeyTooLongError);
        let vast = vec![b' '; MAX_DELETE_REQUEST + 1];
        assert_eq!(delete_objects_request(&vast).unwrap_err().code, ErrorCode::MaxMessageLengthExceeded);
    }

    #[test]
    fn refused_objects_stand_among_the_storages_results() {
        let errors = [DeleteError {
            object: ObjectKey::parse("a&b").unwrap(),
            version_id: Some("v".to_owned()),
            code: ErrorCode::AccessDenied,
            message: "no".to_owned(),
        }];
        let ours = "<Error><Key>a&amp;b</Key><VersionId>v</VersionId><Code>AccessDenied</Code><Message>no</Message></Error>";
        let whole = |inner: &str| {
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DeleteResult xmlns=\"{NAMESPACE}\">{inner}</DeleteResult>"
            )
        };
        let added = |document: &str| {
            add_delete_errors(document.as_bytes(), errors.iter())
                .map(|added| String::from_utf8(added).unwrap())
        };
        assert_eq!(delete_result(errors.iter()), whole(ours));
        let deleted = "<Deleted><Key>x</Key></Deleted>";
        assert_eq!(added(&whole(deleted)), Ok(whole(&format!("{deleted}{ours}"))));
        for empty in [whole(""), "<DeleteResult/>".to_owned(), "\n<DeleteResult />\n".to_owned()] {
            assert!(added(&empty).unwrap().contains(&format!(">{ours}</DeleteResult>")), "{empty}");
        }
        assert_eq!(added("<Error><Code>x</Code></Error>"), Err(XmlError::Unexpected));
        assert_eq!(added("<DeleteResult>"), Err(XmlError::Malformed));
    }

    #[test]
    fn the_largest_honest_request_fits() {
        let key = "&#x26;".repeat(1024);
        let body = format!("<Delete>{}</Delete>", format!("<Object><Key>{key}</Key></Object>").repeat(1000));
        assert!(body.len() < MAX_DELETE_REQUEST);
        let request = delete_objects_request(body.as_bytes()).unwrap();
        assert!(request.objects.iter().all(|object| object.object.as_str() == "&".repeat(1024)));
    }
}
