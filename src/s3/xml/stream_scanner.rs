//! Finds the tags of a document that arrives in pieces, looking at every byte once.
//!
//! It keeps one unfinished tag and the names of the open elements, nothing else. What it lets pass is nested
//! as XML demands; text, references and attributes are not judged.

use memchr::memchr;

use super::reader::is_blank;
use super::{MAX_DEPTH, XmlError};

/// How long a tag may be. S3's longest is that of a root with its namespaces, under 300 bytes.
const MAX_TAG: usize = 4096;
const BYTE_ORDER_MARK: [u8; 3] = *b"\xef\xbb\xbf";
const COMMENT: &[u8] = b"<!--";
const CDATA: &[u8] = b"<![CDATA[";

/// What a tag did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// Opened an element, which [`StreamScanner::depth`] now counts.
    Open,
    /// Opened and closed an element at once.
    Empty,
    /// Closed an element, which [`StreamScanner::depth`] no longer counts.
    Close,
}

/// The reader's place in a document.
#[derive(Debug)]
pub(super) struct StreamScanner {
    state: State,
    /// The markup that was begun, from its `<`; after a tag ended, all of it.
    markup: Vec<u8>,
    /// The names of the open elements, outermost first, with prefix, followed by unused names kept for their
    /// capacity.
    names: Vec<Vec<u8>>,
    depth: usize,
    rooted: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// At the very beginning, after so many bytes of a byte order mark.
    Mark(usize),
    Text,
    /// After a `<`, before it is known what it begins.
    Markup,
    Tag {
        quote: Option<u8>,
    },
    /// In something that hides tags; the last two bytes of it.
    Within(Region, [u8; 2]),
}

#[derive(Debug, Clone, Copy)]
enum Region {
    Instruction,
    Comment,
    CharacterData,
}

impl Region {
    /// Whether a `>` after these two bytes ends it.
    fn ends_after(self, last: [u8; 2]) -> bool {
        match self {
            Self::Instruction => last[1] == b'?',
            Self::Comment => last == *b"--",
            Self::CharacterData => last == *b"]]",
        }
    }
}

impl StreamScanner {
    pub(super) fn new() -> Self {
        Self { state: State::Mark(0), markup: Vec::new(), names: Vec::new(), depth: 0, rooted: false }
    }

    /// How many elements are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether text or a tag comes next, inside `depth` open elements.
    pub(super) fn is_at_text(&self, depth: usize) -> bool {
        matches!(self.state, State::Text) && self.depth == depth
    }

    /// How many of the bytes seen last belong to a tag, or to what may become one, that has not ended.
    pub(super) fn unfinished(&self) -> usize {
        match self.state {
            State::Markup | State::Tag { .. } => self.markup.len(),
            State::Mark(_) | State::Text | State::Within(..) => 0,
        }
    }

    /// The tag that ended last, from `<` to `>`.
    pub(super) fn tag(&self) -> &[u8] {
        &self.markup
    }

    /// The name in [`Self::tag`], without prefix.
    pub(super) fn local_name(&self) -> &[u8] {
        let begins = self.markup.iter().position(|byte| is_name(*byte)).unwrap_or(self.markup.len());
        let name = self.markup[begins..].split(|byte| !is_name(*byte)).next().unwrap_or_default();
        name.rsplit(|byte| *byte == b':').next().unwrap_or_default()
    }

    /// Reads on, to the end of the next tag or of the input. Gives the number of bytes read.
    pub(super) fn scan(&mut self, input: &[u8]) -> Result<(usize, Option<Tag>), XmlError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Mark(seen) => at += self.mark(seen, byte)?,
                State::Text => at += self.text(&input[at..])?,
                State::Markup => {
                    at += 1;
                    self.markup.push(byte);
                    self.state = self.begun()?;
                }
                State::Tag { quote } => {
                    let plain =
                        input[at..].iter().take_while(|byte| !matches!(byte, b'<' | b'>' | b'"' | b'\''));
                    let plain = plain.count();
                    // The markup is looked at once its next byte that means something is there.
                    let end = (at + plain + 1).min(input.len());
                    self.markup.extend_from_slice(&input[at..end]);
                    if self.markup.len() > MAX_TAG {
                        return Err(XmlError::TooLarge);
                    }
                    let byte = input[end - 1];
                    at = end;
                    match (byte, quote) {
                        // XML 1.0 §2.3 bars it from attribute values too.
                        (b'<', _) => return Err(XmlError::Malformed),
                        (b'>', None) => {
                            self.state = State::Text;
                            return Ok((at, Some(self.ended()?)));
                        }
                        (b'"' | b'\'', None) => self.state = State::Tag { quote: Some(byte) },
                        (byte, Some(open)) if byte == open => self.state = State::Tag { quote: None },
                        (_, _) => (),
                    }
                }
                State::Within(region, last) => {
                    at += 1;
                    let ends = byte == b'>' && region.ends_after(last);
                    self.state = if ends { State::Text } else { State::Within(region, [last[1], byte]) };
                }
            }
        }
        Ok((at, None))
    }

    /// Whether the document may end here.
    pub(super) fn finish(&self) -> Result<(), XmlError> {
        match self.state {
            State::Text if self.rooted && self.depth == 0 => Ok(()),
            State::Text | State::Mark(_) | State::Markup | State::Tag { .. } | State::Within(..) => {
                Err(XmlError::Malformed)
            }
        }
    }

    fn mark(&mut self, seen: usize, byte: u8) -> Result<usize, XmlError> {
        match (byte == BYTE_ORDER_MARK[seen], seen) {
            (true, 0 | 1) => {
                self.state = State::Mark(seen + 1);
                Ok(1)
            }
            (true, _) => {
                self.state = State::Text;
                Ok(1)
            }
            (false, 0) => {
                self.state = State::Text;
                Ok(0)
            }
            (false, _) => Err(XmlError::Malformed),
        }
    }

    /// Reads character data, and the `<` after it.
    fn text(&mut self, input: &[u8]) -> Result<usize, XmlError> {
        let end = memchr(b'<', input);
        let text = &input[..end.unwrap_or(input.len())];
        if self.depth == 0 && !is_blank(text) {
            return Err(XmlError::Malformed);
        }
        if end.is_some() {
            self.markup.clear();
            self.markup.push(b'<');
            self.state = State::Markup;
        }
        Ok(text.len() + usize::from(end.is_some()))
    }

    /// What the markup is that was begun.
    fn begun(&self) -> Result<State, XmlError> {
        let markup = self.markup.as_slice();
        match markup {
            // Nearly all of it.
            [b'<', byte] if *byte == b'/' || is_name(*byte) => Ok(State::Tag { quote: None }),
            b"<?" => Ok(State::Within(Region::Instruction, [0; 2])),
            COMMENT => Ok(State::Within(Region::Comment, [0; 2])),
            CDATA if self.depth == 0 => Err(XmlError::Malformed),
            CDATA => Ok(State::Within(Region::CharacterData, [0; 2])),
            // A DOCTYPE is refused: S3 writes none, and its entities could hide tags.
            _ if COMMENT.starts_with(markup) || CDATA.starts_with(markup) => Ok(State::Markup),
            _ => Err(XmlError::Malformed),
        }
    }

    /// Enters a complete tag into the books.
    fn ended(&mut self) -> Result<Tag, XmlError> {
        let inner = &self.markup[1..self.markup.len() - 1];
        let closing = inner.strip_prefix(b"/");
        let inner = closing.unwrap_or(inner);
        let length = inner.iter().take_while(|byte| is_name(**byte)).count();
        let (name, rest) = inner.split_at(length);
        if name.is_empty() {
            return Err(XmlError::Malformed);
        }
        if closing.is_some() {
            self.depth = self.depth.checked_sub(1).ok_or(XmlError::Malformed)?;
            return if self.names[self.depth] == name && is_blank(rest) {
                Ok(Tag::Close)
            } else {
                Err(XmlError::Malformed)
            };
        }
        let is_empty = rest.ends_with(b"/");
        let separated = rest.first().is_none_or(|byte| is_blank(&[*byte]) || rest == b"/");
        if !separated || (self.depth == 0 && self.rooted) {
            return Err(XmlError::Malformed);
        }
        if self.depth == MAX_DEPTH {
            return Err(XmlError::TooLarge);
        }
        self.rooted = true;
        if is_empty {
            return Ok(Tag::Empty);
        }
        if self.depth == self.names.len() {
            self.names.push(Vec::new());
        }
        let opened = &mut self.names[self.depth];
        opened.clear();
        opened.extend_from_slice(name);
        self.depth += 1;
        Ok(Tag::Open)
    }
}

/// The ASCII characters of a name, and every other one: which of those a name may hold is left to the reader
/// behind.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(document: &[u8]) -> Result<Vec<(Tag, String)>, XmlError> {
        let mut scanner = StreamScanner::new();
        let (mut at, mut found) = (0, Vec::new());
        while let (read, Some(tag)) = scanner.scan(&document[at..])? {
            at += read;
            found.push((tag, String::from_utf8_lossy(scanner.local_name()).into_owned()));
        }
        scanner.finish().map(|()| found)
    }

    #[test]
    fn finds_tags_and_not_what_looks_like_them() {
        let document = "\u{feff}<?xml version='1.0' ?><!-- <no> --><a:root b='>' c=\"'/>\"\n>text ]]> > \
            <![CDATA[</a:root><no> ]>]]]><!----><e/><e x='/'/><n x='/'></n ><?pi <no/>?></a:root>\n<!-- x -->";
        let expected = [
            (Tag::Open, "root"),
            (Tag::Empty, "e"),
            (Tag::Empty, "e"),
            (Tag::Open, "n"),
            (Tag::Close, "n"),
            (Tag::Close, "root"),
        ];
        let found = tags(document.as_bytes()).unwrap();
        assert_eq!(found, expected.map(|(tag, name)| (tag, name.to_owned())));
    }

    #[test]
    fn refuses_what_is_not_nested() {
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
            "<a",
            "<a><!-- </a>",
            "<!-->",
            "<a><!--></a>",
            "<a><!---></a>",
            "<a><![CDATA[]></a>",
            "<![CDATA[]]><a/>",
            "<?>",
            "<a><></a>",
            "<a>< b/></a>",
            "<a><=/></a>",
            "<a <b/>",
            "<a b='<'/>",
            "<a b='>",
            "<a/b>",
            "<a='1'/>",
            "<a></a b='1'>",
            "<a></ a>",
            "<a><//a>",
            "</>",
            "<!DOCTYPE a><a/>",
            "<!ELEMENT a><a/>",
            "<a><!x></a>",
            "\u{feff}\u{feff}<a/>",
            "<a/>\u{feff}",
            "<a/>&amp;",
        ] {
            assert_eq!(tags(bad.as_bytes()), Err(XmlError::Malformed), "{bad}");
        }
        assert_eq!(tags(b"\xef\xbb<a/>"), Err(XmlError::Malformed));
        assert_eq!(tags(b"\xff\xfe<\0a\0/\0>\0"), Err(XmlError::Malformed), "UTF-16");
    }

    #[test]
    fn refuses_what_is_too_much() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(tags(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(tags(nested(MAX_DEPTH + 1).as_bytes()), Err(XmlError::TooLarge));
        let wide = |length: usize| format!("<{}/>", "a".repeat(length - 3));
        assert!(tags(wide(MAX_TAG).as_bytes()).is_ok());
        assert_eq!(tags(wide(MAX_TAG + 1).as_bytes()), Err(XmlError::TooLarge));
        let comment = format!("<a><!--{}--></a>", "-<".repeat(MAX_TAG));
        assert!(tags(comment.as_bytes()).is_ok(), "a comment is not kept, so its length does not matter");
    }
}
