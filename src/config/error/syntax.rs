//! Errors for a configuration text that is not valid TOML.

use super::Refusal;

/// Quotes of word processors and web pages.
const CURLY_QUOTES: [char; 4] = ['“', '”', '‘', '’'];

/// Byte offset of the error in `text`, with a message that says what is wrong and how to correct it. The
/// message repeats nothing from the text except the name of a key, since the text may hold secrets.
pub(in crate::config) fn refusal(text: &str, error: &toml::de::Error) -> (usize, Refusal) {
    let span = error.span().unwrap_or(0..0);
    if let Some(language) = other_language(text) {
        let fix = "s3veil reads TOML: write [listen] on a line, and below it address = \"127.0.0.1:8333\"";
        return (span.start, Refusal::new(format!("this looks like {language}"), fix));
    }
    // The first line of the message names the problem. The message does not repeat the file's text.
    let message = error.message().lines().next().unwrap_or("invalid TOML");
    match (message, text.get(span.clone()).and_then(key)) {
        ("duplicate key", Some(key)) => {
            let fix = "remove one of the two; [[client]] and [[bucket]], in double brackets, may be repeated";
            (span.start, Refusal::new(format!("duplicate key `{key}`"), fix))
        }
        (_, _) if line_at(text, span.start).contains(CURLY_QUOTES) => {
            let fix = "write straight quotes, as a text editor for programs does: \"...\"";
            (span.start, Refusal::new("invalid curly quotes", fix))
        }
        (_, _) => (span.start, Refusal::new(message, "correct the TOML; strings require double quotes")),
    }
}

fn line_at(text: &str, offset: usize) -> &str {
    let start = text.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default()
}

/// A bare key, without the brackets of a table's header.
fn key(text: &str) -> Option<&str> {
    let key = text.trim_matches(['[', ']', ' ']);
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (!key.is_empty() && key.bytes().all(is_bare)).then_some(key)
}

/// Name of the other language that `text` looks like (YAML or JSON), judged by its first line that is neither
/// empty nor a comment; `None` if it looks like neither.
fn other_language(text: &str) -> Option<&'static str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next()?;
    let is_mapping = line.split_once(':').is_some_and(|(name, value)| {
        key(name).is_some() && (value.is_empty() || value.starts_with(' ')) && !line.contains('=')
    });
    if line == "---" || is_mapping {
        return Some("YAML");
    }
    line.starts_with('{').then_some("JSON")
}
