//! The latest failed requests, for the document.
//! They must not know why a request is kept.
//! They promise the newest first.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use super::seconds;
use crate::admin::history::rounded;
use crate::recent::FailedRequest;

/// The requests, the newest first.
pub(super) fn failures(kept: &VecDeque<Arc<FailedRequest>>) -> Value {
    kept.iter().rev().map(|failed| failure(failed)).collect()
}

/// One request.
pub(super) fn failure(failed: &FailedRequest) -> Value {
    json!({
        "at": seconds(failed.at),
        "request_id": failed.request_id,
        "client": failed.client,
        "is_authenticated": failed.is_authenticated,
        "operation": failed.operation,
        "bucket": failed.bucket,
        "key": failed.object_key,
        "status": failed.status,
        "code": failed.code,
        "side": failed.side,
        "cause": failed.cause,
        "duration_seconds": rounded(failed.duration.as_secs_f64()),
        "storage_request_id": failed.storage_request_id,
        "is_integrity_failure": failed.is_integrity_failure,
    })
}
