//! CompleteMultipartUpload: everything is checked first, then the parts are copied into one file, which
//! becomes the object, and then the upload is removed.

use std::sync::Arc;
use std::time::Duration;

use s3s::dto::{
    ChecksumType, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, ETag,
    PartNumber,
};
use s3s::{S3Error, S3Result, s3_error};
use tokio::task::spawn_blocking;

use super::conditions::WriteConditions;
use super::digest::{Checksums, Composition, checksums_of, etag_of_parts, with_checksums};
use super::directory::{Directory, failed};
use super::receive::blocking;
use super::record::{PartRecord, Record, StoredFile, now};
use super::refusals::{explained, lacks};
use super::uploads::{self, Upload};

/// S3's minimum size, in bytes, of all parts but the last.
const MIN_PART: u64 = 5 << 20;

/// How long the head of the response waits for the outcome. Later, as S3 does it, a 200 comes first, then
/// whitespace, then the outcome, which may be an error.
pub(super) const RESPONSE_DEADLINE: Duration = Duration::from_secs(2);

/// What the request asks for, checked against what was uploaded.
struct Plan {
    bucket: String,
    object: String,
    upload_id: String,
    conditions: WriteConditions,
    upload: Upload,
    /// The object as it will be.
    record: Record,
    /// The ETags of the parts, as checked.
    etags: Vec<String>,
}

enum Examination {
    ToDo(Box<Plan>),
    /// An earlier request completed this upload.
    Done(Box<CompleteMultipartUploadOutput>),
}

pub(super) async fn complete(
    directory: Arc<Directory>,
    input: CompleteMultipartUploadInput,
    deadline: Duration,
) -> S3Result<CompleteMultipartUploadOutput> {
    let finding = {
        let directory = Arc::clone(&directory);
        blocking(move || examine(&directory, input)).await?
    };
    let plan = match finding {
        Examination::ToDo(plan) => plan,
        Examination::Done(output) => return Ok(*output),
    };
    // The work goes on when the request is dropped.
    let message_of = directory.message_of();
    let mut assembling = spawn_blocking(move || plan.carry_out(&directory));
    match tokio::time::timeout(deadline, &mut assembling).await {
        Ok(outcome) => outcome.map_err(S3Error::internal_error)?,
        Err(_) => Ok(CompleteMultipartUploadOutput {
            future: Some(Box::pin(async move {
                let outcome = assembling.await.map_err(S3Error::internal_error)?;
                outcome.map_err(|error| explained(error, message_of))
            })),
            ..Default::default()
        }),
    }
}

fn examine(directory: &Directory, input: CompleteMultipartUploadInput) -> S3Result<Examination> {
    let (bucket, object, upload_id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
    let parts = input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref());
    let etag = parts.and_then(requested_etag);
    match plan(directory, input) {
        Ok(plan) => Ok(Examination::ToDo(Box::new(plan))),
        // The request may repeat one that succeeded: after that, its upload is missing.
        Err(error) => match already_done(directory, &bucket, &object, &upload_id, etag.as_deref()) {
            Some(output) => Ok(Examination::Done(Box::new(output))),
            None => Err(error),
        },
    }
}

fn plan(directory: &Directory, input: CompleteMultipartUploadInput) -> S3Result<Plan> {
    let claimed = checksums_of!(input);
    let CompleteMultipartUploadInput { bucket, key: object, upload_id, multipart_upload, .. } = input;
    let upload = uploads::open(directory, &bucket, &object, &upload_id)?;
    let requested = multipart_upload
        .ok_or_else(|| s3_error!(InvalidRequest, "You must specify at least one part"))?
        .parts
        .unwrap_or_default();
    let requested = in_order(requested)?;
    let (mut parts, mut etags, mut composition) = (Vec::new(), Vec::new(), Composition::default());
    for (number, requested) in &requested {
        let record = examine_part(&upload, *number, requested)?;
        composition.add(&record.etag, &record.checksums, record.size).ok_or_else(invalid_part)?;
        parts.push(PartRecord { number: *number, size: record.size });
        etags.push(record.etag);
    }
    let all_but_the_last = parts.split_last().map(|(_, others)| others).unwrap_or_default();
    if all_but_the_last.iter().any(|part| part.size < MIN_PART) {
        return Err(s3_error!(EntityTooSmall));
    }
    let size = parts.iter().map(|part| part.size).sum();
    if input.mpu_object_size.is_some_and(|announced| u64::try_from(announced) != Ok(size)) {
        return Err(s3_error!(InvalidRequest, "x-amz-mp-object-size is not the size of the parts together"));
    }
    let (etag, checksums) = composition.finish();
    check_whole(&checksums, &claimed)?;
    let conditions = WriteConditions { if_match: input.if_match, if_none_match: input.if_none_match };
    conditions.check(|| directory.lock_key(&bucket, &object)?.record())?;
    let record = Record {
        key: object.clone(),
        size,
        etag,
        modified: now(),
        attributes: upload.record.attributes.clone(),
        checksums,
        parts,
        upload_id: Some(upload_id.clone()),
    };
    Ok(Plan { bucket, object, upload_id, conditions, upload, record, etags })
}

fn invalid_part() -> S3Error {
    s3_error!(
        InvalidPart,
        "One or more of the specified parts could not be found. The part might not have been uploaded, or the \
         specified entity tag might not have matched the part's entity tag."
    )
}

/// The parts with their numbers, which must ascend.
fn in_order(requested: Vec<CompletedPart>) -> S3Result<Vec<(PartNumber, CompletedPart)>> {
    if requested.is_empty() {
        return Err(s3_error!(MalformedXML));
    }
    let numbered = requested.into_iter().map(|part| {
        let number = part.part_number.ok_or_else(|| s3_error!(MalformedXML))?;
        Ok((number, part))
    });
    let numbered = numbered.collect::<S3Result<Vec<_>>>()?;
    if numbered.is_sorted_by(|(a, _), (b, _)| a < b) {
        Ok(numbered)
    } else {
        Err(s3_error!(InvalidPartOrder))
    }
}

fn examine_part(upload: &Upload, number: PartNumber, requested: &CompletedPart) -> S3Result<Record> {
    let stored = StoredFile::open(&upload.part_path(number)).map_err(failed)?;
    let StoredFile { record, .. } = stored.ok_or_else(invalid_part)?;
    let etag = requested.e_tag.as_ref().map(ETag::value);
    let is_same = etag == Some(&record.etag) && record.checksums.verify(&checksums_of!(requested));
    if is_same { Ok(record) } else { Err(invalid_part()) }
}

/// Only the checksum that composes without the content can be verified here.
fn check_whole(computed: &Checksums, claimed: &Checksums) -> S3Result<()> {
    let Checksums { crc32, crc32c, crc64nvme: _, sha1, sha256 } = claimed;
    if [crc32, crc32c, sha1, sha256].into_iter().any(Option::is_some) {
        return Err(lacks("checksums of whole uploads but CRC64NVME"));
    }
    if computed.verify(claimed) { Ok(()) } else { Err(s3_error!(BadDigest)) }
}

/// The ETag of the object made of these parts.
fn requested_etag(requested: &[CompletedPart]) -> Option<String> {
    let etags = requested.iter().map(|part| part.e_tag.as_ref().map(ETag::value));
    etag_of_parts(etags.collect::<Option<Vec<_>>>()?)
}

/// The response to a request whose upload another request has completed, or that is repeated because its
/// response got lost: as long as the object is the one that this upload became.
fn already_done(
    directory: &Directory,
    bucket: &str,
    object: &str,
    upload_id: &str,
    etag: Option<&str>,
) -> Option<CompleteMultipartUploadOutput> {
    let record = directory.object(bucket, object).ok()?.record;
    let is_its = record.upload_id.as_deref() == Some(upload_id) && Some(record.etag.as_str()) == etag;
    is_its.then(|| output(bucket, &record))
}

fn output(bucket: &str, record: &Record) -> CompleteMultipartUploadOutput {
    let full = ChecksumType::from_static(ChecksumType::FULL_OBJECT);
    with_checksums!(
        record.checksums.clone(),
        CompleteMultipartUploadOutput {
            bucket: Some(bucket.to_owned()),
            key: Some(record.key.clone()),
            e_tag: Some(record.etag()),
            checksum_type: Some(full),
            location: Some(format!("/{bucket}/{}", record.key)),
            ..Default::default()
        }
    )
}

impl Plan {
    fn carry_out(mut self, directory: &Directory) -> S3Result<CompleteMultipartUploadOutput> {
        self.assemble(directory).or_else(|error| {
            let Self { bucket, object, upload_id, record, .. } = &self;
            already_done(directory, bucket, object, upload_id, Some(&record.etag)).ok_or(error)
        })
    }

    fn assemble(&mut self, directory: &Directory) -> S3Result<CompleteMultipartUploadOutput> {
        let mut temp_file = directory.temp_file()?;
        for (part, etag) in self.record.parts.iter().zip(&self.etags) {
            let stored = StoredFile::open(&self.upload.part_path(part.number)).map_err(failed)?;
            let mut stored = stored.ok_or_else(invalid_part)?;
            let is_same = stored.record.etag == *etag && stored.record.size == part.size;
            if !is_same {
                return Err(invalid_part());
            }
            temp_file.append(&mut stored.file, 0..part.size).map_err(failed)?;
        }
        self.record.modified = now();
        temp_file.finish(&self.record)?;
        let lock = directory.lock_key(&self.bucket, &self.object)?;
        uploads::open(directory, &self.bucket, &self.object, &self.upload_id)?;
        self.conditions.check(|| lock.record())?;
        lock.put(temp_file)?;
        let removed = directory.remove_dir(&self.upload.path)?;
        drop((lock, removed));
        Ok(output(&self.bucket, &self.record))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use s3s::S3ErrorCode;
    use s3s::dto::{CompletedMultipartUpload, CreateMultipartUploadInput, ETagCondition};

    use super::*;
    use crate::digest::{Claims, Digest};
    use crate::uploads::PartId;

    const CONTENT: &[u8] = b"the only part";

    /// A directory with an upload of one part, and the request to complete it.
    fn uploaded(root: &std::path::Path) -> (Arc<Directory>, CompleteMultipartUploadInput) {
        let settings = crate::Settings { sync: false, exclusive: false, message: |_| None };
        let directory = Directory::open(root, settings).unwrap();
        let (bucket, object) = ("demo".to_owned(), "k".to_owned());
        std::fs::create_dir(root.join(&bucket)).unwrap();
        let creation =
            CreateMultipartUploadInput { bucket: bucket.clone(), key: object.clone(), ..Default::default() };
        let upload_id = uploads::create(&directory, creation).unwrap().upload_id.unwrap();
        let mut digest = Digest::new(&Claims::default());
        digest.update(CONTENT);
        let (etag, checksums) = digest.finish(&Claims::default()).unwrap();
        let mut temp_file = directory.temp_file().unwrap();
        temp_file.file.write_all(CONTENT).unwrap();
        temp_file.size = CONTENT.len() as u64;
        let part_id = PartId {
            bucket: bucket.clone(),
            object: object.clone(),
            upload_id: upload_id.clone(),
            number: 1,
        };
        part_id.put(&directory, temp_file, etag.clone(), checksums).unwrap();
        let part =
            CompletedPart { e_tag: Some(ETag::Strong(etag)), part_number: Some(1), ..Default::default() };
        let input = CompleteMultipartUploadInput {
            bucket,
            key: object,
            upload_id,
            multipart_upload: Some(CompletedMultipartUpload { parts: Some(vec![part]) }),
            ..Default::default()
        };
        (Arc::new(directory), input)
    }

    #[tokio::test]
    async fn what_takes_long_is_answered_before_it_is_done() {
        let root = tempfile::tempdir().unwrap();
        let (directory, input) = uploaded(root.path());
        let lock = directory.lock_key("demo", "k").unwrap();
        let output = complete(Arc::clone(&directory), input, Duration::from_millis(20)).await.unwrap();
        assert_eq!(output.e_tag, None);
        drop(lock);
        let output = output.future.unwrap().await.unwrap();
        let record = directory.object("demo", "k").unwrap().record;
        assert_eq!((output.e_tag, record.size), (Some(record.etag()), CONTENT.len() as u64));
    }

    #[tokio::test]
    async fn what_takes_long_is_done_though_nobody_waits() {
        let root = tempfile::tempdir().unwrap();
        let (directory, input) = uploaded(root.path());
        drop(complete(Arc::clone(&directory), input, Duration::ZERO).await.unwrap());
        let is_there = || directory.object("demo", "k").is_ok();
        for _ in 0..100 {
            if is_there() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("there is no object after two seconds");
    }

    /// The plan was made when the object was still as the condition wants it.
    #[tokio::test]
    async fn conditions_hold_when_the_object_is_put_there() {
        let root = tempfile::tempdir().unwrap();
        let (directory, input) = uploaded(root.path());
        let input = CompleteMultipartUploadInput { if_none_match: Some(ETagCondition::Any), ..input };
        let Examination::ToDo(plan) = examine(&directory, input).unwrap() else {
            panic!("nothing was done yet")
        };
        let other = Record { upload_id: None, size: 0, ..plan.record.clone() };
        let mut temp_file = directory.temp_file().unwrap();
        temp_file.finish(&other).unwrap();
        directory.lock_key("demo", "k").unwrap().put(temp_file).unwrap();
        let error = plan.carry_out(&directory).unwrap_err();
        assert_eq!(*error.code(), S3ErrorCode::PreconditionFailed);
        assert_eq!(directory.object("demo", "k").unwrap().record, other);
    }
}
