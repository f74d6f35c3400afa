//! The table of keys as a JSON Schema, for editors and for pipelines that check files before a rollout.
//! It must not know the texts that describe keys.
//! It promises that it admits each file that the parser takes; the parser refuses more.

use serde_json::{Map, Value, json};

use super::keys::ROOT;
use super::{Fallback, Key, Keys, Kind};

/// A string that names an environment variable, in place of a value of another form.
const VARIABLE: &str = "^env:.+$";

/// The schema of `proxy.toml`, in the draft 2020-12. `describe` has the text about a key, by the header of
/// its table without brackets, such as `listen.tls`, and its name.
/// <https://json-schema.org/draft/2020-12>
pub fn schema(describe: &dyn Fn(&str, &str) -> Option<String>) -> Value {
    let mut schema = object(ROOT, "", describe);
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("The configuration of s3veil"));
    Value::Object(schema)
}

fn object(keys: Keys, path: &str, describe: &dyn Fn(&str, &str) -> Option<String>) -> Map<String, Value> {
    let properties: Map<_, _> =
        keys.iter().map(|key| (key.name.to_owned(), property(key, path, describe))).collect();
    let required: Vec<_> = keys.iter().filter(|key| key.is_required).map(|key| key.name).collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("additionalProperties".to_owned(), json!(false));
    object.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

fn property(key: &Key, path: &str, describe: &dyn Fn(&str, &str) -> Option<String>) -> Value {
    let own = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
    let mut property = of_kind(key.kind, &own, describe);
    if let Some(text) = describe(path, key.name).filter(|text| !text.is_empty()) {
        property.insert("description".to_owned(), json!(text));
    }
    if let Fallback::Value(value) = key.fallback
        && let Some(value) = to_json(value)
    {
        property.insert("default".to_owned(), value);
    }
    Value::Object(property)
}

fn of_kind(kind: Kind, path: &str, describe: &dyn Fn(&str, &str) -> Option<String>) -> Map<String, Value> {
    let table = |keys: Keys| Value::Object(object(keys, path, describe));
    let schema = match kind {
        Kind::Text | Kind::Secret => json!({ "type": "string", "minLength": 1 }),
        Kind::Time => with_pattern("[0-9]+ *(ms|s|m|h|d)"),
        Kind::TimeOrOff => with_pattern("[0-9]+ *(ms|s|m|h|d)|off"),
        Kind::Size => with_pattern("[0-9]+ *(B|[KMGT]iB|kB|[KMGT]B)"),
        Kind::SizeOrOff => with_pattern("[0-9]+ *(B|[KMGT]iB|kB|[KMGT]B)|off"),
        Kind::Share => with_pattern("[0-9]+([.][0-9]+)?%"),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Number(least, most) => match i64::try_from(most) {
            Ok(most) if most < i64::MAX => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Ok(_) | Err(_) => json!({ "type": "integer", "minimum": least }),
        },
        Kind::Choice(choices) => choice(choices),
        Kind::Texts => list(json!({ "type": "string", "minLength": 1 })),
        Kind::Choices(choices) => list(choice(choices)),
        Kind::Strings => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Table(keys) => table(keys),
        Kind::Tables(keys) => json!({ "type": "array", "items": table(keys) }),
        Kind::TableOrTables(keys) => {
            json!({ "anyOf": [table(keys), { "type": "array", "minItems": 1, "items": table(keys) }] })
        }
        Kind::AnyTable(all) => json!({ "anyOf": all.iter().map(|keys| table(keys)).collect::<Vec<_>>() }),
    };
    if let Value::Object(schema) = schema { schema } else { Map::new() }
}

fn with_pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^(env:.+|{pattern})$") })
}

fn choice(choices: &[&str]) -> Value {
    json!({ "anyOf": [{ "enum": choices }, { "type": "string", "pattern": VARIABLE }] })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "minItems": 1, "items": items })
}

/// A value in TOML as JSON; `None` for the empty text of a table whose keys have defaults of their own.
fn to_json(value: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {value}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}
