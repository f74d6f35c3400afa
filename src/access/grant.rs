//! Grants: rights of a client in the buckets and below the key prefix that they are for.
//!
//! It must not know which rights an operation needs. What no grant covers is refused, and a key that a
//! storage could take for another one is covered by no prefix.

use std::sync::Arc;

use super::right::{Right, Rights};
use crate::s3::{BucketName, BucketPattern, ObjectKey};

/// Rights of a client in some buckets, for the keys with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The buckets.
    pub buckets: Vec<BucketPattern>,
    /// The prefix of the keys; empty for all keys, and the buckets themselves.
    pub prefix: String,
    /// The rights.
    pub rights: Rights,
}

impl Grant {
    fn covers_bucket(&self, bucket: &str) -> bool {
        self.buckets.iter().any(|pattern| pattern.matches(bucket))
    }

    /// Whether a key, or each key that begins with `text`, has the prefix.
    fn covers_keys(&self, text: &str) -> bool {
        self.prefix.is_empty() || (text.starts_with(&self.prefix) && !has_dots(text))
    }
}

/// Whether a segment of the path is `.` or `..`, which a server between proxy and storage might resolve.
fn has_dots(text: &str) -> bool {
    text.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// All grants of a client. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants(Arc<[Grant]>);

impl Grants {
    /// The grants of one client.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self(grants.into_iter().collect())
    }

    /// Every right everywhere.
    #[cfg(test)]
    pub(crate) fn unlimited() -> Self {
        let buckets = vec![BucketPattern::any()];
        Self::new([Grant { buckets, prefix: String::new(), rights: Rights::ALL }])
    }

    /// The grants in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// The rights that any grant gives.
    pub fn anywhere(&self) -> Rights {
        union(self.iter())
    }

    /// The rights for some keys of the bucket.
    pub fn for_some_keys(&self, bucket: &BucketName) -> Rights {
        union(self.in_bucket(bucket))
    }

    /// The rights for all keys of the bucket, and for the bucket itself.
    pub fn for_bucket(&self, bucket: &BucketName) -> Rights {
        union(self.in_bucket(bucket).filter(|grant| grant.prefix.is_empty()))
    }

    /// The rights for each key of the bucket that begins with `prefix`.
    pub fn for_prefix(&self, bucket: &BucketName, prefix: &str) -> Rights {
        union(self.in_bucket(bucket).filter(|grant| grant.covers_keys(prefix)))
    }

    /// The rights for one object.
    pub fn for_object(&self, bucket: &BucketName, object_key: &ObjectKey) -> Rights {
        self.for_prefix(bucket, object_key.as_str())
    }

    /// Whether any grant is for this bucket.
    pub fn reach(&self, bucket: &str) -> bool {
        self.iter().any(|grant| grant.covers_bucket(bucket))
    }

    /// Whether the grants are for every bucket.
    pub fn reach_all_buckets(&self) -> bool {
        self.iter().any(|grant| grant.buckets.contains(&BucketPattern::any()))
    }

    /// The prefixes for which the client has `right` in the bucket.
    pub(super) fn prefixes(&self, bucket: &BucketName, right: Right) -> Vec<&str> {
        let grants = self.in_bucket(bucket).filter(|grant| grant.rights.has(right));
        grants.map(|grant| grant.prefix.as_str()).collect()
    }

    /// The prefix of a grant with `append` for this object; empty without such a grant.
    pub(crate) fn append_prefix(&self, bucket: &BucketName, object_key: &ObjectKey) -> &str {
        let mut grants = self.in_bucket(bucket);
        let grant =
            grants.find(|grant| grant.rights.has(Right::Append) && grant.covers_keys(object_key.as_str()));
        grant.map_or("", |grant| &grant.prefix)
    }

    fn in_bucket<'g, 'b>(&'g self, bucket: &'b BucketName) -> impl Iterator<Item = &'g Grant> + use<'g, 'b> {
        self.iter().filter(|grant| grant.covers_bucket(bucket.as_str()))
    }
}

fn union<'a>(grants: impl Iterator<Item = &'a Grant>) -> Rights {
    grants.fold(Rights::NONE, |all, grant| all.with(grant.rights))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(buckets: &[&str], prefix: &str, rights: &[Right]) -> Grant {
        let buckets = buckets.iter().map(|pattern| BucketPattern::parse(pattern).unwrap()).collect();
        Grant { buckets, prefix: prefix.to_owned(), rights: Rights::new(rights) }
    }

    fn bucket(name: &str) -> BucketName {
        BucketName::parse(name).unwrap()
    }

    #[test]
    fn the_rights_for_a_key_are_those_of_all_grants_that_cover_it() {
        let grants = Grants::new([
            grant(&["backup-*"], "db1/", &[Right::Append, Right::List]),
            grant(&["backup-*", "shared"], "", &[Right::Read]),
            grant(&["backup-a"], "db1/tmp/", &[Right::Delete]),
        ]);
        for (name, object_key, expected) in [
            ("backup-a", "db1/x", "read, list, append"),
            ("backup-a", "db1/tmp/x", "read, list, append, delete"),
            ("backup-b", "db1/tmp/x", "read, list, append"),
            ("backup-a", "db1", "read"),
            ("backup-a", "db2/x", "read"),
            ("shared", "db1/x", "read"),
            ("other", "db1/x", ""),
        ] {
            let object_key = ObjectKey::parse(object_key).unwrap();
            let rights = grants.for_object(&bucket(name), &object_key);
            assert_eq!(rights.to_string(), expected, "{name}/{object_key}");
        }
        assert_eq!(grants.for_bucket(&bucket("backup-a")).to_string(), "read");
        assert_eq!(grants.for_some_keys(&bucket("backup-b")).to_string(), "read, list, append");
        assert_eq!(grants.for_prefix(&bucket("backup-b"), "db1/a").to_string(), "read, list, append");
        assert_eq!(grants.for_prefix(&bucket("backup-b"), "db").to_string(), "read");
        assert!(grants.reach("shared") && !grants.reach("other") && !grants.reach_all_buckets());
        assert_eq!(grants.append_prefix(&bucket("backup-a"), &ObjectKey::parse("db1/x").unwrap()), "db1/");
    }

    /// What lies between proxy and storage could resolve it to a key outside of the prefix.
    #[test]
    fn no_prefix_covers_a_key_with_dots_for_a_segment() {
        let grants = Grants::new([grant(&["*"], "a/", &[Right::Read])]);
        for (object_key, is_covered) in [
            ("a/..b", true),
            ("a/b..", true),
            ("a/.../b", true),
            ("a/../b", false),
            ("a/b/..", false),
            ("a/./b", false),
        ] {
            let rights = grants.for_object(&bucket("b"), &ObjectKey::parse(object_key).unwrap());
            assert_eq!(rights.has(Right::Read), is_covered, "{object_key}");
        }
        let everywhere = Grants::unlimited();
        assert_eq!(everywhere.for_object(&bucket("b"), &ObjectKey::parse("a/../b").unwrap()), Rights::ALL);
    }
}
