//! Finds the rules that may apply to a bucket or an object without looking at all of them.
//!
//! It must not know what a rule decides. It promises that no rule is missed; which of those that it finds
//! applies is not decided here.

use std::collections::BTreeMap;
use std::iter;

use foldhash::{HashMap, HashMapExt};

use super::bucket_pattern::BucketPattern;

/// Rules by the buckets and prefixes of object keys that they apply to. A rule is given as its place in the
/// order of precedence.
#[derive(Debug)]
pub struct PatternIndex {
    /// Rules for one bucket, by its name, and then by the prefix of object keys.
    named: HashMap<Box<str>, PrefixMap>,
    /// Rules for several buckets, by what their pattern has before the first `*` or `?`.
    patterns: PrefixMap,
}

impl PatternIndex {
    /// An index of rules in the order of precedence, each given by its bucket pattern and prefix.
    pub fn new<'a>(rules: impl Iterator<Item = (&'a BucketPattern, &'a str)>) -> Self {
        let mut named: HashMap<&str, BTreeMap<&str, Vec<usize>>> = HashMap::new();
        let mut patterns: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (rule, (name, prefix)) in rules.enumerate() {
            let (by_prefix, prefix) = if name.is_name() {
                (named.entry(name.as_str()).or_default(), prefix)
            } else {
                (&mut patterns, name.literal_prefix())
            };
            by_prefix.entry(prefix).or_default().push(rule);
        }
        let named = named.into_iter().map(|(name, rules)| (name.into(), PrefixMap::new(rules))).collect();
        Self { named, patterns: PrefixMap::new(patterns) }
    }

    /// The rules for this bucket alone.
    pub fn named(&self, bucket: &str) -> impl Iterator<Item = usize> {
        self.named.get(bucket).into_iter().flat_map(PrefixMap::all)
    }

    /// The rules for this bucket alone that apply to this object.
    pub fn named_with_prefix(&self, bucket: &str, object_key: &str) -> impl Iterator<Item = usize> {
        self.named.get(bucket).into_iter().flat_map(move |rules| rules.matching(object_key))
    }

    /// Rules whose pattern may match the bucket.
    pub fn patterns(&self, bucket: &str) -> impl Iterator<Item = usize> {
        self.patterns.matching(bucket)
    }
}

/// Rules by a prefix, in the order of the prefixes.
#[derive(Debug)]
struct PrefixMap(Vec<Prefixed>);

#[derive(Debug)]
struct Prefixed {
    prefix: Box<str>,
    /// Where the longest other prefix is that this one begins with.
    shorter: Option<usize>,
    rules: Vec<usize>,
}

impl PrefixMap {
    fn new(rules: BTreeMap<&str, Vec<usize>>) -> Self {
        let mut map = Self(Vec::with_capacity(rules.len()));
        for (prefix, rules) in rules {
            // All prefixes so far come before this one, so it is looked up as any text is.
            let shorter = map.places(prefix).next();
            map.0.push(Prefixed { prefix: prefix.into(), shorter, rules });
        }
        map
    }

    /// The places of the prefixes that `text` begins with, the longest first.
    ///
    /// The longest one comes before `text` in order, and all prefixes between them begin with it. So the last
    /// prefix before `text` is this one or begins with it.
    fn places(&self, text: &str) -> impl Iterator<Item = usize> {
        let before = self.0.partition_point(|entry| *entry.prefix <= *text).checked_sub(1);
        iter::successors(before, move |place| self.0[*place].shorter)
            .filter(move |place| text.starts_with(&*self.0[*place].prefix))
    }

    /// The rules of all prefixes that `text` begins with.
    fn matching(&self, text: &str) -> impl Iterator<Item = usize> {
        self.places(text).flat_map(move |place| self.0[place].rules.iter().copied())
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        self.0.iter().flat_map(|entry| entry.rules.iter().copied())
    }
}
