//! One call of a holder: how long it takes, and its span in the trace of a request.
//! It must not know what a call returns.
//! It promises no key material in a span.

use std::time::{Duration, Instant};

use super::KeyHolder;
use crate::keyring::{CheckError, KeyId};
use crate::trace::{self, OpenSpan};

/// A call that has begun.
pub(super) struct Call {
    operation: &'static str,
    began: Instant,
    /// `None` outside of a trace that is recorded.
    span: Option<OpenSpan>,
}

impl Call {
    pub(super) fn begin(holder: &KeyHolder, operation: &'static str, key_id: &KeyId) -> Self {
        let began = Instant::now();
        let span =
            if holder.is_remote() { trace::client_span(operation) } else { trace::internal_span(operation) };
        let span = span.filter(OpenSpan::is_recorded).map(|mut span| {
            span.text("s3veil.key.holder", holder.name().to_owned());
            span.text("s3veil.key.id", key_id.as_str().to_owned());
            span
        });
        Self { operation, began, span }
    }

    pub(super) fn operation(&self) -> &'static str {
        self.operation
    }

    /// Ends the call with its failure, if it failed. How long it took.
    pub(super) fn end(self, failure: Option<&CheckError>) -> Duration {
        let taken = self.began.elapsed();
        trace::note_key_call(taken);
        if let (Some(mut span), Some(failure)) = (self.span, failure) {
            span.fail(failure.error.outcome());
        }
        taken
    }
}
