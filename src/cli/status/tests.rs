use std::path::Path;

use super::*;
use crate::config;

fn lines(buckets: &str) -> Vec<String> {
    let text = format!(
        r#"
        listen = {{ address = "127.0.0.1:0" }}
        upstream = {{ endpoint = "embedded:data", region = "us-east-1" }}
        keyring = {{ provider = "local", file = "keyring" }}
        client = [{{ access_key_id = "app", secret_access_key = "a secret of length" }}]
        bucket = [{buckets}]
        "#
    );
    let shown = status(&config::parse(&text, Path::new("proxy.toml"), |_| None).expect("a valid file"));
    shown.rules.iter().map(ToString::to_string).collect()
}

#[test]
fn the_anonymous_client_is_shown() {
    let text = r#"
        listen = { address = "127.0.0.1:0" }
        upstream = { endpoint = "embedded:data", region = "us-east-1" }
        keyring = { provider = "local", file = "keyring" }
        bucket = [{ name = "*" }]
        [[client]]
        anonymous = true
        grants = [{ buckets = ["a", "b-*"], rights = ["list", "read"] }, { prefix = "p/", rights = ["read"] }]
        "#;
    let shown = status(&config::parse(text, Path::new("proxy.toml"), |_| None).expect("a valid file"));
    assert_eq!(shown.anonymous.as_deref(), Some("read, list of a, b-*; read of */p/*"));
}

#[test]
fn a_rules_line_says_what_it_writes_reads_and_binds() {
    let cases = [
        (r#"{ name = "*" }"#, "*/*  writes native; reads native; bound to realm and object key"),
        (
            r#"{ name = "archive", formats = { write = "cbc", read = ["native", "cbc", "plaintext"] }, binding = "none" }"#,
            "archive/*  writes cbc (not authenticated); reads native, cbc (not authenticated), plaintext (not \
             authenticated); bound to nothing",
        ),
        (
            r#"{ name = "a", prefix = "x/", formats = { write = "s3ec-v3" }, s3ec = { ranges = "unauthenticated", legacy = true }, realm = "r", key_id = "k", allowed_key_ids = ["l", "m"] }"#,
            "a/x/*  writes s3ec-v3; reads s3ec; s3ec: legacy too, not authenticated; s3ec: ranges not \
             authenticated; realm r; key k; also under l, m",
        ),
        (
            r#"{ name = "b", formats = { write = "cbc", read = ["cbc", "native"] }, cbc_multipart = "native", binding = "realm" }"#,
            "b/*  writes cbc (not authenticated), and native for uploads in parts; reads cbc (not \
             authenticated), native; bound to the realm",
        ),
    ];
    for (rule, line) in cases {
        assert_eq!(lines(rule), [line], "{rule}");
    }
}
