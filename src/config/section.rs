//! Reads one TOML table, key by key.
//! It must not know what a value means.
//! It promises that an unknown key is an error, and that every error names file, line, problem and remedy.

pub(super) mod digest;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use zeroize::Zeroizing;

use super::error::suggest::nearest;
use super::error::{ConfigError, Refusal, Result};
use super::reference::{self, Keys, Kind};
use super::secret_file;

/// The configuration file, and the environment that its values may refer to.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Warnings about valid settings that should be changed.
    pub(super) warnings: RefCell<Vec<String>>,
    /// The keys whose secrets are literal values in the file.
    pub(super) literal_secrets: RefCell<Vec<String>>,
    /// The byte offsets of the values that are secrets, or name the environment variable of one.
    pub(super) secrets: RefCell<Vec<usize>>,
    /// The further files whose content is part of the configuration.
    pub(super) files: RefCell<Vec<PathBuf>>,
}

impl Source<'_> {
    /// Resolves `path` relative to the directory of the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or_else(|| Path::new("")).join(path)
    }

    /// Returns the text, or for `env:NAME` the value of the environment variable `NAME`. The shell syntax of
    /// a variable is refused: otherwise it would be used as the value itself.
    pub(super) fn expand<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, Refusal> {
        if let Some(name) = text.strip_prefix("env:") {
            let value = (self.environment)(name).filter(|value| !value.is_empty());
            return value.map(Cow::Owned).ok_or_else(|| {
                let problem = format!("names the environment variable {name}, which is not set");
                Refusal::new(problem, format!("start s3veil with {name} set"))
            });
        }
        if is_shell_variable(text) {
            let fix = "write \"env:NAME\" for the value of the environment variable NAME";
            return Err(Refusal::new("is written as a shell's variable, which s3veil does not expand", fix));
        }
        Ok(Cow::Borrowed(text))
    }

    pub(super) fn refuse(&self, offset: usize, refusal: Refusal) -> ConfigError {
        let line = 1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        ConfigError { line: Some(line), ..ConfigError::whole(self.file, refusal) }
    }
}

/// One table of the file.
pub(super) struct Section<'a> {
    pub(super) source: &'a Source<'a>,
    /// The table's name before a key, such as `listen` or `listen.tls`; empty for the file itself.
    name: String,
    /// Byte offset of the table in the file.
    offset: usize,
    table: &'a DeTable<'a>,
    /// The keys that it may have.
    keys: Keys,
}

impl<'a> Section<'a> {
    /// Opens a table. An unknown key is an error.
    pub(super) fn open(
        source: &'a Source<'a>,
        name: String,
        offset: usize,
        table: &'a DeTable<'a>,
        keys: Keys,
    ) -> Result<Self> {
        let section = Self { source, name, offset, table, keys };
        let unknown = table.keys().filter(|word| reference::find(keys, word.get_ref()).is_none());
        match unknown.min_by_key(|word| word.span().start) {
            Some(word) => Err(section.refuse_unknown(word)),
            None => Ok(section),
        }
    }

    fn refuse_unknown(&self, word: &Spanned<Cow<'_, str>>) -> ConfigError {
        let known: Vec<_> = self.keys.iter().map(|key| key.name).collect();
        let fix = match nearest(word.get_ref(), &known) {
            Some(meant) => format!("did you mean `{}`?", self.path(meant)),
            None if self.name.is_empty() => format!("the tables are {}", known.join(", ")),
            None => format!("the keys of `{}` are {}", self.name, known.join(", ")),
        };
        let problem = format!("unknown key `{}`", self.path(word.get_ref()));
        self.source.refuse(word.span().start, Refusal { problem, fix })
    }

    /// The full name of a key, `table.key`.
    pub(super) fn path(&self, word: &str) -> String {
        if self.name.is_empty() { word.to_owned() } else { format!("{}.{word}", self.name) }
    }

    fn find(&self, word: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(reference::find(self.keys, word).is_some(), "`{word}` is read but not known");
        self.table.get(word)
    }

    /// In a debug build, the table of keys describes `word` as the code reads it.
    fn assert_kind(&self, word: &str, fits: impl FnOnce(Kind) -> bool) {
        let kind = reference::find(self.keys, word).map(|key| key.kind);
        debug_assert!(kind.is_some_and(fits), "`{}` is read as something else", self.path(word));
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.find(word).is_some()
    }

    /// Whether the value of `word` is a list. `[[word]]` tables are one.
    pub(super) fn has_list(&self, word: &str) -> bool {
        self.find(word).and_then(|value| value.get_ref().as_array()).is_some_and(|list| !list.is_empty())
    }

    /// An error at the value of `word`, or at the table if `word` is absent; `problem` follows the key's
    /// name.
    pub(super) fn refuse(&self, word: &str, problem: &str, fix: impl Into<String>) -> ConfigError {
        let offset = self.table.get(word).map_or(self.offset, |value| value.span().start);
        self.source.refuse(offset, Refusal::new(format!("`{}` {problem}", self.path(word)), fix))
    }

    /// Notes that the value of `word` is a secret.
    pub(super) fn note_secret(&self, word: &str) {
        let offset = self.find(word).map(|value| value.span().start);
        self.source.secrets.borrow_mut().extend(offset);
    }

    /// Adds a warning at the value of `word`; `problem` follows the key's name.
    pub(super) fn warn(&self, word: &str, problem: &str, fix: &str) {
        let warning = self.refuse(word, problem, fix).to_string();
        self.source.warnings.borrow_mut().push(warning);
    }

    /// Refuses `word` if present, because another setting leaves it without effect.
    pub(super) fn absent(&self, word: &str, problem: &str) -> Result<()> {
        if self.has(word) { Err(self.refuse(word, problem, "remove it")) } else { Ok(()) }
    }

    /// The value of `word` as `read` converts it. An error says that `wanted` was expected, and how to
    /// `fix` it.
    fn typed<T>(
        &self,
        word: &str,
        wanted: &str,
        fix: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.find(word) else { return Ok(None) };
        let typed = read(value.get_ref());
        typed.map(Some).ok_or_else(|| self.wrong_type(word, value.get_ref(), wanted, fix))
    }

    fn wrong_type(&self, word: &str, value: &DeValue<'_>, wanted: &str, fix: &str) -> ConfigError {
        self.refuse(word, &format!("must be {wanted}, not {}", described(value)), fix)
    }

    /// A string, or for `env:NAME` the value of the environment variable; `example` is shown in errors.
    pub(super) fn text(&self, word: &str, example: &str) -> Result<Option<Cow<'a, str>>> {
        let Some(text) = self.literal(word, example)? else { return Ok(None) };
        let text = self.source.expand(text);
        text.map(Some).map_err(|refusal| self.refuse(word, &refusal.problem, refusal.fix))
    }

    /// A string as written in the file, without expansion.
    pub(super) fn literal(&self, word: &str, example: &str) -> Result<Option<&'a str>> {
        let quoted = format!("write {word} = \"{example}\"");
        match self.typed(word, "a string", &quoted, DeValue::as_str)? {
            Some("") => Err(self.refuse(word, "is empty", quoted)),
            text => Ok(text),
        }
    }

    /// The file whose path is the value of `word`, and its content. `fix` says what the file is to hold.
    pub(super) fn file(&self, word: &str, example: &str, fix: &str) -> Result<Option<(PathBuf, Vec<u8>)>> {
        let Some(path) = self.file_path(word, example)? else { return Ok(None) };
        let content = self.content(word, &path, fix)?;
        Ok(Some((path, content)))
    }

    /// Like [`Section::file`], for a file with a secret.
    pub(super) fn secret_file(
        &self,
        word: &str,
        example: &str,
        fix: &str,
    ) -> Result<Option<(PathBuf, Zeroizing<Vec<u8>>)>> {
        let Some(path) = self.secret_file_path(word, example)? else { return Ok(None) };
        let content = self.content(word, &path, fix).map(Zeroizing::new)?;
        Ok(Some((path, content)))
    }

    /// The path in `word` of a file with a secret, which is read elsewhere. Adds a warning if other users may
    /// read or change the file.
    pub(super) fn secret_file_path(&self, word: &str, example: &str) -> Result<Option<PathBuf>> {
        let Some(path) = self.file_path(word, example)? else { return Ok(None) };
        if let Some(exposure) = secret_file::exposure(&path) {
            let problem = format!("names {}, whose mode {}", path.display(), exposure.problem);
            self.warn(word, &problem, &exposure.fix);
        }
        Ok(Some(path))
    }

    /// The path in `word` of a file whose content is part of the configuration.
    fn file_path(&self, word: &str, example: &str) -> Result<Option<PathBuf>> {
        let Some(path) = self.text(word, example)? else { return Ok(None) };
        let path = self.source.resolve(&path);
        self.source.files.borrow_mut().push(path.clone());
        Ok(Some(path))
    }

    fn content(&self, word: &str, path: &Path, fix: &str) -> Result<Vec<u8>> {
        std::fs::read(path).map_err(|error| {
            self.refuse(word, &format!("names {}, which can't be read: {error}", path.display()), fix)
        })
    }

    /// A string that `parse` converts.
    pub(super) fn parsed<T>(
        &self,
        word: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Result<Option<T>> {
        let Some(text) = self.text(word, example)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|refusal| self.refuse(word, &refusal.problem, refusal.fix))
    }

    /// A string that names one of the choices.
    pub(super) fn choice<T: Copy>(&self, word: &str, choices: &[(&'static str, T)]) -> Result<Option<T>> {
        self.assert_kind(word, |kind| {
            let Kind::Choice(known) = kind else { return false };
            known.iter().copied().eq(choices.iter().map(|(name, _)| *name))
        });
        self.parsed(word, choices[0].0, |text| chosen(text, choices))
    }

    pub(super) fn boolean(&self, word: &str) -> Result<Option<bool>> {
        self.assert_kind(word, |kind| matches!(kind, Kind::Boolean));
        let fix = format!("write {word} = true or {word} = false, without quotes");
        self.typed(word, "true or false", &fix, DeValue::as_bool)
    }

    /// A whole number within `range`.
    pub(super) fn count(&self, word: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        self.assert_kind(word, |kind| {
            matches!(kind, Kind::Number(least, most) if least == *range.start() && most <= *range.end())
        });
        let fix = format!("write a number from {} to {}, without quotes", range.start(), range.end());
        let integer = self.typed(word, "a whole number", &fix, DeValue::as_integer)?;
        let Some(integer) = integer else { return Ok(None) };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(count) if range.contains(&count) => Ok(Some(count)),
            Ok(_) | Err(_) => Err(self.refuse(word, &format!("can't be {integer}"), fix)),
        }
    }

    /// A list of strings, each converted by `parse`.
    pub(super) fn list<T>(
        &self,
        word: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Result<Option<Vec<T>>> {
        let fix = format!("write {word} = [\"{example}\"]");
        let array = self.typed(word, "a list of strings", &fix, DeValue::as_array)?;
        let Some(array) = array else { return Ok(None) };
        if array.is_empty() {
            return Err(self.refuse(word, "is empty", fix));
        }
        let item = |item: &Spanned<DeValue<'_>>| {
            let problem = |refusal: Refusal| {
                let problem = format!("`{}` {}", self.path(word), refusal.problem);
                self.source.refuse(item.span().start, Refusal { problem, fix: refusal.fix })
            };
            match item.get_ref().as_str() {
                Some(text) => self.source.expand(text).and_then(|text| parse(&text)).map_err(problem),
                None => {
                    let found = described(item.get_ref());
                    Err(problem(Refusal::new(format!("must hold strings, not {found}"), &fix)))
                }
            }
        };
        array.iter().map(item).collect::<Result<_, _>>().map(Some)
    }

    /// A table of strings under names of the user's choice.
    pub(super) fn strings(&self, word: &str) -> Result<Option<BTreeMap<String, String>>> {
        let fix = format!("write {word} = {{ name = \"value\" }}");
        let table = self.typed(word, "a table of strings", &fix, DeValue::as_table)?;
        let Some(table) = table else { return Ok(None) };
        let pair =
            |(name, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| match value.get_ref().as_str() {
                Some(text) => match self.source.expand(text) {
                    Ok(text) => Ok((name.get_ref().to_string(), text.into_owned())),
                    Err(refusal) => Err(self.refuse(word, &refusal.problem, refusal.fix)),
                },
                None => Err(self.wrong_type(word, value.get_ref(), "a table of strings alone", &fix)),
            };
        table.iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// A table inside this one.
    pub(super) fn section(&self, word: &str) -> Result<Option<Section<'a>>> {
        self.section_with(word, reference::keys_of(self.keys, word))
    }

    /// A table inside this one, with these keys alone; others are refused.
    pub(super) fn section_with(&self, word: &str, keys: Keys) -> Result<Option<Section<'a>>> {
        let Some(value) = self.find(word) else { return Ok(None) };
        let Some(table) = value.get_ref().as_table() else {
            let fix = if self.name.is_empty() {
                format!("write [{word}] on a line of its own")
            } else {
                let first = keys.first().map_or("key", |key| key.name);
                format!("write {word} = {{ {first} = ... }}")
            };
            return Err(self.wrong_type(word, value.get_ref(), "a table", &fix));
        };
        Section::open(self.source, self.path(word), value.span().start, table, keys).map(Some)
    }

    /// The `[[word]]` tables, in the order of the file.
    pub(super) fn sections(&self, word: &str) -> Result<Vec<Section<'a>>> {
        let keys = reference::keys_of(self.keys, word);
        let Some(value) = self.find(word) else { return Ok(Vec::new()) };
        let wrong = |value: &DeValue<'_>| {
            let fix = format!("write [[{}]], in double brackets", self.path(word));
            self.wrong_type(word, value, "a list of tables", &fix)
        };
        let Some(array) = value.get_ref().as_array() else { return Err(wrong(value.get_ref())) };
        let open = |item: &'a Spanned<DeValue<'a>>| match item.get_ref().as_table() {
            Some(table) => Section::open(self.source, self.path(word), item.span().start, table, keys),
            None => Err(wrong(item.get_ref())),
        };
        array.iter().map(open).collect()
    }
}

/// Whether the text is `$NAME` or `${NAME}`.
fn is_shell_variable(text: &str) -> bool {
    let Some(name) = text.strip_prefix('$') else { return false };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_first)
        && name.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit())
}

fn described(value: &DeValue<'_>) -> String {
    let article = if value.is_integer() || value.is_array() { "an" } else { "a" };
    format!("{article} {}", value.type_str())
}

/// The choice that `text` names.
pub(super) fn chosen<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, Refusal> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    let fix = match nearest(text, &names) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write one of \"{}\"", names.join("\", \"")),
    };
    Err(Refusal::new(format!("can't be {text:?}"), fix))
}
