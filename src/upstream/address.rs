//! Where a bucket and an object are on the network: in the path, or with the bucket in the host name.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use super::error::{AddressError, UpstreamSetupError};
use super::settings::Target;
use crate::s3::{BucketName, ObjectKey, encode_path};
use crate::wire::percent::encode_query;

/// The authority of requests that never leave the process.
const EMBEDDED_HOST: &str = "embedded";

/// The first path segments at the endpoint that do not name a bucket: `/admin` is radosgw's administration,
/// `/minio` is MinIO's, and both accept requests that are signed with a storage credential. MinIO allows no
/// bucket of this name; a radosgw bucket of this name can't be reached.
/// Sources: <https://docs.ceph.com/en/latest/radosgw/adminops/>,
/// <https://github.com/minio/madmin-go> (`/minio/admin`).
const ADMINISTRATION: [&str; 2] = ["admin", "minio"];

/// The address of a storage.
#[derive(Debug, Clone)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    /// The value of `Host` for `authority`.
    host: HeaderValue,
    path_style: bool,
    /// Whether the storage may have administration in the place of a bucket.
    has_administration: bool,
}

impl Address {
    /// The address of `target`; `path_style` as in the settings.
    pub(super) fn new(
        target: &Target,
        region: &str,
        path_style: Option<bool>,
    ) -> Result<Self, UpstreamSetupError> {
        match target {
            Target::Embedded { .. } => {
                Ok(Self::at(Scheme::HTTP, Authority::from_static(EMBEDDED_HOST), true, false))
            }
            Target::Endpoint(endpoint) => Self::from_endpoint(endpoint, path_style.unwrap_or(true)),
            Target::Aws => Ok(Self::at(Scheme::HTTPS, aws_host(region)?, path_style.unwrap_or(false), false)),
        }
    }

    fn at(scheme: Scheme, authority: Authority, path_style: bool, has_administration: bool) -> Self {
        let host = host_header(&scheme, &authority);
        Self { scheme, authority, host, path_style, has_administration }
    }

    fn from_endpoint(endpoint: &Uri, path_style: bool) -> Result<Self, UpstreamSetupError> {
        let refuse = |reason| Err(UpstreamSetupError::Endpoint { endpoint: endpoint.to_string(), reason });
        let scheme = match endpoint.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => scheme.clone(),
            Some(_) | None => return refuse("must begin with http:// or https://"),
        };
        let Some(authority) = endpoint.authority() else { return refuse("names no host") };
        if authority.as_str().contains('@') {
            return refuse("must not contain credentials; use access_key_id and secret_access_key");
        }
        if endpoint.path() != "/" || endpoint.query().is_some() {
            return refuse("must not have a path: SigV4 signs the path, and S3 has no prefix in it");
        }
        let host = authority.host();
        let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
        if !path_style && is_address {
            return refuse(
                "is an IP address, which cannot carry the bucket in its host name: use path_style = true",
            );
        }
        Ok(Self::at(scheme, authority.clone(), path_style, true))
    }

    /// Whether connections are encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The absolute URI, encoded once as it is signed and sent, and the value of `Host`.
    ///
    /// # Errors
    /// [`AddressError`] for a bucket name that is a path of the storage's administration, and for a URI that
    /// would name another host.
    pub(super) fn locate(
        &self,
        bucket: Option<&BucketName>,
        object: Option<&ObjectKey>,
        query: &[(String, Option<String>)],
    ) -> Result<(Uri, HeaderValue), AddressError> {
        let in_host = bucket.filter(|bucket| self.takes_in_host(bucket));
        let (authority, host, mut path) = match in_host {
            Some(bucket) => {
                let authority = self.with_bucket(bucket)?;
                let host = host_header(&self.scheme, &authority);
                (authority, host, encode_path(None, object))
            }
            None => {
                self.refuse_administration(bucket)?;
                (self.authority.clone(), self.host.clone(), encode_path(bucket, object))
            }
        };
        for (index, (name, value)) in query.iter().enumerate() {
            path.push(if index == 0 { '?' } else { '&' });
            path.extend(encode_query(name));
            if let Some(value) = value {
                path.push('=');
                path.extend(encode_query(value));
            }
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(authority);
        parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(http::Error::from)?);
        Ok((Uri::from_parts(parts).map_err(http::Error::from)?, host))
    }

    /// Whether the bucket goes into the host name. A wildcard certificate covers one label, so a bucket name
    /// with dots goes into the path over TLS, like every name that a host can't have (as the AWS SDKs do).
    fn takes_in_host(&self, bucket: &BucketName) -> bool {
        !self.path_style && bucket.fits_host() && !(self.is_tls() && bucket.as_str().contains('.'))
    }

    /// Returns the authority with the bucket in front. The result is parsed again: its host has to be exactly
    /// the bucket, a dot and the configured host, with the configured port and without user information.
    fn with_bucket(&self, bucket: &BucketName) -> Result<Authority, AddressError> {
        let written = format!("{}.{}", bucket.as_str(), self.authority);
        let authority: Authority = written.parse().map_err(http::Error::from)?;
        let behind = authority.host().strip_prefix(bucket.as_str()).and_then(|rest| rest.strip_prefix('.'));
        let is_ours = behind == Some(self.authority.host())
            && authority.port_u16() == self.authority.port_u16()
            && !authority.as_str().contains('@');
        if is_ours { Ok(authority) } else { Err(AddressError::AnotherHost { uri: written }) }
    }

    fn refuse_administration(&self, bucket: Option<&BucketName>) -> Result<(), AddressError> {
        match bucket.map(BucketName::as_str) {
            Some(name) if self.has_administration && ADMINISTRATION.contains(&name) => {
                Err(AddressError::Administration(name.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// `Host` without the scheme's default port, which is how every server and SigV4 verifier expects it.
fn host_header(scheme: &Scheme, authority: &Authority) -> HeaderValue {
    let default_port = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let is_default = authority.port_u16() == Some(default_port);
    let host = if is_default { authority.host() } else { authority.as_str() };
    HeaderValue::from_str(host).expect("an authority is visible ASCII")
}

/// AWS's regional host; the Chinese partition has a domain of its own.
fn aws_host(region: &str) -> Result<Authority, UpstreamSetupError> {
    let is_label = !region.is_empty()
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    if !is_label {
        return Err(UpstreamSetupError::Region(region.to_owned()));
    }
    format!("s3.{region}.{suffix}").parse().map_err(|_| UpstreamSetupError::Region(region.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn locate(
        address: &Address,
        bucket: &str,
        object: Option<&str>,
        query: &[(&str, Option<&str>)],
    ) -> (String, String) {
        let object = object.map(|object| ObjectKey::parse(object).unwrap());
        let query: Vec<_> = query.iter().map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned))).collect();
        let (uri, host) =
            address.locate(Some(&BucketName::parse(bucket).unwrap()), object.as_ref(), &query).unwrap();
        (uri.to_string(), host.to_str().unwrap().to_owned())
    }

    fn endpoint(uri: &'static str, path_style: Option<bool>) -> Result<Address, UpstreamSetupError> {
        Address::new(&Target::Endpoint(Uri::from_static(uri)), "us-east-1", path_style)
    }

    #[test]
    fn endpoint_is_path_style_by_default() {
        let address = endpoint("http://127.0.0.1:9000", None).unwrap();
        let located = locate(&address, "b", Some("a//b/../ü+ %"), &[]);
        assert_eq!(located.0, "http://127.0.0.1:9000/b/a//b/../%C3%BC%2B%20%25");
        assert_eq!(located.1, "127.0.0.1:9000");
    }

    #[test]
    fn default_port_is_left_out_of_host() {
        let address = endpoint("https://store.example:443", None).unwrap();
        assert_eq!(locate(&address, "b", None, &[]).1, "store.example");
        let address = endpoint("http://store.example:443", None).unwrap();
        assert_eq!(locate(&address, "b", None, &[]).1, "store.example:443");
    }

    #[test]
    fn aws_puts_the_bucket_in_the_host_name() {
        let address = Address::new(&Target::Aws, "eu-central-1", None).unwrap();
        let located = locate(&address, "logs", Some("/k"), &[]);
        assert_eq!(located.0, "https://logs.s3.eu-central-1.amazonaws.com//k");
        assert_eq!(located.1, "logs.s3.eu-central-1.amazonaws.com");
        let located = locate(&address, "my.logs", Some("k"), &[]);
        assert_eq!(located.0, "https://s3.eu-central-1.amazonaws.com/my.logs/k");
    }

    #[test]
    fn a_name_that_no_host_has_goes_into_the_path() {
        for address in [
            endpoint("http://store.test", Some(false)).unwrap(),
            endpoint("https://store.test", Some(false)).unwrap(),
        ] {
            for name in ["OTHER-SECRET", "Old_Bucket", "old_bucket", "old..bucket", "old-", "old."] {
                let (uri, host) = locate(&address, name, Some("k"), &[]);
                assert_eq!(
                    (uri, host),
                    (format!("{}://store.test/{name}/k", address.scheme), "store.test".into())
                );
            }
        }
    }

    #[test]
    fn administration_is_no_bucket() {
        let bucket = |name: &str| BucketName::parse(name).unwrap();
        let address = endpoint("http://127.0.0.1:9000", None).unwrap();
        for name in ADMINISTRATION {
            let refused = address.locate(Some(&bucket(name)), None, &[]).unwrap_err();
            assert!(matches!(refused, AddressError::Administration(refused) if refused == name));
        }
        assert!(address.locate(Some(&bucket("admins")), None, &[]).is_ok());
        // With the bucket in the host name, and at AWS, there is nothing beside buckets.
        let address = endpoint("http://store.test", Some(false)).unwrap();
        assert_eq!(locate(&address, "admin", None, &[]).0, "http://admin.store.test/");
        let address = Address::new(&Target::Aws, "eu-central-1", Some(true)).unwrap();
        assert!(address.locate(Some(&bucket("admin")), None, &[]).is_ok());
    }

    proptest! {
        /// Whatever name is accepted, the request goes to the configured host and port, for just this bucket.
        #[test]
        fn every_accepted_name_stays_at_the_endpoint(
            name in "[a-z0-9.-]{1,66}|[A-Za-z0-9._-]{1,40}|[ -~]{1,30}|\\PC{1,10}",
            object in prop::option::of("\\PC{1,20}"),
        ) {
            let Ok(bucket) = BucketName::parse(name.clone()) else { return Ok(()) };
            let object = object.map(|object| ObjectKey::parse(object).unwrap());
            for (base, path_style) in [
                ("http://store.test", false),
                ("http://store.test:9000", false),
                ("https://store.test", false),
                ("https://store.test:9443", false),
                ("http://store.test:9000", true),
                ("http://127.0.0.1:9000", true),
            ] {
                let address = endpoint(base, Some(path_style)).unwrap();
                let Ok((uri, host)) = address.locate(Some(&bucket), object.as_ref(), &[]) else {
                    prop_assert!(path_style && ADMINISTRATION.contains(&name.as_str()));
                    continue;
                };
                let endpoint = Uri::from_static(base);
                let (found, wanted) = (uri.authority().unwrap(), endpoint.authority().unwrap());
                prop_assert!(!found.as_str().contains('@'));
                prop_assert_eq!(found.port_u16(), wanted.port_u16());
                prop_assert_eq!(host.to_str().unwrap(), found.as_str());
                let key = encode_path(None, object.as_ref());
                if found.host() == wanted.host() {
                    let path = encode_path(Some(&bucket), object.as_ref());
                    prop_assert_eq!(uri.path(), path);
                } else {
                    prop_assert!(bucket.fits_host() && !path_style);
                    prop_assert_eq!(found.host(), format!("{name}.{}", wanted.host()));
                    prop_assert_eq!(uri.path(), key);
                }
            }
        }
    }

    #[test]
    fn chinese_partition_has_its_own_domain() {
        let address = Address::new(&Target::Aws, "cn-north-1", Some(true)).unwrap();
        assert_eq!(locate(&address, "b", None, &[]).1, "s3.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn query_is_encoded_and_bare_names_stay_bare() {
        let address = endpoint("http://h", None).unwrap();
        let located =
            locate(&address, "b", None, &[("acl", None), ("prefix", Some("a b/+&=é")), ("e", Some(""))]);
        assert_eq!(located.0, "http://h/b?acl&prefix=a%20b%2F%2B%26%3D%C3%A9&e=");
    }

    #[test]
    fn impossible_endpoints_are_refused() {
        for (uri, path_style) in [
            ("ftp://h", None),
            ("/only/a/path", None),
            ("http://user@h", None),
            ("http://h/prefix", None),
            ("http://h/?q", None),
            ("http://127.0.0.1:1", Some(false)),
            ("http://[::1]:1", Some(false)),
        ] {
            assert!(matches!(endpoint(uri, path_style), Err(UpstreamSetupError::Endpoint { .. })), "{uri}");
        }
        for region in ["", "eu west", "x/../y", "EU"] {
            assert!(matches!(Address::new(&Target::Aws, region, None), Err(UpstreamSetupError::Region(_))));
        }
    }
}
