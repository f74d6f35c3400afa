//! The example of `proxy.toml` as a reference: its tables, keys and comments, by its layout.
//! It must not know which keys there are.
//! It promises the text of the example, word for word.

#[cfg(test)]
use std::fmt::Write;

use roff::{Roff, bold, roman};

/// The example, line by line.
#[derive(Debug, Default)]
pub(super) struct Example {
    introduction: Vec<String>,
    tables: Vec<Table>,
}

/// One table, or one kind of tables.
#[derive(Debug, Default)]
struct Table {
    /// Such as `[listen]` or `[[client]]`.
    header: String,
    about: Vec<String>,
    keys: Vec<Key>,
}

/// One key with its example.
#[derive(Debug)]
struct Key {
    name: String,
    /// The value as TOML, which is the default for a key that is not needed, unless the text says otherwise.
    value: String,
    about: String,
    /// Whether the example does without this key.
    is_optional: bool,
}

impl Example {
    /// Reads the example by its layout: a line is a table, a key, a continued comment, or prose.
    pub(super) fn parse(text: &str) -> Self {
        let mut example = Self::default();
        let mut prose: Vec<String> = Vec::new();
        for line in text.lines() {
            let is_optional = line.starts_with('#');
            let content = line.strip_prefix("# ").unwrap_or(line);
            let (statement, comment) = split_comment(content);
            if let Some(continued) = line.strip_prefix('#').map(str::trim_start)
                && continued.starts_with('#')
                && let Some(key) = example.tables.last_mut().and_then(|table| table.keys.last_mut())
            {
                key.about.push(' ');
                key.about.push_str(continued.trim_start_matches('#').trim());
            } else if is_header(statement) {
                let mut about = std::mem::take(&mut prose);
                about.extend((!comment.is_empty()).then(|| comment.to_owned()));
                example.tables.push(Table { header: statement.to_owned(), about, keys: Vec::new() });
            } else if let Some((name, value)) = statement.split_once(" = ").filter(|(name, _)| is_key(name)) {
                let (name, value, about) = (name.to_owned(), value.trim().to_owned(), comment.to_owned());
                if let Some(table) = example.tables.last_mut() {
                    table.keys.push(Key { name, value, about, is_optional });
                }
            } else if is_optional && example.tables.is_empty() {
                example.introduction.push(content.to_owned());
            } else if is_optional {
                prose.push(content.to_owned());
            }
        }
        example
    }

    /// The text about a key, or about a table, by the header of the table around it without brackets; `None`
    /// for what the example mentions in passing.
    pub(super) fn describe(&self, table: &str, key: &str) -> Option<String> {
        let named = |name: &str| {
            let is_named = |table: &&Table| table.header.trim_matches(['[', ']']) == name;
            self.tables.iter().find(is_named)
        };
        let path = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
        let own = named(&path).map(|table| table.about.join(" "));
        // A holder has the keys that [keyring] describes.
        let tables = [table, if table == "holder" { "keyring" } else { table }].into_iter().filter_map(named);
        let mut keys = tables.flat_map(|table| &table.keys);
        keys.find(|known| known.name == key && !known.about.is_empty()).map(|key| key.about.clone()).or(own)
    }

    pub(super) fn to_roff(&self) -> String {
        let mut page = Roff::new();
        page.control("TH", ["proxy.toml", "5", "", "", "s3veil"]);
        page.control("SH", ["NAME"]);
        page.text([roman("proxy.toml - the configuration of s3veil")]);
        page.control("SH", ["DESCRIPTION"]);
        page.text([roman(self.introduction.join(" "))]);
        for table in &self.tables {
            page.control("SH", [table.header.as_str()]);
            page.text([roman(table.about.join(" "))]);
            for Key { name, value, about, is_optional } in &table.keys {
                page.control("TP", []);
                page.text([bold(name), roman(format!(" = {value}"))]);
                let note = if *is_optional { "" } else { "In the example. " };
                page.text([roman(format!("{note}{about}"))]);
            }
        }
        page.control("SH", ["SEE ALSO"]);
        page.text([bold("s3veil"), roman("(1)")]);
        page.render()
    }

    /// The names of all keys, each without that of its table.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<String> {
        self.tables.iter().flat_map(|table| &table.keys).map(|key| key.name.clone()).collect()
    }

    /// The reference as docs/CONFIGURATION.md has it.
    #[cfg(test)]
    pub(super) fn to_markdown(&self) -> String {
        let mut page =
            "<!-- Generated from proxy.toml: S3VEIL_WRITE=1 cargo test reference -->\n# Configuration\n\n"
                .to_owned();
        _ = writeln!(page, "{}\n", self.introduction.join("\n"));
        for table in &self.tables {
            _ = writeln!(page, "## `{}`\n", table.header);
            if !table.about.is_empty() {
                _ = writeln!(page, "{}\n", table.about.join(" "));
            }
            page.push_str("| key | example, or default | |\n| --- | --- | --- |\n");
            for Key { name, value, about, is_optional } in &table.keys {
                let strong = if *is_optional { "" } else { "**" };
                let cell = |text: &str| text.replace('|', "\\|");
                _ = writeln!(page, "| {strong}`{name}`{strong} | `{}` | {} |", cell(value), cell(about));
            }
            page.push('\n');
        }
        page.push_str("Keys in bold are in the example as it ships; every other one may be left out.\n");
        page
    }
}

/// The part before a comment, and the comment. A `#` in a string begins none.
fn split_comment(line: &str) -> (&str, &str) {
    let mut in_string = false;
    for (at, character) in line.char_indices() {
        match character {
            '"' => in_string = !in_string,
            '#' if !in_string => return (line[..at].trim_end(), line[at + 1..].trim()),
            _ => {}
        }
    }
    (line.trim_end(), "")
}

fn is_header(statement: &str) -> bool {
    let name = statement.trim_matches(['[', ']']);
    statement.starts_with('[') && statement.ends_with(']') && is_key(name)
}

fn is_key(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_.0123456789".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_is_told_apart() {
        let example = Example::parse(
            "# About all.\n\n[one]  # about one\nkey = \"a#b\"   # about the key\n#     # and more\n# other = 5\n\n\
             # Prose.\n# [[two]]\n# name = \"x\" # of two\n",
        );
        assert_eq!(example.introduction, ["About all."]);
        let [one, two] = example.tables.as_slice() else { panic!("{example:?}") };
        assert_eq!((one.header.as_str(), one.about.join("")), ("[one]", "about one".to_owned()));
        let keys: Vec<_> = one
            .keys
            .iter()
            .map(|key| (key.name.as_str(), key.value.as_str(), key.about.as_str(), key.is_optional))
            .collect();
        assert_eq!(keys, [("key", "\"a#b\"", "about the key and more", false), ("other", "5", "", true)]);
        assert_eq!((two.header.as_str(), two.about.join("")), ("[[two]]", "Prose.".to_owned()));
        assert_eq!(two.keys[0].about, "of two");
    }
}
