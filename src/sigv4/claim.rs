//! What a Version 4 request claims about itself, read from the `Authorization` header or a presigned query.

use std::time::Duration;

use http::HeaderMap;
use memchr::memchr;

use super::canonical::{ALGORITHM, SignedNames};
use super::error::{AuthError, AuthFault, AuthSource};
use super::header::{AMZ_DATE, DATE, single_header};
use super::query::Query;
use super::scope::{BasicTime, CredentialScope, Timestamp};

/// The maximum length of an `Authorization` value in bytes: that of the most signed headers with long names.
const MAX_AUTHORIZATION_LEN: usize = 16 * 1024;
/// A presigned request lives a week at most, in seconds.
const MAX_EXPIRES: u64 = 604_800;

pub(in crate::sigv4) const ECDSA_ALGORITHM: &str = "AWS4-ECDSA-P256-SHA256";

const X_AMZ_ALGORITHM: &str = "X-Amz-Algorithm";
const X_AMZ_CREDENTIAL: &str = "X-Amz-Credential";
const X_AMZ_DATE: &str = "X-Amz-Date";
const X_AMZ_EXPIRES: &str = "X-Amz-Expires";
const X_AMZ_SIGNED_HEADERS: &str = "X-Amz-SignedHeaders";
pub(in crate::sigv4) const X_AMZ_SIGNATURE: &str = "X-Amz-Signature";

/// A claim is well formed and agrees with itself, and is not yet verified.
#[derive(Debug, PartialEq)]
pub(in crate::sigv4) struct Claim<'a> {
    pub(in crate::sigv4) access_key_id: &'a str,
    pub(in crate::sigv4) scope: CredentialScope<'a>,
    pub(in crate::sigv4) timestamp: Timestamp,
    /// The text of `timestamp`.
    pub(in crate::sigv4) time: BasicTime,
    pub(in crate::sigv4) signed_names: SignedNames<'a>,
    /// As sent; nothing but a comparison looks at it.
    pub(in crate::sigv4) signature: &'a str,
    pub(in crate::sigv4) validity: Validity,
}

/// How long a claim holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sigv4) enum Validity {
    /// As long as clocks may differ (signed in the header).
    AroundNow,
    /// From its time on, for so long (presigned).
    For(Duration),
}

impl Validity {
    pub(in crate::sigv4) fn source(self) -> AuthSource {
        match self {
            Self::AroundNow => AuthSource::Header,
            Self::For(_) => AuthSource::Query,
        }
    }
}

impl<'a> Claim<'a> {
    /// Whether the query claims a Version 4 signature, well formed or not.
    pub(in crate::sigv4) fn is_in(query: &Query) -> bool {
        [X_AMZ_ALGORITHM, X_AMZ_CREDENTIAL, X_AMZ_SIGNATURE].iter().any(|name| query.contains(name))
    }

    /// `AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...`, the fields in any order, with or
    /// without blanks after the commas; the time from `x-amz-date`, else `Date`.
    pub(in crate::sigv4) fn from_header(
        authorization: &'a str,
        headers: &HeaderMap,
    ) -> Result<Self, AuthError> {
        let malformed = |fault| AuthError::Malformed { found_in: AuthSource::Header, fault };
        if authorization.len() > MAX_AUTHORIZATION_LEN {
            return Err(malformed(AuthFault::TooLong { limit: MAX_AUTHORIZATION_LEN }));
        }
        let (scheme, fields) = split_once(authorization, b' ').unwrap_or((authorization, ""));
        match scheme {
            ALGORITHM => {}
            ECDSA_ALGORITHM => return Err(AuthError::EcdsaNotImplemented(scheme.to_owned())),
            "AWS" => return Err(AuthError::SigV2NotAllowed),
            _ => return Err(AuthError::UnsupportedScheme),
        }
        let fields = HeaderFields::parse(fields).map_err(malformed)?;
        let (time, timestamp) = header_time(headers)?;
        let (access_key_id, scope) = CredentialScope::parse(fields.credential).map_err(malformed)?;
        Self {
            access_key_id,
            scope,
            timestamp,
            time,
            signed_names: SignedNames::parse(fields.signed_headers).map_err(malformed)?,
            signature: fields.signature,
            validity: Validity::AroundNow,
        }
        .with_matching_day()
    }

    /// `X-Amz-Algorithm`, `-Credential`, `-Date`, `-Expires`, `-SignedHeaders` and `-Signature`, each once.
    pub(in crate::sigv4) fn from_query(query: &'a Query) -> Result<Self, AuthError> {
        let malformed = |fault| AuthError::Malformed { found_in: AuthSource::Query, fault };
        let parameter = |name| single_parameter(query, name).map_err(malformed);
        match parameter(X_AMZ_ALGORITHM)? {
            ALGORITHM => {}
            ECDSA_ALGORITHM => return Err(AuthError::EcdsaNotImplemented(ECDSA_ALGORITHM.to_owned())),
            _ => return Err(malformed(AuthFault::Algorithm)),
        }
        let (access_key_id, scope) =
            CredentialScope::parse(parameter(X_AMZ_CREDENTIAL)?).map_err(malformed)?;
        let (time, timestamp) =
            BasicTime::parse(parameter(X_AMZ_DATE)?).ok_or_else(|| malformed(AuthFault::Date))?;
        let expires = parse_expires(parameter(X_AMZ_EXPIRES)?).map_err(malformed)?;
        Self {
            access_key_id,
            scope,
            timestamp,
            time,
            signed_names: SignedNames::parse(parameter(X_AMZ_SIGNED_HEADERS)?).map_err(malformed)?,
            signature: parameter(X_AMZ_SIGNATURE)?,
            validity: Validity::For(expires),
        }
        .with_matching_day()
    }

    /// Refuses a claim for another region than `expected`.
    pub(in crate::sigv4) fn check_region(&self, expected: Option<&str>) -> Result<(), AuthError> {
        match expected {
            Some(expected) if expected != self.scope.region => Err(self.fault(AuthFault::Region {
                expected: expected.to_owned(),
                given: self.scope.region.to_owned(),
            })),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a claim from another time than now.
    pub(in crate::sigv4) fn check_time(&self, now: Timestamp, max_skew: Duration) -> Result<(), AuthError> {
        let request_time = || self.timestamp.to_string();
        let server_time = || now.to_string();
        match self.validity {
            Validity::AroundNow if self.timestamp.distance(now) > max_skew => {
                Err(AuthError::RequestTimeTooSkewed {
                    request_time: request_time(),
                    server_time: server_time(),
                    max_skew,
                })
            }
            Validity::AroundNow => Ok(()),
            Validity::For(_) if self.timestamp > now.after(max_skew) => {
                Err(AuthError::NotYetValid { request_time: request_time(), server_time: server_time() })
            }
            Validity::For(expires) if now > self.timestamp.after(expires) => {
                let expires = self.timestamp.after(expires).to_string();
                Err(AuthError::Expired { expires, server_time: server_time() })
            }
            Validity::For(_) => Ok(()),
        }
    }

    fn with_matching_day(self) -> Result<Self, AuthError> {
        let (scope, request) = (self.scope.date, self.time.day());
        if scope == request {
            return Ok(self);
        }
        Err(self.fault(AuthFault::ScopeDate { scope: scope.to_owned(), request: request.to_owned() }))
    }

    fn fault(&self, fault: AuthFault) -> AuthError {
        AuthError::Malformed { found_in: self.validity.source(), fault }
    }
}

/// The fields after the scheme, as sent.
struct HeaderFields<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> HeaderFields<'a> {
    fn parse(fields: &'a str) -> Result<Self, AuthFault> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        let mut rest = Some(fields);
        while let Some(fields) = rest {
            let (field, more) =
                split_once(fields, b',').map_or((fields, None), |(field, more)| (field, Some(more)));
            rest = more;
            let field = field.trim_ascii();
            let (name, value) =
                split_once(field, b'=').ok_or_else(|| AuthFault::UnknownField(field.to_owned()))?;
            let (name, slot) = match name {
                "Credential" => ("Credential", &mut credential),
                "SignedHeaders" => ("SignedHeaders", &mut signed_headers),
                "Signature" => ("Signature", &mut signature),
                _ => return Err(AuthFault::UnknownField(name.to_owned())),
            };
            if slot.replace(value).is_some() {
                return Err(AuthFault::Repeated(name));
            }
        }
        Ok(Self {
            credential: credential.ok_or(AuthFault::Missing("Credential"))?,
            signed_headers: signed_headers.ok_or(AuthFault::Missing("SignedHeaders"))?,
            signature: signature.ok_or(AuthFault::Missing("Signature"))?,
        })
    }
}

/// The text before and after the first `separator`, an ASCII character.
fn split_once(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = memchr(separator, text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

/// The value of a query parameter that must be there, once.
pub(in crate::sigv4) fn single_parameter<'a>(
    query: &'a Query,
    name: &'static str,
) -> Result<&'a str, AuthFault> {
    let mut values = query.values(name);
    let value = values.next().ok_or(AuthFault::Missing(name))?;
    if values.next().is_some() {
        return Err(AuthFault::Repeated(name));
    }
    str::from_utf8(value).map_err(|_| AuthFault::NotText(name))
}

fn header_time(headers: &HeaderMap) -> Result<(BasicTime, Timestamp), AuthError> {
    let time = match single_header(headers, &AMZ_DATE)? {
        Some(text) => BasicTime::parse(text),
        // AWS's documentation names the basic form of ISO 8601 for either header.
        None => single_header(headers, &DATE)?.and_then(|text| {
            let http_date = Timestamp::parse_http_date(text).map(|timestamp| (timestamp.basic(), timestamp));
            http_date.or_else(|| BasicTime::parse(text))
        }),
    };
    time.ok_or(AuthError::InvalidDate)
}

fn parse_expires(text: &str) -> Result<Duration, AuthFault> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(seconds @ 1..=MAX_EXPIRES) if is_number => Ok(Duration::from_secs(seconds)),
        _ => Err(AuthFault::Expires { max_seconds: MAX_EXPIRES }),
    }
}
