//! The command line: a word, then names with values.

use std::collections::HashMap;
use std::io;
use std::str::FromStr;

/// What was asked for.
pub struct Arguments {
    /// The first word.
    pub what: String,
    named: HashMap<String, String>,
}

impl Arguments {
    /// `WHAT --name value --name value`.
    pub fn parse(mut words: impl Iterator<Item = String>) -> io::Result<Self> {
        let what = words
            .next()
            .ok_or_else(|| io::Error::other("say what to do: store, certificate, drive, fill, idle, soak"))?;
        let mut named = HashMap::new();
        while let Some(word) = words.next() {
            let name =
                word.strip_prefix("--").ok_or_else(|| io::Error::other(format!("not a name: {word}")))?;
            let value = words.next().ok_or_else(|| io::Error::other(format!("--{name} needs a value")))?;
            named.insert(name.to_owned(), value);
        }
        Ok(Self { what, named })
    }

    /// A value that must be there.
    pub fn text(&self, name: &str) -> io::Result<&str> {
        self.optional(name).ok_or_else(|| io::Error::other(format!("--{name} is missing")))
    }

    /// A value that may be missing.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(String::as_str)
    }

    /// A value, or what holds without it.
    pub fn or<T: FromStr>(&self, name: &str, otherwise: T) -> io::Result<T> {
        match self.named.get(name) {
            None => Ok(otherwise),
            Some(text) => {
                text.parse().map_err(|_| io::Error::other(format!("--{name} {text} is no such value")))
            }
        }
    }
}
