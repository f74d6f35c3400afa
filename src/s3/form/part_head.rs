//! The lines before a part's content: which field it is, and what the browser calls the file.

use percent_encoding::percent_decode_str;

use super::malformed;
use crate::s3::error::S3Error;

/// What matters of a part's head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartHead {
    /// The field's name in lower case; S3 knows no other difference.
    pub(super) name: String,
    /// The name of the file on the browser's side, as sent.
    pub(super) file_name: Option<String>,
}

impl PartHead {
    /// Reads the lines between delimiter and content, without the empty one that ends them.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` for a malformed head of a form's field, and for content in an encoding that no
    /// browser would undo (RFC 7578, 4.7).
    pub(super) fn parse(lines: &[u8]) -> Result<Self, S3Error> {
        let lines = str::from_utf8(lines).map_err(|_| malformed("A part's head is no valid text"))?;
        let mut disposition = None;
        for line in lines.split("\r\n") {
            let (name, value) =
                line.split_once(':').ok_or_else(|| malformed("A part's head is malformed"))?;
            match name.trim_end().to_ascii_lowercase().as_str() {
                "content-disposition" if disposition.replace(value).is_some() => {
                    return Err(malformed("A part has two Content-Disposition lines"));
                }
                "content-transfer-encoding" if !is_identity(value) => {
                    return Err(malformed("The Content-Transfer-Encoding of a part is not supported"));
                }
                _ => (),
            }
        }
        disposition_of_field(disposition.ok_or_else(|| malformed("A part has no Content-Disposition"))?)
    }
}

fn is_identity(encoding: &str) -> bool {
    ["7bit", "8bit", "binary"].iter().any(|identity| encoding.trim().eq_ignore_ascii_case(identity))
}

/// `form-data; name="…"; filename="…"`; RFC 5987's `filename*` counts before `filename`.
fn disposition_of_field(value: &str) -> Result<PartHead, S3Error> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(malformed("A part's Content-Disposition is not form-data"));
    }
    let (mut name, mut file_name, mut extended) = (None, None, None);
    while !rest.trim().is_empty() {
        let (parameter, after) = rest.split_once('=').ok_or_else(|| malformed("A parameter has no value"))?;
        let (value, after) = parameter_value(after.trim_start())?;
        let slot = match parameter.trim().to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut file_name,
            "filename*" => &mut extended,
            _ => &mut None,
        };
        if slot.replace(value).is_some() {
            return Err(malformed("A parameter of a Content-Disposition is there twice"));
        }
        rest = after;
    }
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| malformed("A part has no name"))?;
    let extended = extended.map(|value| extended_value(&value)).transpose()?;
    Ok(PartHead { name: name.to_ascii_lowercase(), file_name: extended.or(file_name) })
}

/// A token or a quoted string, and what follows its semicolon.
///
/// Inside quotes only `\"` and `\\` are escapes: some browsers send `C:\folder\file` as it is. The `%22` that
/// others write for a quote stays, since a file may have that name.
fn parameter_value(text: &str) -> Result<(String, &str), S3Error> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_once(';').unwrap_or((text, ""));
        return Ok((value.trim().to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some((_, escaped @ ('"' | '\\')))) => {
                value.push(*escaped);
                characters.next();
            }
            ('"', _) => {
                let after = quoted[at + 1..].trim_start();
                return match after.strip_prefix(';') {
                    Some(after) => Ok((value, after)),
                    None if after.is_empty() => Ok((value, after)),
                    None => Err(malformed("A quoted value is followed by something else")),
                };
            }
            _ => value.push(character),
        }
    }
    Err(malformed("A quoted value does not end"))
}

/// `UTF-8''na%C3%AFve.txt` (RFC 8187, section 3.2).
fn extended_value(value: &str) -> Result<String, S3Error> {
    let mut pieces = value.splitn(3, '\'');
    let (charset, encoded) = (pieces.next().unwrap_or_default(), pieces.nth(1));
    let decoded = encoded
        .filter(|_| charset.eq_ignore_ascii_case("utf-8"))
        .and_then(|encoded| percent_decode_str(encoded).decode_utf8().ok());
    decoded.map(Into::into).ok_or_else(|| malformed("An extended parameter is not valid UTF-8"))
}

#[cfg(test)]
mod tests;
