//! Where a bucket and an object are on the network: in the path, or with the bucket in the host name.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::UpstreamSetupError;
use super::settings::Target;
use crate::s3::{BucketName, ObjectKey, encode_path};

/// All but RFC 3986's unreserved characters, as SigV4's canonical query wants it.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The authority of requests that never leave the process.
const EMBEDDED_HOST: &str = "embedded";

/// A store's address.
#[derive(Debug, Clone)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    path_style: bool,
}

impl Address {
    /// The address of `target`; `path_style` as in the settings.
    pub(super) fn new(
        target: &Target,
        region: &str,
        path_style: Option<bool>,
    ) -> Result<Self, UpstreamSetupError> {
        match target {
            Target::Embedded { .. } => Ok(Self {
                scheme: Scheme::HTTP,
                authority: Authority::from_static(EMBEDDED_HOST),
                path_style: true,
            }),
            Target::Endpoint(endpoint) => Self::of_endpoint(endpoint, path_style.unwrap_or(true)),
            Target::Aws => Ok(Self {
                scheme: Scheme::HTTPS,
                authority: aws_host(region)?,
                path_style: path_style.unwrap_or(false),
            }),
        }
    }

    fn of_endpoint(endpoint: &Uri, path_style: bool) -> Result<Self, UpstreamSetupError> {
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
        Ok(Self { scheme, authority: authority.clone(), path_style })
    }

    /// Whether the way there is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The absolute URI, encoded once as it is signed and sent, and the value of `Host`.
    pub(super) fn locate(
        &self,
        bucket: Option<&BucketName>,
        object: Option<&ObjectKey>,
        query: &[(String, Option<String>)],
    ) -> Result<(Uri, HeaderValue), http::Error> {
        let in_host = bucket.filter(|bucket| self.takes_in_host(bucket));
        let (authority, mut path) = match in_host {
            Some(bucket) => {
                let authority = format!("{}.{}", bucket.as_str(), self.authority).parse()?;
                (authority, encode_path(None, object))
            }
            None => (self.authority.clone(), encode_path(bucket, object)),
        };
        for (index, (name, value)) in query.iter().enumerate() {
            path.push(if index == 0 { '?' } else { '&' });
            path.extend(utf8_percent_encode(name, QUERY));
            if let Some(value) = value {
                path.push('=');
                path.extend(utf8_percent_encode(value, QUERY));
            }
        }
        let host = HeaderValue::from_str(host_header(&self.scheme, &authority))?;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(authority);
        parts.path_and_query = Some(PathAndQuery::try_from(path)?);
        Ok((Uri::from_parts(parts)?, host))
    }

    /// A wildcard certificate covers one label, so a bucket name with dots goes into the path over TLS.
    fn takes_in_host(&self, bucket: &BucketName) -> bool {
        !(self.path_style || self.is_tls() && bucket.as_str().contains('.'))
    }
}

/// `Host` without the scheme's default port, which is how every server and SigV4 verifier expects it.
fn host_header<'a>(scheme: &Scheme, authority: &'a Authority) -> &'a str {
    let default_port = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    if authority.port_u16() == Some(default_port) { authority.host() } else { authority.as_str() }
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
