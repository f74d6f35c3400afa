//! What is wrong with a text that is no TOML.

use super::error::Refusal;

/// Where in `text` the error is, what it is, and the way out. Nothing of the text is repeated but the name of a key: it
/// may hold secrets.
pub(super) fn refusal(text: &str, error: &toml::de::Error) -> (usize, Refusal) {
    let span = error.span().unwrap_or(0..0);
    if let Some(language) = other_language(text) {
        let fix = "s3veil reads TOML: write [listen] on a line, and below it address = \"127.0.0.1:8333\"";
        return (span.start, Refusal::new(format!("this looks like {language}"), fix));
    }
    // Of several lines the first says what is wrong; none of them repeats the file's text.
    let message = error.message().lines().next().unwrap_or("is no TOML");
    match (message, text.get(span.clone()).and_then(key)) {
        ("duplicate key", Some(key)) => {
            let fix = "remove one of the two; [[client]] and [[bucket]], in double brackets, may stand several times";
            (span.start, Refusal::new(format!("duplicate key `{key}`"), fix))
        }
        (_, _) => (span.start, Refusal::new(message, "correct the TOML; strings stand in double quotes")),
    }
}

/// A bare key, as it may stand in brackets.
fn key(text: &str) -> Option<&str> {
    let key = text.trim_matches(['[', ']', ' ']);
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (!key.is_empty() && key.bytes().all(is_bare)).then_some(key)
}

/// Told by the first line that says something.
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
