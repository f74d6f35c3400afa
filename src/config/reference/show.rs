//! The configuration in effect as TOML: what the file says, and the defaults of what it leaves out.
//! It must not know whether a value is valid.
//! It promises that no secret is shown, and that the parser reads what is shown as the configuration that it
//! shows.

use std::fmt::Write;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::keys::ROOT;
use super::{Fallback, Key, Keys, Kind};

/// Stands for a secret that the file holds itself.
const HIDDEN: &str = "\"<secret>\"";

/// A valid file as TOML. `replaced` has the keys with a value from elsewhere, such as `log.level`, each with
/// that value.
pub(in crate::config) fn show(file: &DeTable<'_>, replaced: &[(&str, String)]) -> String {
    let mut text = String::new();
    for key in ROOT {
        let empty = DeTable::new();
        let value = file.get(key.name).map(|value| value.get_ref());
        match (value, key.fallback) {
            (Some(value), _) if value.is_array() => {
                let tables = value.as_array().into_iter().flatten();
                for table in tables.filter_map(|table| table.get_ref().as_table()) {
                    write_table(&mut text, &format!("[[{}]]", key.name), key, (table, replaced));
                }
            }
            (Some(value), _) => {
                let table = value.as_table().unwrap_or(&empty);
                write_table(&mut text, &format!("[{}]", key.name), key, (table, replaced));
            }
            (None, Fallback::Value(_)) => {
                write_table(&mut text, &format!("[{}]", key.name), key, (&empty, replaced));
            }
            (None, Fallback::Words(words)) => _ = writeln!(text, "# [{}]: {words}\n", key.name),
            (None, Fallback::Nothing | Fallback::Depends(_)) => {}
        }
    }
    text
}

fn write_table(
    text: &mut String,
    header: &str,
    table_key: &Key,
    (table, replaced): (&DeTable<'_>, &[(&str, String)]),
) {
    _ = writeln!(text, "{header}");
    for key in table_key.keys() {
        let path = format!("{}.{}", table_key.name, key.name);
        let other = replaced.iter().find(|(replaced, _)| *replaced == path);
        let value = other.map(|(_, value)| value.clone()).or_else(|| value_in(table, key));
        match (value, key.fallback) {
            (Some(value), _) => _ = writeln!(text, "{} = {value}", key.name),
            (None, Fallback::Words(words)) if !has_alternative(table, key.name) => {
                _ = writeln!(text, "# {}: {words}", key.name);
            }
            (None, Fallback::Words(_) | Fallback::Nothing | Fallback::Value(_) | Fallback::Depends(_)) => {}
        }
    }
    text.push('\n');
}

/// Whether the key has no effect because of another one.
fn has_alternative(table: &DeTable<'_>, name: &str) -> bool {
    match name {
        "key_id" | "holders" => table.contains_key("holders"),
        "upstream" | "stored_as" => table.contains_key("prefix"),
        _ => false,
    }
}

/// The value of a key as TOML, or its default; `None` where it has none.
fn value_in(table: &DeTable<'_>, key: &Key) -> Option<String> {
    if let Some(value) = table.get(key.name) {
        return Some(inline(value.get_ref(), key.kind));
    }
    match key.fallback {
        // A table whose keys all have defaults.
        Fallback::Value("") => Some(inline_table(&DeTable::new(), key.keys())),
        Fallback::Value(value) => Some(value.to_owned()),
        Fallback::Depends(value) => value(table).map(str::to_owned),
        Fallback::Nothing | Fallback::Words(_) => None,
    }
}

/// A value on one line.
fn inline(value: &DeValue<'_>, kind: Kind) -> String {
    match kind {
        Kind::Secret => match value.as_str() {
            Some(text) if text.starts_with("env:") => quoted(text),
            Some(_) | None => HIDDEN.to_owned(),
        },
        Kind::Table(keys) => value.as_table().map_or_else(String::new, |table| inline_table(table, keys)),
        Kind::Tables(keys) | Kind::TableOrTables(keys) => {
            let tables = value.as_array().into_iter().flatten();
            let tables: Vec<_> =
                tables.filter_map(|table| Some(inline_table(table.get_ref().as_table()?, keys))).collect();
            format!("[{}]", tables.join(", "))
        }
        Kind::AnyTable(all) => {
            let Some(table) = value.as_table() else { return String::new() };
            let fits = |keys: Keys| {
                let knows_all = table.keys().all(|name| super::find(keys, name.get_ref()).is_some());
                // The methods of two providers may have keys in common.
                knows_all && super::keys::has_method(keys, table)
            };
            let keys = all.iter().copied().find(|keys| fits(keys));
            keys.map_or_else(|| plain(value), |keys| inline_table(table, keys))
        }
        Kind::Text
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
        | Kind::Strings => plain(value),
    }
}

fn inline_table(table: &DeTable<'_>, keys: Keys) -> String {
    let pair = |key: &Key| Some(format!("{} = {}", key.name, value_in(table, key)?));
    let pairs: Vec<_> = keys.iter().filter_map(pair).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A value of a valid file as the file has it, which is no float and no date.
fn plain(value: &DeValue<'_>) -> String {
    if let Some(text) = value.as_str() {
        return quoted(text);
    }
    if let Some(number) = value.as_integer() {
        let decimal = u64::from_str_radix(number.as_str(), number.radix());
        return decimal.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string());
    }
    if let Some(items) = value.as_array() {
        let items: Vec<_> = items.iter().map(|item| plain(item.get_ref())).collect();
        return format!("[{}]", items.join(", "));
    }
    if let Some(table) = value.as_table() {
        let mut pairs = Vec::new();
        for (name, value) in table {
            pairs.push(format!("{} = {}", quoted(name.get_ref()), plain(value.get_ref())));
        }
        return format!("{{ {} }}", pairs.join(", "));
    }
    value.as_bool().unwrap_or_default().to_string()
}

/// A string of TOML.
pub(in crate::config) fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
