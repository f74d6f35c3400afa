//! The checksum that a copy needs and its source does not have. It is computed over the source's
//! content, which passes through the proxy only for this purpose.

use http::header::{ETAG, HeaderValue};
use http_body_util::BodyExt;

use super::ObjectCopy;
use crate::error::{Error, Result, UnexpectedResponse};
use crate::object::opened::OpenedObject;
use crate::s3::Checksum;
use crate::upstream::UpstreamError;
use crate::wire::checksum::Hasher;

impl ObjectCopy {
    /// The checksum that the request names, of the source with this ETag and the stored checksums `kept`;
    /// `None` if the request names none.
    ///
    /// # Errors
    /// As a read of the source, and [`Error::Replaced`] when the source no longer has this ETag.
    pub(crate) async fn own_checksum(
        &self,
        etag: &HeaderValue,
        kept: &[Checksum],
    ) -> Result<Option<Checksum>> {
        let Some(algorithm) = self.checksum else { return Ok(None) };
        if let Some(kept) = kept.iter().find(|kept| kept.algorithm() == algorithm) {
            return Ok(Some(*kept));
        }
        let OpenedObject { head, mut body, length, .. } = *self.source.open(&self.resources).await?;
        if head.headers.get(ETAG) != Some(etag) {
            return Err(Error::Replaced);
        }
        let (mut hasher, mut passed) = (Hasher::new(algorithm), 0);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(UpstreamError::Body)?.into_data() {
                hasher.update(&data);
                passed += data.len() as u64;
            }
        }
        if passed != length {
            return Err(UnexpectedResponse::WrongLength.into());
        }
        Ok(Some(hasher.finish()))
    }
}
