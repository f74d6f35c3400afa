//! multipart/form-data as it streams by (RFC 7578): fields first, then one file, then nothing that counts.

use bytes::{Buf, Bytes, BytesMut};
use http::header::HeaderValue;
use memchr::memmem::Finder;

use super::part_head::PartHead;
use super::{Form, malformed};
use crate::s3::error::{ErrorCode, S3Error};
use crate::wire::limits::MAX_FORM_FIELDS;

/// RFC 2046, 5.1.1.
const MAX_BOUNDARY: usize = 70;
/// White space behind a boundary; browsers send none.
const MAX_PADDING: usize = 256;
/// The field that is the file.
const FILE: &str = "file";

/// What a piece of the body turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum FormPiece {
    /// Everything before the file; comes once, before all data.
    Form(Form),
    /// Bytes of the file.
    Data(Bytes),
    /// Nothing yet: more input is needed.
    NeedMore,
}

enum State {
    /// Before the first delimiter.
    Preamble,
    /// Right behind a delimiter.
    Delimited,
    /// In the lines that begin a part.
    Head,
    /// In the value of a field.
    Value { name: String },
    /// In the file.
    File,
    /// Right behind the delimiter that ended the file.
    FileEnded,
    /// In parts after the file, which are ignored.
    Ignored,
    /// Behind the closing delimiter.
    Closed,
}

/// Parses a form: takes every byte of the body, then reports whether the form was complete.
pub struct FormParser {
    /// Finds `\r\n--boundary`.
    delimiter: Finder<'static>,
    state: State,
    /// Received bytes that are not parsed yet; before the file at most [`MAX_FORM_FIELDS`] bytes.
    held: BytesMut,
    /// Bytes of `held` in which there is no delimiter.
    searched: usize,
    before_file: usize,
    fields: Vec<(String, String)>,
}

impl FormParser {
    /// # Errors
    /// `MalformedPOSTRequest` unless this is the Content-Type of a form and names a boundary.
    pub fn new(content_type: &HeaderValue) -> Result<Self, S3Error> {
        let delimiter = [b"\r\n--", boundary(content_type)?.as_bytes()].concat();
        Ok(Self {
            delimiter: Finder::new(&delimiter).into_owned(),
            state: State::Preamble,
            // So that a delimiter at the very beginning is one like all others.
            held: BytesMut::from(&b"\r\n"[..]),
            searched: 0,
            before_file: 0,
            fields: Vec::new(),
        })
    }

    /// Takes what it can from `input`, all of it when it says [`FormPiece::NeedMore`].
    ///
    /// # Errors
    /// `MalformedPOSTRequest` for a malformed form, `MaxPostPreDataLengthExceededError`, `InvalidArgument`
    /// for a field that is there twice.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<FormPiece, S3Error> {
        while !matches!(self.state, State::File | State::FileEnded | State::Ignored | State::Closed) {
            if let Some(form) = self.advance()? {
                return Ok(FormPiece::Form(form));
            }
            if matches!(self.state, State::File) {
                break;
            }
            if input.is_empty() {
                return Ok(FormPiece::NeedMore);
            }
            self.take_before_file(input)?;
        }
        if matches!(self.state, State::File)
            && let Some(data) = self.file_data(input)
        {
            return Ok(FormPiece::Data(data));
        }
        self.after_file(input)?;
        Ok(FormPiece::NeedMore)
    }

    /// Whether the form was whole, when the body has ended.
    ///
    /// # Errors
    /// `InvalidArgument` without a file, `MalformedPOSTRequest` when the closing boundary is missing.
    pub fn finish(&self) -> Result<(), S3Error> {
        match self.state {
            State::Closed => Ok(()),
            State::Preamble | State::Delimited | State::Head | State::Value { .. } => {
                Err(malformed("The form ends before its file"))
            }
            State::File | State::FileEnded | State::Ignored => {
                Err(malformed("The form ends before its closing boundary"))
            }
        }
    }

    fn take_before_file(&mut self, input: &mut Bytes) -> Result<(), S3Error> {
        let room = MAX_FORM_FIELDS - self.before_file;
        if room == 0 {
            return Err(S3Error::from(ErrorCode::MaxPostPreDataLengthExceededError)
                .with("MaxPostPreDataLength", MAX_FORM_FIELDS.to_string()));
        }
        let taken = input.split_to(input.len().min(room));
        self.before_file += taken.len();
        self.held.extend_from_slice(&taken);
        Ok(())
    }

    /// Goes on as far as `held` allows, up to the file; the form, once the file begins.
    fn advance(&mut self) -> Result<Option<Form>, S3Error> {
        loop {
            match &mut self.state {
                State::Preamble => {
                    if self.before_delimiter().is_none() {
                        return Ok(None);
                    }
                    self.state = State::Delimited;
                }
                State::Delimited => match self.behind_delimiter()? {
                    None => return Ok(None),
                    Some(Behind::Part) => self.state = State::Head,
                    Some(Behind::Close) => {
                        let message = "POST requires exactly one file upload per request.";
                        return Err(S3Error::invalid_argument(FILE, "0", message));
                    }
                },
                State::Head => {
                    let Some(head) = self.part_head()? else { return Ok(None) };
                    if head.name == FILE {
                        self.state = State::File;
                        self.searched = 0;
                        let fields = std::mem::take(&mut self.fields);
                        return Form::new(fields, head.file_name.as_deref().unwrap_or_default()).map(Some);
                    }
                    self.state = State::Value { name: head.name };
                }
                State::Value { name } => {
                    let name = std::mem::take(name);
                    let Some(value) = self.before_delimiter() else {
                        self.state = State::Value { name };
                        return Ok(None);
                    };
                    let value = String::from_utf8(value.into())
                        .map_err(|_| malformed("A field of the form is no valid UTF-8"))?;
                    self.fields.push((name, value));
                    self.state = State::Delimited;
                }
                State::File | State::FileEnded | State::Ignored | State::Closed => return Ok(None),
            }
        }
    }

    /// What precedes the next delimiter, which is taken away with it.
    fn before_delimiter(&mut self) -> Option<BytesMut> {
        let needle = self.delimiter.needle().len();
        let from = self.searched.saturating_sub(needle - 1);
        match self.delimiter.find(&self.held[from..]) {
            Some(at) => {
                let before = self.held.split_to(from + at);
                self.held.advance(needle);
                self.searched = 0;
                Some(before)
            }
            None => {
                self.searched = self.held.len();
                None
            }
        }
    }

    /// `--`, or the end of the delimiter's line: white space is allowed before it (RFC 2046, 5.1.1).
    fn behind_delimiter(&mut self) -> Result<Option<Behind>, S3Error> {
        let text = self.held.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
        let text = text.unwrap_or(self.held.len());
        if text > MAX_PADDING {
            return Err(malformed("A boundary is followed by too much white space"));
        }
        let (behind, length) = match &self.held[text..] {
            [b'-', b'-', ..] if text == 0 => (Behind::Close, 2),
            // The line's end stays: it is the beginning of an empty head, or of the next line.
            [b'\r', b'\n', ..] => (Behind::Part, text),
            [b'-'] if text == 0 => return Ok(None),
            [] | [b'\r'] => return Ok(None),
            _ => return Err(malformed("A boundary is followed by something else")),
        };
        self.held.advance(length);
        self.searched = 0;
        Ok(Some(behind))
    }

    fn part_head(&mut self) -> Result<Option<PartHead>, S3Error> {
        const END: &[u8] = b"\r\n\r\n";
        let from = self.searched.saturating_sub(END.len() - 1);
        let Some(at) = self.held[from..].windows(END.len()).position(|window| window == END) else {
            self.searched = self.held.len();
            return Ok(None);
        };
        let mut lines = self.held.split_to(from + at);
        self.held.advance(END.len());
        self.searched = 0;
        if lines.is_empty() {
            return Err(malformed("A part has no Content-Disposition"));
        }
        // The end of the delimiter's line.
        lines.advance(2);
        PartHead::parse(&lines).map(Some)
    }

    /// Bytes of the file that can't belong to a delimiter; `None` when there are none in what came so far.
    fn file_data(&mut self, input: &mut Bytes) -> Option<Bytes> {
        let mut data = if self.held.is_empty() {
            std::mem::take(input)
        } else {
            self.held.extend_from_slice(input);
            input.clear();
            self.held.split().freeze()
        };
        match self.delimiter.find(&data) {
            Some(at) => {
                self.held = BytesMut::from(&data[at + self.delimiter.needle().len()..]);
                data.truncate(at);
                self.state = State::FileEnded;
            }
            None => {
                let certain = data.len() - begun(&data, self.delimiter.needle());
                self.held = BytesMut::from(&data[certain..]);
                data.truncate(certain);
            }
        }
        (!data.is_empty()).then_some(data)
    }

    /// Looks for the closing delimiter. Whatever else comes behind the file is ignored, as S3 does.
    fn after_file(&mut self, input: &mut Bytes) -> Result<(), S3Error> {
        if !matches!(self.state, State::File | State::Closed) {
            self.held.extend_from_slice(input);
        }
        input.clear();
        loop {
            match self.state {
                State::FileEnded => match self.behind_delimiter()? {
                    None => return Ok(()),
                    Some(Behind::Part) => self.state = State::Ignored,
                    Some(Behind::Close) => self.state = State::Closed,
                },
                State::Ignored => match self.before_delimiter() {
                    Some(_) => self.state = State::FileEnded,
                    None => {
                        let certain = self.held.len() - begun(&self.held, self.delimiter.needle());
                        self.held.advance(certain);
                        self.searched = 0;
                        return Ok(());
                    }
                },
                State::Closed => {
                    self.held.clear();
                    return Ok(());
                }
                State::Preamble | State::Delimited | State::Head | State::Value { .. } | State::File => {
                    return Ok(());
                }
            }
        }
    }
}

enum Behind {
    Part,
    Close,
}

/// Bytes at the end of `data` with which a delimiter may have begun.
fn begun(data: &[u8], delimiter: &[u8]) -> usize {
    let longest = data.len().min(delimiter.len() - 1);
    (1..=longest).rev().find(|length| data.ends_with(&delimiter[..*length])).unwrap_or(0)
}

/// The boundary parameter, quoted or not.
fn boundary(content_type: &HeaderValue) -> Result<String, S3Error> {
    let text = content_type.to_str().map_err(|_| malformed("The Content-Type is no valid text"))?;
    let mut parameters = text.split(';');
    if !parameters.next().unwrap_or_default().trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(malformed("The Content-Type is not multipart/form-data"));
    }
    let mut boundaries = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim());
    let (Some(boundary), None) = (boundaries.next(), boundaries.next()) else {
        return Err(malformed("The Content-Type must name one boundary"));
    };
    let boundary = boundary.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(boundary);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let is_valid = (1..=MAX_BOUNDARY).contains(&boundary.len()) && boundary.bytes().all(allowed);
    if is_valid { Ok(boundary.to_owned()) } else { Err(malformed("The boundary is not one")) }
}
