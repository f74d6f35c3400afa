//! A browser's form as it arrives: its fields first, then the bytes of its file.
//!
//! It must not know what the fields mean or whether the sender may upload. It promises that the file ends
//! without an error only if the whole form arrived.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;

use super::data::poll_next_data;
use super::{BoxBody, BoxError, DataBody, IngestError, PollData};
use crate::s3::{Form, FormParser, FormPiece};
use crate::timer;

/// The file of a form. It ends without an error only when the form's closing boundary has come and the
/// request body has ended.
pub type FormBody = DataBody<FormFile>;

/// The form that a [`FormBody`] is read from.
pub struct FormFile {
    wire: BoxBody,
    parser: FormParser,
    pending: Bytes,
}

impl FormBody {
    /// Reads a form up to its file, for at most `timeout`: the sender is not authenticated yet.
    ///
    /// # Errors
    /// The parser's error, [`IngestError::Idle`], or the error of a broken connection.
    pub async fn open(
        wire: BoxBody,
        content_type: &HeaderValue,
        timeout: Duration,
    ) -> Result<(Form, Self), IngestError> {
        let parser = FormParser::new(content_type).map_err(IngestError::Refused)?;
        let mut file = FormFile { wire, parser, pending: Bytes::new() };
        let form = timer::timeout(timeout, file.form()).await;
        let form = form.unwrap_or(Err(IngestError::Idle(timeout)))?;
        Ok((form, Self::from_source(file)))
    }
}

impl FormFile {
    async fn form(&mut self) -> Result<Form, IngestError> {
        let piece = std::future::poll_fn(|context| self.next(context)).await;
        match piece.map_err(IngestError::from_wire)? {
            Some(FormPiece::Form(form)) => Ok(form),
            Some(FormPiece::Data(_) | FormPiece::NeedMore) => unreachable!("a file comes after its form"),
            None => Err(IngestError::Incomplete),
        }
    }

    /// The form or the next bytes of its file; `None` at the end.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<FormPiece>, BoxError>> {
        loop {
            match self.parser.decode(&mut self.pending)? {
                FormPiece::NeedMore => {}
                piece @ (FormPiece::Form(_) | FormPiece::Data(_)) => return Poll::Ready(Ok(Some(piece))),
            }
            match ready!(poll_next_data(&mut self.wire, context)).transpose()? {
                Some(data) => self.pending = data,
                None => {
                    self.parser.finish()?;
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }
}

impl PollData for FormFile {
    type Error = BoxError;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let piece = ready!(self.next(context)).transpose();
        Poll::Ready(piece.map(|piece| match piece? {
            FormPiece::Data(data) => Ok(data),
            FormPiece::Form(_) | FormPiece::NeedMore => {
                unreachable!("the form was taken when the body was opened")
            }
        }))
    }
}

#[cfg(test)]
mod tests;
