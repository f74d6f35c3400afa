//! The two documents of a multipart upload.

use std::fmt::Write as _;
use std::io;

/// The upload's id out of the answer to CreateMultipartUpload.
pub fn upload_id(document: &[u8]) -> io::Result<String> {
    let document = String::from_utf8_lossy(document);
    let id = document.split_once("<UploadId>").and_then(|(_, rest)| rest.split_once("</UploadId>"));
    let id = id.ok_or_else(|| io::Error::other(format!("no upload id in {document}")))?;
    Ok(id.0.to_owned())
}

/// The request of CompleteMultipartUpload for these parts: number and ETag, as sent.
pub fn completion(parts: &[(usize, String)]) -> String {
    let mut document = String::from("<CompleteMultipartUpload>");
    for (number, etag) in parts {
        write!(document, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            .expect("a String takes every write");
    }
    document + "</CompleteMultipartUpload>"
}
