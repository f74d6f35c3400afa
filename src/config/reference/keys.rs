//! The table of keys, from the file's tables down.
//! It must not know how a key is shown or described.
//! It promises keys in the order of the documentation.

use toml::de::DeTable;

use super::{Key, Keys, Kind};

/// The largest integer of TOML.
const MAX: u64 = i64::MAX as u64;

const fn key(name: &'static str, kind: Kind) -> Key {
    Key::new(name, kind)
}

/// The tables of the file.
pub(in crate::config) const ROOT: Keys = &[
    key("listen", Kind::Table(LISTEN)).required(),
    key("admin", Kind::Table(ADMIN)).words("no listener for operators"),
    key("upstream", Kind::TableOrTables(UPSTREAM)).required(),
    key("keyring", Kind::Table(KEYRING)).value(""),
    key("holder", Kind::Tables(HOLDER)),
    key("client", Kind::Tables(CLIENT)).required(),
    key("bucket", Kind::Tables(BUCKET)).required(),
    key("log", Kind::Table(LOG)).value(""),
    key("metrics", Kind::Table(METRICS)).value(""),
    key("audit", Kind::Table(AUDIT)).words("no audit log"),
    key("traces", Kind::Table(TRACES)).words("no traces"),
];

const LISTEN: Keys = &[
    key("address", Kind::Text).required(),
    key("domain", Kind::Text).words("path-style requests only"),
    key("tls", Kind::Table(LISTEN_TLS)).words("plain HTTP"),
    key("region", Kind::Text).words("any"),
    key("sigv2", Kind::Boolean).value("true"),
    key("reuse_port", Kind::Boolean).value("false"),
    key("max_connections", Kind::Number(1, 1_000_000)).value("10000"),
    key("max_requests", Kind::Number(1, 1_000_000)).value("1000"),
    key("max_buffered", Kind::Size).value("\"512MiB\""),
    key("header_timeout", Kind::Time).value("\"60s\""),
    key("idle_timeout", Kind::Time).value("\"60s\""),
    key("min_rate", Kind::SizeOrOff).value("\"1KiB\""),
    key("drain_delay", Kind::Time).value("\"0s\""),
    key("drain_timeout", Kind::Time).value("\"30s\""),
    key("max_clock_skew", Kind::Time).value("\"15m\""),
];

const LISTEN_TLS: Keys = &[
    key("certificate", Kind::Text).required(),
    key("private_key", Kind::Text).required(),
    key("client_ca", Kind::Text),
    key("client_certificate", Kind::Choice(&["required", "optional"]))
        .depends(|tls| has(tls, "client_ca").then_some("\"required\"")),
    key("host", Kind::Tables(PAIR)),
];

const PAIR: Keys = &[key("certificate", Kind::Text).required(), key("private_key", Kind::Text).required()];

const ADMIN: Keys = &[
    key("address", Kind::Text).required(),
    key("tls", Kind::Table(PAIR)).words("plain HTTP"),
    key("bearer_token", Kind::Secret),
    key("bearer_token_file", Kind::Text),
];

const UPSTREAM: Keys = &[
    key("name", Kind::Text).value("\"default\""),
    key("endpoint", Kind::Text).words("AWS S3 of the region"),
    key("region", Kind::Text).required(),
    key("path_style", Kind::Boolean).words("as the endpoint requires"),
    key("access_key_id", Kind::Text).words("the AWS default chain; none for the embedded store"),
    key("secret_access_key", Kind::Secret),
    key("secret_access_key_file", Kind::Text),
    key("checksum", Kind::Choice(&["crc64nvme", "crc32c", "none"]))
        .depends(|upstream| (!is_embedded(upstream)).then_some("\"crc64nvme\"")),
    key("connect_timeout", Kind::Time).value("\"5s\""),
    key("head_timeout", Kind::Time).value("\"20s\""),
    key("idle_timeout", Kind::Time).value("\"60s\""),
    key("max_retries", Kind::Number(0, 10)).value("3"),
    key("ca_file", Kind::Text),
    key("embedded_sync", Kind::Choice(&["full", "off"]))
        .depends(|upstream| is_embedded(upstream).then_some("\"full\"")),
    key("embedded_shared", Kind::Boolean).depends(|upstream| is_embedded(upstream).then_some("false")),
];

/// A list of keys, those of a provider of wrapping keys between `before` and `after`.
macro_rules! with_provider_keys {
    ([$($before:expr),*], [$($after:expr),*]) => {
        &[
            $($before,)*
            key("provider", Kind::Choice(PROVIDERS)),
            key("file", Kind::Text),
            key("key_id", Kind::Text),
            key("endpoint", Kind::Text).depends(endpoint),
            key("region", Kind::Text),
            key("access_key_id", Kind::Text),
            key("secret_access_key", Kind::Secret),
            key("secret_access_key_file", Kind::Text),
            key("address", Kind::Text),
            key("mount", Kind::Text).depends(|holder| is(holder, "provider", "vault").then_some("\"transit\"")),
            key("key", Kind::Text),
            key("namespace", Kind::Text),
            key("ca_file", Kind::Text),
            key("auth", Kind::AnyTable(AUTH)),
            key("library", Kind::Text),
            key("token_label", Kind::Text),
            key("slot", Kind::Number(0, MAX)),
            key("pin_file", Kind::Text),
            key("key_label", Kind::Text),
            key("algorithm", Kind::Choice(&["RSA-OAEP-256", "A256KW"]))
                .depends(|holder| is(holder, "provider", "azure-key-vault").then_some("\"RSA-OAEP-256\"")),
            $($after,)*
        ]
    };
}

/// The keys that describe a provider of wrapping keys.
pub(in crate::config) const PROVIDER: Keys = with_provider_keys!([], []);

const PROVIDERS: &[&str] = &["aws-kms", "local", "vault", "pkcs11", "gcp-kms", "azure-key-vault"];

const KEYRING: Keys = with_provider_keys!(
    [],
    [
        key("cache", Kind::Table(CACHE)).value(""),
        key("reuse", Kind::Choice(&["bucket", "off"])).value("\"bucket\"")
    ]
);

const HOLDER: Keys =
    with_provider_keys!([key("name", Kind::Text).required(), key("replica_of", Kind::Text)], []);

/// The default of `endpoint`. That of AWS KMS depends on the region.
fn endpoint(holder: &DeTable<'_>) -> Option<&'static str> {
    is(holder, "provider", "gcp-kms").then_some("\"https://cloudkms.googleapis.com\"")
}

/// The keys of the table `auth`, by provider.
const AUTH: &[Keys] = &[VAULT_AUTH, GCP_AUTH, AZURE_AUTH];

/// `auth` of the provider `vault`.
pub(in crate::config) const VAULT_AUTH: Keys = &[
    key("method", Kind::Choice(&["token", "approle", "kubernetes", "cert"])).required(),
    key("mount", Kind::Text).depends(|auth| match text(auth, "method") {
        Some("approle") => Some("\"approle\""),
        Some("kubernetes") => Some("\"kubernetes\""),
        Some("cert") => Some("\"cert\""),
        Some(_) | None => None,
    }),
    key("token_file", Kind::Text),
    key("role_id", Kind::Text),
    key("secret_id_file", Kind::Text),
    key("role", Kind::Text),
    key("jwt_file", Kind::Text).depends(|auth| {
        is(auth, "method", "kubernetes").then_some("\"/var/run/secrets/kubernetes.io/serviceaccount/token\"")
    }),
    key("name", Kind::Text),
    key("certificate_file", Kind::Text),
    key("key_file", Kind::Text),
];

/// `auth` of the provider `gcp-kms`.
pub(in crate::config) const GCP_AUTH: Keys = &[
    key("method", Kind::Choice(&["service-account", "metadata", "token"])).required(),
    key("key_file", Kind::Text),
    key("token_file", Kind::Text),
];

/// `auth` of the provider `azure-key-vault`.
pub(in crate::config) const AZURE_AUTH: Keys = &[
    key("method", Kind::Choice(&["client-secret", "federated", "managed-identity", "token"])).required(),
    key("authority", Kind::Text).depends(|auth| {
        let names_one = is(auth, "method", "client-secret") || is(auth, "method", "federated");
        names_one.then_some("\"https://login.microsoftonline.com\"")
    }),
    key("tenant", Kind::Text),
    key("client_id", Kind::Text),
    key("client_secret_file", Kind::Text),
    key("federated_token_file", Kind::Text).depends(|auth| {
        is(auth, "method", "federated").then_some("\"/var/run/secrets/azure/tokens/azure-identity-token\"")
    }),
    key("token_file", Kind::Text),
];

const CACHE: Keys = &[
    key("max_age", Kind::Time).value("\"5m\""),
    key("max_objects", Kind::Number(1, 1 << 32)).value("10000"),
    key("max_bytes", Kind::Size).value("\"1TiB\""),
    key("entries", Kind::Number(1, 1_000_000)).value("10000"),
    key("stale_if_error", Kind::TimeOrOff).value("\"off\""),
];

const CLIENT: Keys = &[
    key("access_key_id", Kind::Text),
    key("secret_access_key", Kind::Secret),
    key("secret_access_key_file", Kind::Text),
    key("anonymous", Kind::Boolean).value("false"),
    key("buckets", Kind::Texts).depends(|client| (!has(client, "grants")).then_some("[\"*\"]")),
    key("access", Kind::Choice(&["read-write", "read-only", "write-only", "append-only", "admin"]))
        .depends(|client| (!has(client, "grants")).then_some("\"read-write\"")),
    key("grants", Kind::Tables(GRANT)),
    key("certificate_subject", Kind::Text),
];

const GRANT: Keys = &[
    key("buckets", Kind::Texts).value("[\"*\"]"),
    key("prefix", Kind::Text),
    key(
        "rights",
        Kind::Choices(&["read", "list", "write", "append", "delete", "bypass-retention", "manage"]),
    )
    .required(),
];

const BUCKET: Keys = &[
    key("name", Kind::Text).required(),
    key("prefix", Kind::Text),
    key("upstream", Kind::Text).words("the first"),
    key("stored_as", Kind::Text).words("the bucket's name"),
    key("realm", Kind::Text).words("the bucket's name"),
    key("key_id", Kind::Text).words("the holder's"),
    key("allowed_key_ids", Kind::Texts),
    key("holders", Kind::Texts).words("the only one"),
    key("allowed_holders", Kind::Texts),
    key("holders_required", Kind::Choice(&["all", "first"])).depends(|bucket| {
        let holders = bucket.get("holders").and_then(|holders| holders.get_ref().as_array());
        holders.is_some_and(|holders| holders.len() > 1).then_some("\"all\"")
    }),
    key("recovery", Kind::Texts),
    key("formats", Kind::Table(FORMATS)).value(""),
    key("cbc_padding", Kind::Choice(&["pkcs7", "zero"]))
        .depends(|bucket| writes_cbc(bucket).then_some("\"pkcs7\"")),
    key("cbc_multipart", Kind::Choice(&["refuse", "native"]))
        .depends(|bucket| writes_cbc(bucket).then_some("\"refuse\"")),
    key("s3ec", Kind::Table(S3EC)),
    key("binding", Kind::Choice(&["realm+key", "realm", "none"])).value("\"realm+key\""),
    key("etag", Kind::Choice(&["opaque", "storage"])).value("\"opaque\""),
    key("sse_c", Kind::Choice(&["off", "tls", "any"])).value("\"tls\""),
];

const FORMATS: Keys = &[
    key("write", Kind::Choice(&["native", "cbc", "s3ec-v2", "s3ec-v3", "plaintext"])).value("\"native\""),
    key("read", Kind::Choices(&["native", "cbc", "s3ec", "plaintext"])).depends(|formats| {
        match text(formats, "write") {
            Some("cbc") => Some("[\"cbc\"]"),
            Some("s3ec-v2" | "s3ec-v3") => Some("[\"s3ec\"]"),
            Some("plaintext") => Some("[\"plaintext\"]"),
            Some(_) | None => Some("[\"native\"]"),
        }
    }),
    key("store_unencrypted", Kind::Boolean),
];

const S3EC: Keys = &[
    key("legacy", Kind::Boolean).value("false"),
    key("buffer", Kind::Size).words("64MiB, or listen.max_buffered if that is less"),
    key("large", Kind::Choice(&["refuse", "stream"])).value("\"refuse\""),
    key("ranges", Kind::Choice(&["verify", "unauthenticated"])).value("\"verify\""),
    key("context", Kind::Strings),
];

const AUDIT: Keys = &[
    key("file", Kind::Text).required(),
    key("signing_key_file", Kind::Text).words("checkpoints are not signed"),
    key("on_failure", Kind::Choice(&["refuse", "serve"])).value("\"refuse\""),
];

const LOG: Keys = &[
    key("format", Kind::Choice(&["text", "json"])).value("\"text\""),
    key("level", Kind::Text).value("\"info\""),
    key("access", Kind::Choice(&["all", "errors", "off"])).value("\"all\""),
    key("access_sample", Kind::Share)
        .depends(|log| (!is(log, "access", "errors") && !is(log, "access", "off")).then_some("\"100%\"")),
    key("slow", Kind::Time).depends(|log| (!is(log, "access", "off")).then_some("\"1s\"")),
];

const METRICS: Keys =
    &[key("by_client", Kind::Boolean).value("false"), key("by_rule", Kind::Boolean).value("false")];

const TRACES: Keys = &[
    key("endpoint", Kind::Text).required(),
    key("sample", Kind::Share).value("\"100%\""),
    key("service", Kind::Text).value("\"s3veil\""),
];

fn has(table: &DeTable<'_>, name: &str) -> bool {
    table.contains_key(name)
}

fn text<'t>(table: &'t DeTable<'_>, name: &str) -> Option<&'t str> {
    table.get(name)?.get_ref().as_str()
}

fn is(table: &DeTable<'_>, name: &str, value: &str) -> bool {
    text(table, name) == Some(value)
}

fn is_embedded(upstream: &DeTable<'_>) -> bool {
    text(upstream, "endpoint").is_some_and(|endpoint| endpoint.starts_with("embedded:"))
}

fn writes_cbc(bucket: &DeTable<'_>) -> bool {
    let formats = bucket.get("formats").and_then(|formats| formats.get_ref().as_table());
    formats.is_some_and(|formats| is(formats, "write", "cbc"))
}

/// Whether the `method` of a table `auth` is one of these keys'.
pub(super) fn has_method(keys: Keys, auth: &DeTable<'_>) -> bool {
    let Some(Key { kind: Kind::Choice(methods), .. }) = super::find(keys, "method") else { return false };
    methods.iter().any(|method| is(auth, "method", method))
}
