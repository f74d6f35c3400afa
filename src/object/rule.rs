//! The rules of the configuration, one for each bucket pattern and prefix: realm, keys, formats, binding and
//! ETag.
//!
//! It must not know the configuration's syntax, the storage or the keyring's keys. It promises that an object
//! which no rule matches is refused.

pub mod counted;
pub mod formats;

use std::sync::Arc;

use self::formats::Formats;
use crate::envelope::native;
use crate::error::Error;
use crate::keyring::KeyRule;
use crate::s3::headers::SSE;
use crate::s3::{BucketName, BucketPattern, ErrorCode, EtagStyle, ObjectKey, PatternIndex, S3Error, S3Path};

pub use crate::envelope::native::Binding;

/// One rule: the objects that it applies to, and how they are sealed and opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketRule {
    /// The buckets that the rule applies to.
    pub name: BucketPattern,
    /// The prefix of the object keys that the rule applies to. Empty: all keys.
    pub prefix: String,
    /// The realm that data keys and envelopes are bound to; `None`: the bucket's name.
    pub realm: Option<String>,
    /// The holders and keys that wrap and unwrap its data keys.
    pub keys: KeyRule,
    /// The formats that objects under this rule may have.
    pub formats: Formats,
    /// The binding of new native envelopes, and the weakest binding that is accepted from stored ones.
    pub binding: Binding,
    /// How the ETags of objects under this rule appear to clients.
    pub etag: EtagStyle,
    /// Which requests may have customer keys.
    pub customer_keys: CustomerKeyRule,
}

/// Which requests may have customer keys (SSE-C).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CustomerKeyRule {
    /// No object is stored under a customer key. Those that exist are read, as with [`Self::Tls`].
    Off,
    /// Requests on encrypted connections, and those of this machine.
    #[default]
    Tls,
    /// All requests.
    Any,
}

impl CustomerKeyRule {
    /// Checks a request with a customer key: whether the connection is private, and whether the request
    /// stores content.
    ///
    /// # Errors
    /// The errors of S3: `InvalidArgument` on a connection that others may read, `AccessDenied` where
    /// customer keys are off.
    pub(crate) fn admit(self, is_private: bool, stores: bool) -> Result<(), S3Error> {
        match self {
            Self::Off if stores => Err(S3Error::new(
                ErrorCode::AccessDenied,
                "This bucket has blocked upload requests that specify Server Side Encryption with Customer provided \
                 keys (SSE-C). Please specify a different server-side encryption type",
            )),
            Self::Off | Self::Tls if !is_private => Err(S3Error::invalid_argument(
                SSE,
                "null",
                "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure \
                 connection.",
            )),
            Self::Off | Self::Tls | Self::Any => Ok(()),
        }
    }
}

impl BucketRule {
    /// The realm of a bucket under this rule.
    pub fn realm<'a>(&'a self, bucket: &'a BucketName) -> &'a str {
        self.realm.as_deref().unwrap_or(bucket.as_str())
    }

    /// The objects that the rule applies to, such as `logs-*/a/*`.
    pub fn place(&self) -> String {
        format!("{}/{}*", self.name.as_str(), self.prefix)
    }

    /// The policy that an envelope must satisfy to be opened.
    pub(crate) fn reading(&self) -> native::Policy {
        native::Policy { least_binding: self.binding }
    }
}

/// All rules in order of precedence: the first that matches an object applies. Clones share the rules.
#[derive(Debug, Clone)]
pub struct Policies(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    rules: Vec<BucketRule>,
    index: PatternIndex,
}

impl Policies {
    /// The rules in the given order of precedence.
    pub fn new(rules: Vec<BucketRule>) -> Self {
        let index = PatternIndex::new(rules.iter().map(|rule| (&rule.name, rule.prefix.as_str())));
        Self(Arc::new(Rules { rules, index }))
    }

    /// Whether these are all rules, in this order.
    pub(crate) fn are(&self, rules: &[BucketRule]) -> bool {
        self.0.rules == rules
    }

    /// The rule that applies to an object.
    ///
    /// # Errors
    /// `AccessDenied` when no rule matches, since an object that is not configured is not served.
    pub fn for_object(&self, bucket: &BucketName, object_key: &ObjectKey) -> Result<&BucketRule, Error> {
        let place = self.place_of_object(bucket, object_key);
        place.map(|place| &self.0.rules[place]).ok_or_else(|| unserved(bucket))
    }

    /// The place of the rule that applies to an object, or to all objects of a bucket; `None` where none
    /// does.
    pub(crate) fn place(&self, path: &S3Path) -> Option<usize> {
        match path {
            S3Path::Root => None,
            S3Path::Bucket(bucket) => self.place_of_whole_bucket(bucket),
            S3Path::Object(bucket, object_key) => self.place_of_object(bucket, object_key),
        }
    }

    /// What each rule applies to, as [`BucketRule::place`], in the order of precedence.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.0.rules.iter().map(BucketRule::place)
    }

    fn place_of_object(&self, bucket: &BucketName, object_key: &ObjectKey) -> Option<usize> {
        let Rules { rules, index } = &*self.0;
        let (name, object_key) = (bucket.as_str(), object_key.as_str());
        let named = index.named_with_prefix(name, object_key).min();
        let matches = |rule: &BucketRule| object_key.starts_with(&*rule.prefix) && rule.name.matches(name);
        let pattern = index
            .patterns(name)
            .filter(|place| named.is_none_or(|named| *place < named) && matches(&rules[*place]))
            .min();
        pattern.or(named)
    }

    /// The rules that may apply to objects of the bucket, in no order.
    pub(crate) fn for_bucket<'a>(&'a self, bucket: &'a BucketName) -> impl Iterator<Item = &'a BucketRule> {
        self.places(bucket).map(move |place| &self.0.rules[place])
    }

    /// The rule of all objects of the bucket, if one applies to all of them.
    pub(crate) fn for_whole_bucket(&self, bucket: &BucketName) -> Option<&BucketRule> {
        self.place_of_whole_bucket(bucket).map(|place| &self.0.rules[place])
    }

    fn place_of_whole_bucket(&self, bucket: &BucketName) -> Option<usize> {
        self.places(bucket).min().filter(|place| self.0.rules[*place].prefix.is_empty())
    }

    /// The places of the rules that may apply to objects of the bucket.
    fn places<'a>(&'a self, bucket: &'a BucketName) -> impl Iterator<Item = usize> + 'a {
        let Rules { rules, index } = &*self.0;
        let name = bucket.as_str();
        let patterns = index.patterns(name).filter(move |place| rules[*place].name.matches(name));
        index.named(name).chain(patterns)
    }

    /// Checks that at least one rule applies to the bucket.
    ///
    /// # Errors
    /// `AccessDenied` when no rule applies.
    pub(crate) fn serve_bucket(&self, bucket: &BucketName) -> Result<(), Error> {
        if self.for_bucket(bucket).next().is_none() {
            return Err(unserved(bucket));
        }
        Ok(())
    }
}

fn unserved(bucket: &BucketName) -> Error {
    let message = format!("No [[bucket]] rule of the proxy's configuration serves this name in '{bucket}'.");
    S3Error::new(ErrorCode::AccessDenied, message).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(name: &str, prefix: &str, realm: &str) -> BucketRule {
        BucketRule {
            name: BucketPattern::parse(name).unwrap(),
            prefix: prefix.to_owned(),
            realm: (!realm.is_empty()).then(|| realm.to_owned()),
            keys: KeyRule::default(),
            formats: Formats::default(),
            binding: Binding::RealmAndKey,
            etag: EtagStyle::Opaque,
            customer_keys: CustomerKeyRule::default(),
        }
    }

    #[test]
    fn customer_keys_are_refused_where_others_may_read_them_and_where_they_are_off() {
        use CustomerKeyRule::{Any, Off, Tls};
        for (rule, is_private, stores, code) in [
            (Off, true, true, Some(ErrorCode::AccessDenied)),
            (Off, false, true, Some(ErrorCode::AccessDenied)),
            (Off, true, false, None),
            (Off, false, false, Some(ErrorCode::InvalidArgument)),
            (Tls, true, true, None),
            (Tls, false, true, Some(ErrorCode::InvalidArgument)),
            (Tls, false, false, Some(ErrorCode::InvalidArgument)),
            (Any, false, true, None),
            (Any, false, false, None),
        ] {
            let outcome = rule.admit(is_private, stores).err().map(|error| error.code);
            assert_eq!(outcome, code, "{rule:?} {is_private} {stores}");
        }
        assert_eq!(CustomerKeyRule::default(), Tls);
    }

    fn realm_of(policies: &Policies, bucket: &str, object_key: &str) -> Option<String> {
        let bucket = BucketName::parse(bucket).unwrap();
        let object_key = ObjectKey::parse(object_key).unwrap();
        policies.for_object(&bucket, &object_key).ok().map(|rule| rule.realm(&bucket).to_owned())
    }

    #[test]
    fn the_first_rule_that_matches_applies() {
        let policies = Policies::new(vec![
            rule("logs-*", "old/", "archive"),
            rule("logs-*", "", "logs"),
            rule("data", "", ""),
        ]);
        assert_eq!(realm_of(&policies, "logs-eu", "old/x").as_deref(), Some("archive"));
        assert_eq!(realm_of(&policies, "logs-eu", "new/x").as_deref(), Some("logs"));
        assert_eq!(realm_of(&policies, "data", "x").as_deref(), Some("data"));
        assert_eq!(realm_of(&policies, "other", "x"), None);
        assert!(policies.serve_bucket(&BucketName::parse("other").unwrap()).is_err());
        assert!(policies.serve_bucket(&BucketName::parse("logs-us").unwrap()).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn the_rule_is_that_of_a_search_through_all_rules(
            rules in prop::collection::vec(("[ab]{1,4}|[ab]{0,3}[*?][ab*?]{0,2}", "[ab/]{0,3}"), 0..30),
            bucket in "[ab]{1,5}",
            object_key in "[ab/]{1,5}",
        ) {
            let rules: Vec<_> = rules.iter().enumerate()
                .map(|(place, (name, prefix))| rule(name, prefix, &place.to_string()))
                .collect();
            let policies = Policies::new(rules.clone());
            let is_served = |rule: &&BucketRule| rule.name.matches(&bucket);
            let first = rules.iter().filter(is_served).find(|rule| object_key.starts_with(&rule.prefix));
            let expected = first.and_then(|rule| rule.realm.clone());
            prop_assert_eq!(realm_of(&policies, &bucket, &object_key), expected);
            let realms = |rules: &[&BucketRule]| {
                let mut realms: Vec<_> = rules.iter().map(|rule| rule.realm.clone()).collect();
                realms.sort();
                realms
            };
            let bucket = BucketName::parse(&bucket).unwrap();
            let served: Vec<_> = rules.iter().filter(is_served).collect();
            let found: Vec<_> = policies.for_bucket(&bucket).collect();
            prop_assert_eq!(realms(&found), realms(&served));
            let whole = served.first().filter(|rule| rule.prefix.is_empty()).map(|rule| &rule.realm);
            prop_assert_eq!(policies.for_whole_bucket(&bucket).map(|rule| &rule.realm), whole);
        }
    }
}
