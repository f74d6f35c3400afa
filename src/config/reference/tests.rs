use std::path::Path;

use serde_json::Value;

use super::*;
use crate::config::{Config, parse, shown};

fn environment(name: &str) -> Option<String> {
    name.starts_with("SECRET").then(|| "a-secret-of-the-environment".to_owned())
}

fn file() -> &'static Path {
    Path::new("etc/proxy.toml")
}

/// All of a configuration but its warnings, which may name lines, and its digest, which is of the text.
fn described(text: &str) -> String {
    let config = parse(text, file(), environment).unwrap_or_else(|error| panic!("{error}\n{text}"));
    format!("{:?}", Config { warnings: Vec::new(), digest: String::new(), ..config })
}

const MINIMAL: &str = "\
[listen]
address = \"127.0.0.1:8333\"
[upstream]
endpoint = \"embedded:./data\"
region = \"us-east-1\"
[keyring]
provider = \"local\"
file = \"keyring\"
[[client]]
access_key_id = \"app\"
secret_access_key = \"env:SECRET\"
[[bucket]]
name = \"*\"
";

/// [`MINIMAL`] with a line replaced by others.
fn with(line: &str, others: &str) -> String {
    assert!(MINIMAL.contains(line), "{line}");
    MINIMAL.replace(line, others)
}

/// Configurations that have between them every table, and the keys whose defaults depend on others.
fn configurations() -> Vec<String> {
    let aws = "region = \"eu-central-1\"\naccess_key_id = \"AKIA\"\nsecret_access_key = \"env:SECRET\"";
    let embedded = "endpoint = \"embedded:./data\"\nregion = \"us-east-1\"";
    let local = "provider = \"local\"\nfile = \"keyring\"";
    let rule = |lines: &str| with("name = \"*\"", &format!("name = \"*\"\n{lines}"));
    let mut all = vec![
        MINIMAL.to_owned(),
        include_str!("../../../proxy.toml").to_owned(),
        rule("formats = { write = \"cbc\" }\nkey_id = \"a\""),
        rule(
            "formats = { read = [\"native\", \"s3ec\"] }\ns3ec = { legacy = true, context = { \"a b\" = \"1\" } }",
        ),
        rule("formats = { write = \"s3ec-v3\" }\nprefix = \"logs/\"\nrealm = \"r\\\"\\\\ealm\""),
        with(
            "access_key_id = \"app\"\nsecret_access_key = \"env:SECRET\"",
            "anonymous = true\ngrants = [{ buckets = [\"a\"], rights = [\"read\"] }, { prefix = \"b/\", rights = [\"list\"] }]",
        ),
        with(
            "address = \"127.0.0.1:8333\"",
            "address = \"127.0.0.1:8333\"\nmin_rate = \"off\"\nmax_requests = 0x10\nmax_buffered = \"32MiB\"",
        ),
        with(
            "[upstream]",
            "[log]\naccess = \"errors\"\n[traces]\nendpoint = \"http://127.0.0.1:4318\"\n[upstream]",
        ),
        with(
            "[upstream]",
            "[log]\naccess = \"off\"\nlevel = \"warn\"\n[audit]\nfile = \"audit\"\n[upstream]",
        ),
        with(
            "[upstream]",
            "[admin]\naddress = \"127.0.0.1:1\"\nbearer_token = \"env:SECRET_TOKEN\"\n[upstream]",
        ),
        with(
            "[upstream]\n",
            "[[upstream]]\nname = \"one\"\nregion = \"r\"\nendpoint = \"http://s3\"\n[[upstream]]\nname = \"two\"\n",
        ),
        with(
            &format!("[keyring]\n{local}"),
            &format!("[[holder]]\nname = \"a\"\n{local}\n[[holder]]\nname = \"b\"\n{local}2"),
        )
        .replace("keyring\"2", "keyring2\"")
        .replace("name = \"*\"", "name = \"*\"\nholders = [\"a\", \"b\"]"),
        with(
            local,
            "provider = \"vault\"\naddress = \"https://bao:8200\"\nkey = \"k\"\n\
             auth = { method = \"kubernetes\", role = \"s3veil\" }\ncache = { entries = 5 }",
        ),
    ];
    if cfg!(feature = "aws") {
        all.push(with(embedded, aws).replace(local, "provider = \"aws-kms\"\nkey_id = \"alias/a\""));
    }
    if cfg!(feature = "gcp-kms") {
        let key = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
        let auth = "auth = { method = \"token\", token_file = \"t\" }";
        all.push(with(local, &format!("provider = \"gcp-kms\"\nkey = \"{key}\"\n{auth}")));
    }
    if cfg!(feature = "azure-key-vault") {
        let auth = "auth = { method = \"federated\", tenant = \"t\", client_id = \"c\" }";
        let lines = format!("provider = \"azure-key-vault\"\naddress = \"https://v\"\nkey = \"k\"\n{auth}");
        all.push(with(local, &lines));
    }
    all
}

#[test]
fn what_is_shown_is_the_configuration_with_its_defaults() {
    for text in configurations() {
        let shown = shown(&text, file(), &environment).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(described(&shown), described(&text), "{shown}");
        // A second time there is nothing to add.
        let again = crate::config::shown(&shown, file(), &environment).expect("valid");
        assert_eq!(again, shown);
    }
}

#[test]
fn defaults_are_shown_and_secrets_are_not() {
    let text = with("\"env:SECRET\"", "\"hunter2-of-twenty-bytes\"");
    let text = shown(&text, file(), &environment).expect("valid");
    for line in [
        "max_requests = 1000",
        "# region: any",
        "secret_access_key = \"<secret>\"",
        "formats = { write = \"native\", read = [\"native\"] }",
        "embedded_sync = \"full\"",
        "cache = { max_age = \"5m\", max_objects = 10000, max_bytes = \"1TiB\", entries = 10000, stale_if_error = \"off\" }",
        "# [admin]: no listener for operators",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("hunter2"), "This is a security issue: {text}");
    assert!(!text.contains("checksum"), "it has no effect on the embedded store");
    let by_variable = shown(MINIMAL, file(), &environment).expect("valid");
    assert!(by_variable.contains("secret_access_key = \"env:SECRET\""));
    assert!(!by_variable.contains("of-the-environment"), "This is a security issue.");
    let level = |name: &str| (name == "RUST_LOG").then(|| "debug".to_owned()).or_else(|| environment(name));
    assert!(shown(MINIMAL, file(), &level).expect("valid").contains("level = \"debug\""));
}

/// The keys of a table in the schema, below the names of tables.
fn property<'s>(schema: &'s Value, path: &[&str]) -> &'s Value {
    path.iter().fold(schema, |schema, name| {
        let schema = schema.get("items").unwrap_or(schema);
        &schema["properties"][name]
    })
}

#[test]
fn the_schema_describes_each_kind_of_value() {
    let schema = schema(&|table, key| Some(format!("{table}/{key}")));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["listen", "upstream", "client", "bucket"]));
    let rights = property(&schema, &["client", "grants", "rights"]);
    assert_eq!(rights["items"]["anyOf"][0]["enum"][0], "read");
    assert_eq!(rights["description"], "client.grants/rights");
    let requests = property(&schema, &["listen", "max_requests"]);
    assert_eq!((&requests["minimum"], &requests["maximum"]), (&1.into(), &1_000_000.into()));
    assert_eq!(property(&schema, &["listen"])["additionalProperties"], false);
    assert_eq!(property(&schema, &["log", "slow"])["pattern"], "^(env:.+|[0-9]+ *(ms|s|m|h|d))$");
    assert!(property(&schema, &["keyring", "slot"]).get("maximum").is_none());
}
