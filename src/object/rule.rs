//! The rules of the configuration, one for each bucket pattern and prefix: realm, keys, formats, binding and
//! ETag.
//!
//! It must not know the configuration's syntax, the storage or the keyring's keys. It promises that an object
//! which no rule matches is refused.

pub mod formats;

use std::sync::Arc;

use self::formats::Formats;
use crate::envelope::native;
use crate::error::Error;
use crate::keyring::KeyRule;
use crate::s3::{BucketName, BucketPattern, ErrorCode, EtagStyle, ObjectKey, PatternIndex, S3Error};

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
}

impl BucketRule {
    /// The realm of a bucket under this rule.
    pub fn realm<'a>(&'a self, bucket: &'a BucketName) -> &'a str {
        self.realm.as_deref().unwrap_or(bucket.as_str())
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
        let Rules { rules, index } = &*self.0;
        let (name, object_key) = (bucket.as_str(), object_key.as_str());
        let named = index.named_with_prefix(name, object_key).min();
        let matches = |rule: &BucketRule| object_key.starts_with(&*rule.prefix) && rule.name.matches(name);
        let pattern = index
            .patterns(name)
            .filter(|place| named.is_none_or(|named| *place < named) && matches(&rules[*place]))
            .min();
        pattern.or(named).map(|place| &rules[place]).ok_or_else(|| unserved(bucket))
    }

    /// The rules that may apply to objects of the bucket, in no order.
    pub(crate) fn for_bucket<'a>(&'a self, bucket: &'a BucketName) -> impl Iterator<Item = &'a BucketRule> {
        self.places(bucket).map(move |place| &self.0.rules[place])
    }

    /// The rule of all objects of the bucket, if one applies to all of them.
    pub(crate) fn for_whole_bucket(&self, bucket: &BucketName) -> Option<&BucketRule> {
        let first = self.places(bucket).min().map(|place| &self.0.rules[place]);
        first.filter(|rule| rule.prefix.is_empty())
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
        }
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
