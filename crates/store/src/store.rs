//! The operations that the store implements, each in a file of its own; s3s responds with 501 to others.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::directory::Directory;
use super::receive::blocking;
use super::{buckets, completion, copies, lists, reads, uploads, writes};

/// The store.
#[derive(Debug)]
pub(super) struct Store {
    directory: Arc<Directory>,
}

impl Store {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory: Arc::new(directory) }
    }

    /// Runs work that only waits for the disk.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> S3Result<T> + Send + 'static,
    ) -> S3Result<S3Response<T>> {
        let directory = Arc::clone(&self.directory);
        blocking(move || work(&directory)).await.map(S3Response::new)
    }
}

/// The response with headers beside its output.
fn with_headers<T>(response: S3Response<(T, HeaderMap)>) -> S3Response<T> {
    let (output, headers) = response.output;
    S3Response { output, status: response.status, headers, extensions: response.extensions }
}

#[async_trait]
impl S3 for Store {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.run(move |directory| buckets::create(directory, &req.input)).await
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.run(move |directory| buckets::delete(directory, &req.input)).await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let found = move |directory: &Directory| {
            directory.bucket(&req.input.bucket).map(|_| GetBucketLocationOutput::default())
        };
        self.run(found).await
    }

    /// Versioning is never enabled.
    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let found = move |directory: &Directory| {
            directory.bucket(&req.input.bucket).map(|_| GetBucketVersioningOutput::default())
        };
        self.run(found).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let found = move |directory: &Directory| {
            directory.bucket(&req.input.bucket).map(|_| HeadBucketOutput::default())
        };
        self.run(found).await
    }

    async fn list_buckets(
        &self,
        _req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.run(buckets::list).await
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        writes::put_object(Arc::clone(&self.directory), req).await.map(S3Response::new)
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.run(move |directory| reads::get_object(directory, req.input)).await.map(with_headers)
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.run(move |directory| reads::head_object(directory, req.input)).await.map(with_headers)
    }

    async fn get_object_attributes(
        &self,
        req: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        self.run(move |directory| reads::get_object_attributes(directory, req.input)).await
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.run(move |directory| writes::delete_object(directory, req.input)).await
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.run(move |directory| writes::delete_objects(directory, req.input)).await
    }

    async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        self.run(move |directory| writes::get_tags(directory, &req.input)).await
    }

    async fn put_object_tagging(
        &self,
        req: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let PutObjectTaggingInput { bucket, key, tagging, version_id, .. } = req.input;
        let set = move |directory: &Directory| {
            reads::refuse_versions(version_id.as_deref())?;
            writes::set_tags(directory, &bucket, &key, tagging.tag_set)?;
            Ok(PutObjectTaggingOutput::default())
        };
        self.run(set).await
    }

    async fn delete_object_tagging(
        &self,
        req: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let DeleteObjectTaggingInput { bucket, key, version_id, .. } = req.input;
        let set = move |directory: &Directory| {
            reads::refuse_versions(version_id.as_deref())?;
            writes::set_tags(directory, &bucket, &key, TagSet::new())?;
            Ok(DeleteObjectTaggingOutput::default())
        };
        self.run(set).await
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        self.run(move |directory| copies::copy_object(directory, req.input, &req.headers)).await
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        self.run(move |directory| lists::list_objects(directory, req.input)).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.run(move |directory| lists::list_objects_v2(directory, req.input)).await
    }

    async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        self.run(move |directory| lists::list_versions(directory, req.input)).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.run(move |directory| uploads::create(directory, req.input)).await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        uploads::upload_part(Arc::clone(&self.directory), req).await.map(S3Response::new)
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.run(move |directory| copies::upload_part_copy(directory, req.input)).await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.run(move |directory| uploads::list_parts(directory, req.input)).await
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.run(move |directory| lists::list_uploads(directory, req.input)).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let directory = Arc::clone(&self.directory);
        completion::complete(directory, req.input, completion::RESPONSE_DEADLINE).await.map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.run(move |directory| uploads::abort(directory, &req.input)).await
    }
}
