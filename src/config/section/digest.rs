//! One name for all settings of a configuration, by which operators see whether nodes agree.
//! It must not know what a setting means.
//! It promises that no value of a secret is part of it, nor comments and the order of keys.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::wire::digest::sha256;
use crate::wire::hex;

/// SHA-256 over the names and values of `document`, in hexadecimal digits. Values that begin at one of the
/// offsets in `secrets` are left out, their names are not.
pub(in crate::config) fn digest(document: &DeTable<'_>, secrets: &[usize]) -> String {
    let mut text = String::new();
    push_table(&mut text, document, secrets);
    hex::encode(&sha256(text.as_bytes()))
}

fn push_table(text: &mut String, table: &DeTable<'_>, secrets: &[usize]) {
    let sorted: BTreeMap<_, _> = table.iter().map(|(name, value)| (name.get_ref().as_ref(), value)).collect();
    text.push('{');
    for (name, value) in sorted {
        text.push_str(&format!("{name:?}="));
        push_value(text, value, secrets);
    }
    text.push('}');
}

fn push_value(text: &mut String, value: &Spanned<DeValue<'_>>, secrets: &[usize]) {
    if secrets.contains(&value.span().start) {
        text.push_str("secret;");
        return;
    }
    match value.get_ref() {
        DeValue::String(string) => text.push_str(&format!("{string:?}")),
        DeValue::Integer(integer) => text.push_str(&format!("{integer}")),
        DeValue::Float(float) => text.push_str(&format!("{float}")),
        DeValue::Boolean(boolean) => text.push_str(&format!("{boolean}")),
        DeValue::Datetime(datetime) => text.push_str(&format!("{datetime}")),
        DeValue::Array(array) => {
            text.push('[');
            array.iter().for_each(|item| push_value(text, item, secrets));
            text.push(']');
        }
        DeValue::Table(table) => push_table(text, table, secrets),
    }
    text.push(';');
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config;

    fn digest_with(secret: &str, key: &str, comment: &str) -> String {
        let text = format!(
            r#"
            # {comment}
            listen = {{ address = "127.0.0.1:0" }}
            upstream = {{ endpoint = "embedded:data", region = "us-east-1" }}
            keyring = {{ provider = "local", file = "keyring" }}
            client = [{{ access_key_id = "{key}", secret_access_key = "{secret}" }}]
            bucket = [{{ name = "*" }}]
            "#
        );
        config::parse(&text, Path::new("proxy.toml"), |_| None).expect("a valid file").digest
    }

    #[test]
    fn settings_count_and_secrets_and_comments_do_not() {
        let digest = digest_with("a secret of length", "app", "one");
        assert_eq!(digest.len(), 64);
        let other = digest_with("another secret, longer", "app", "two");
        assert_eq!(digest, other, "This is a security issue: a digest by which a secret can be guessed.");
        assert_ne!(digest, digest_with("a secret of length", "other", "one"));
    }
}
