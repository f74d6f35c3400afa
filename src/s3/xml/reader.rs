//! Reading XML step by step, and small documents whole.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use super::{MAX_DEPTH, XmlError};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What comes next in a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A start tag; its name is now last in [`XmlReader::path`]. An empty element opens and closes.
    Open,
    /// Character data of the element that is open, line ends and references resolved; may come in pieces.
    Text(Cow<'a, str>),
    /// An end tag; its name has left [`XmlReader::path`].
    Close,
    /// The document ended as it should.
    End,
}

/// Reads a document in order. Comments, processing instructions and attributes are skipped, prefixes ignored.
pub(super) struct XmlReader<'a> {
    reader: Reader<&'a [u8]>,
    /// What precedes the reader's first byte.
    skipped: usize,
    /// The names of the open elements, followed by unused strings kept for their capacity.
    names: Vec<String>,
    depth: usize,
    rooted: bool,
}

impl<'a> XmlReader<'a> {
    pub(super) fn new(document: &'a [u8]) -> Result<Self, XmlError> {
        let text = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
        let skipped = document.len() - text.len();
        let mut reader = Reader::from_str(std::str::from_utf8(text).map_err(|_| XmlError::Malformed)?);
        reader.config_mut().expand_empty_elements = true;
        Ok(Self { reader, skipped, names: Vec::new(), depth: 0, rooted: false })
    }

    /// The names of the open elements, outermost first, without prefix.
    pub(super) fn path(&self) -> &[String] {
        &self.names[..self.depth]
    }

    /// The document's offset of what the next step reads.
    pub(super) fn position(&self) -> usize {
        let position = usize::try_from(self.reader.buffer_position());
        self.skipped + position.expect("a document in memory has offsets that fit")
    }

    pub(super) fn step(&mut self) -> Result<Step<'a>, XmlError> {
        loop {
            let text = match self.reader.read_event().map_err(|_| XmlError::Malformed)? {
                Event::Start(tag) => {
                    if self.depth == 0 && std::mem::replace(&mut self.rooted, true) {
                        return Err(XmlError::Malformed);
                    }
                    if self.depth == MAX_DEPTH {
                        return Err(XmlError::TooLarge);
                    }
                    if self.depth == self.names.len() {
                        self.names.push(String::new());
                    }
                    let name = &mut self.names[self.depth];
                    name.clear();
                    name.push_str(tag.local_name().as_ref());
                    self.depth += 1;
                    return Ok(Step::Open);
                }
                Event::End(_) => {
                    self.depth = self.depth.checked_sub(1).ok_or(XmlError::Malformed)?;
                    return Ok(Step::Close);
                }
                Event::Text(text) => text.xml10_content(),
                Event::CData(text) => text.xml10_content(),
                Event::GeneralRef(reference) => resolve(&reference)?,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => continue,
                Event::Empty(_) | Event::DocType(_) => return Err(XmlError::Malformed),
                Event::Eof if self.depth == 0 && self.rooted => return Ok(Step::End),
                Event::Eof => return Err(XmlError::Malformed),
            };
            if self.depth > 0 {
                return Ok(Step::Text(text));
            }
            if !is_blank(text.as_bytes()) {
                return Err(XmlError::Malformed);
            }
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<Cow<'static, str>, XmlError> {
    match reference.resolve_char_ref().map_err(|_| XmlError::Malformed)? {
        Some(character) => Ok(Cow::Owned(character.into())),
        None => resolve_predefined_entity(reference).map(Cow::Borrowed).ok_or(XmlError::Malformed),
    }
}

/// Whether there is nothing but XML's white space.
pub(super) fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// What a document that is read whole may hold.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) elements: usize,
}

/// An element read whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    /// Its own character data, white space included.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The text of the child that has this name, the first if there are several.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }
}

/// Reads a whole document and gives its root.
pub(super) fn read(document: &[u8], limits: Limits) -> Result<Element, XmlError> {
    if document.len() > limits.bytes {
        return Err(XmlError::TooLarge);
    }
    let mut reader = XmlReader::new(document)?;
    let mut open = vec![Element::default()];
    let mut elements = 0;
    loop {
        match reader.step()? {
            Step::Open => {
                elements += 1;
                if elements > limits.elements {
                    return Err(XmlError::TooLarge);
                }
                let name = reader.path().last().cloned().unwrap_or_default();
                open.push(Element { name, ..Element::default() });
            }
            Step::Text(text) => open.last_mut().ok_or(XmlError::Malformed)?.text.push_str(&text),
            Step::Close => {
                let closed = open.pop().ok_or(XmlError::Malformed)?;
                open.last_mut().ok_or(XmlError::Malformed)?.children.push(closed);
            }
            Step::End => return open.pop().and_then(|mut all| all.children.pop()).ok_or(XmlError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { bytes: 1000, elements: 10 };

    #[test]
    fn reads_text_however_it_is_written() {
        for (written, meant) in [
            ("plain", "plain"),
            (" two  blanks ", " two  blanks "),
            ("a&amp;b&lt;c&gt;&quot;&apos;", "a&b<c>\"'"),
            ("&#65;&#x42;&#x1;", "AB\u{1}"),
            ("<![CDATA[<&>]]>", "<&>"),
            ("a<!-- no -->b<?pi?>c", "abc"),
            ("a\r\nb\rc", "a\nb\nc"),
            ("&#13;", "\r"),
            ("é🦀", "é🦀"),
            ("", ""),
        ] {
            let document =
                format!("\u{feff}<?xml version=\"1.0\"?>\n<!-- c --><x:k xmlns:x='u'>{written}</x:k>\n");
            let element = read(document.as_bytes(), LIMITS).unwrap();
            assert_eq!((element.name.as_str(), element.text.as_str()), ("k", meant), "{written}");
        }
    }

    #[test]
    fn refuses_what_is_not_well_formed() {
        for bad in [
            "",
            " ",
            "text",
            "<a>",
            "</a>",
            "<a></b>",
            "<a><b></a></b>",
            "<a/><b/>",
            "<a/>text",
            "text<a/>",
            "<a>&nope;</a>",
            "<a>&#0;</a>",
            "<a>&#xD800;</a>",
            "<a>& </a>",
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
            "<a",
            "<a><!-- </a>",
            "<a/>&amp;",
        ] {
            assert_eq!(read(bad.as_bytes(), LIMITS), Err(XmlError::Malformed), "{bad}");
        }
        assert_eq!(read(b"<a>\xff</a>", LIMITS), Err(XmlError::Malformed));
    }

    #[test]
    fn refuses_what_is_too_much() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        let limits = Limits { bytes: 200, elements: 100 };
        assert!(read(nested(MAX_DEPTH).as_bytes(), limits).is_ok());
        assert_eq!(read(nested(MAX_DEPTH + 1).as_bytes(), limits), Err(XmlError::TooLarge));
        assert_eq!(read(format!("<a>{}</a>", "<b/>".repeat(10)).as_bytes(), LIMITS), Err(XmlError::TooLarge));
        assert_eq!(read(&[b' '; 1001], LIMITS), Err(XmlError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_document_or_an_error(bytes in "[<>/a&;#!\\[\\]?\\- \"'=x1]{0,80}") {
            let _ = read(bytes.as_bytes(), LIMITS);
        }
    }
}
