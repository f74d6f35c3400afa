//! Version, validity and names of an X.509 certificate (RFC 5280, 4.1), which rustls does not expose.
//! It must not know whether the certificate is trusted.
//! It promises host names in lower case, and wildcards that stand for one whole label only.

use std::time::{Duration, SystemTime};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::Validity;
use super::subject::subject_text;

/// What was read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    /// 1, 2 or 3.
    pub(super) version: u32,
    pub(super) validity: Validity,
    /// The DNS names of the subject alternative names.
    pub(super) host_names: Vec<String>,
    /// The subject, then the subject alternative names, as [`super::CertificateNames`].
    pub(super) names: Vec<String>,
}

impl Certificate {
    /// `None` where the DER is none of a certificate.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty())?;
        let mut host_names = Vec::new();
        let mut names = vec![subject_text(certificate.subject())];
        let alternative = certificate.subject_alternative_name().ok()?;
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            if let GeneralName::DNSName(name) = name {
                let name = name.to_ascii_lowercase();
                names.push(format!("DNS:{name}"));
                if is_host_name(&name) && !host_names.contains(&name) {
                    host_names.push(name);
                }
            } else if let GeneralName::URI(uri) = name {
                names.push(format!("URI:{uri}"));
            } else if let GeneralName::RFC822Name(address) = name {
                names.push(format!("email:{address}"));
            }
        }
        let version = certificate.version().0 + 1;
        let validity = certificate.validity();
        let validity = Validity { not_before: at(validity.not_before), not_after: at(validity.not_after) };
        Some(Self { version, validity, host_names, names })
    }
}

/// Whether a client can ask for the name: without a wildcard, or with one in place of the first label.
fn is_host_name(name: &str) -> bool {
    !name.is_empty() && !name.strip_prefix("*.").unwrap_or(name).contains('*')
}

/// A time before 1970 is returned as the start of 1970.
fn at(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn seconds(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_certificate_is_read_and_a_part_of_it_is_none() {
        let names = ["S3.example.com", "*.s3.example.com", "f*.example.com", "*", "192.0.2.1"];
        let mut parameters = rcgen::CertificateParams::new(names.map(str::to_owned)).unwrap();
        parameters.not_before = rcgen::date_time_ymd(1999, 12, 31);
        parameters.not_after = rcgen::date_time_ymd(2051, 2, 28);
        let uri = rcgen::SanType::URI("spiffe://example.com/Backup".try_into().unwrap());
        let email = rcgen::SanType::Rfc822Name("backup@example.com".try_into().unwrap());
        parameters.subject_alt_names.extend([uri, email]);
        let made = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let read = Certificate::from_der(made.der()).unwrap();
        let validity = Validity { not_before: seconds(946_598_400), not_after: seconds(2_561_155_200) };
        assert_eq!((read.version, read.validity), (3, validity));
        assert_eq!(read.host_names, ["s3.example.com", "*.s3.example.com"]);
        assert_eq!(read.names[..2], ["CN=rcgen self signed cert", "DNS:s3.example.com"]);
        assert_eq!(read.names[5..], ["URI:spiffe://example.com/Backup", "email:backup@example.com"]);
        for length in 0..made.der().len() {
            assert_eq!(Certificate::from_der(&made.der()[..length]), None, "{length}");
        }
        assert_eq!(Certificate::from_der(&[made.der(), &[0][..]].concat()), None, "a further byte");
    }

    #[test]
    fn a_certificate_without_extensions_is_of_version_1() {
        let pem = include_bytes!("../../config/v1-certificate.pem");
        let der = CertificateDer::from_pem_slice(pem).unwrap();
        let read = Certificate::from_der(&der).unwrap();
        assert_eq!((read.version, read.host_names), (1, Vec::new()));
    }
}
