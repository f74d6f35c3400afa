//! Whether a request may have a customer key: what the rules of its objects allow on this connection.
//!
//! It must not know formats, nor which objects have customer keys. A key that is refused here has no effect.

use super::Addressing;
use crate::error::Result;
use crate::object::rule::Policies;
use crate::s3::headers::CustomerKeys;
use crate::s3::{BucketName, CopySource, ObjectKey, Operation};

/// Checks the customer keys of a request for this object, and for the source of a copy.
///
/// # Errors
/// As the rules of both: `InvalidArgument` on a connection that others may read, `AccessDenied` where the
/// bucket takes no customer keys.
pub(crate) fn admit(
    policies: &Policies,
    (operation, addressing): (Operation, Addressing),
    (bucket, object_key): (&BucketName, &ObjectKey),
    source: Option<&CopySource>,
    keys: &CustomerKeys,
) -> Result<()> {
    let is_private = addressing.is_private;
    if keys.object.is_some() {
        let rule = policies.for_object(bucket, object_key)?;
        rule.customer_keys.admit(is_private, operation.stores_under_customer_key())?;
    }
    if let (Some(_), Some(source)) = (&keys.source, source) {
        policies.for_object(&source.bucket, &source.object)?.customer_keys.admit(is_private, false)?;
    }
    Ok(())
}
