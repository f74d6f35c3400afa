//! `[listen.tls]` and `[admin.tls]`: certificates, private keys, and the authorities of clients.
//! It must not know connections.
//! It promises pairs that fit, and that no host name has two certificates.

use std::path::{Path, PathBuf};

use super::error::Result;
use super::section::Section;
use crate::server::{ClientAuthorities, ClientCertificate, KeyPair, Tls, TlsError};

/// Reads the table `tls` of `[listen]`.
pub(super) fn read(listen: &Section<'_>) -> Result<Option<Tls>> {
    let Some(section) = listen.section("tls")? else { return Ok(None) };
    let mut tls = Tls::new(read_pair(&section)?.0);
    for host in section.sections("host")? {
        let (pair, file) = read_pair(&host)?;
        tls.add_host(pair).map_err(|error| refuse(&host, "certificate", &file, &error))?;
    }
    match section.file("client_ca", "ca.pem", AUTHORITIES)? {
        Some((file, pem)) => {
            let authorities = ClientAuthorities::from_pem(&pem);
            let authorities = authorities.map_err(|error| refuse(&section, "client_ca", &file, &error))?;
            let rules =
                [("required", ClientCertificate::Required), ("optional", ClientCertificate::Optional)];
            let rule = section.choice("client_certificate", &rules)?;
            tls.verify_clients(authorities, rule.unwrap_or(ClientCertificate::Required));
        }
        None => section.absent("client_certificate", "has no effect without `listen.tls.client_ca`")?,
    }
    Ok(Some(tls))
}

/// Reads the table `tls` of `[admin]`, which has one certificate.
pub(super) fn read_one(admin: &Section<'_>) -> Result<Option<Tls>> {
    let Some(section) = admin.section("tls")? else { return Ok(None) };
    Ok(Some(Tls::new(read_pair(&section)?.0)))
}

const AUTHORITIES: &str =
    "name a PEM file with the certificates of the authorities that sign those of clients";

/// The pair, and the certificate's file.
fn read_pair(section: &Section<'_>) -> Result<(KeyPair, PathBuf)> {
    const FIX: &str = "name a PEM file that s3veil's user may read";
    let missing = |word: &str, example: &str| {
        section.refuse(word, "is missing", format!("write {word} = \"{example}\" beside the other"))
    };
    let certificate = section.file("certificate", "cert.pem", FIX)?;
    let (certificate_file, certificates) = certificate.ok_or_else(|| missing("certificate", "cert.pem"))?;
    let private_key = section.secret_file("private_key", "key.pem", FIX)?;
    let (key_file, private_key) = private_key.ok_or_else(|| missing("private_key", "key.pem"))?;
    let pair = KeyPair::from_pem(&certificates, &private_key).map_err(|error| match &error {
        TlsError::PrivateKey | TlsError::EncryptedKey | TlsError::Mismatch(_) => {
            refuse(section, "private_key", &key_file, &error)
        }
        TlsError::Certificate
        | TlsError::Version(_)
        | TlsError::NoHostName
        | TlsError::DuplicateHostName(_)
        | TlsError::Authority(_) => refuse(section, "certificate", &certificate_file, &error),
    })?;
    Ok((pair, certificate_file))
}

fn refuse(section: &Section<'_>, word: &str, file: &Path, error: &TlsError) -> super::ConfigError {
    let fix = match error {
        TlsError::Certificate if word == "client_ca" => AUTHORITIES,
        TlsError::Certificate => "name a PEM file with the server's certificate chain",
        TlsError::Version(_) => {
            "make one of version 3, with the host's name: add -addext subjectAltName=DNS:s3.example.com to \
             `openssl req -x509`"
        }
        TlsError::PrivateKey => "name a PEM file with the certificate's private key",
        TlsError::EncryptedKey => {
            "write it without one, for s3veil's user alone: openssl pkey -in key.pem -out plain.pem"
        }
        TlsError::Mismatch(_) => "name the key that the certificate was made for",
        TlsError::NoHostName => "name it in [listen.tls], whose certificate is for every other client",
        TlsError::DuplicateHostName(_) => "remove one of the two, or make it for other names",
        TlsError::Authority(_) => AUTHORITIES,
    };
    section.refuse(word, &format!("names {}, which {error}", file.display()), fix)
}
