//! The access key id that a request names, for the log of those that are refused.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::query::Query;

/// Maximum number of bytes used of an access key id. AWS access key ids have 20 bytes; a longer value than
/// this limit is not an id.
const MAX_LENGTH: usize = 128;

/// The access key id that a request claims in its `Authorization` header or its query, whether or not it
/// belongs to a client and the rest of the request is well formed. The value is not authenticated.
pub fn claimed_access_key_id(headers: &HeaderMap, raw_query: &str) -> Option<String> {
    let in_header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        match value.strip_prefix("AWS ") {
            Some(version_2) => version_2.split(':').next(),
            None => value.split_once("Credential=").map(|(_, credential)| credential),
        }
    });
    if let Some(credential) = in_header {
        return Some(access_key_id(credential));
    }
    let query = Query::parse(raw_query).ok()?;
    let named = |name| query.values(name).next().map(|value| String::from_utf8_lossy(value).into_owned());
    named("X-Amz-Credential").or_else(|| named("AWSAccessKeyId")).map(|credential| access_key_id(&credential))
}

/// The access key id at the beginning of a credential.
pub fn access_key_id(credential: &str) -> String {
    let id = credential.split(['/', ',', ' ']).next().unwrap_or_default();
    id[..id.floor_char_boundary(MAX_LENGTH)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(authorization: Option<&str>, query: &str) -> Option<String> {
        let value = authorization.map(|value| (AUTHORIZATION, value.parse().unwrap()));
        claimed_access_key_id(&value.into_iter().collect(), query)
    }

    #[test]
    fn every_mechanism_names_an_access_key() {
        for (authorization, query, expected) in [
            (
                Some("AWS4-HMAC-SHA256 Credential=AKIA/20130524/us-east-1/s3/aws4_request, Signature=s"),
                "",
                "AKIA",
            ),
            (Some("AWS4-HMAC-SHA256 SignedHeaders=host,Credential=AKIA,Signature=s"), "", "AKIA"),
            (Some("AWS AKIA:signature"), "", "AKIA"),
            (None, "a=b&X-Amz-Credential=AKIA%2F20130524%2Fus-east-1&X-Amz-Signature=s", "AKIA"),
            (None, "AWSAccessKeyId=AKIA&Signature=s", "AKIA"),
        ] {
            assert_eq!(claimed(authorization, query).as_deref(), Some(expected), "{authorization:?} {query}");
        }
    }

    #[test]
    fn a_request_may_name_none_and_a_long_one_is_cut() {
        assert_eq!(claimed(None, "a=b"), None);
        assert_eq!(claimed(Some("Bearer token"), ""), None);
        let long = format!("AWS {}:s", "x".repeat(1000));
        assert_eq!(claimed(Some(&long), "").unwrap().len(), MAX_LENGTH);
    }
}
