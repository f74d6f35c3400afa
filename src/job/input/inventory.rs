//! An S3 Inventory: its `manifest.json`, and the files of rows that it names.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html>
//! It must not know what a row is for, nor how Parquet is written.
//! It promises that every file is compared with the MD5 that the manifest has for it, and that a manifest of
//! another format, or without the columns that a job requires, is refused when it is opened.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::batch_csv::parse_key;
#[cfg(feature = "parquet")]
use super::parquet::ParquetRecords;
use super::{Bytestream, Form, InputRow, InvalidRow, Location, Record, Records};
use crate::job::error::JobError;
use crate::job::row::{Listed, Row};
use crate::s3::{BucketName, ObjectKey};
use crate::upload::Resources;

/// The maximum bytes of a `manifest.json`: about 100,000 files, each of up to 2 GB of rows.
const MAX_MANIFEST: usize = 32 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    file_format: String,
    file_schema: String,
    files: Vec<DataFile>,
}

#[derive(Debug, Deserialize)]
struct DataFile {
    key: String,
    #[serde(rename = "MD5checksum")]
    md5: Option<String>,
}

/// How the files of an inventory are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileFormat {
    /// CSV, keys URL-encoded.
    Csv,
    /// Parquet, keys as they are, and columns named like `last_modified_date`.
    #[cfg(feature = "parquet")]
    Parquet,
}

/// The file of rows that is read.
enum Rows {
    Csv(Box<Records>),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetRecords>),
}

impl Rows {
    fn name(&self) -> &str {
        match self {
            Self::Csv(records) => records.name(),
            #[cfg(feature = "parquet")]
            Self::Parquet(records) => records.name(),
        }
    }

    async fn next(&mut self) -> Result<Option<Record>, JobError> {
        match self {
            Self::Csv(records) => records.next().await,
            #[cfg(feature = "parquet")]
            Self::Parquet(records) => records.next().await,
        }
    }
}

/// The places of the columns in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Columns(Vec<String>);

impl Columns {
    /// The place of a column, by its name in CSV.
    fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|column| column.replace('_', "").eq_ignore_ascii_case(name))
    }

    /// The field of a row, unless it is empty.
    fn field<'a>(&self, fields: &'a [String], name: &str) -> Option<&'a str> {
        self.place(name)
            .and_then(|place| fields.get(place))
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }
}

/// The rows of an inventory.
pub(super) struct Inventory {
    resources: Resources,
    manifest: Location,
    format: FileFormat,
    columns: Columns,
    files: VecDeque<DataFile>,
    current: Option<Rows>,
    first: Option<Record>,
}

impl Inventory {
    /// Reads the manifest, and the first row.
    pub(super) async fn open(resources: &Resources, manifest: &Location) -> Result<Self, JobError> {
        let bytes = manifest.open(resources).await?;
        let name = bytes.name().to_owned();
        let (format, columns, files) = parse(&name, &bytes.read_all(MAX_MANIFEST).await?)?;
        let mut inventory = Self {
            resources: resources.clone(),
            manifest: manifest.clone(),
            format,
            columns,
            files: files.into(),
            current: None,
            first: None,
        };
        inventory.first = inventory.record().await?;
        if let Some(first) = &inventory.first
            && let InputRow::Invalid(row) = inventory.row(first)
        {
            let advice = "the manifest's fileSchema does not describe its files";
            return Err(JobError::Invalid(format!("{}: {advice}", row.problem)));
        }
        Ok(inventory)
    }

    /// Whether rows have this column.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.columns.place(name).is_some()
    }

    pub(super) async fn next(&mut self) -> Result<Option<InputRow>, JobError> {
        let record = match self.first.take() {
            Some(record) => Some(record),
            None => self.record().await?,
        };
        Ok(record.map(|record| self.row(&record)))
    }

    async fn record(&mut self) -> Result<Option<Record>, JobError> {
        loop {
            if let Some(records) = &mut self.current
                && let Some(record) = records.next().await?
            {
                return Ok(Some(record));
            }
            let Some(file) = self.files.pop_front() else { return Ok(None) };
            let bytes = open_file(&self.resources, &self.manifest, &file.key).await?;
            let bytes = match &file.md5 {
                Some(md5) => bytes.with_md5(md5),
                None => bytes,
            };
            self.current = Some(match self.format {
                FileFormat::Csv => Rows::Csv(Box::new(Records::new(bytes, Form::Csv))),
                #[cfg(feature = "parquet")]
                FileFormat::Parquet => {
                    Rows::Parquet(Box::new(ParquetRecords::open(bytes, &self.columns.0).await?))
                }
            });
        }
    }

    /// The name of the file that is read.
    fn file(&self) -> &str {
        self.current.as_ref().map_or("the inventory", Rows::name)
    }

    fn row(&self, record: &Record) -> InputRow {
        let written = |name: &str| {
            let fields = record.fields.as_ref().ok()?;
            self.columns.field(fields, name).map(str::to_owned)
        };
        let invalid = |column: &str, problem: &str| {
            let number = self.columns.place(column).map_or(1, |place| place + 1);
            let (file, line) = (self.file(), record.line);
            InputRow::Invalid(InvalidRow {
                bucket: written("Bucket").unwrap_or_default(),
                object_key: written("Key").unwrap_or_default(),
                problem: format!("{file}:{line}: column {number} ({column}): {problem}"),
            })
        };
        let fields = match &record.fields {
            Ok(fields) => fields,
            Err(problem) => return invalid("Bucket", problem),
        };
        if fields.len() != self.columns.0.len() {
            let (found, wanted) = (fields.len(), self.columns.0.len());
            return invalid("Bucket", &format!("the row has {found} columns, and fileSchema {wanted}"));
        }
        let bucket = written("Bucket").and_then(|name| BucketName::parse(name).ok());
        let Some(bucket) = bucket.and_then(|stored| self.client_name(&stored)) else {
            return invalid("Bucket", "there is no bucket of this name");
        };
        let object_key = match self.parse_key(written("Key").unwrap_or_default()) {
            Ok(object_key) => object_key,
            Err(problem) => return invalid("Key", &problem),
        };
        let is_delete_marker = written("IsDeleteMarker").is_some_and(|text| text == "true");
        let size = written("Size").map(|text| text.parse());
        let Ok(size) = size.unwrap_or(Ok(0)) else { return invalid("Size", "it is no whole number") };
        let last_modified = match written("LastModifiedDate")
            .map(|text| OffsetDateTime::parse(&text, &Rfc3339))
        {
            Some(Err(_)) => return invalid("LastModifiedDate", "it is no time as 2026-01-31T12:00:00.000Z"),
            Some(Ok(time)) => Some(time),
            None => None,
        };
        let listed = self.has_column("Size").then(|| Listed {
            size,
            last_modified,
            etag: written("ETag"),
            storage_class: written("StorageClass").filter(|class| class != "STANDARD"),
            is_latest: written("IsLatest").is_none_or(|text| text == "true"),
        });
        let row = Row { bucket, object_key, version_id: written("VersionId"), listed };
        if is_delete_marker { InputRow::DeleteMarker(row) } else { InputRow::Object(row) }
    }

    /// A key as the files spell it.
    fn parse_key(&self, text: String) -> Result<ObjectKey, String> {
        match self.format {
            FileFormat::Csv => parse_key(&text),
            #[cfg(feature = "parquet")]
            FileFormat::Parquet => ObjectKey::parse(text).map_err(|error| error.message.into_owned()),
        }
    }

    /// The client's name of a bucket that the storage named.
    fn client_name(&self, stored: &BucketName) -> Option<BucketName> {
        let upstreams = &self.resources.upstreams;
        (0..upstreams.all().count()).find_map(|place| upstreams.client_name(place, stored))
    }
}

/// Opens a file that the manifest names: in the manifest's bucket, or near a manifest in the file system.
async fn open_file(resources: &Resources, manifest: &Location, key: &str) -> Result<Bytestream, JobError> {
    match manifest {
        Location::Object(bucket, _) => {
            let object_key = ObjectKey::parse(key).map_err(|error| {
                JobError::Invalid(format!("the manifest names a file: {}", error.message))
            })?;
            Bytestream::open_object(resources, bucket, &object_key).await
        }
        Location::File(manifest) => {
            let places = local_places(manifest, key);
            let found = places.iter().find(|path| path.is_file()).ok_or_else(|| {
                let shown: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
                JobError::Invalid(format!("missing file of the inventory: none of {}", shown.join(", ")))
            })?;
            Bytestream::open_file(found).await
        }
    }
}

/// Reads a manifest.
fn parse(name: &str, document: &[u8]) -> Result<(FileFormat, Columns, Vec<DataFile>), JobError> {
    let invalid = |problem: &str| JobError::Invalid(format!("{name}: {problem}"));
    let manifest: Manifest = serde_json::from_slice(document)
        .map_err(|error| invalid(&format!("is no manifest.json of S3 Inventory: {error}")))?;
    let (format, columns) = match manifest.file_format.to_ascii_lowercase().as_str() {
        "csv" => {
            (FileFormat::Csv, manifest.file_schema.split(',').map(|name| name.trim().to_owned()).collect())
        }
        #[cfg(feature = "parquet")]
        "parquet" => (FileFormat::Parquet, super::parquet::columns(&manifest.file_schema)),
        _ => {
            let format = &manifest.file_format;
            let advice =
                "set the inventory's format to CSV, or convert its files and use --manifest FILE.csv";
            return Err(invalid(&format!("the inventory's format {format} is not supported: {advice}")));
        }
    };
    let columns = Columns(columns);
    if let Some(missing) = ["Bucket", "Key"].iter().find(|name| columns.place(name).is_none()) {
        return Err(invalid(&format!("missing column {missing} in fileSchema")));
    }
    Ok((format, columns, manifest.files))
}

/// Where a file of an inventory is that was copied to the file system: beside its manifest, or in the folder
/// `data` there or one level up, as S3 lays it out.
fn local_places(manifest: &Path, key: &str) -> [PathBuf; 3] {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let file = key.rsplit('/').next().unwrap_or(key);
    [folder.join(file), folder.join("data").join(file), folder.join("..").join("data").join(file)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read() {
        let document = br#"{"sourceBucket":"b","destinationBucket":"arn:aws:s3:::i","version":"2016-11-30",
            "creationTimestamp":"1","fileFormat":"CSV","fileSchema":"Bucket, Key, VersionId, Size",
            "files":[{"key":"p/data/1.csv.gz","size":7,"MD5checksum":"AB"}]}"#;
        let (format, columns, files) = parse("m", document).unwrap();
        assert_eq!((format, columns.place("versionid")), (FileFormat::Csv, Some(2)));
        assert_eq!((files[0].key.as_str(), files[0].md5.as_deref()), ("p/data/1.csv.gz", Some("AB")));
    }

    #[test]
    fn other_manifests_are_refused_with_advice() {
        let manifest = |format: &str, schema: &str| {
            format!(r#"{{"fileFormat":"{format}","fileSchema":"{schema}","files":[]}}"#)
        };
        for (document, advice) in [
            (manifest("ORC", "x"), "set the inventory's format to CSV"),
            #[cfg(not(feature = "parquet"))]
            (manifest("Parquet", "x"), "set the inventory's format to CSV"),
            #[cfg(feature = "parquet")]
            (manifest("Parquet", "message m { required binary key (UTF8); }"), "missing column Bucket"),
            (manifest("CSV", "Bucket, Size"), "missing column Key"),
            ("{}".to_owned(), "no manifest.json"),
            ("[".to_owned(), "no manifest.json"),
        ] {
            let refused = parse("m", document.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(advice), "{refused}");
        }
    }
}
