//! Which storage has a bucket, and under which name.
//!
//! It must not know requests or how storages are reached. It promises that a bucket of a client is in one
//! storage under one name, and that two buckets of clients are never one stored bucket.

use crate::s3::{BucketName, BucketPattern, PatternIndex};
use crate::upstream::AddressError;

/// What stands for the client's name of a bucket in the pattern of its stored name.
const PLACEHOLDER: &str = "{bucket}";

/// Where the buckets of one rule are stored. The first route that matches a bucket's name applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The buckets, by the names that clients use.
    pub buckets: BucketPattern,
    /// The place of the storage in the configuration; 0 is the default.
    pub upstream: usize,
    /// The buckets' names in the storage; `None`: those that clients use.
    pub stored_as: Option<StoredName>,
}

/// The name of buckets in a storage, where it is not the one that clients use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredName {
    /// The name of one bucket.
    Literal(BucketName),
    /// What comes before and after the client's name.
    Around(String, String),
}

/// Why the text of a [`StoredName`] is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStoredName {
    /// It has `{bucket}` more than once, or another character that no bucket's name has.
    #[error("is no bucket's name with one {{bucket}} in it")]
    Characters,
    /// It has no `{bucket}`, so that all buckets of a pattern would have one name.
    #[error("gives every bucket of a pattern one name")]
    OneForAll,
    /// It is the name that clients use.
    #[error("is the name that clients use")]
    Unchanged,
}

impl StoredName {
    /// Reads `company-{bucket}`, or a bucket's name, for the buckets of a rule.
    ///
    /// # Errors
    /// [`InvalidStoredName`].
    pub fn parse(text: &str, buckets: &BucketPattern) -> Result<Self, InvalidStoredName> {
        let Some((before, after)) = text.split_once(PLACEHOLDER) else {
            let name = BucketName::parse(text).map_err(|_| InvalidStoredName::Characters)?;
            return match buckets.is_name() {
                true if buckets.as_str() == text => Err(InvalidStoredName::Unchanged),
                true => Ok(Self::Literal(name)),
                false => Err(InvalidStoredName::OneForAll),
            };
        };
        if before.is_empty() && after.is_empty() {
            return Err(InvalidStoredName::Unchanged);
        }
        // With a name in the place of the placeholder it has to be one.
        if BucketName::parse(format!("{before}b{after}")).is_err() {
            return Err(InvalidStoredName::Characters);
        }
        Ok(Self::Around(before.to_owned(), after.to_owned()))
    }

    /// The stored name of a bucket; `None` if it would be no bucket's name.
    fn stored(&self, bucket: &BucketName) -> Option<BucketName> {
        match self {
            Self::Literal(name) => Some(name.clone()),
            Self::Around(before, after) => BucketName::parse(format!("{before}{bucket}{after}")).ok(),
        }
    }

    /// The client's name of a stored bucket; `None` if none of `buckets` is stored under this name.
    fn client_name(&self, buckets: &BucketPattern, stored: &BucketName) -> Option<BucketName> {
        let name = match self {
            Self::Literal(name) => (name == stored).then(|| buckets.as_str())?,
            Self::Around(before, after) => {
                stored.as_str().strip_prefix(before.as_str())?.strip_suffix(after.as_str())?
            }
        };
        BucketName::parse(name).ok().filter(|name| buckets.matches(name.as_str()))
    }
}

/// All routes. Buckets that none matches are in the default storage.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Route>,
    index: PatternIndex,
}

/// Where a bucket is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Located {
    /// The place of the storage in the configuration.
    pub(in crate::upstream) upstream: usize,
    /// The bucket's name there, if it is another one.
    pub(in crate::upstream) stored: Option<BucketName>,
}

/// Two buckets of clients that would be one stored bucket.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The place of the route of the first one.
    pub route: usize,
    /// The other bucket.
    pub other: BucketName,
    /// The name of both in the storage.
    pub stored: BucketName,
}

impl Routes {
    /// The routes in the order of precedence.
    pub fn new(routes: Vec<Route>) -> Self {
        let index = PatternIndex::new(routes.iter().map(|route| (&route.buckets, "")));
        Self { routes, index }
    }

    /// Whether every bucket is in the default storage, under the name that clients use.
    pub(in crate::upstream) fn are_trivial(&self) -> bool {
        self.routes.iter().all(|route| route.upstream == 0 && route.stored_as.is_none())
    }

    /// The place of the route of a bucket.
    fn place(&self, bucket: &BucketName) -> Option<usize> {
        let name = bucket.as_str();
        let patterns = self.index.patterns(name).filter(|place| self.routes[*place].buckets.matches(name));
        self.index.named(name).chain(patterns).min()
    }

    /// Where a bucket is.
    ///
    /// # Errors
    /// [`AddressError::NoStoredName`] when its stored name would be no bucket's name, and
    /// [`AddressError::AnotherBucket`] when the stored bucket is another bucket of clients.
    pub(in crate::upstream) fn locate(&self, bucket: &BucketName) -> Result<Located, AddressError> {
        let route = self.place(bucket).map(|place| &self.routes[place]);
        let upstream = self.upstream(bucket);
        let stored = match route.and_then(|route| route.stored_as.as_ref()) {
            Some(stored_as) => {
                Some(stored_as.stored(bucket).ok_or_else(|| AddressError::NoStoredName(bucket.to_string()))?)
            }
            None => None,
        };
        if self.client_name(upstream, stored.as_ref().unwrap_or(bucket)).as_ref() != Some(bucket) {
            return Err(AddressError::AnotherBucket(bucket.to_string()));
        }
        Ok(Located { upstream, stored })
    }

    /// The place of the storage that has a bucket.
    pub(in crate::upstream) fn upstream(&self, bucket: &BucketName) -> usize {
        self.place(bucket).map_or(0, |place| self.routes[place].upstream)
    }

    /// The client's names of a stored bucket by the routes that rename, the one that applies first.
    fn renamed<'a>(
        &'a self,
        upstream: usize,
        stored: &'a BucketName,
    ) -> impl Iterator<Item = BucketName> + 'a {
        let here = self.routes.iter().enumerate().filter(move |(_, route)| route.upstream == upstream);
        here.filter_map(move |(place, route)| {
            let name = route.stored_as.as_ref()?.client_name(&route.buckets, stored)?;
            (self.place(&name) == Some(place)).then_some(name)
        })
    }

    /// The client's name of a stored bucket; `None` if no bucket of clients is stored there under this name.
    pub(in crate::upstream) fn client_name(
        &self,
        upstream: usize,
        stored: &BucketName,
    ) -> Option<BucketName> {
        self.renamed(upstream, stored).next().or_else(|| {
            let route = self.place(stored).map(|place| &self.routes[place]);
            let is_here =
                route.map_or(upstream == 0, |route| route.upstream == upstream && route.stored_as.is_none());
            is_here.then(|| stored.clone())
        })
    }

    /// Whether a bucket that one of `patterns` matches can be in the storage.
    pub(in crate::upstream) fn can_reach(&self, patterns: &[BucketPattern], upstream: usize) -> bool {
        let mut here = self.routes.iter().filter(|route| route.upstream == upstream);
        let is_default = |pattern: &BucketPattern| {
            upstream == 0 && !self.routes.iter().any(|route| route.buckets.covers(pattern))
        };
        here.any(|route| patterns.iter().any(|pattern| pattern.meets(&route.buckets)))
            || patterns.iter().any(is_default)
    }

    /// The first conflict of a route that is for one bucket.
    pub fn conflict(&self) -> Option<Conflict> {
        self.routes.iter().enumerate().find_map(|(place, route)| {
            let bucket =
                BucketName::parse(route.buckets.as_str()).ok().filter(|_| route.buckets.is_name())?;
            let stored = match &route.stored_as {
                Some(stored_as) => stored_as.stored(&bucket)?,
                None => bucket.clone(),
            };
            let other = self.renamed(route.upstream, &stored).find(|other| *other != bucket)?;
            Some(Conflict { route: place, other, stored })
        })
    }
}

#[cfg(test)]
mod tests;
