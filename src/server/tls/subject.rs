//! The name of a certificate as text: its subject in the form of RFC 4514, as
//! `openssl x509 -noout -subject -nameopt RFC2253,-esc_msb` prints it.
//! It must not know what a name is used for.
//! It promises that two names have equal texts only if their attributes and values are equal.

use x509_parser::asn1_rs::ToDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Attribute types with a name in RFC 4514, 3, and two frequent ones that OpenSSL names.
const TYPES: [(&str, &str); 11] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
];

/// Characters that are always escaped in a value (RFC 4514, 2.4).
const ESCAPED: [char; 7] = ['"', '+', ',', ';', '<', '>', '\\'];

/// The subject, its last relative name first: `CN=backup,OU=Storage,O=Example`. Attribute types are in upper
/// case, or dotted numbers; a value that is no string is `#` and its DER in hexadecimal digits.
pub(super) fn subject_text(subject: &X509Name<'_>) -> String {
    let mut relative_names: Vec<_> = subject
        .iter_rdn()
        .map(|name| {
            let mut attributes: Vec<_> = name.iter().map(attribute_text).collect();
            attributes.sort();
            attributes.join("+")
        })
        .collect();
    relative_names.reverse();
    relative_names.join(",")
}

fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> String {
    let number = attribute.attr_type().to_id_string();
    let name = TYPES.iter().find(|(_, known)| *known == number).map(|(name, _)| *name);
    match (name, attribute.as_str()) {
        (Some(name), Ok(value)) => format!("{name}={}", escape(value)),
        (name, Ok(_) | Err(_)) => {
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            let value: String = der.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}=#{value}", name.unwrap_or(&number))
        }
    }
}

/// Escapes a value (RFC 4514, 2.4), control characters too, so that a line of a log stays one line.
fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(value.len());
    for (at, character) in value.chars().enumerate() {
        let is_at_edge = (at == 0 && "# ".contains(character)) || (at == last && character == ' ');
        if character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                escaped.push_str(&format!("\\{byte:02x}"));
            }
            continue;
        }
        if is_at_edge || ESCAPED.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Parses a configured name into the text that a certificate's name has: a subject alternative name such as
/// `URI:spiffe://example.com/backup`, or a subject, in which types may be in lower case, spaces may stand
/// around `,`, `+` and `=`, and any character may be escaped. `None` for any other text.
pub fn parse_certificate_name(text: &str) -> Option<String> {
    if let Some(name) = text.strip_prefix("DNS:") {
        return (!name.is_empty()).then(|| format!("DNS:{}", name.to_ascii_lowercase()));
    }
    if ["URI:", "email:"].iter().any(|kind| text.strip_prefix(kind).is_some_and(|name| !name.is_empty())) {
        return Some(text.to_owned());
    }
    let relative_names: Option<Vec<_>> = split(text, ',').into_iter().map(parse_relative_name).collect();
    Some(relative_names?.join(","))
}

fn parse_relative_name(text: &str) -> Option<String> {
    let attribute = |text: &str| {
        let (name, value) = text.split_once('=')?;
        let name = name.trim().to_ascii_uppercase();
        let is_known = TYPES.iter().any(|(known, _)| *known == name);
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && name.contains('.');
        let value = trim_value(value);
        let value =
            if value.starts_with('#') { value.to_ascii_lowercase() } else { escape(&unescape(value)?) };
        (is_known || is_number).then(|| format!("{name}={value}"))
    };
    let mut attributes = split(text, '+').into_iter().map(attribute).collect::<Option<Vec<_>>>()?;
    attributes.sort();
    Some(attributes.join("+"))
}

/// Removes spaces around a value, except for an escaped one at its end.
fn trim_value(value: &str) -> &str {
    let begun = value.trim_start_matches(' ');
    let trimmed = begun.trim_end_matches(' ');
    let backslashes = trimmed.len() - trimmed.trim_end_matches('\\').len();
    if backslashes % 2 == 1 { begun.get(..=trimmed.len()).unwrap_or(begun) } else { trimmed }
}

/// Replaces `\,` and the like by the character, and `\2c` by the byte. `None` if the result is no UTF-8.
fn unescape(value: &str) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (bytes, mut unescaped, mut at) = (value.as_bytes(), Vec::with_capacity(value.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let (byte, length) = match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'\\', Some(high), Some(low)) => (u8::try_from(high << 4 | low).ok()?, 3),
            (b'\\', _, _) => (*bytes.get(at + 1)?, 2),
            (byte, _, _) => (byte, 1),
        };
        unescaped.push(byte);
        at += length;
    }
    String::from_utf8(unescaped).ok()
}

/// Splits at separators that no backslash escapes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        if character == separator && !is_escaped {
            parts.push(&text[start..at]);
            start = at + separator.len_utf8();
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn text_of(attributes: &[(rcgen::DnType, &str)]) -> String {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in attributes {
            parameters.distinguished_name.push(kind.clone(), *value);
        }
        let made = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let (_, read) = X509Certificate::from_der(made.der()).unwrap();
        subject_text(read.subject())
    }

    /// The texts are those that OpenSSL prints, but for the case of types.
    #[test]
    fn a_subject_is_written_as_rfc_4514_says() {
        use rcgen::DnType::{CommonName, CountryName, CustomDnType, OrganizationName};
        let cases = [
            (vec![(OrganizationName, "Example"), (CommonName, "backup")], "CN=backup,O=Example"),
            (vec![(CountryName, "DE"), (CommonName, "Müller, A+B")], "CN=Müller\\, A\\+B,C=DE"),
            (vec![(CommonName, " a=\"b\" ")], "CN=\\ a=\\\"b\\\"\\ "),
            (vec![(CommonName, "#1\\2")], "CN=\\#1\\\\2"),
            (vec![(CommonName, "a\nb")], "CN=a\\0ab"),
            (vec![(CustomDnType(vec![1, 2, 3]), "ab")], "1.2.3=#0c026162"),
            (vec![], ""),
        ];
        for (attributes, expected) in cases {
            let text = text_of(&attributes);
            assert_eq!(text, expected);
            if !attributes.is_empty() {
                assert_eq!(parse_certificate_name(&text).as_deref(), Some(expected), "it parses as itself");
            }
        }
    }

    #[test]
    fn a_value_cannot_pose_as_further_attributes() {
        let honest =
            text_of(&[(rcgen::DnType::OrganizationName, "Example"), (rcgen::DnType::CommonName, "backup")]);
        let posing = text_of(&[(rcgen::DnType::CommonName, "backup,O=Example")]);
        assert_ne!(honest, posing, "This is a security issue.");
    }

    #[test]
    fn configured_names_may_have_spaces_and_lower_case_types() {
        let cases = [
            ("cn = backup, o=Example", Some("CN=backup,O=Example")),
            ("OU=b+CN=a", Some("CN=a+OU=b")),
            ("CN=a\\, b\\ , C=DE", Some("CN=a\\, b\\ ,C=DE")),
            ("CN=M\\C3\\BCller\\2C A", Some("CN=Müller\\, A")),
            ("CN=M\\C3", None),
            ("CN=a\\", None),
            ("DNS:Host.example.com", Some("DNS:host.example.com")),
            ("URI:spiffe://example.com/Backup", Some("URI:spiffe://example.com/Backup")),
            ("email:a@example.com", Some("email:a@example.com")),
            ("backup", None),
            ("CN=backup,", None),
            ("name=backup", None),
            ("/CN=backup/O=Example", None),
            ("URI:", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_certificate_name(text).as_deref(), expected, "{text}");
        }
    }
}
