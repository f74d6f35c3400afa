//! A browser's form as it arrives: its fields first, then the bytes of its file.
//!
//! It must not know what the fields mean or whether the sender may upload. It promises that the file ends
//! without an error only if the whole form arrived.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http_body_util::BodyExt;

use super::data::poll_next_data;
use super::{BoxBody, BoxError, DataBody, IngestError, PollData};
use crate::s3::{Form, FormParser, FormPiece};

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
        let form = tokio::time::timeout(timeout, file.form()).await;
        let form = form.unwrap_or(Err(IngestError::Idle(timeout)))?;
        Ok((form, Self::from_source(file)))
    }
}

impl FormFile {
    async fn form(&mut self) -> Result<Form, IngestError> {
        loop {
            match self.parser.decode(&mut self.pending).map_err(IngestError::Refused)? {
                FormPiece::Form(form) => return Ok(form),
                FormPiece::Data(_) => unreachable!("a file's bytes come after its form"),
                FormPiece::NeedMore => {}
            }
            match self.wire.frame().await {
                Some(Ok(frame)) => self.pending = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(IngestError::from_wire(error)),
                None => {
                    return Err(self
                        .parser
                        .finish()
                        .map_or_else(IngestError::Refused, |()| IngestError::Incomplete));
                }
            }
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BoxError>> {
        loop {
            match self.parser.decode(&mut self.pending)? {
                FormPiece::Data(data) => return Poll::Ready(Ok(Some(data))),
                FormPiece::Form(_) => unreachable!("the form was taken when the body was opened"),
                FormPiece::NeedMore => {}
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
        self.next(context).map(Result::transpose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::test_support::{Arriving, frames};
    use crate::body::{IngestBody, boxed};
    use crate::s3::{DeclaredIntegrity, ErrorCode};

    const IDLE: Duration = Duration::from_secs(1);
    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n\
                        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\ncontent\r\n--b--\r\n";

    fn content_type() -> HeaderValue {
        HeaderValue::from_static("multipart/form-data; boundary=b")
    }

    async fn read(wire: BoxBody) -> (Result<Bytes, IngestError>, bool) {
        let (form, file) = FormBody::open(wire, &content_type(), IDLE).await.unwrap();
        assert_eq!(form.field("key"), Some("k"));
        let declared = DeclaredIntegrity::default();
        let (body, verdict) = IngestBody::delimited(boxed(file), &declared, IDLE);
        let read = body.collect().await.map(|body| body.to_bytes());
        (read, verdict.checksums().is_some())
    }

    #[tokio::test]
    async fn the_file_comes_out_and_ends_with_the_form() {
        let (read, verified) = read(boxed(frames(FORM.as_bytes(), &[3, 50, 140, 150]))).await;
        assert_eq!(read.unwrap(), "content");
        assert!(verified);
    }

    #[tokio::test]
    async fn a_form_that_is_cut_is_no_file() {
        for cut in ["\r\n--b--\r\n", "--\r\n", "content\r\n--b--\r\n"] {
            let form = FORM.strip_suffix(cut).unwrap();
            let (read, verified) = read(boxed(frames(form.as_bytes(), &[]))).await;
            assert_eq!(read.unwrap_err().to_s3().code, ErrorCode::MalformedPOSTRequest, "{cut:?}");
            assert!(!verified, "This is a security issue: a form without {cut:?} has a verdict.");
        }
        let (read, verified) = read(boxed(frames(FORM.as_bytes(), &[]).then_an_error())).await;
        assert_eq!(read.unwrap_err().to_s3().code, ErrorCode::IncompleteBody);
        assert!(!verified, "This is a security issue: a broken wire has a verdict.");
    }

    #[tokio::test]
    async fn a_form_that_does_not_come_times_out() {
        let (wire, body) = Arriving::new();
        wire.send(Bytes::from_static(&FORM.as_bytes()[..40])).unwrap();
        let opened = FormBody::open(boxed(body), &content_type(), IDLE / 20).await;
        assert!(matches!(opened, Err(IngestError::Idle(_))));
        drop(wire);
    }
}
