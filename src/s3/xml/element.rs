//! An S3 document as a tree, changed in places and written again.

use super::push_text;
use super::reader::{Element, is_blank};

/// The namespace of S3's documents.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

impl Element {
    /// An element with text alone.
    pub(super) fn with_text(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), text: text.into(), children: Vec::new() }
    }

    /// An element with others in it.
    pub(super) fn with_children(name: &str, children: Vec<Self>) -> Self {
        Self { name: name.to_owned(), text: String::new(), children }
    }

    /// Replaces the text of the children that have this name.
    pub(super) fn set(&mut self, name: &str, text: &str) {
        self.children.iter_mut().filter(|child| child.name == name).for_each(|child| {
            child.text.clear();
            child.text.push_str(text);
        });
    }

    /// Removes the children that have one of these names.
    pub(super) fn remove(&mut self, names: &[&str]) {
        self.children.retain(|child| !names.contains(&child.name.as_str()));
    }

    /// The document with this root, in S3's namespace. White space between elements is not kept.
    pub(super) fn to_document(&self) -> String {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", self.to_undeclared())
    }

    /// The document without its XML declaration, for a response that has begun with one.
    pub(super) fn to_undeclared(&self) -> String {
        let mut document = String::new();
        self.push(&mut document, true);
        document
    }

    /// The document without a namespace, as S3's errors are.
    pub(super) fn to_document_without_namespace(&self) -> String {
        let mut document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        self.push(&mut document, false);
        document
    }

    fn push(&self, document: &mut String, has_namespace: bool) {
        document.extend(["<", &self.name]);
        if has_namespace {
            document.extend([" xmlns=\"", NAMESPACE, "\""]);
        }
        document.push('>');
        if self.children.is_empty() || !is_blank(self.text.as_bytes()) {
            push_text(document, &self.text);
        }
        self.children.iter().for_each(|child| child.push(document, false));
        document.extend(["</", &self.name, ">"]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Limits, read};
    use super::*;

    #[test]
    fn what_is_written_reads_as_it_was() {
        let mut root = Element::with_children(
            "Root",
            vec![
                Element::with_text("Key", "a&b <c>\r\n"),
                Element::with_text("Gone", "x"),
                Element::with_children("Deep", vec![Element::with_text("Empty", "")]),
            ],
        );
        root.set("Key", "d&e");
        root.remove(&["Gone"]);
        let document = root.to_document();
        assert!(
            document.contains("<Root xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Key>d&amp;e</Key>")
        );
        assert_eq!(read(document.as_bytes(), Limits { bytes: 1000, elements: 10 }), Ok(root));
    }
}
