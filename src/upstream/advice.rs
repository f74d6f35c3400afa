//! Advice for an operator about a failure to reach the storage, derived from the error's causes.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;
use rustls::InvalidMessage;

use super::error::UpstreamError;

/// How rustls-webpki names a certificate authority's certificate that a server presents as its own.
const AUTHORITY_AS_SERVER: &str = "CaUsedAsEndEntity";

impl UpstreamError {
    /// Returns what to change in the configuration, or `None` where the error does not say enough.
    /// `trusts_a_file`: `upstream.ca_file` is set.
    pub fn advice(&self, trusts_a_file: bool) -> Option<&'static str> {
        if let Some(tls) = find::<rustls::Error>(self) {
            return tls_advice(tls, trusts_a_file);
        }
        let is_parse_error = find::<hyper::Error>(self).is_some_and(hyper::Error::is_parse);
        is_parse_error.then_some("the server speaks no HTTP here: if it expects TLS, write https://")
    }
}

fn tls_advice(error: &rustls::Error, trusts_a_file: bool) -> Option<&'static str> {
    if let rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) = error {
        return Some("the server speaks no TLS: write http://, or name the port that does");
    }
    let rustls::Error::InvalidCertificate(certificate) = error else { return None };
    if certificate.to_string().contains(AUTHORITY_AS_SERVER) {
        return Some(if trusts_a_file {
            "the server's certificate is marked as an authority's, as `openssl req -x509` makes it: make it with \
             -addext basicConstraints=critical,CA:FALSE, and name the new one in upstream.ca_file"
        } else {
            "the server's certificate is signed by itself and marked as an authority's: make it with -addext \
             basicConstraints=critical,CA:FALSE, and name it in upstream.ca_file"
        });
    }
    let is_expired =
        matches!(certificate, CertificateError::Expired | CertificateError::ExpiredContext { .. });
    let is_early =
        matches!(certificate, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. });
    let is_misnamed = matches!(
        certificate,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    );
    if *certificate == CertificateError::UnknownIssuer {
        Some("name the authority that signed the server's certificate in upstream.ca_file")
    } else if is_expired {
        Some("renew the server's certificate, or correct this machine's clock")
    } else if is_early {
        Some("correct this machine's clock")
    } else {
        is_misnamed.then_some("write the name that the server's certificate is for into upstream.endpoint")
    }
}

/// The first of `error` and its causes that is a `T`. An I/O error hides the error that it wraps.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| find::<T>(wrapped)) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use rustls::OtherError;

    use super::*;

    fn connecting(error: rustls::Error) -> UpstreamError {
        UpstreamError::Connect(Box::new(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    #[derive(Debug, thiserror::Error)]
    #[error("CaUsedAsEndEntity")]
    struct CaUsedAsEndEntity;

    #[test]
    fn each_failure_of_tls_names_the_key_to_change() {
        let certificate = |error| connecting(rustls::Error::InvalidCertificate(error));
        let authority =
            || certificate(CertificateError::Other(OtherError(std::sync::Arc::new(CaUsedAsEndEntity))));
        let cases = [
            (connecting(InvalidMessage::InvalidContentType.into()), false, "write http://"),
            (certificate(CertificateError::UnknownIssuer), false, "upstream.ca_file"),
            (authority(), false, "name it in upstream.ca_file"),
            (authority(), true, "basicConstraints=critical,CA:FALSE"),
            (certificate(CertificateError::Expired), false, "renew"),
            (certificate(CertificateError::NotValidForName), false, "upstream.endpoint"),
        ];
        for (error, trusts_a_file, advice) in cases {
            let given = error.advice(trusts_a_file).unwrap_or_else(|| panic!("{error:?}"));
            assert!(given.contains(advice), "{given}");
        }
    }

    #[test]
    fn a_refused_connection_says_enough() {
        let refused = UpstreamError::Connect(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(refused.advice(false), None);
    }
}
