//! Buckets, each a directory.

use std::fs;
use std::io::ErrorKind;
use std::time::SystemTime;

use s3s::dto::{
    Bucket, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput, ListBucketsOutput,
    Timestamp,
};
use s3s::{S3Result, s3_error};

use super::directory::{Directory, failed};
use super::lists;
use super::refusals::lacks;

pub(super) fn create(directory: &Directory, input: &CreateBucketInput) -> S3Result<CreateBucketOutput> {
    let path = directory.bucket_path(&input.bucket)?;
    refuse_unkept(input)?;
    match fs::create_dir(&path) {
        Ok(()) => {
            directory.disk().sync_directory(directory.root()).map_err(failed)?;
            let location = Some(format!("/{}", input.bucket));
            Ok(CreateBucketOutput { location })
        }
        Err(_) if path.is_dir() => Err(s3_error!(BucketAlreadyOwnedByYou)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(s3_error!(BucketAlreadyExists, "a file of that name is in the way"))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Deletes a bucket without objects, and its uploads.
pub(super) fn delete(directory: &Directory, input: &DeleteBucketInput) -> S3Result<DeleteBucketOutput> {
    let path = directory.bucket(&input.bucket)?;
    if !lists::is_empty(directory, &input.bucket)? {
        return Err(s3_error!(BucketNotEmpty));
    }
    match fs::remove_dir(path) {
        Ok(()) => {
            directory.disk().sync_directory(directory.root()).map_err(failed)?;
            directory.remove_dir(&directory.uploads(&input.bucket)?)?;
            Ok(DeleteBucketOutput {})
        }
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Err(s3_error!(BucketNotEmpty)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(s3_error!(NoSuchBucket)),
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn list(directory: &Directory) -> S3Result<ListBucketsOutput> {
    let bucket = |(name, metadata): (String, fs::Metadata)| {
        // Not every file system has the creation time of a directory.
        let made = metadata.created().or_else(|_| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        Bucket { name: Some(name), creation_date: Some(Timestamp::from(made)), ..Default::default() }
    };
    let buckets = directory.buckets()?.into_iter().map(bucket).collect();
    Ok(ListBucketsOutput { buckets: Some(buckets), owner: Some(lists::owner()), ..Default::default() })
}

fn refuse_unkept(input: &CreateBucketInput) -> S3Result<()> {
    let has_grants = input.grant_full_control.is_some()
        || input.grant_read.is_some()
        || input.grant_read_acp.is_some()
        || input.grant_write.is_some()
        || input.grant_write_acp.is_some();
    if has_grants || input.acl.as_ref().is_some_and(|acl| acl.as_str() != "private") {
        return Err(lacks("ACLs"));
    }
    if input.object_lock_enabled_for_bucket == Some(true) { Err(lacks("Object Lock")) } else { Ok(()) }
}
