//! Manifests as S3 Batch Operations takes them: `bucket,key[,version]`, keys URL-encoded, a header row or
//! none. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/specify-batchjob-manifest.html>
//! It must not know where files are.
//! It promises that a file whose first row is no row of such a manifest is refused when it is opened.

use std::collections::VecDeque;

use super::{Form, InputRow, InvalidRow, Location, Record, Records};
use crate::job::error::JobError;
use crate::job::row::Row;
use crate::s3::{BucketName, ObjectKey};
use crate::upload::Resources;
use crate::wire::percent::{self, Plus};

/// The names of the columns, in a header row.
const COLUMNS: [&[&str]; 3] = [&["bucket"], &["key"], &["versionid", "version", "version_id"]];

/// The rows of one or several manifests.
pub(super) struct BatchCsv {
    resources: Resources,
    rest: VecDeque<Location>,
    /// The file that is read, and its first row where that was not given out.
    current: Option<(Records, Option<Record>)>,
}

impl BatchCsv {
    /// Opens the first file that has a row, and reads that row.
    pub(super) async fn open(resources: &Resources, files: &[Location]) -> Result<Self, JobError> {
        let rest = files.iter().cloned().collect();
        let mut manifest = Self { resources: resources.clone(), rest, current: None };
        manifest.open_next().await?;
        Ok(manifest)
    }

    /// Goes on to the next file that has a row.
    async fn open_next(&mut self) -> Result<(), JobError> {
        self.current = None;
        while let Some(location) = self.rest.pop_front() {
            let mut records = Records::new(location.open(&self.resources).await?, Form::Csv);
            let mut first = records.next().await?;
            if first.as_ref().is_some_and(is_header) {
                first = records.next().await?;
            }
            let Some(record) = first else { continue };
            if let InputRow::Invalid(row) = row(records.name(), &record) {
                let advice = "a manifest has the columns bucket,key[,version], its keys URL-encoded";
                return Err(JobError::Invalid(format!("{}: {advice}", row.problem)));
            }
            self.current = Some((records, Some(record)));
            return Ok(());
        }
        Ok(())
    }

    pub(super) async fn next(&mut self) -> Result<Option<InputRow>, JobError> {
        loop {
            let Some((records, first)) = &mut self.current else { return Ok(None) };
            let record = match first.take() {
                Some(record) => Some(record),
                None => records.next().await?,
            };
            match record {
                Some(record) => return Ok(Some(row(records.name(), &record))),
                None => self.open_next().await?,
            }
        }
    }
}

fn is_header(record: &Record) -> bool {
    let Ok(fields) = &record.fields else { return false };
    let is_named = |(field, names): (&String, &&[&str])| names.contains(&field.to_ascii_lowercase().as_str());
    (2..=3).contains(&fields.len()) && fields.iter().zip(&COLUMNS).all(is_named)
}

fn row(file: &str, record: &Record) -> InputRow {
    let invalid = |fields: &[String], column: usize, problem: &str| {
        let field = |at: usize| fields.get(at).cloned().unwrap_or_default();
        let problem = format!("{file}:{}: column {column}: {problem}", record.line);
        InputRow::Invalid(InvalidRow { bucket: field(0), object_key: field(1), problem })
    };
    let fields = match &record.fields {
        Ok(fields) => fields,
        Err(problem) => return invalid(&[], 1, problem),
    };
    let (bucket, key, version) = match fields.as_slice() {
        [bucket, key] => (bucket, key, None),
        [bucket, key, version] => (bucket, key, Some(version).filter(|version| !version.is_empty())),
        [_] => return invalid(fields, 2, "the key is missing"),
        _ => return invalid(fields, 4, "there is one column too many"),
    };
    let Ok(bucket) = BucketName::parse(bucket) else {
        return invalid(fields, 1, &format!("{bucket:?} is no bucket's name"));
    };
    match parse_key(key) {
        Ok(object_key) => {
            InputRow::Object(Row { bucket, object_key, version_id: version.cloned(), listed: None })
        }
        Err(problem) => invalid(fields, 2, &problem),
    }
}

/// The key that a column holds: URL-encoded, a space perhaps as `+`.
pub(super) fn parse_key(written: &str) -> Result<ObjectKey, String> {
    let decoded = percent::decode_strict(written, Plus::Space)
        .map_err(|_| format!("the key {written:?} is not URL-encoded"))?;
    ObjectKey::parse(decoded).map_err(|error| error.message.into_owned())
}
