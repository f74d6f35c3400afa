//! `completions` and `man`: what is generated from the command line's own definition, and the reference of
//! proxy.toml, which is generated from the example that is checked to show every key.
//! It must not know a configuration that is in use.
//! It promises that nothing is written beside the given directory.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use roff::{Roff, bold, roman};

use super::{CommandLine, Failure};

/// The commented example that ships with the proxy.
const EXAMPLE: &str = include_str!("../../proxy.toml");

/// The program's name.
const NAME: &str = "s3veil";

/// The completions of this command line for a shell.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), NAME, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes `s3veil.1`, a page for each command, and `proxy.toml.5`. Returns the names of the files, one a
/// line.
///
/// # Errors
/// [`Failure::Io`] with the file that can't be written.
pub fn write_pages(directory: &Path) -> Result<String, Failure> {
    let failed = |name: &str| {
        let action = format!("writing {}", directory.join(name).display());
        move |source| Failure::Io { action, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(""))?;
    let mut names = String::new();
    for (name, page) in pages()? {
        std::fs::write(directory.join(&name), page).map_err(failed(&name))?;
        _ = writeln!(names, "{name}");
    }
    Ok(names)
}

fn command() -> Command {
    let mut command = CommandLine::command();
    command.build();
    command
}

/// The file names and contents of all pages.
fn pages() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let command = command();
    let mut pages = vec![page(command.clone())?];
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        pages.push(page(sub.clone())?);
    }
    pages.push(("proxy.toml.5".to_owned(), Example::parse(EXAMPLE).to_roff().into_bytes()));
    Ok(pages)
}

/// The name of a command's page, and the page.
fn page(command: Command) -> Result<(String, Vec<u8>), Failure> {
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(command).manual(NAME);
    let rendered = manual.render(&mut page);
    rendered.map_err(|source| Failure::Io { action: "rendering a page".to_owned(), source })?;
    Ok((manual.get_filename(), page))
}

/// The example, line by line.
#[derive(Debug, Default)]
struct Example {
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
    fn parse(text: &str) -> Self {
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

    fn to_roff(&self) -> String {
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

    /// The reference as docs/CONFIGURATION.md has it.
    #[cfg(test)]
    fn to_markdown(&self) -> String {
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

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the switch of this test is no configuration")]
    fn the_reference_is_the_example() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
        let expected = Example::parse(EXAMPLE).to_markdown();
        if std::env::var_os("S3VEIL_WRITE").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(written == expected, "write it again: S3VEIL_WRITE=1 cargo test reference");
        for table in ["[listen]", "[admin]", "[upstream]", "[keyring]", "[[client]]", "[[bucket]]", "[log]"] {
            assert!(written.contains(&format!("## `{table}`")), "{table}");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        for name in ["s3veil.1", "s3veil-check.1", "s3veil-decrypt.1", "proxy.toml.5"] {
            let page = &pages.iter().find(|(page, _)| page == name).expect(name).1;
            assert!(String::from_utf8_lossy(page).contains(".TH"), "{name}");
        }
        assert!(completions(Shell::Bash).contains("inspect"));
    }
}
