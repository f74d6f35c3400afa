//! Parsers of the configuration's strings: times, sizes, addresses, URLs, names.
//! They must not know which key a value belongs to.
//! They promise that an error names its remedy, and that no error repeats a secret.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Uri;

use super::error::Refusal;
use crate::keyring::{KeyId, is_private_endpoint};
use crate::log::Share;
use crate::s3::{BucketPattern, InvalidPattern};
use crate::server::parse_certificate_name;

/// Parses `500ms`, `10s`, `5m`, `1h`, `1d`: a whole number and a unit.
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let milliseconds = measure(text, &UNITS).ok_or_else(|| {
        let fix = "write a whole number and one of ms, s, m, h, d, such as \"30s\"";
        Refusal::new(format!("is an invalid time: {text:?}"), fix)
    })?;
    Ok(Duration::from_millis(milliseconds))
}

/// Parses a [`duration`] of at least a millisecond.
pub(super) fn timeout(text: &str) -> Result<Duration, Refusal> {
    match duration(text)? {
        Duration::ZERO => Err(Refusal::new("can't be zero", "write the time to wait, such as \"30s\"")),
        timeout => Ok(timeout),
    }
}

/// Parses `1024B`, `64KiB`, `1TiB` or, in powers of ten, `64kB`, `1TB`. Returns bytes.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    const UNITS: [(&str, u64); 10] = [
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    measure(text, &UNITS).filter(|bytes| *bytes > 0).ok_or_else(|| {
        let fix = "write a whole number and one of B, KiB, MiB, GiB, TiB, such as \"1TiB\"";
        Refusal::new(format!("is an invalid size: {text:?}"), fix)
    })
}

/// Parses a share such as `10%` or `0.5%`.
pub(super) fn share(text: &str) -> Result<Share, Refusal> {
    Share::parse(text).ok_or_else(|| {
        let fix = "write a number from 0 to 100, with at most three decimals, and %, such as \"10%\"";
        Refusal::new(format!("is an invalid share: {text:?}"), fix)
    })
}

fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Parses `IP:PORT`. Host names are refused: their resolution decides from where the proxy can be reached.
pub(super) fn address(text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        let port = text.rsplit_once(':').map_or("", |(_, port)| port);
        let example = match (port.parse::<u16>().is_ok(), text.starts_with(':')) {
            (true, true) => format!("0.0.0.0:{port}"),
            (true, false) => format!("127.0.0.1:{port}"),
            (false, _) => "127.0.0.1:8333".to_owned(),
        };
        Refusal::new(format!("is an invalid IP:PORT: {text:?}"), format!("write for example \"{example}\""))
    })
}

/// Parses `http://HOST[:PORT]` or `https://HOST[:PORT]`.
pub(super) fn endpoint(text: &str) -> Result<Uri, Refusal> {
    let refuse = |problem: String| {
        Refusal::new(problem, "write http://HOST:PORT or https://HOST, with nothing after it")
    };
    let uri: Uri = text.parse().map_err(|_| refuse(format!("is an invalid URL: {text:?}")))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(scheme) => return Err(refuse(format!("has a scheme s3veil does not speak, {scheme:?}"))),
        None => return Err(refuse(format!("has no scheme: {text:?}"))),
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        // The text is not repeated: the part before the @ may be a secret.
        let fix = "write access_key_id and secret_access_key as keys of their own";
        return Err(Refusal::new("has credentials in its URL", fix));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(refuse(format!("has no host: {text:?}")));
    }
    if !matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("/")) {
        return Err(refuse(format!("has something after the host: {text:?}")));
    }
    Ok(uri)
}

/// Parses a DNS name such as `s3.example.com`. Returns lower case.
pub(super) fn domain(text: &str) -> Result<String, Refusal> {
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.parse::<Ipv4Addr>().is_ok() {
        let problem = format!("is an IP address, which has no subdomains for buckets: {text:?}");
        return Err(Refusal::new(problem, "remove it, or write a host name such as \"s3.example.com\""));
    }
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_ascii_lowercase());
    }
    let fix = "write the host name alone, such as \"s3.example.com\"";
    Err(Refusal::new(format!("is an invalid domain: {text:?}"), fix))
}

/// Parses a region of a credential scope, such as `us-east-1` or `auto`.
pub(super) fn region(text: &str) -> Result<String, Refusal> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(letter) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(format!("is an invalid region: {text:?}"), "write for example \"us-east-1\""))
}

/// Parses a name of up to 256 visible ASCII characters, such as a realm.
pub(super) fn name(text: &str) -> Result<String, Refusal> {
    if (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    let fix = "write up to 256 visible ASCII characters, without spaces";
    Err(Refusal::new(format!("is an invalid name: {text:?}"), fix))
}

/// Parses the name of a wrapping key.
pub(super) fn key_id(text: &str) -> Result<KeyId, Refusal> {
    KeyId::parse(text).map_err(|error| {
        Refusal::new(error.to_string(), "write a key's id, its ARN, or an alias such as \"alias/s3veil\"")
    })
}

/// Parses the endpoint of a key service. Its requests contain unencrypted data keys, so it requires TLS or a
/// loopback address.
pub(super) fn key_service(text: &str) -> Result<Uri, Refusal> {
    let uri = endpoint(text)?;
    if is_private_endpoint(&uri) {
        return Ok(uri);
    }
    let fix = "write an https:// endpoint, or http:// with a host of this machine such as 127.0.0.1";
    Err(Refusal::new(format!("sends data keys unencrypted to another machine: {text:?}"), fix))
}

/// Parses the name of a client certificate: a subject in the form of RFC 4514, or a subject alternative name.
pub(super) fn certificate_name(text: &str) -> Result<String, Refusal> {
    parse_certificate_name(text).ok_or_else(|| {
        let fix = "write the subject as `openssl x509 -noout -subject -nameopt RFC2253` prints it, such as \
                   \"CN=backup,O=Example\", or \"DNS:...\", \"URI:...\", \"email:...\"";
        Refusal::new(format!("is an invalid certificate name: {text:?}"), fix)
    })
}

/// Parses a pattern of bucket names.
pub(super) fn bucket_pattern(text: &str) -> Result<BucketPattern, Refusal> {
    BucketPattern::parse(text).map_err(|error| {
        let fix = match error {
            InvalidPattern::Empty => "write \"*\" for every bucket",
            InvalidPattern::TooLong => "write at most 255 characters",
            InvalidPattern::Character(_) => {
                "write letters, digits, '.', '-', '_', with * for any characters and ? for one"
            }
            InvalidPattern::First(_) | InvalidPattern::Address => {
                "write a bucket's name, which begins with a letter or a digit"
            }
        };
        Refusal::new(error.to_string(), fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("5 m", Some(300_000)),
            ("0s", Some(0)),
            ("5", None),
            ("m", None),
            ("5M", None),
            ("-5m", None),
            ("1.5h", None),
            ("5m30s", None),
            ("18446744073709551615d", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
        assert!(timeout("0ms").is_err());
    }

    #[test]
    fn sizes() {
        let cases = [
            ("1B", Some(1)),
            ("64KiB", Some(65_536)),
            ("10 MiB", Some(10 << 20)),
            ("1TiB", Some(1 << 40)),
            ("1TB", Some(1_000_000_000_000)),
            ("0B", None),
            ("1", None),
            ("1T", None),
            ("1tib", None),
            ("16777216TiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_key_service_is_on_this_machine_or_behind_tls() {
        for good in [
            "http://127.0.0.1:4566",
            "http://127.9.9.9",
            "http://[::1]:4566",
            "http://localhost:4566",
            "http://kms.localhost:4566",
            "https://kms.eu-central-1.amazonaws.com",
            "https://10.0.0.1",
        ] {
            assert!(key_service(good).is_ok(), "{good}");
        }
        for bad in [
            "http://10.0.0.1:4566",
            "http://kms.internal",
            "http://localhost.evil.example",
            "http://[2001:db8::1]",
        ] {
            assert!(key_service(bad).is_err(), "This is a security issue: {bad}.");
        }
    }

    #[test]
    fn endpoints() {
        for good in [
            "http://127.0.0.1:4566",
            "https://s3.example.com",
            "https://s3.example.com/",
            "http://[::1]:9000",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        let bad = [
            "127.0.0.1:4566",
            "s3.example.com",
            "ftp://s3.example.com",
            "https://",
            "https://s3.example.com/bucket",
            "https://s3.example.com?x=1",
            "https://user:pw@s3.example.com",
            "https://s3 example",
        ];
        for bad in bad {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_not_repeated() {
        let refusal = endpoint("https://id:hunter2@s3.example.com").expect_err("credentials");
        assert!(!format!("{refusal:?}").contains("hunter2"));
    }

    #[test]
    fn addresses_suggest_what_was_meant() {
        let cases = [
            (":8333", "write for example \"0.0.0.0:8333\""),
            ("localhost:9000", "write for example \"127.0.0.1:9000\""),
            ("127.0.0.1", "write for example \"127.0.0.1:8333\""),
            ("127.0.0.1:70000", "write for example \"127.0.0.1:8333\""),
        ];
        for (text, fix) in cases {
            assert_eq!(address(text).expect_err(text).fix, fix);
        }
        assert_eq!(address("[::]:80").ok().map(|address| address.port()), Some(80));
    }

    #[test]
    fn domains_and_names() {
        assert_eq!(domain("S3.Example.com").as_deref(), Ok("s3.example.com"));
        for bad in ["s3.example.com:80", "http://s3", ".s3", "s3.", "-s3", "s3_x", ""] {
            assert!(domain(bad).is_err(), "{bad}");
        }
        assert!(name("arn:aws:kms:us-east-1:1:key/2").is_ok());
        for bad in ["", "a b", "a\n", "ä"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
