//! Every key of `proxy.toml`, with its type and its default: one table for the parser, for `config show` and
//! for `config schema`.
//! It must not know what a key is for, nor how its value is parsed.
//! It promises that a key which this table lacks is unknown to the parser too.

mod keys;
mod schema;
mod show;
#[cfg(test)]
mod tests;

use toml::de::DeTable;

#[cfg(feature = "azure-key-vault")]
pub(super) use self::keys::AZURE_AUTH;
#[cfg(feature = "gcp-kms")]
pub(super) use self::keys::GCP_AUTH;
pub(super) use self::keys::{PROVIDER, ROOT, VAULT_AUTH};
pub use self::schema::schema;
pub(super) use self::show::{quoted, show};

/// The keys of one table, in the order in which they are shown.
pub(super) type Keys = &'static [Key];

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The name, without that of its table.
    pub(super) name: &'static str,
    /// The type of its value.
    pub(super) kind: Kind,
    /// What is in effect without the key.
    fallback: Fallback,
    /// Whether its table is invalid without the key.
    is_required: bool,
}

/// The type of a key's value. A string of every type may also be `env:NAME`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A string whose form this table does not describe.
    Text,
    /// A string that no output shows, unless it is `env:NAME`.
    Secret,
    /// A whole number and `ms`, `s`, `m`, `h` or `d`.
    Time,
    /// [`Kind::Time`], or `off`.
    TimeOrOff,
    /// A whole number and a unit of bytes, such as `MiB`.
    Size,
    /// [`Kind::Size`], or `off`.
    SizeOrOff,
    /// A number and `%`.
    Share,
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second, both included.
    Number(u64, u64),
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A list of strings.
    Texts,
    /// A list of these strings.
    Choices(&'static [&'static str]),
    /// A table of strings under names of the user's choice.
    Strings,
    /// A table.
    Table(Keys),
    /// A list of tables.
    Tables(Keys),
    /// A table, or a list of them.
    TableOrTables(Keys),
    /// A table with the keys of one of these.
    AnyTable(&'static [Keys]),
}

/// What is in effect without a key.
#[derive(Debug, Clone, Copy)]
enum Fallback {
    /// Nothing.
    Nothing,
    /// This value, as TOML.
    Value(&'static str),
    /// The value, as TOML, that the other keys of the table decide; `None` where the key has no effect.
    Depends(for<'a, 'b> fn(&'a DeTable<'b>) -> Option<&'static str>),
    /// What these words say.
    Words(&'static str),
}

impl Key {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, fallback: Fallback::Nothing, is_required: false }
    }

    const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    const fn value(self, value: &'static str) -> Self {
        Self { fallback: Fallback::Value(value), ..self }
    }

    const fn depends(self, value: for<'a, 'b> fn(&'a DeTable<'b>) -> Option<&'static str>) -> Self {
        Self { fallback: Fallback::Depends(value), ..self }
    }

    const fn words(self, words: &'static str) -> Self {
        Self { fallback: Fallback::Words(words), ..self }
    }

    /// The keys of the table, or of each of the tables, that the value is; empty for other values.
    pub(super) fn keys(&self) -> Keys {
        match self.kind {
            Kind::Table(keys) | Kind::Tables(keys) | Kind::TableOrTables(keys) => keys,
            Kind::Text
            | Kind::Secret
            | Kind::Time
            | Kind::TimeOrOff
            | Kind::Size
            | Kind::SizeOrOff
            | Kind::Share
            | Kind::Boolean
            | Kind::Number(..)
            | Kind::Choice(_)
            | Kind::Texts
            | Kind::Choices(_)
            | Kind::Strings
            | Kind::AnyTable(_) => &[],
        }
    }
}

/// The keys of the table, or of each of the tables, that `name` stands for; empty if it stands for none.
pub(super) fn keys_of(keys: Keys, name: &str) -> Keys {
    find(keys, name).map_or(&[], Key::keys)
}

/// The key of a table with this name.
pub(super) fn find(keys: Keys, name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}
