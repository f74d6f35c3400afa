//! Endpoints of key services, whose requests and responses contain data keys.
//! It must not know which service an endpoint belongs to.
//! It promises that no data key leaves this machine unencrypted.

use std::net::IpAddr;

use http::Uri;

/// Whether data keys stay private on the way to `endpoint`: under TLS, or within this machine.
pub fn is_private_endpoint(endpoint: &Uri) -> bool {
    let host = endpoint.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    };
    is_loopback || endpoint.scheme_str() == Some("https")
}
