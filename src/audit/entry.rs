//! The text of a line, from its type on: one flat JSON object but for the list of keys. It must not know the
//! chain. It promises that every value is escaped and none is cut, and that the buffer is kept for the next
//! line.

use std::cell::RefCell;
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::time::SystemTime;

use super::uses::KeyUseList;
use crate::log::{FieldName, Timestamps, push_address, push_decimal, push_escaped};

thread_local! {
    /// The buffer of this thread's lines.
    static ENTRY: RefCell<Entry> = RefCell::default();
}

/// A line to which fields are added.
#[derive(Debug, Default)]
pub struct Entry {
    text: String,
    /// A value before it is escaped.
    unescaped: String,
    timestamps: Timestamps,
}

/// Formats one line of the type `kind` with `fields`, and passes it to `push` with a line break.
pub(super) fn format<T>(
    kind: &'static str,
    time: SystemTime,
    fields: impl FnOnce(&mut Entry),
    push: impl FnOnce(&[u8]) -> T,
) -> T {
    let mut entry = ENTRY.take();
    entry.begin(kind, time);
    fields(&mut entry);
    entry.text.push_str("}\n");
    let pushed = push(entry.text.as_bytes());
    ENTRY.set(entry);
    pushed
}

impl Entry {
    fn begin(&mut self, kind: &'static str, time: SystemTime) {
        self.text.clear();
        self.text.push_str("\"type\":\"");
        self.text.push_str(kind);
        self.text.push_str("\",\"ts\":\"");
        self.timestamps.push(&mut self.text, time);
        self.text.push('"');
    }

    /// Adds a field whose value is `text`.
    pub fn text(&mut self, name: FieldName, text: &str) {
        self.push_name(name);
        self.text.push('"');
        push_escaped(&mut self.text, text);
        self.text.push('"');
    }

    /// Adds a field whose value is a constant without characters that need an escape.
    pub fn word(&mut self, name: FieldName, word: &'static str) {
        self.push_name(name);
        self.text.push('"');
        self.text.push_str(word);
        self.text.push('"');
    }

    /// Adds a field whose value is `text`, if there is one that is not empty.
    pub fn optional_text(&mut self, name: FieldName, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.text(name, text);
        }
    }

    /// Adds a field whose value is the text of `value`.
    pub fn display(&mut self, name: FieldName, value: impl Display) {
        let mut unescaped = std::mem::take(&mut self.unescaped);
        unescaped.clear();
        write!(unescaped, "{value}").expect("a String takes all text");
        self.text(name, &unescaped);
        self.unescaped = unescaped;
    }

    /// Adds a field whose value is an address and a port.
    pub fn address(&mut self, name: FieldName, address: SocketAddr) {
        self.push_name(name);
        self.text.push('"');
        push_address(&mut self.text, address);
        self.text.push('"');
    }

    /// Adds a field whose value is `number`.
    pub fn number(&mut self, name: FieldName, number: u64) {
        self.push_name(name);
        push_decimal(&mut self.text, number, 1);
    }

    /// Adds a field whose value is `true`, if `applies`.
    pub fn flag(&mut self, name: FieldName, applies: bool) {
        if applies {
            self.push_name(name);
            self.text.push_str("true");
        }
    }

    /// Adds a field whose value is a list of texts, if there are any.
    pub fn list(&mut self, name: FieldName, texts: &[String]) {
        if texts.is_empty() {
            return;
        }
        self.push_name(name);
        for (index, text) in texts.iter().enumerate() {
            self.text.push_str(if index == 0 { "[\"" } else { ",\"" });
            push_escaped(&mut self.text, text);
            self.text.push('"');
        }
        self.text.push(']');
    }

    /// Adds a field whose value is the list of the keys that were used.
    pub fn keys(&mut self, name: FieldName, uses: &KeyUseList) {
        self.push_name(name);
        self.text.push('[');
        self.text.push_str(uses.as_json());
        self.text.push(']');
    }

    fn push_name(&mut self, name: FieldName) {
        self.text.push_str(name.json());
    }
}
