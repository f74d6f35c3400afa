//! PostObject: a browser's form with a file in it, read as it streams by, and the policy that it must obey.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html>

mod parser;
mod part_head;
mod policy;
mod success;
#[cfg(test)]
mod tests;
mod upload;

pub use parser::{FormParser, FormPiece};
pub use policy::{ContentLengthRange, PostPolicy};
pub use success::{Stored, Success};

use std::fmt;

use super::error::{ErrorCode, S3Error};
use super::name::ObjectKey;

/// What stands in a field for the file's name.
const FILE_NAME_VARIABLE: &str = "${filename}";

/// The fields that authenticate the form. They are used as sent, and have no other meaning.
const OF_THE_SIGNATURE: [&str; 8] = [
    "awsaccesskeyid",
    "policy",
    "signature",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-signature",
];

/// What a form says before its file. Nothing of it is true before its signature was verified and its policy
/// checked.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Names in lower case, none twice but those that are ignored, with their values; without the file.
    fields: Vec<(String, String)>,
}

impl Form {
    /// The fields that came before the file, and the file's name as the browser gave it. `${filename}`
    /// becomes that name, without the folders a browser may put before it, in every field that is no part of
    /// the signature.
    ///
    /// # Errors
    /// `InvalidArgument` for a field that is there twice.
    fn new(mut fields: Vec<(String, String)>, file_name: &str) -> Result<Self, S3Error> {
        let file_name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        for index in 0..fields.len() {
            let (before, [(name, value), ..]) = fields.split_at_mut(index) else { break };
            if before.iter().any(|(earlier, _)| earlier == name) && !is_ignored(name) {
                let message = "The form has this field more than once";
                return Err(S3Error::invalid_argument(name.as_str(), value.as_str(), message));
            }
            if !OF_THE_SIGNATURE.contains(&name.as_str()) {
                *value = value.replace(FILE_NAME_VARIABLE, file_name);
            }
        }
        Ok(Self { fields })
    }

    /// The value of a field; `name` in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// The fields in the order they came, their names in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The object that the file is to become.
    ///
    /// # Errors
    /// `InvalidArgument` without a key, and as [`ObjectKey::parse`].
    pub fn object_key(&self) -> Result<ObjectKey, S3Error> {
        match self.field("key") {
            None | Some("") => {
                let message = "Bucket POST must contain a field named 'key'. If it is specified, please check the \
                               order of the fields.";
                Err(S3Error::invalid_argument("key", "", message))
            }
            Some(key) => ObjectKey::parse(key),
        }
    }
}

/// The signature is enough to send the form, so it is not printed.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |(name, value)| (name, if OF_THE_SIGNATURE.contains(&name) { "(redacted)" } else { value });
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}

/// Whether a field means nothing, and needs no condition.
fn is_ignored(name: &str) -> bool {
    name.starts_with("x-ignore-")
}

fn malformed(message: &'static str) -> S3Error {
    S3Error::new(ErrorCode::MalformedPOSTRequest, message)
}
