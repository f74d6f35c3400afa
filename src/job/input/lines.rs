//! Keys line by line, as they are: not URL-encoded, not quoted; or whole `s3://BUCKET/KEY`.
//! It must not know where the file is.
//! It promises that a first line without a bucket, where none is given, is refused when the file is opened.

use super::{Form, InputRow, InvalidRow, Location, Record, Records};
use crate::job::error::JobError;
use crate::job::row::Row;
use crate::s3::{BucketName, ObjectKey};
use crate::upload::Resources;

/// The rows of a text file.
pub(super) struct Lines {
    records: Records,
    bucket: Option<BucketName>,
    first: Option<Record>,
}

impl Lines {
    /// Opens the file and reads its first line.
    pub(super) async fn open(
        resources: &Resources,
        file: &Location,
        bucket: Option<BucketName>,
    ) -> Result<Self, JobError> {
        let mut records = Records::new(file.open(resources).await?, Form::Lines);
        let first = records.next().await?;
        let lines = Self { records, bucket, first };
        if let Some(InputRow::Invalid(row)) = lines.first.as_ref().map(|first| lines.row(first)) {
            return Err(JobError::Invalid(row.problem));
        }
        Ok(lines)
    }

    pub(super) async fn next(&mut self) -> Result<Option<InputRow>, JobError> {
        let record = match self.first.take() {
            Some(record) => Some(record),
            None => self.records.next().await?,
        };
        Ok(record.map(|record| self.row(&record)))
    }

    fn row(&self, record: &Record) -> InputRow {
        let invalid = |key: &str, problem: &str| {
            let bucket = self.bucket.as_ref().map(ToString::to_string).unwrap_or_default();
            let problem = format!("{}:{}: column 1: {problem}", self.records.name(), record.line);
            InputRow::Invalid(InvalidRow { bucket, object_key: key.to_owned(), problem })
        };
        let line = match &record.fields {
            Ok(fields) => fields.first().map(String::as_str).unwrap_or_default(),
            Err(problem) => return invalid("", problem),
        };
        let (bucket, key) = match (line.strip_prefix("s3://"), &self.bucket) {
            (Some(url), _) => match url.split_once('/') {
                Some((bucket, key)) => (BucketName::parse(bucket).ok(), key),
                None => (None, url),
            },
            (None, Some(bucket)) => (Some(bucket.clone()), line),
            (None, None) => {
                let advice = "a key without a bucket: give --bucket NAME, or write s3://BUCKET/KEY";
                return invalid(line, advice);
            }
        };
        let Some(bucket) = bucket else { return invalid(key, "there is no bucket's name after s3://") };
        match ObjectKey::parse(key) {
            Ok(object_key) => InputRow::Object(Row { bucket, object_key, version_id: None, listed: None }),
            Err(error) => invalid(key, &error.message),
        }
    }
}
