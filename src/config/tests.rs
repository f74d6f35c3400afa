use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::access::{Client, Right, Rights};
use crate::audit::{OnFailure, SigningKey};
use crate::envelope::article_cbc::Padding;
use crate::keyring::{CacheSettings, KeyId, Provider, Reuse};
use crate::log::{AccessLog, Share};
use crate::object::rule::formats::{
    CbcRules, Formats, Large, Multipart, Ranges, ReadFormat, S3ecRules, WriteFormat,
};
use crate::object::rule::{Binding, CustomerKeyRule, Policies};
use crate::s3::{BucketName, BucketPattern, EtagStyle, ObjectKey};
use crate::sigv4::SecretAccessKey;
use crate::upstream::{Credentials, Target, Timeouts};
use crate::wire::checksum::ChecksumAlgorithm;

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
secret_access_key = \"hunter2\"
[[bucket]]
name = \"*\"
";

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("etc/proxy.toml"), |name| match name {
        "APP_SECRET" => Some("from the environment".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

/// [`MINIMAL`] with one line replaced by others.
fn with(line: &str, others: &str) -> String {
    assert!(MINIMAL.lines().any(|it| it == line), "{line} is no line of it");
    MINIMAL.lines().map(|it| if it == line { others } else { it }).collect::<Vec<_>>().join("\n")
}

/// [`MINIMAL`] with further lines below one.
fn below(line: &str, others: &str) -> String {
    with(line, &format!("{line}\n{others}"))
}

fn refused(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn the_published_file_is_valid_and_shows_the_defaults() {
    let text = include_str!("../../proxy.toml");
    let config = parse(text, Path::new("proxy.toml"), |_| None).expect("the published file");
    assert_eq!(config.listen.address, SocketAddr::from(([127, 0, 0, 1], 8333)));
    let admin = config.admin.as_ref().expect("an admin listener");
    assert_eq!((admin.address, admin.token.is_none()), (SocketAddr::from(([127, 0, 0, 1], 9333)), true));
    assert_eq!(config.upstream().target, Target::Embedded { path: "./data".into() });
    let Provider::Local(keyring) = &config.keyring.holders[0].provider else {
        panic!("the keyring is local")
    };
    assert_eq!((keyring.file.as_path(), keyring.create_if_missing), (Path::new("./data/keyring"), true));
    assert_eq!(config.clients[0].0, "s3veil");
    assert_eq!(config.buckets[0].name, BucketPattern::any());
}

/// A configuration without what depends on how the file is written.
fn settings_of(mut config: Config) -> String {
    config.warnings.clear();
    config.digest.clear();
    format!("{config:?}")
}

/// Every key in a comment of the published file exists, and its shown default is the real one.
#[test]
fn the_published_comments_are_true() {
    let text = include_str!("../../proxy.toml");
    let shown = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("# {key} = "))).expect(key);
        line.trim_start_matches("# ").split("  #").next().expect("a line").to_owned()
    };
    let defaults = [
        (
            "[listen]",
            &[
                "sigv2",
                "max_connections",
                "max_requests",
                "max_buffered",
                "header_timeout",
                "min_rate",
                "reuse_port",
                "drain_delay",
                "drain_timeout",
                "max_clock_skew",
            ][..],
        ),
        ("[upstream]", &["name", "connect_timeout", "head_timeout", "idle_timeout", "max_retries"]),
        ("[keyring]", &["reuse", "cache"]),
        ("[[client]]", &["anonymous", "buckets"]),
        ("[[bucket]]", &["upstream", "formats", "binding", "etag", "sse_c"]),
    ];
    let plain = settings_of(read(MINIMAL).expect("the minimal file"));
    for (table, keys) in defaults {
        for key in keys {
            let config = read(&below(table, &shown(key))).expect(key);
            assert_eq!(settings_of(config), plain, "{key}");
        }
    }
    let others = ["region", "domain"].map(|key| below("[listen]", &shown(key)));
    for other in others
        .into_iter()
        .chain(["realm", "key_id", "prefix", "stored_as"].map(|key| below("[[bucket]]", &shown(key))))
    {
        read(&other).expect(&other);
    }
}

/// The keys that require a format other than the default exist too, with their shown defaults.
#[test]
fn the_published_comments_about_formats_are_true() {
    let text = include_str!("../../proxy.toml");
    for (formats, key) in [
        (r#"formats = { write = "cbc" }"#, "cbc_padding"),
        (r#"formats = { write = "cbc" }"#, "cbc_multipart"),
        (r#"formats = { read = ["native", "s3ec"] }"#, "s3ec"),
    ] {
        let line = text.lines().find(|line| line.starts_with(&format!("# {key} = "))).expect(key);
        let shown = line.trim_start_matches("# ").split("  #").next().expect("a line");
        let plain = read(&below("[[bucket]]", formats)).expect(formats);
        let config = read(&below("[[bucket]]", &format!("{formats}\n{shown}"))).expect(shown);
        assert_eq!(settings_of(config), settings_of(plain), "{key}");
    }
}

#[test]
fn the_foreign_formats_can_be_set() {
    let formats = |text: &str| read(&below("[[bucket]]", text)).expect(text).buckets.remove(0).formats;
    let default = formats("realm = \"r\"");
    assert_eq!(default, Formats::default());
    assert!(default.reads_native_only());

    let cbc = formats("formats = { write = \"cbc\" }\ncbc_padding = \"zero\"");
    assert_eq!((cbc.write, &cbc.read[..]), (WriteFormat::Cbc, &[ReadFormat::Cbc][..]));
    assert_eq!(cbc.cbc, CbcRules { padding: Padding::Zero, multipart: Multipart::Refuse });

    let mixed =
        formats("formats = { write = \"cbc\", read = [\"cbc\", \"native\"] }\ncbc_multipart = \"native\"");
    assert_eq!(mixed.cbc, CbcRules { padding: Padding::Pkcs7, multipart: Multipart::Native });

    let s3ec = formats(
        "formats = { write = \"s3ec-v2\", read = [\"s3ec\", \"plaintext\"] }\ns3ec = { legacy = true, buffer = \"1MiB\", \
         large = \"stream\", ranges = \"unauthenticated\", context = { tenant = \"blue\" } }",
    );
    assert_eq!((s3ec.write, s3ec.reads(ReadFormat::Native)), (WriteFormat::S3ecV2, false));
    let S3ecRules { legacy, buffer, large, ranges, context } = s3ec.s3ec;
    assert_eq!((legacy, buffer, large, ranges), (true, 1 << 20, Large::Stream, Ranges::Unauthenticated));
    assert_eq!(context.get("tenant").map(String::as_str), Some("blue"));
}

#[test]
fn objects_are_stored_unencrypted_only_by_a_rule_that_says_so_twice_and_is_warned_of() {
    let config = |formats: &str| read(&below("[[bucket]]", &format!("formats = {{ {formats} }}")));
    let plain = config("write = \"plaintext\", store_unencrypted = true").expect("it says so twice");
    let formats = &plain.buckets[0].formats;
    assert_eq!((formats.write, &formats.read[..]), (WriteFormat::Plaintext, &[ReadFormat::Plaintext][..]));
    assert!(
        plain.warnings.iter().any(|warning| warning.contains("STORED UNENCRYPTED")),
        "{:?}",
        plain.warnings
    );
    for (refused, problem) in [
        ("write = \"plaintext\"", "would store objects unencrypted"),
        ("write = \"plaintext\", store_unencrypted = false", "would store objects unencrypted"),
        ("store_unencrypted = true", "has no effect"),
        ("write = \"native\", store_unencrypted = true", "has no effect"),
        ("write = \"plaintext\", store_unencrypted = true, read = [\"native\"]", "does not include"),
        ("write = \"plain\", store_unencrypted = true", "formats.write"),
        ("read = [\"plaintext\"]", "does not include"),
    ] {
        let error = config(refused).expect_err(refused).to_string();
        assert!(error.contains(problem), "{refused}: {error}");
    }
}

#[test]
fn customer_keys_are_taken_over_tls_unless_a_rule_says_otherwise() {
    let rule = |text: &str| read(&below("[[bucket]]", text)).expect(text).buckets.remove(0).customer_keys;
    assert_eq!(rule("realm = \"r\""), CustomerKeyRule::Tls);
    for (word, expected) in
        [("off", CustomerKeyRule::Off), ("tls", CustomerKeyRule::Tls), ("any", CustomerKeyRule::Any)]
    {
        assert_eq!(rule(&format!("sse_c = \"{word}\"")), expected);
    }
    assert!(read(&below("[[bucket]]", "sse_c = \"on\"")).is_err());
}

const EVERYTHING: &str = r#"
[listen]
address = "[::1]:80"
domain = "S3.example.com"
region = "eu-west-1"
sigv2 = false
max_connections = 0x10
max_requests = 32
max_buffered = "16MiB"
header_timeout = "1s"
idle_timeout = "2s"
min_rate = "2KiB"
reuse_port = true
drain_delay = "5s"
drain_timeout = "3s"
max_clock_skew = "4s"
[upstream]
endpoint = "https://storage.example.com"
region = "eu-west-2"
path_style = false
access_key_id = "AKIA"
secret_access_key = "env:APP_SECRET"
checksum = "crc32c"
connect_timeout = "5s"
head_timeout = "6s"
idle_timeout = "7s"
max_retries = 0
[keyring]
provider = "aws-kms"
endpoint = "http://127.0.0.1:4566"
access_key_id = "test"
secret_access_key = "test"
reuse = "off"
cache = { max_age = "1h", max_objects = 1, max_bytes = "1GiB", entries = 2, stale_if_error = "8s" }
[[client]]
access_key_id = "app"
secret_access_key = "hunter2"
buckets = ["logs-*", "data"]
access = "write-only"
[[client]]
access_key_id = "other"
secret_access_key = "hunter3"
access = "read-only"
[[bucket]]
name = "logs-*"
prefix = "a/"
realm = "logs"
key_id = "alias/logs"
allowed_key_ids = ["alias/old"]
formats = { write = "native", read = ["native"] }
binding = "realm"
etag = "storage"
sse_c = "any"
[log]
format = "json"
level = "warn,s3veil=debug"
"#;

#[test]
fn listening_and_the_upstream_can_be_set() {
    let config = read(EVERYTHING).expect("a valid file");
    let seconds = Duration::from_secs;
    assert_eq!(config.listen.max_connections, 16);
    assert_eq!(config.listen.min_rate, 2048);
    assert_eq!((config.listen.header_timeout, config.listen.drain_timeout), (seconds(1), seconds(3)));
    assert_eq!((config.listen.reuse_port, config.listen.drain_delay), (true, seconds(5)));
    let rules = RequestRules {
        domain: Some("s3.example.com".to_owned()),
        region: Some("eu-west-1".to_owned()),
        sigv2: false,
        max_clock_skew: seconds(4),
        idle_timeout: seconds(2),
        cut_slow_clients: true,
        max_requests: 32,
        max_buffered: 16 << 20,
    };
    assert_eq!(config.requests, rules);
    assert!(config.admin.is_none());
    let upstream = config.upstream();
    assert_eq!(upstream.target, Target::Endpoint("https://storage.example.com".parse().expect("a URL")));
    assert_eq!(
        (upstream.path_style, upstream.checksum, upstream.max_retries),
        (Some(false), Some(ChecksumAlgorithm::Crc32c), 0)
    );
    assert_eq!(upstream.timeouts, Timeouts { connect: seconds(5), head: seconds(6), idle: seconds(7) });
    let Credentials::Static { access_key_id, secret_access_key, session_token: None } = &upstream.credentials
    else {
        panic!("the credentials were configured")
    };
    assert_eq!((access_key_id.as_str(), secret_access_key.as_str()), ("AKIA", "from the environment"));
}

const SEVERAL: &str = "\
[[upstream]]
name = \"aws\"
region = \"eu-central-1\"
[[upstream]]
name = \"archive\"
checksum = \"none\"
endpoint = \"http://storage.example:9000\"";

#[test]
fn several_upstreams_and_routes_to_them_can_be_set() {
    let text = with("[upstream]", SEVERAL).replace("endpoint = \"embedded:./data\"\n", "");
    let rules = "[[bucket]]\nname = \"logs-*\"\nprefix = \"a/\"\n[[bucket]]\nname = \"logs-*\"\nupstream = \"archive\"\n\
                 stored_as = \"company-{bucket}\"\n[[bucket]]\nname = \"data\"\nstored_as = \"other\"\n[[bucket]]";
    let config = read(&text.replace("[[bucket]]", rules)).expect("a valid file");
    let found: Vec<_> = config
        .upstreams
        .iter()
        .map(|it| (it.name.as_str(), it.region.as_str(), it.checksum.is_some(), it.via.is_some()))
        .collect();
    assert_eq!(found, [("aws", "eu-central-1", true, true), ("archive", "us-east-1", false, true)]);
    assert_eq!(config.upstream().target, Target::Aws);
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|route| (route.buckets.as_str(), route.upstream, route.stored_as.is_some()))
        .collect();
    assert_eq!(routes, [("logs-*", 1, true), ("data", 0, true), ("*", 0, false)]);
    let named = read(&below("[upstream]", "name = \"main\"")).expect("a valid file");
    assert_eq!(named.upstream().name, "main");
}

#[test]
fn no_upstream_is_this_proxy_itself() {
    let text = with("[upstream]", SEVERAL).replace("endpoint = \"embedded:./data\"\n", "");
    let own = text.replace("storage.example:9000", "127.0.0.1:8333");
    let refused = refused(&own);
    assert!(refused.contains(":9: `upstream.endpoint` is this proxy's own address"), "{refused}");
}

/// A changed file keeps what it does not change: settings can be compared.
#[test]
fn equal_settings_are_equal() {
    let upstreams = |text: &str| read(text).expect("a valid file").upstreams;
    assert_eq!(upstreams(EVERYTHING), upstreams(EVERYTHING));
    assert_ne!(upstreams(EVERYTHING), upstreams(&EVERYTHING.replace("env:APP_SECRET", "another")));
}

#[test]
fn slow_clients_can_be_left_alone() {
    let cuts = |line: &str| read(&below("[listen]", line)).expect("a valid file").requests.cut_slow_clients;
    assert!(cuts(""));
    assert!(!cuts("min_rate = \"off\""));
}

#[test]
fn keys_clients_and_buckets_can_be_set() {
    let config = read(EVERYTHING).expect("a valid file");
    let seconds = Duration::from_secs;
    let Provider::AwsKms(kms) = &config.keyring.holders[0].provider else { panic!("AWS KMS was configured") };
    assert_eq!(
        (kms.key_id.as_ref(), kms.endpoint.as_deref(), kms.region.as_deref()),
        (None, Some("http://127.0.0.1:4566/"), Some("eu-west-2"))
    );
    assert_eq!(kms.credentials.as_ref().expect("they were configured").access_key_id(), "test");
    let cache = CacheSettings {
        max_age: seconds(3600),
        max_objects: 1,
        max_bytes: 1 << 30,
        entries: 2,
        stale_if_error: Some(seconds(8)),
    };
    assert_eq!((config.keyring.reuse, config.keyring.cache), (Reuse::Off, cache));
    let grants: Vec<_> = config.clients.iter().map(|(_, client)| described(client)).collect();
    assert_eq!(grants, [["logs-* data  write"], ["*  read, list"]]);
    let rule = &config.buckets[0];
    assert_eq!((rule.realm.as_deref(), rule.binding), (Some("logs"), Binding::Realm));
    assert_eq!((rule.etag, rule.customer_keys), (EtagStyle::Storage, CustomerKeyRule::Any));
    assert_eq!(rule.keys.allowed_key_ids, [KeyId::parse("alias/old").expect("a key id")]);
    let access = AccessLog::default();
    assert_eq!(
        config.log,
        LogSettings { format: LogFormat::Json, level: "warn,s3veil=debug".to_owned(), access }
    );
}

/// A line for each grant: buckets, prefix, rights.
fn described(client: &Client) -> Vec<String> {
    let line = |grant: &crate::access::Grant| {
        let buckets: Vec<_> = grant.buckets.iter().map(|bucket| bucket.as_str()).collect();
        format!("{} {} {}", buckets.join(" "), grant.prefix, grant.rights)
    };
    client.grants.iter().map(line).collect()
}

#[test]
fn a_client_has_the_grants_that_are_written() {
    let client = |lines: &str| {
        let mut config = read(&below("[[client]]", lines)).expect("a valid file");
        config.clients.remove(0).1
    };
    assert_eq!(described(&client("")), ["*  read, list, write, delete"]);
    assert_eq!(described(&client("access = \"append-only\"")), ["*  append"]);
    let admin = client("access = \"admin\"");
    assert_eq!(admin.grants.anywhere(), Rights::ALL);
    let grants = "grants = [{ buckets = [\"backup-*\"], prefix = \"db1/\", rights = [\"append\", \"list\"] }, \
                  { rights = [\"read\"] }]";
    let granted = client(grants);
    assert_eq!(described(&granted), ["backup-* db1/ list, append", "*  read"]);
    assert!(granted.grants.anywhere().has(Right::Append) && !granted.is_anonymous());
}

#[test]
fn a_client_without_a_signature_is_warned_of() {
    let anonymous = |lines: &str| {
        let text = format!("{MINIMAL}\n[[client]]\nanonymous = true\n{lines}\n");
        read(&text)
    };
    let config = anonymous("buckets = [\"public-*\"]\naccess = \"read-only\"").expect("a valid file");
    let (name, client) = &config.clients[1];
    assert_eq!((name.as_str(), client.is_anonymous()), ("anonymous", true));
    assert_eq!(described(client), ["public-*  read, list"]);
    let warning = config.warnings.iter().find(|warning| warning.contains("`client.anonymous`"));
    let warning = warning.expect("a warning");
    assert!(warning.contains("127.0.0.1:8333") && warning.contains("public-*"), "{warning}");
    for (lines, problem) in [
        ("", "`client.anonymous` requires grants: write access = \"read-only\" and buckets, or grants = ["),
        (
            "access = \"read-write\"",
            "`client.access` gives the anonymous client more than read, list: write, delete",
        ),
        (
            "grants = [{ rights = [\"append\"] }]",
            "`client.grants` gives the anonymous client more than read, list: append",
        ),
        ("access = \"read-only\"\nsecret_access_key = \"x\"", "`client.secret_access_key` has no effect"),
        (
            "access = \"read-only\"\n[[client]]\nanonymous = true\naccess = \"read-only\"",
            "is the name of another client",
        ),
    ] {
        let refused = anonymous(lines).expect_err(lines).to_string();
        assert!(refused.contains(problem), "{refused}");
    }
}

#[test]
fn the_listen_address() {
    let at = |address: &str| refused(&with("address = \"127.0.0.1:8333\"", address));
    let place = "etc/proxy.toml:2: ";
    let cases = [
        (
            "address = \"localhost:9000\"",
            "`listen.address` is an invalid IP:PORT: \"localhost:9000\": write for example \"127.0.0.1:9000\"",
        ),
        (
            "address = 8333",
            "`listen.address` must be a string, not an integer: write address = \"127.0.0.1:8333\"",
        ),
        ("address = \"\"", "`listen.address` is empty: write address = \"127.0.0.1:8333\""),
        ("adress = \"127.0.0.1:8333\"", "unknown key `listen.adress`: did you mean `listen.address`?"),
        (
            "port = 8333",
            "unknown key `listen.port`: the keys of `listen` are address, domain, tls, region, sigv2, reuse_port, max_connections, max_requests, max_buffered, header_timeout, idle_timeout, min_rate, drain_delay, drain_timeout, max_clock_skew",
        ),
    ];
    for (line, message) in cases {
        assert_eq!(at(line), format!("{place}{message}"));
    }
    // The middle of the message is the TOML parser's; the position and the remedy are ours.
    let unquoted = at("address = 127.0.0.1:8333");
    assert!(unquoted.starts_with(place) && unquoted.ends_with("strings require double quotes"), "{unquoted}");
    let missing =
        "etc/proxy.toml:1: `listen.address` is missing: write for example address = \"127.0.0.1:8333\"";
    assert_eq!(at("# nothing"), missing);
}

/// Each mistake of `mistakes.txt`: a line of [`MINIMAL`], its replacement (`\n` starts another line), and the
/// expected message with its line number.
#[test]
fn mistakes() {
    let blocks = include_str!("mistakes.txt").split("\n\n").filter(|block| !block.starts_with("##"));
    let mut seen = 0;
    for block in blocks {
        let (change, message) = block.trim_end().split_once('\n').expect("two lines");
        let (line, others) = change.split_once(" =>").expect("a change");
        let text = with(line, &others.trim_start().replace("\\n", "\n"));
        assert_eq!(refused(&text), format!("etc/proxy.toml:{message}"));
        seen += 1;
    }
    assert_eq!(seen, 136);
}

/// A bucket with the name of another rule's realm would share the realm; a rule that names the bucket states
/// that this is intended.
#[test]
fn a_realm_that_a_bucket_would_share_by_chance() {
    let rules = |first: &str, behind: &str| {
        with(
            "name = \"*\"",
            &format!("{first}\n[[bucket]]\nname = \"secret\"\nrealm = \"production\"\n{behind}"),
        )
    };
    for (first, behind) in [
        ("name = \"a\"", "[[bucket]]\nname = \"*\""),
        ("name = \"a\"", "[[bucket]]\nname = \"prod*\""),
        ("name = \"production\"\nprefix = \"x/\"\nrealm = \"p/q\"", "[[bucket]]\nname = \"*\""),
        ("name = \"prod*\"", ""),
    ] {
        let message = refused(&rules(first, behind));
        assert!(
            message.contains("`bucket.realm` \"production\" is also the realm of a bucket named so"),
            "{message}"
        );
        assert!(
            message.contains("write above that rule a [[bucket]] with name = \"production\""),
            "{message}"
        );
    }
    for (first, behind) in [
        ("name = \"a\"", ""),
        ("name = \"a\"", "[[bucket]]\nname = \"logs-*\""),
        ("name = \"production\"", "[[bucket]]\nname = \"*\""),
        ("name = \"production\"\nrealm = \"production\"", "[[bucket]]\nname = \"*\""),
        ("name = \"a\"", "[[bucket]]\nname = \"*\"\nrealm = \"all\""),
    ] {
        read(&rules(first, behind)).expect(first);
    }
}

#[test]
fn a_key_service_over_plain_http_on_another_machine() {
    let kms = |endpoint: &str| {
        let text = with(
            "provider = \"local\"",
            &format!("provider = \"aws-kms\"\nkey_id = \"alias/a\"\nendpoint = \"{endpoint}\""),
        );
        text.replace("file = \"keyring\"\n", "")
    };
    let message = refused(&kms("http://kms.internal:4566"));
    assert!(
        message.contains("`keyring.endpoint` sends data keys unencrypted to another machine"),
        "{message}"
    );
    assert!(message.contains("write an https:// endpoint"), "{message}");
    for good in ["http://127.0.0.1:4566", "https://kms.internal"] {
        read(&kms(good)).expect(good);
    }
}

#[test]
fn tables_that_are_missing() {
    let without = |start: &str, end: &str| {
        let (from, to) = (MINIMAL.find(start).expect(start), MINIMAL.find(end).unwrap_or(MINIMAL.len()));
        refused(&format!("{}{}", &MINIMAL[..from], &MINIMAL[to..]))
    };
    let cases = [
        (
            "[listen]",
            "[upstream]",
            "missing [listen]: write [listen] and below it address = \"127.0.0.1:8333\"",
        ),
        (
            "[upstream]",
            "[keyring]",
            "missing [upstream]: write [upstream] and below it endpoint = \"embedded:./data\", or region = \"us-east-1\" for AWS S3",
        ),
        (
            "[keyring]",
            "[[client]]",
            "missing [keyring]: write [keyring] and below it provider = \"aws-kms\" with a key_id, or \"local\" with a file",
        ),
        (
            "[[client]]",
            "[[bucket]]",
            "missing [[client]]: write [[client]] and below it access_key_id and secret_access_key, which clients sign with",
        ),
        (
            "[[bucket]]",
            "[end]",
            "missing [[bucket]]: write [[bucket]] and below it name = \"*\", for every bucket",
        ),
    ];
    for (start, end, message) in cases {
        assert_eq!(without(start, end), format!("etc/proxy.toml: {message}"));
    }
}

#[test]
fn the_demo_secret_serves_this_machine_only() {
    let demo = |address: &str| {
        let text = with("secret_access_key = \"hunter2\"", "secret_access_key = \"s3veil-secret\"");
        read(&text.replace("127.0.0.1:8333", address)).map(drop).map_err(|error| error.to_string())
    };
    for loopback in ["127.0.0.1:8333", "127.9.9.9:1", "[::1]:8333", "[::ffff:127.0.0.1]:8333"] {
        assert_eq!(demo(loopback), Ok(()), "{loopback}");
    }
    for open in ["0.0.0.0:8333", "[::]:8333", "10.0.0.1:8333", "[::ffff:10.0.0.1]:8333"] {
        let message = format!(
            "etc/proxy.toml:11: `client.secret_access_key` is the published demo secret, and {open} can be \
             reached from outside: choose a secret of your own, or set listen.address to 127.0.0.1"
        );
        assert_eq!(demo(open), Err(message));
    }
}

#[test]
fn every_bucket_has_a_key() {
    let kms = with("provider = \"local\"", "provider = \"aws-kms\"").replace("file = \"keyring\"", "");
    let message = "etc/proxy.toml:12: `bucket.key_id` is missing, and `keyring.key_id` too: write key_id here, or in \
                   [keyring] for every bucket";
    assert_eq!(refused(&kms), message);
    read(&kms.replace("name = \"*\"", "name = \"*\"\nkey_id = \"alias/a\"")).expect("a key of its own");
    read(&kms.replace("[keyring]", "[keyring]\nkey_id = \"alias/a\"")).expect("a key for all");
}

#[test]
fn the_first_bucket_rule_that_matches_applies() {
    let rules = "name = \"logs\"\nprefix = \"secret/\"\nrealm = \"a\"\n[[bucket]]\nname = \"logs\"\nrealm = \"b\"\n\
                 [[bucket]]\nname = \"data-?\"";
    let config = read(&with("name = \"*\"", rules)).expect("three rules");
    let policies = Policies::new(config.buckets);
    let realm = |bucket: &str, object_key: &str| {
        let bucket = BucketName::parse(bucket).expect("a bucket's name");
        let object_key = ObjectKey::parse(object_key).expect("an object key");
        policies.for_object(&bucket, &object_key).ok().map(|rule| rule.realm(&bucket).to_owned())
    };
    let cases = [
        ("logs", "secret/x", Some("a")),
        ("logs", "secret", Some("b")),
        ("data-1", "any", Some("data-1")),
        ("data-12", "any", None),
        ("other", "any", None),
    ];
    for (bucket, object_key, expected) in cases {
        assert_eq!(realm(bucket, object_key).as_deref(), expected, "{bucket}/{object_key}");
    }
}

#[test]
fn secrets_come_from_files_too_and_lose_one_newline() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = with("secret_access_key = \"hunter2\"", "secret_access_key_file = \"secret\"");
    let cases = [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2")];
    for (content, expected) in cases {
        std::fs::write(directory.path().join("secret"), content).expect("a file");
        let config = parse(&text, &directory.path().join("proxy.toml"), |_| None).expect("a secret");
        assert_eq!(config.clients[0].1.secret, Some(SecretAccessKey::new(expected.to_owned())));
    }
    for edged in ["hunter2\n\n", "hunter2 \n", "\thunter2", " hunter2"] {
        std::fs::write(directory.path().join("secret"), edged).expect("a file");
        let error = parse(&text, &directory.path().join("proxy.toml"), |_| None).expect_err(edged);
        assert!(
            error.problem.ends_with("secret, whose content begins or ends with a blank or a line break"),
            "{error}"
        );
    }
    std::fs::write(directory.path().join("secret"), "\n").expect("a file");
    let error = parse(&text, &directory.path().join("proxy.toml"), |_| None).expect_err("an empty secret");
    assert!(error.problem.ends_with("secret, which is empty"), "{error}");
}

/// No formatter shows a secret: neither of a good configuration nor of one that is refused.
#[test]
fn secrets_are_not_shown() {
    assert!(!format!("{:?}", read(MINIMAL).expect("a valid file")).contains("hunter2"));
    let mistakes = [
        with("access_key_id = \"app\"", ""),
        with("access_key_id = \"app\"", "access_key_id = \"a b\""),
        below("secret_access_key = \"hunter2\"", "secret_access_key = \"hunter2\""),
        with("secret_access_key = \"hunter2\"", "secret_access_key = \"hunter2"),
        with("secret_access_key = \"hunter2\"", "secret_access_key = [\"hunter2\"]"),
    ];
    for text in mistakes {
        let error = read(&text).expect_err(&text);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn certificates_and_keys_are_read_and_fit() {
    let directory = tempfile::tempdir().expect("a directory");
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (mine, other) = (pair(), pair());
    let files = [
        ("cert.pem", mine.cert.pem()),
        ("key.pem", mine.signing_key.serialize_pem()),
        ("other.pem", other.signing_key.serialize_pem()),
        ("empty.pem", String::new()),
        (
            "encrypted.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(),
        ),
        ("v1.pem", include_str!("v1-certificate.pem").to_owned()),
        ("v1-key.pem", mine.signing_key.serialize_pem()),
    ];
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).expect("a file");
    }
    let tls = |certificate: &str, private_key: &str| {
        let line = format!("tls = {{ certificate = \"{certificate}\", private_key = \"{private_key}\" }}");
        let file = directory.path().join("proxy.toml");
        match parse(&below("[listen]", &line), &file, |_| None) {
            Ok(config) => {
                assert!(config.listen.tls.is_some());
                Ok(())
            }
            Err(error) => Err(error.problem),
        }
    };
    assert_eq!(tls("cert.pem", "key.pem"), Ok(()));
    let missing = tls("missing.pem", "key.pem").expect_err("no file");
    assert!(
        missing.starts_with("`listen.tls.certificate` names ") && missing.contains("missing.pem"),
        "{missing}"
    );
    assert_eq!(
        tls("empty.pem", "key.pem"),
        Err(format!("`listen.tls.certificate` names {}, which holds no PEM certificate", path("empty.pem")))
    );
    assert_eq!(
        tls("key.pem", "key.pem"),
        Err(format!("`listen.tls.certificate` names {}, which holds no PEM certificate", path("key.pem")))
    );
    assert_eq!(
        tls("cert.pem", "cert.pem"),
        Err(format!("`listen.tls.private_key` names {}, which holds no PEM private key", path("cert.pem")))
    );
    let encrypted = tls("cert.pem", "encrypted.pem").expect_err("a passphrase");
    assert!(encrypted.ends_with("encrypted.pem, which is encrypted under a passphrase"), "{encrypted}");
    let old = tls("v1.pem", "v1-key.pem").expect_err("no extensions");
    assert!(old.contains("v1.pem, which is a certificate of X.509 version 1"), "{old}");
    let mismatch = tls("cert.pem", "other.pem").expect_err("another's key");
    assert!(mismatch.contains("other.pem, which does not fit the certificate"), "{mismatch}");
}

/// `proxy.toml` in a directory with certificates: `a` for a.example, `b` for b.example, `wild` for
/// *.b.example, `ip` for an address.
fn with_certificates(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, host) in [("a", "a.example"), ("b", "b.example"), ("wild", "*.b.example"), ("ip", "192.0.2.1")]
    {
        let pair = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
        let write = |end: &str, pem: String| {
            std::fs::write(directory.path().join(format!("{name}{end}.pem")), pem).expect("a file");
        };
        write("", pair.cert.pem());
        write("-key", pair.signing_key.serialize_pem());
    }
    let folder = format!("{}/", directory.path().display());
    parse(text, &directory.path().join("proxy.toml"), |_| None)
        .map_err(|error| error.problem.replace(&folder, ""))
}

/// [`MINIMAL`] with a table `[listen.tls]` of these lines, and these hosts.
fn tls_text(lines: &str, hosts: &[&str]) -> String {
    let pair = |name: &str| format!("certificate = \"{name}.pem\"\nprivate_key = \"{name}-key.pem\"\n");
    let hosts: String = hosts.iter().map(|name| format!("[[listen.tls.host]]\n{}", pair(name))).collect();
    with("[upstream]", &format!("[listen.tls]\n{}{lines}\n{hosts}[upstream]", pair("a")))
}

#[test]
fn hosts_and_client_authorities_are_read() {
    let names = |lines: &str, hosts: &[&str]| {
        with_certificates(&tls_text(lines, hosts)).map(|config| {
            let tls = config.listen.tls.expect("TLS");
            tls.validities().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        })
    };
    let (default, host) = ("certificate", "host.certificate ");
    assert_eq!(names("", &[]).expect("one"), [default]);
    let three = [default.to_owned(), format!("{host}b.example"), format!("{host}*.b.example")];
    assert_eq!(names("", &["b", "wild"]).expect("three"), three);
    let authority = names("client_ca = \"b.pem\"", &[]).expect("an authority");
    assert_eq!(authority, [default, "client_ca CN=rcgen self signed cert"]);
    for rule in ["required", "optional"] {
        names(&format!("client_ca = \"b.pem\"\nclient_certificate = \"{rule}\""), &[]).expect(rule);
    }
    for (lines, hosts, problem) in [
        (
            "",
            &["b", "b"][..],
            "`listen.tls.host.certificate` names b.pem, which has the host name \"b.example\", which an earlier certificate \
             has too",
        ),
        (
            "",
            &["a"],
            "`listen.tls.host.certificate` names a.pem, which has the host name \"a.example\", which an earlier certificate \
             has too",
        ),
        (
            "",
            &["ip"],
            "`listen.tls.host.certificate` names ip.pem, which has no host name among its subject alternative names, so no \
             client would receive it",
        ),
        (
            "client_ca = \"a-key.pem\"",
            &[],
            "`listen.tls.client_ca` names a-key.pem, which holds no PEM certificate",
        ),
        (
            "client_certificate = \"optional\"",
            &[],
            "`listen.tls.client_certificate` has no effect without `listen.tls.client_ca`",
        ),
        (
            "client_ca = \"a.pem\"\nclient_certificate = \"any\"",
            &[],
            "`listen.tls.client_certificate` can't be \"any\"",
        ),
    ] {
        assert_eq!(names(lines, hosts), Err(problem.to_owned()));
    }
}

#[test]
fn an_access_key_is_bound_to_a_certificate_and_operators_have_tls_and_a_token() {
    let text = tls_text("client_ca = \"b.pem\"", &[]).replace(
        "[[client]]",
        "[admin]\naddress = \"0.0.0.0:9333\"\ntls = { certificate = \"b.pem\", private_key = \"b-key.pem\" }\n\
         bearer_token = \"0123456789abcdef\"\n[[client]]\ncertificate_subject = \"cn=backup, O=Example\"",
    );
    let config = with_certificates(&text).expect("a valid file");
    assert_eq!(config.clients[0].1.certificate_subject.as_deref(), Some("CN=backup,O=Example"));
    let admin = config.admin.as_ref().expect("an admin listener");
    assert!(admin.tls.is_some() && admin.token.is_some());
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    let warned =
        |config: &Config| config.warnings.iter().any(|warning| warning.contains("is sent unencrypted"));
    assert!(!warned(&config));
    let tls = "tls = { certificate = \"b.pem\", private_key = \"b-key.pem\" }\n";
    let plain = with_certificates(&text.replace(tls, "")).expect("a valid file");
    assert!(warned(&plain), "{:?}", plain.warnings);
}

#[test]
fn other_languages_are_named() {
    let cases = [
        ("# a comment\nlisten:\n  address: 127.0.0.1:8333\n", "YAML"),
        ("---\nlisten: {}\n", "YAML"),
        ("{ \"listen\": {} }", "JSON"),
    ];
    for (text, language) in cases {
        let refused = refused(text);
        assert!(
            refused.contains(&format!("this looks like {language}: s3veil reads TOML: write [listen]")),
            "{refused}"
        );
    }
    assert!(!refused("listen = {").contains("looks like"));
}

/// Every string may be `env:NAME`, in lists and tables too.
#[test]
fn every_string_may_come_from_the_environment() {
    let text = MINIMAL
        .replace("\"us-east-1\"", "\"env:REGION\"")
        .replace("\"127.0.0.1:8333\"", "\"env:ADDRESS\"")
        .replace("[[client]]", "[[client]]\nbuckets = [\"env:BUCKET\"]\naccess = \"env:ACCESS\"");
    let config = parse(&text, Path::new("proxy.toml"), |name| match name {
        "REGION" => Some("eu-central-1".to_owned()),
        "ADDRESS" => Some("127.0.0.1:9".to_owned()),
        "BUCKET" => Some("logs-*".to_owned()),
        "ACCESS" => Some("read-only".to_owned()),
        _ => None,
    });
    let config = config.expect("a valid file");
    assert_eq!((config.upstream().region.as_str(), config.listen.address.port()), ("eu-central-1", 9));
    let client = &config.clients[0].1;
    assert_eq!(described(client), ["logs-*  read, list"]);
}

#[test]
fn what_is_valid_and_unwise_is_warned_of() {
    let warnings = |secret: &str| {
        let text = with("secret_access_key = \"hunter2\"", &format!("secret_access_key = \"{secret}\""));
        read(&text).expect("a valid file").warnings
    };
    let short = "etc/proxy.toml:11: `client.secret_access_key` has fewer than 16 bytes, which can be guessed: choose a \
                 longer one at random, such as `openssl rand -hex 20` prints";
    assert_eq!(warnings("x"), [short]);
    assert_eq!(warnings("0123456789abcdef"), [""; 0]);
    assert_eq!(warnings(DEMO_SECRET), [""; 0]);
}

#[test]
fn names_that_miss_each_other_are_warned_of() {
    let warnings = |buckets: &str, rule: &str| {
        let secret = "secret_access_key = \"0123456789abcdef\"";
        let text = with("secret_access_key = \"hunter2\"", &format!("{secret}\nbuckets = [{buckets}]"));
        let text = text.replace("name = \"*\"", &format!("name = {rule}"));
        read(&text).expect("a valid file").warnings
    };
    let unserved = |name: &str| {
        [format!(
            "etc/proxy.toml:12: `client.buckets` has \"{name}\", which no [[bucket]] serves: correct the name here or there, or \
             remove it"
        )]
    };
    assert_eq!(warnings("\"logs\", \"lgos\"", "\"logs\""), unserved("lgos"));
    assert_eq!(warnings("\"data-*\"", "\"logs\""), unserved("data-*"));
    for (buckets, rule) in
        [("\"logs\"", "\"*\""), ("\"*\"", "\"logs\""), ("\"logs-*\"", "\"logs-eu\""), ("\"a*\"", "\"*b\"")]
    {
        assert_eq!(warnings(buckets, rule), [""; 0], "{buckets} {rule}");
    }
    let prefix = warnings("\"*\"", "\"*\"\nprefix = \"logs/*\"");
    assert_eq!(
        prefix,
        [
            "etc/proxy.toml:15: `bucket.prefix` ends in a *, which is a character of the key here: remove the *: a prefix matches \
          every key that begins with it"
        ]
    );
}

#[cfg(unix)]
#[test]
fn secrets_that_others_may_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().expect("a directory");
    let (file, secret) = (directory.path().join("proxy.toml"), directory.path().join("secret"));
    let warnings = |text: &str, mode: u32| {
        std::fs::write(&file, text).expect("a file");
        std::fs::write(&secret, "a secret of its own").expect("a file");
        for path in [&file, &secret] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its owner");
        }
        load(&file).expect("a valid file").warnings
    };
    let literal = with("secret_access_key = \"hunter2\"", "secret_access_key = \"0123456789abcdef\"");
    let [warning] = &warnings(&literal, 0o644)[..] else { panic!("one warning") };
    assert!(
        warning.contains("`client.secret_access_key`, and its mode 0644 lets other users read"),
        "{warning}"
    );
    assert!(warning.contains(&format!("run chmod 600 {}", file.display())), "{warning}");
    let in_file = with("secret_access_key = \"hunter2\"", "secret_access_key_file = \"secret\"");
    let [warning] = &warnings(&in_file, 0o604)[..] else { panic!("one warning") };
    assert!(
        warning.contains("secret, whose mode 0604 lets other users read or change it: run chmod 600"),
        "{warning}"
    );
    for mode in [0o640, 0o620, 0o660, 0o602] {
        assert_eq!(warnings(&in_file, mode).len(), 1, "{mode:o}: others may replace the secret");
        assert_eq!(warnings(&literal, mode).len(), 1, "{mode:o}");
    }
    assert_eq!(warnings(&in_file, 0o600), [""; 0]);
    let demo = with("secret_access_key = \"hunter2\"", "secret_access_key = \"s3veil-secret\"");
    assert_eq!(warnings(&demo, 0o644), [""; 0], "the demo secret is published");
}

/// A secret that is read from a file by whichever key is one that other users must not read.
#[cfg(unix)]
#[test]
fn every_file_with_a_secret_is_looked_at() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("its owner");
    };
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    for name in ["cert.pem", "ca.pem"] {
        place(name, &certified.cert.pem());
    }
    for name in ["key.pem", "admin.pem"] {
        place(name, &certified.signing_key.serialize_pem());
    }
    for name in ["client", "storage", "kms", "token", "keyring"] {
        place(name, "0123456789abcdef");
    }
    let text = |keyring: &str| {
        format!(
            "[listen]
address = \"127.0.0.1:8333\"
tls = {{ certificate = \"cert.pem\", private_key = \"key.pem\", client_ca = \"ca.pem\" }}
[admin]
address = \"127.0.0.1:9333\"
tls = {{ certificate = \"cert.pem\", private_key = \"admin.pem\" }}
bearer_token_file = \"token\"
[upstream]
region = \"us-east-1\"
ca_file = \"ca.pem\"
access_key_id = \"a\"
secret_access_key_file = \"storage\"
[keyring]
{keyring}
[[client]]
access_key_id = \"app\"
secret_access_key_file = \"client\"
[[bucket]]
name = \"*\"
"
        )
    };
    let exposed = |keyring: &str| {
        let config = parse(&text(keyring), &directory.path().join("proxy.toml"), |_| None);
        let warnings = config.expect("a valid file").warnings;
        let key = |warning: &String| warning.split('`').nth(1).map(str::to_owned);
        let about = warnings.iter().filter(|warning| warning.contains("whose mode 0644"));
        about.filter_map(key).collect::<BTreeSet<_>>()
    };
    let everywhere = [
        "listen.tls.private_key",
        "admin.tls.private_key",
        "admin.bearer_token_file",
        "upstream.secret_access_key_file",
        "client.secret_access_key_file",
    ];
    let and = |key: &str| everywhere.into_iter().chain([key]).map(str::to_owned).collect::<BTreeSet<_>>();
    let kms = "provider = \"aws-kms\"\nkey_id = \"alias/a\"\naccess_key_id = \"a\"\nsecret_access_key_file = \"kms\"";
    assert_eq!(exposed(kms), and("keyring.secret_access_key_file"));
    assert_eq!(exposed("provider = \"local\"\nfile = \"keyring\""), and("keyring.file"));
}

#[test]
fn an_endpoint_that_is_certainly_this_proxy_is_refused() {
    let refused = |listen: &str, endpoint: &str| {
        let text = MINIMAL.replace("127.0.0.1:8333", listen).replace("embedded:./data", endpoint);
        read(&text).err().map(|error| error.to_string())
    };
    let own = [
        ("127.0.0.1:8333", "http://127.0.0.1:8333"),
        ("127.0.0.1:8333", "http://localhost:8333"),
        ("0.0.0.0:8333", "https://127.0.0.1:8333"),
        ("[::]:8333", "http://[::1]:8333"),
        ("[::1]:80", "http://[::1]"),
        ("127.0.0.1:8333", "http://0.0.0.0:8333"),
    ];
    for (listen, endpoint) in own {
        let error = refused(listen, endpoint).expect(endpoint);
        assert!(error.contains("`upstream.endpoint` is this proxy's own address"), "{error}");
    }
    let others = [
        ("127.0.0.1:8333", "http://127.0.0.1:8334"),
        ("127.0.0.1:8333", "http://127.0.0.2:8333"),
        ("0.0.0.0:8333", "http://192.0.2.1:8333"),
        ("127.0.0.1:8333", "http://store.example:8333"),
    ];
    for (listen, endpoint) in others {
        assert_eq!(refused(listen, endpoint), None, "{endpoint}");
    }
}

#[test]
fn the_environment_goes_before_the_log_level() {
    let level = |environment: &str| {
        let environment = environment.to_owned();
        let config =
            parse(MINIMAL, Path::new("proxy.toml"), |name| (name == "RUST_LOG").then(|| environment.clone()));
        config.map(|config| config.log.level).map_err(|error| error.to_string())
    };
    assert_eq!(level("").as_deref(), Ok("info"));
    assert_eq!(level("debug,hyper=warn").as_deref(), Ok("debug,hyper=warn"));
    let message = "proxy.toml: the environment variable RUST_LOG is an invalid level: \"inof\": write one of off, error, warn, \
                   info, debug, trace, or such as \"info,s3veil=debug\"";
    assert_eq!(level("inof"), Err(message.to_owned()));
}

#[test]
fn requests_without_a_line_and_traces_can_be_set() {
    let access = |lines: &str| {
        let text = format!("{MINIMAL}[log]\n{lines}");
        read(&text).map(|config| config.log.access).map_err(|error| error.to_string())
    };
    let default = AccessLog::default();
    let tenth = Share::parse("10%").expect("a share");
    assert_eq!(access("access_sample = \"10%\""), Ok(AccessLog { successes: tenth, ..default }));
    let errors = AccessLog { successes: Share::NONE, slow: Duration::from_millis(200), ..default };
    assert_eq!(access("access = \"errors\"\nslow = \"200ms\""), Ok(errors));
    let off = AccessLog { successes: Share::NONE, failures: false, ..default };
    assert_eq!(access("access = \"off\""), Ok(off));

    let traces = |lines: &str| {
        let text = format!("{MINIMAL}[traces]\n{lines}");
        read(&text).map(|config| config.traces.expect("traces")).map_err(|error| error.to_string())
    };
    let read = traces("endpoint = \"http://127.0.0.1:4318\"\nsample = \"10%\"").expect("valid");
    assert_eq!(
        (read.endpoint.to_string().as_str(), read.sample, read.service.as_str()),
        ("http://127.0.0.1:4318/", tenth, "s3veil")
    );
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("proxy.toml");
    let message = format!(
        "{}: missing configuration file: start s3veil in a directory that holds a proxy.toml, or name one \
         with --config FILE",
        missing.display()
    );
    assert_eq!(load(&missing).expect_err("no file").to_string(), message);
    let error = load(directory.path()).expect_err("a directory");
    assert!(error.problem.starts_with("can't be read: "), "{error}");
    std::fs::write(&missing, MINIMAL).expect("a file");
    let config = load(&missing).expect("a file");
    let Provider::Local(keyring) = &config.keyring.holders[0].provider else {
        panic!("the keyring is local")
    };
    assert_eq!(keyring.file, directory.path().join("keyring"));
}

#[test]
fn an_audit_log_without_a_key_is_warned_of() {
    let folder = tempfile::tempdir().expect("a directory");
    let key = folder.path().join("audit.pem");
    let text = |more: &str| format!("{MINIMAL}[audit]\nfile = \"audit.jsonl\"\n{more}");
    let signed = text(&format!("signing_key_file = \"{}\"\n", key.display()));
    let config = read(&text("")).expect("a valid file");
    let audit = config.audit.as_ref().expect("an audit log");
    assert_eq!((audit.file.as_path(), audit.on_failure), (Path::new("etc/audit.jsonl"), OnFailure::Refuse));
    assert!(audit.signing_key.is_none());
    let warned = |config: &Config, text: &str| config.warnings.iter().any(|warning| warning.contains(text));
    assert!(warned(&config, "`audit.signing_key_file` is missing"), "{:?}", config.warnings);
    let serving = read(&text("on_failure = \"serve\"\n")).expect("a valid file").audit.expect("an audit log");
    assert_eq!(serving.on_failure, OnFailure::Serve);

    assert!(refused(&signed).contains("which can't be read"), "{}", refused(&signed));
    std::fs::write(&key, "no key").expect("a file");
    assert!(refused(&signed).contains("holds no unencrypted Ed25519 private key"), "{}", refused(&signed));
    let (own, pem) = SigningKey::generate().expect("a key");
    std::fs::write(&key, pem.as_bytes()).expect("a file");
    let config = read(&signed).expect("a valid file");
    assert!(warned(&config, "lets other users read or change it"), "{:?}", config.warnings);
    let read_key = config.audit.and_then(|audit| audit.signing_key).expect("a key");
    assert_eq!(read_key.public_key(), own.public_key());
}
