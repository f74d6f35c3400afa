//! Multipart uploads: a directory each, removed atomically when the upload is completed or aborted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ListPartsInput, ListPartsOutput, Part, PartNumber, Timestamp,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::{Checksums, with_checksums};
use super::directory::{Directory, TempFile, failed};
use super::reads::MAX_PARTS;
use super::receive::{blocking, incoming_body, receive};
use super::record::{Attributes, Record, StoredFile, now};
use super::refusals::refuse_unkept;
use super::writes::attributes_of;

/// The file with the [`UploadRecord`] in an upload's directory; the other files there are parts, by their
/// numbers.
const UPLOAD: &str = "upload";

/// S3's limit of part numbers.
const MAX_PART_NUMBER: PartNumber = 10_000;

/// What is stored about an upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct UploadRecord {
    pub(super) key: String,
    pub(super) initiated: Timestamp,
    #[serde(default)]
    pub(super) attributes: Attributes,
}

/// An existing upload.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) path: PathBuf,
    pub(super) record: UploadRecord,
}

impl Upload {
    pub(super) fn part_path(&self, number: PartNumber) -> PathBuf {
        self.path.join(number.to_string())
    }

    /// The numbers of the parts that were uploaded, each with its file, in ascending order.
    fn parts(&self) -> S3Result<BTreeMap<PartNumber, PathBuf>> {
        let entries = fs::read_dir(&self.path).map_err(gone)?;
        let mut parts = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(number) = number {
                parts.insert(number, entry.path());
            }
        }
        Ok(parts)
    }
}

fn gone(error: std::io::Error) -> S3Error {
    if error.kind() == ErrorKind::NotFound { s3_error!(NoSuchUpload) } else { failed(error) }
}

/// A new upload id. Ids ascend with time, as the markers of ListMultipartUploads need it.
fn new_upload_id() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (_, random) = Uuid::new_v4().as_u64_pair();
    format!("{:016x}{random:016x}", since.as_nanos())
}

fn is_upload_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Opens the upload `id`, which must be one to `object`.
pub(super) fn open(directory: &Directory, bucket: &str, object: &str, id: &str) -> S3Result<Upload> {
    directory.bucket(bucket)?;
    if !is_upload_id(id) {
        return Err(s3_error!(NoSuchUpload));
    }
    let path = directory.uploads(bucket)?.join(id);
    let record = read_record(&path)?;
    if record.key == object { Ok(Upload { path, record }) } else { Err(s3_error!(NoSuchUpload)) }
}

fn read_record(upload: &std::path::Path) -> S3Result<UploadRecord> {
    let record = fs::read(upload.join(UPLOAD)).map_err(gone)?;
    serde_json::from_slice(&record).map_err(|error| failed(error.into()))
}

/// All uploads to a bucket, by key and then by age.
pub(super) fn in_bucket(directory: &Directory, bucket: &str) -> S3Result<Vec<(String, UploadRecord)>> {
    directory.bucket(bucket)?;
    let entries = match fs::read_dir(directory.uploads(bucket)?) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut uploads = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(id) = entry.file_name().into_string() else { continue };
        match read_record(&entry.path()) {
            Ok(record) => uploads.push((id, record)),
            // Completed or aborted since the directory was read.
            Err(error) if *error.code() == s3s::S3ErrorCode::NoSuchUpload => {}
            Err(error) => return Err(error),
        }
    }
    uploads.sort_by(|(a_id, a), (b_id, b)| (&a.key, a_id).cmp(&(&b.key, b_id)));
    Ok(uploads)
}

pub(super) fn create(
    directory: &Directory,
    mut input: CreateMultipartUploadInput,
) -> S3Result<CreateMultipartUploadOutput> {
    directory.bucket(&input.bucket)?;
    refuse_unkept!(input)?;
    let attributes = attributes_of!(input);
    let record = UploadRecord { key: input.key.clone(), initiated: now(), attributes };
    let line = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
    let upload_id = new_upload_id();
    let uploads = directory.uploads(&input.bucket)?;
    // Made under a temporary path and renamed, so that no request sees an upload without its record.
    let making = directory.temporary_path();
    let make = || {
        fs::create_dir(&making)?;
        let mut file = File::create_new(making.join(UPLOAD))?;
        file.write_all(&line)?;
        directory.disk().sync(&file)?;
        directory.disk().sync_directory(&making)?;
        fs::create_dir_all(&uploads)?;
        fs::rename(&making, uploads.join(&upload_id))?;
        directory.disk().sync_directory(&uploads)?;
        directory.disk().sync_parent(&uploads)
    };
    make().map_err(|error| {
        let _ = fs::remove_dir_all(&making);
        failed(error)
    })?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload_id),
        ..Default::default()
    })
}

/// A part, by bucket, key, upload and number.
#[derive(Debug, Clone)]
pub(super) struct PartId {
    pub(super) bucket: String,
    pub(super) object: String,
    pub(super) upload_id: String,
    pub(super) number: PartNumber,
}

impl PartId {
    /// Opens the upload, if it exists and may have a part of this number.
    fn check(&self, directory: &Directory) -> S3Result<Upload> {
        if !(1..=MAX_PART_NUMBER).contains(&self.number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be an integer between 1 and 10000, inclusive"
            ));
        }
        open(directory, &self.bucket, &self.object, &self.upload_id)
    }

    /// Stores a part, in place of an earlier one of its number.
    pub(super) fn put(
        self,
        directory: &Directory,
        mut temp_file: TempFile,
        etag: String,
        checksums: Checksums,
    ) -> S3Result<Record> {
        let upload = self.check(directory)?;
        let record = Record {
            key: self.object,
            size: temp_file.size,
            etag,
            modified: now(),
            attributes: Attributes::default(),
            checksums,
            parts: Vec::new(),
            upload_id: None,
        };
        temp_file.finish(&record)?;
        temp_file.rename_to(&upload.part_path(self.number), || s3_error!(NoSuchUpload))?;
        Ok(record)
    }
}

pub(super) async fn upload_part(
    directory: Arc<Directory>,
    req: S3Request<UploadPartInput>,
) -> S3Result<UploadPartOutput> {
    let S3Request { input, headers, trailing_headers, .. } = req;
    let body = incoming_body!(input, headers, trailing_headers);
    let part_id = PartId {
        bucket: input.bucket,
        object: input.key,
        upload_id: input.upload_id,
        number: input.part_number,
    };
    if body.is_large() {
        let (directory, part_id) = (Arc::clone(&directory), part_id.clone());
        blocking(move || part_id.check(&directory).map(drop)).await?;
    }
    receive(directory, body, move |directory, received| {
        let record = part_id.put(directory, received.temp_file, received.etag, received.checksums)?;
        let e_tag = Some(record.etag());
        Ok(with_checksums!(record.checksums, UploadPartOutput { e_tag, ..Default::default() }))
    })
    .await
}

pub(super) fn list_parts(directory: &Directory, input: ListPartsInput) -> S3Result<ListPartsOutput> {
    let upload = open(directory, &input.bucket, &input.key, &input.upload_id)?;
    let max_parts = input.max_parts.unwrap_or(MAX_PARTS).min(MAX_PARTS);
    let limit =
        usize::try_from(max_parts).map_err(|_| s3_error!(InvalidArgument, "max-parts is negative"))?;
    let marker = input.part_number_marker.unwrap_or(0);
    let stored = upload.parts()?;
    let mut rest = stored.into_iter().filter(|(number, _)| *number > marker);
    let mut parts = Vec::new();
    for (number, path) in rest.by_ref().take(limit) {
        let stored = StoredFile::open(&path).map_err(failed)?;
        let StoredFile { record, .. } = stored.ok_or_else(|| s3_error!(NoSuchUpload))?;
        parts.push(with_checksums!(
            record.checksums.clone(),
            Part {
                e_tag: Some(record.etag()),
                last_modified: Some(record.modified),
                part_number: Some(number),
                size: i64::try_from(record.size).ok(),
            }
        ));
    }
    let is_truncated = rest.next().is_some();
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        part_number_marker: Some(marker),
        next_part_number_marker: Some(parts.last().and_then(|part| part.part_number).unwrap_or(0)),
        max_parts: Some(max_parts),
        is_truncated: Some(is_truncated),
        parts: Some(parts),
        ..Default::default()
    })
}

pub(super) fn abort(
    directory: &Directory,
    input: &AbortMultipartUploadInput,
) -> S3Result<AbortMultipartUploadOutput> {
    let upload = open(directory, &input.bucket, &input.key, &input.upload_id)?;
    // Not during a completion, which has the lock.
    let lock = directory.lock_key(&input.bucket, &input.key)?;
    let removed = directory.remove_dir(&upload.path)?;
    drop(lock);
    removed.map(|_| AbortMultipartUploadOutput::default()).ok_or_else(|| s3_error!(NoSuchUpload))
}
