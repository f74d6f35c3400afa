//! Clients and their rights: who may do what with which bucket and key. It must not know how a request proves
//! its access key, nor the storage. It promises that what no grant covers is refused before a body is read,
//! the source of a copy included, with an error that names the right that is missing.

mod client;
mod grant;
mod right;

use foldhash::HashMap;
use http::HeaderMap;

pub use self::client::{ANONYMOUS, ANONYMOUS_RIGHTS, Client, SHORT_FORMS};
pub use self::grant::{Grant, Grants};
use self::right::{Needed, Place, missing_for_headers, needed};
pub use self::right::{Right, Rights};
use crate::s3::headers::COPY_SOURCE;
use crate::s3::{BucketName, CopySource, ErrorCode, ObjectKey, Operation, Query, S3Error, S3Path};
use crate::sigv4::{AccessKeyId, SecretAccessKey};

/// The element of an error document, and the field of a log line, that names a missing right.
pub const REQUIRED_RIGHT: &str = "RequiredRight";

/// All clients by access key id, each with a number of its own, by which its requests are counted.
#[derive(Debug, Default)]
pub struct Clients {
    clients: HashMap<String, (Client, usize)>,
    numbers: usize,
}

/// What a request is about, as far as rights depend on it.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) operation: Operation,
    pub(crate) path: &'a S3Path,
    pub(crate) query: &'a Query,
    /// The headers, those of a presigned URL's query included.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) copy_source: Option<&'a CopySource>,
    /// The names of the verified client certificate of the connection.
    pub(crate) certificate_names: Option<&'a [String]>,
}

/// A client that may do what its request asks for.
#[derive(Debug)]
pub(crate) struct Authorized<'c> {
    pub(crate) grants: &'c Grants,
    /// The number of the client.
    pub(crate) number: usize,
    /// Whether the client may store the object only if there is none of its name.
    pub(crate) is_append: bool,
}

impl Clients {
    /// The clients by their access key ids.
    pub fn new(clients: impl IntoIterator<Item = (String, Client)>) -> Self {
        Self::replacing(clients, &Self::default())
    }

    /// The clients by their access key ids, numbered after the `earlier` ones: a client keeps its number, and
    /// no other one receives it.
    pub(crate) fn replacing(clients: impl IntoIterator<Item = (String, Client)>, earlier: &Self) -> Self {
        let mut next = earlier.numbers();
        let numbered = clients.into_iter().map(|(id, client)| {
            let number = earlier.clients.get(&id).map(|(_, number)| *number).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            (id, (client, number))
        });
        let clients = numbered.collect();
        Self { clients, numbers: next }
    }

    /// How many numbers clients have received: each number is less.
    pub(crate) fn numbers(&self) -> usize {
        self.numbers
    }

    /// The number of the client with this access key.
    pub(crate) fn number(&self, access_key_id: &AccessKeyId) -> Option<usize> {
        self.clients.get(access_key_id.as_str()).map(|(_, number)| *number)
    }

    /// The access key id of each client, and its number.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.clients.iter().map(|(id, (_, number))| (id.as_str(), *number))
    }

    pub(crate) fn secret(&self, access_key_id: &str) -> Option<&SecretAccessKey> {
        self.clients.get(access_key_id).and_then(|(client, _)| client.secret.as_ref())
    }

    /// Whether requests without a signature are those of a client.
    pub(crate) fn admit_anonymous(&self) -> bool {
        self.clients.get(ANONYMOUS).is_some_and(|(client, _)| client.is_anonymous())
    }

    /// The client with this access key, if it has the rights that its request needs.
    ///
    /// # Errors
    /// `AccessDenied`: with the missing right in the field [`REQUIRED_RIGHT`], or without the client
    /// certificate that the access key is bound to.
    pub(crate) fn authorize(
        &self,
        access_key_id: &AccessKeyId,
        subject: Subject<'_>,
    ) -> Result<Authorized<'_>, S3Error> {
        let client = self.clients.get(access_key_id.as_str());
        let (client, number) = client.ok_or(S3Error::from(ErrorCode::InvalidAccessKeyId))?;
        client.require_certificate(subject.certificate_names)?;
        let (grants, operation) = (&client.grants, subject.operation);
        let Needed { one_of, place } = needed(operation);
        let held = held(grants, place, &subject);
        if !held.has_any(one_of) {
            return Err(refusal(grants, place, one_of, &subject));
        }
        if let Some((right, name)) = missing_for_headers(operation, subject.headers, held) {
            return Err(denied(Rights::new(&[right]), &format!("The header {name}"), "here"));
        }
        if let Some(CopySource { bucket, object, .. }) = subject.copy_source {
            check_object(grants, Right::Read, (bucket, object), COPY_SOURCE)?;
        }
        let is_append = one_of.has(Right::Append) && held.has(Right::Append) && !held.has(Right::Write);
        Ok(Authorized { grants, number: *number, is_append })
    }
}

/// The rights of a client where its request needs them.
fn held(grants: &Grants, place: Place, subject: &Subject<'_>) -> Rights {
    match (place, subject.path) {
        (Place::Anywhere, _) | (_, S3Path::Root) => grants.anywhere(),
        (_, S3Path::Object(bucket, object_key)) => grants.for_object(bucket, object_key),
        (Place::AllKeys, S3Path::Bucket(bucket)) => grants.for_bucket(bucket),
        (Place::ListedPrefix, S3Path::Bucket(bucket)) => {
            grants.for_prefix(bucket, subject.query.first("prefix").unwrap_or_default())
        }
        (Place::SomeKeys | Place::Object | Place::NamedObjects, S3Path::Bucket(bucket)) => {
            grants.for_some_keys(bucket)
        }
    }
}

/// The refusal of a request whose client has none of the rights `one_of` where it needs one.
fn refusal(grants: &Grants, place: Place, one_of: Rights, subject: &Subject<'_>) -> S3Error {
    let operation = subject.operation.name();
    let place = match (place, subject.path) {
        (Place::ListedPrefix, S3Path::Bucket(bucket)) => match grants.prefixes(bucket, Right::List)[..] {
            [] => "in this bucket".to_owned(),
            [prefix, ..] => format!("for this prefix, but may list the prefix {prefix:?} or a longer one"),
        },
        (Place::Anywhere, _) | (_, S3Path::Root) => "in any bucket".to_owned(),
        (Place::AllKeys, S3Path::Bucket(_)) => "for all of this bucket".to_owned(),
        (_, S3Path::Bucket(_)) => "in this bucket".to_owned(),
        (_, S3Path::Object(..)) => "for this key".to_owned(),
    };
    denied(one_of, operation, &place)
}

/// Checks that a client has `right` for an object; `what` requires it, and begins the error's message.
///
/// # Errors
/// `AccessDenied`.
pub(crate) fn check_object(
    grants: &Grants,
    right: Right,
    (bucket, object_key): (&BucketName, &ObjectKey),
    what: &str,
) -> Result<(), S3Error> {
    if grants.for_object(bucket, object_key).has(right) {
        return Ok(());
    }
    Err(denied(Rights::new(&[right]), what, "for this key"))
}

/// Checks that a client may delete an object, by a request with these headers.
///
/// # Errors
/// `AccessDenied`.
pub(crate) fn check_deletion(
    grants: &Grants,
    request: &HeaderMap,
    (bucket, object_key): (&BucketName, &ObjectKey),
) -> Result<(), S3Error> {
    check_object(grants, Right::Delete, (bucket, object_key), "The deletion")?;
    let held = grants.for_object(bucket, object_key);
    match missing_for_headers(Operation::DeleteObjects, request, held) {
        None => Ok(()),
        Some((right, name)) => {
            Err(denied(Rights::new(&[right]), &format!("The header {name}"), "for this key"))
        }
    }
}

fn denied(one_of: Rights, what: &str, place: &str) -> S3Error {
    let names = one_of.names(" or ");
    let message = format!("{what} requires the right {names}, which this client does not have {place}.");
    S3Error::new(ErrorCode::AccessDenied, message).with(REQUIRED_RIGHT, names)
}

#[cfg(test)]
mod tests;
