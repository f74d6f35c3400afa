//! `[upstream]`, or several `[[upstream]]`: the storages, their credentials and timeouts. It must not know
//! how a request is sent. It promises that names are unique, that no endpoint is recognisably this proxy
//! itself, and that no setting is silently without effect.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::{Refusal, Result};
use super::section::Section;
use super::{credentials, required, value};
use crate::upstream::{self, Embedded, Settings, Target, Timeouts};
use crate::wire::checksum::ChecksumAlgorithm;

/// The prefix of an endpoint that is a directory of the embedded store.
const EMBEDDED: &str = "embedded:";

/// Max length of a storage's name, which is a label of metrics.
const MAX_NAME: usize = 64;

/// Maximum of `max_retries`. Each retry waits longer; more than ten would only hide an outage of the storage.
const MAX_RETRIES: u64 = 10;

/// The storages, the default first. Never empty.
pub(super) fn read(root: &Section<'_>, listen: SocketAddr) -> Result<Vec<Settings>> {
    if !root.has_list("upstream") {
        let fix = "write [upstream] and below it endpoint = \"embedded:./data\", or region = \"us-east-1\" for AWS S3";
        let section = required(root, "upstream", fix)?;
        let name = read_name(&section)?.unwrap_or_else(|| upstream::NAME.to_owned());
        return Ok(vec![read_one(&section, name, listen)?]);
    }
    let mut upstreams: Vec<Settings> = Vec::new();
    for section in &root.sections("upstream")? {
        let name = read_name(section)?.ok_or_else(|| {
            let fix =
                "write name = \"archive\", or another name for [[bucket]] rules to use as their upstream";
            section.refuse("name", "is missing", fix)
        })?;
        if upstreams.iter().any(|other| other.name == name) {
            let problem = format!("is used twice: {name:?}");
            return Err(section.refuse("name", &problem, "give each [[upstream]] a name of its own"));
        }
        upstreams.push(read_one(section, name, listen)?);
    }
    Ok(upstreams)
}

fn read_name(section: &Section<'_>) -> Result<Option<String>> {
    section.parsed("name", "archive", |text| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.len() <= MAX_NAME && text.bytes().all(is_allowed) {
            return Ok(text.to_owned());
        }
        let fix = "write up to 64 letters, digits, '.', '-', '_'";
        Err(Refusal::new(format!("is an invalid name: {text:?}"), fix))
    })
}

fn read_one(section: &Section<'_>, name: String, listen: SocketAddr) -> Result<Settings> {
    let target = read_target(section)?;
    if matches!(&target, Target::Endpoint(endpoint) if is_own(endpoint, listen)) {
        let problem = format!("is this proxy's own address, {listen}");
        return Err(section.refuse("endpoint", &problem, "name the storage behind it"));
    }
    let region = section.parsed("region", "us-east-1", value::region)?;
    let fix = "write region = \"us-east-1\", or the region your buckets are in";
    let region = region.ok_or_else(|| section.refuse("region", "is missing", fix))?;
    if matches!(target, Target::Embedded { .. }) {
        for word in ["path_style", "checksum", "ca_file"].into_iter().chain(credentials::KEYS) {
            section.absent(word, "has no effect with the embedded store")?;
        }
    }
    let path_style = section.boolean("path_style")?;
    if path_style == Some(false) && matches!(&target, Target::Endpoint(endpoint) if is_address(endpoint)) {
        let problem =
            "can't be false for an endpoint that is an IP address, which has no subdomains for buckets";
        return Err(section.refuse("path_style", problem, "remove it, or write path_style = true"));
    }
    let timeout =
        |word, default| section.parsed(word, "30s", value::timeout).map(|timeout| timeout.unwrap_or(default));
    let checksums = [
        ("crc64nvme", Some(ChecksumAlgorithm::Crc64Nvme)),
        ("crc32c", Some(ChecksumAlgorithm::Crc32c)),
        ("none", None),
    ];
    let max_retries =
        section.count("max_retries", 0..=MAX_RETRIES)?.unwrap_or(u64::from(upstream::MAX_RETRIES));
    Ok(Settings {
        name,
        path_style,
        credentials: credentials::read(section)?.for_storage(),
        checksum: section.choice("checksum", &checksums)?.unwrap_or(Some(ChecksumAlgorithm::DEFAULT)),
        timeouts: Timeouts {
            connect: timeout("connect_timeout", upstream::CONNECT_TIMEOUT)?,
            head: timeout("head_timeout", upstream::HEAD_TIMEOUT)?,
            idle: timeout("idle_timeout", upstream::IDLE_TIMEOUT)?,
        },
        max_idle_connections: upstream::MAX_IDLE_CONNECTIONS,
        max_retries: u32::try_from(max_retries).expect("ten fits"),
        extra_root_ca: read_ca_file(section, &target)?,
        via: Some(upstream::VIA),
        embedded: read_embedded(section, &target)?,
        target,
        region,
    })
}

/// Whether an endpoint is certainly an address that `listen` serves. A host name other than `localhost`, or
/// another address of this machine, is not recognised here; requests that come back to the proxy are refused.
fn is_own(endpoint: &Uri, listen: SocketAddr) -> bool {
    let default_port = if endpoint.scheme_str() == Some("https") { 443 } else { 80 };
    let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = if host.eq_ignore_ascii_case("localhost") {
        Some(IpAddr::from([127, 0, 0, 1]))
    } else {
        host.parse::<IpAddr>().ok()
    };
    let (address, own) = (address.map(|address| address.to_canonical()), listen.ip().to_canonical());
    let is_same = address.is_some_and(|address| {
        address == own || address.is_unspecified() || own.is_unspecified() && address.is_loopback()
    });
    listen.port() != 0 && endpoint.port_u16().unwrap_or(default_port) == listen.port() && is_same
}

fn is_address(endpoint: &Uri) -> bool {
    endpoint.host().is_some_and(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok())
}

fn read_target(section: &Section<'_>) -> Result<Target> {
    let source = section.source;
    let target =
        section.parsed("endpoint", "http://127.0.0.1:9000", |text| match text.strip_prefix(EMBEDDED) {
            Some(_) if !cfg!(feature = "embedded-store") => Err(Refusal::new(
                "names the embedded store, which this build of s3veil does not have",
                "name another storage, or build s3veil with the feature embedded-store",
            )),
            Some("") => Err(Refusal::new("requires a directory", "write for example \"embedded:./data\"")),
            Some(directory) => Ok(Target::Embedded { path: source.resolve(directory) }),
            None => value::endpoint(text).map(Target::Endpoint),
        })?;
    Ok(target.unwrap_or(Target::Aws))
}

fn read_embedded(section: &Section<'_>, target: &Target) -> Result<Embedded> {
    match target {
        Target::Embedded { .. } => Ok(Embedded {
            sync: section.choice("embedded_sync", &[("full", true), ("off", false)])?.unwrap_or(true),
            exclusive: !section.boolean("embedded_shared")?.unwrap_or(false),
        }),
        Target::Endpoint(_) | Target::Aws => {
            for word in ["embedded_sync", "embedded_shared"] {
                section.absent(word, "has no effect unless `upstream.endpoint` is an embedded store")?;
            }
            Ok(Embedded { sync: true, exclusive: false })
        }
    }
}

fn read_ca_file(section: &Section<'_>, target: &Target) -> Result<Option<PathBuf>> {
    if section.text("ca_file", "ca.pem")?.is_some()
        && matches!(target, Target::Endpoint(uri) if uri.scheme_str() == Some("http"))
    {
        let problem = "has no effect with an http:// endpoint";
        return Err(section.refuse("ca_file", problem, "remove it, or write https://"));
    }
    let fix = "name a PEM file with the certificates to trust";
    let Some((path, pem)) = section.file("ca_file", "ca.pem", fix)? else { return Ok(None) };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    if certificates.is_ok_and(|certificates| !certificates.is_empty()) {
        return Ok(Some(path));
    }
    Err(section.refuse("ca_file", &format!("names {}, which holds no PEM certificate", path.display()), fix))
}
