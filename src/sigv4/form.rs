//! The signature of a browser's form: not over a request but over the form's policy, in base64 as sent.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html>

use std::time::{Duration, SystemTime};

use super::canonical::ALGORITHM;
use super::claim::ECDSA_ALGORITHM;
use super::credentials::AccessKeyId;
use super::error::{AuthError, AuthFault, AuthSource, SignatureMismatch};
use super::request_head::{VerifyPolicy, secret_or_decoy};
use super::scope::{BasicTime, CredentialScope, Timestamp};
use super::signing_key::{SecretAccessKey, Signature, SigningKey};
use crate::wire::header::SECURITY_TOKEN;

/// S3 takes a signing key for a week, whatever the policy says.
const SIGNING_KEY_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const POLICY: &str = "policy";
const V4_ALGORITHM: &str = "x-amz-algorithm";
const V4_CREDENTIAL: &str = "x-amz-credential";
const V4_DATE: &str = "x-amz-date";
const V4_SIGNATURE: &str = "x-amz-signature";
/// The names of a form's fields are compared without letter case.
const V2_ACCESS_KEY_ID: &str = "awsaccesskeyid";
const V2_SIGNATURE: &str = "signature";

/// A form whose signature is right. Whether the form obeys the policy has still to be found out, and so
/// whether the policy has expired.
#[derive(Debug, PartialEq, Eq)]
pub struct AuthenticatedForm<'f> {
    /// Whose signature it is.
    pub access_key_id: AccessKeyId,
    /// The policy that was signed, in base64.
    pub policy: &'f str,
}

/// Verifies the signature of a form's policy and returns the signer's access key id.
///
/// `field` gives the value of a field as sent, by its name in lower case; `lookup` the secret of an access
/// key id.
///
/// # Errors
/// [`AuthError`] for everything S3 refuses: a form without a policy or a signature, with two, of an unknown
/// access key, for another region, of a day that a signing key does not live to, and with a wrong signature.
pub fn authenticate_form<'f, 'k>(
    field: impl Fn(&str) -> Option<&'f str>,
    policy: &VerifyPolicy,
    now: SystemTime,
    lookup: impl Fn(&str) -> Option<&'k SecretAccessKey>,
) -> Result<AuthenticatedForm<'f>, AuthError> {
    let has_any = |names: &[&str]| names.iter().any(|name| field(name).is_some());
    let is_v4 = has_any(&[V4_ALGORITHM, V4_CREDENTIAL, V4_SIGNATURE]);
    let is_v2 = has_any(&[V2_ACCESS_KEY_ID, V2_SIGNATURE]);
    if !is_v4 && !is_v2 && field(POLICY).is_none() {
        return Err(AuthError::Anonymous);
    }
    if is_v4 && is_v2 {
        return Err(AuthError::SeveralMechanisms);
    }
    if field(SECURITY_TOKEN).is_some() {
        return Err(AuthError::SecurityToken);
    }
    let fields = Fields(field);
    let signed = if is_v2 { fields.v2(policy)? } else { fields.v4(policy, now.into())? };

    let (secret, known) = secret_or_decoy(lookup(signed.access_key_id));
    let signature = match &signed.scope {
        Some(scope) => SigningKey::derive(secret, scope).sign(signed.policy.as_bytes()),
        None => Signature::v2(secret, signed.policy.as_bytes()),
    };
    let matches = signature.matches(signed.signature);
    if !known {
        return Err(AuthError::UnknownAccessKeyId(signed.access_key_id.to_owned()));
    }
    if !matches {
        return Err(AuthError::SignatureDoesNotMatch(Box::new(SignatureMismatch {
            access_key_id: signed.access_key_id.to_owned(),
            signature_provided: signed.signature.to_owned(),
            string_to_sign: signed.policy.as_bytes().to_vec(),
            canonical_request: None,
        })));
    }
    Ok(AuthenticatedForm { access_key_id: AccessKeyId::new(signed.access_key_id), policy: signed.policy })
}

struct Fields<F>(F);

/// The claims of a form about its signature, not yet verified.
struct Signed<'f> {
    access_key_id: &'f str,
    /// The scope of Version 4; Version 2 has none.
    scope: Option<CredentialScope<'f>>,
    policy: &'f str,
    signature: &'f str,
}

impl<'f, F: Fn(&str) -> Option<&'f str>> Fields<F> {
    fn required(&self, name: &'static str) -> Result<&'f str, AuthError> {
        (self.0)(name).ok_or(malformed(AuthFault::Missing(name)))
    }

    fn v4(&self, verification: &VerifyPolicy, now: Timestamp) -> Result<Signed<'f>, AuthError> {
        let policy = self.required(POLICY)?;
        match self.required(V4_ALGORITHM)? {
            ALGORITHM => {}
            ECDSA_ALGORITHM => return Err(AuthError::EcdsaNotImplemented(ECDSA_ALGORITHM.to_owned())),
            _ => return Err(malformed(AuthFault::Algorithm)),
        }
        let (access_key_id, scope) =
            CredentialScope::parse(self.required(V4_CREDENTIAL)?).map_err(malformed)?;
        let (time, signed_at) =
            BasicTime::parse(self.required(V4_DATE)?).ok_or_else(|| malformed(AuthFault::Date))?;
        if scope.date != time.day() {
            let (scope, request) = (scope.date.to_owned(), time.day().to_owned());
            return Err(malformed(AuthFault::ScopeDate { scope, request }));
        }
        match &verification.region {
            Some(expected) if *expected != scope.region => {
                let (expected, given) = (expected.clone(), scope.region.to_owned());
                return Err(malformed(AuthFault::Region { expected, given }));
            }
            Some(_) | None => {}
        }
        let end = signed_at.after(SIGNING_KEY_LIFETIME);
        if signed_at > now.after(verification.max_skew) {
            let (request_time, server_time) = (signed_at.to_string(), now.to_string());
            return Err(AuthError::NotYetValid { request_time, server_time });
        }
        if now > end {
            return Err(AuthError::Expired { expires: end.to_string(), server_time: now.to_string() });
        }
        let signature = self.required(V4_SIGNATURE)?;
        Ok(Signed { access_key_id, scope: Some(scope), policy, signature })
    }

    fn v2(&self, verification: &VerifyPolicy) -> Result<Signed<'f>, AuthError> {
        if !verification.allow_sigv2 {
            return Err(AuthError::SigV2NotAllowed);
        }
        let access_key_id = self.required(V2_ACCESS_KEY_ID)?;
        let (policy, signature) = (self.required(POLICY)?, self.required(V2_SIGNATURE)?);
        Ok(Signed { access_key_id, scope: None, policy, signature })
    }
}

fn malformed(fault: AuthFault) -> AuthError {
    AuthError::Malformed { found_in: AuthSource::Form, fault }
}

#[cfg(test)]
mod tests;
