//! `completions`, `man` and `config schema`: what is generated from the command line's own definition, from
//! the table of configuration keys, and from the example, which is checked to show every key.
//! It must not know a configuration that is in use.
//! It promises that nothing is written beside the given directory.

mod example;

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use self::example::Example;
use super::{CommandLine, Failure};
use crate::config;

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

/// The JSON Schema of proxy.toml, with the texts of the example.
pub fn schema() -> String {
    let example = Example::parse(EXAMPLE);
    format!("{:#}\n", config::schema(&|table, key| example.describe(table, key)))
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_schema_has_the_texts_of_the_example() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        let listen = &schema["properties"]["listen"]["properties"];
        assert_eq!(listen["address"]["description"], "IP:PORT, for S3 clients");
        assert_eq!(
            (&listen["max_requests"]["default"], &listen["sigv2"]["default"]),
            (&1000.into(), &true.into())
        );
        let holder = &schema["properties"]["holder"]["items"]["properties"];
        assert!(holder["provider"]["description"].as_str().unwrap().contains("pkcs11"));
    }

    /// The table of keys and the example name the keys of each other.
    #[test]
    fn every_key_is_in_the_example() {
        fn names(schema: &serde_json::Value, found: &mut Vec<String>) {
            match (
                schema.get("properties").and_then(|it| it.as_object()),
                schema.as_object(),
                schema.as_array(),
            ) {
                (Some(properties), ..) => {
                    for (name, property) in properties {
                        found.push(name.clone());
                        names(property, found);
                    }
                }
                (None, Some(object), _) => object.values().for_each(|inner| names(inner, found)),
                (None, None, Some(items)) => items.iter().for_each(|inner| names(inner, found)),
                (None, None, None) => {}
            }
        }
        let mut known = Vec::new();
        names(&serde_json::from_str(&schema()).unwrap(), &mut known);
        // Those of logins to key services are in docs/HOLDERS.md.
        let holders = include_str!("../../docs/HOLDERS.md");
        let is_word = |text: &str, name: &str| {
            text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .any(|word| word == name)
        };
        for name in &known {
            assert!(is_word(EXAMPLE, name) || is_word(holders, name), "{name} is documented nowhere");
        }
        for table in Example::parse(EXAMPLE).keys() {
            assert!(known.contains(&table), "the example shows {table}, which is no key");
        }
    }
}
