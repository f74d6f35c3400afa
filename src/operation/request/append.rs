//! Requests that store an object for a client with the right `append` and without `write`: each becomes one
//! on the condition that there is no object of its name.
//!
//! It must not store anything. No such request reaches a storage that is not known to honour the condition.

use http::HeaderMap;
use http::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};

use super::Call;
use crate::access::{Grants, Right, check_object};
use crate::error::Result;
use crate::operation::Resources;
use crate::s3::{BucketName, ObjectKey, Operation};

/// Sets the condition on a call of a client that may append and not overwrite. Calls that store no object
/// stay as they are.
///
/// # Errors
/// As [`set_condition`].
pub(crate) async fn restrict(resources: &Resources, call: &mut Call) -> Result<()> {
    let stores = matches!(
        call.operation,
        Operation::PutObject
            | Operation::CopyObject
            | Operation::CreateMultipartUpload
            | Operation::CompleteMultipartUpload
    );
    if !stores {
        return Ok(());
    }
    let (bucket, object_key) = call.object()?;
    let at = (&bucket.clone(), &object_key.clone());
    set_condition(resources, call.operation, &call.grants, at, &mut call.headers).await
}

/// Makes a request that stores an object one on the condition that there is none of its name.
///
/// # Errors
/// `AccessDenied` for `If-Match`, which replaces an object; `NotImplemented` where the storage does not
/// honour the condition; as [`Policies::for_object`](crate::object::rule::Policies::for_object); and the
/// storage's error where that can't be found out.
pub(crate) async fn set_condition(
    resources: &Resources,
    operation: Operation,
    grants: &Grants,
    (bucket, object_key): (&BucketName, &ObjectKey),
    headers: &mut HeaderMap,
) -> Result<()> {
    if headers.contains_key(IF_MATCH) {
        check_object(grants, Right::Write, (bucket, object_key), "If-Match")?;
    }
    resources.policies.for_object(bucket, object_key)?;
    let prefix = grants.append_prefix(bucket, object_key);
    resources.require_conditional_writes(operation, bucket, prefix, headers).await?;
    headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    Ok(())
}
