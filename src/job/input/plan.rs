//! Divides the keys of a bucket into ranges, so that shards list in parallel and no shard lists all.
//! It must not know which shard is this one, nor objects.
//! It promises ranges that together hold every possible key once. The bucket is probed with few requests: the
//! ranges are about equal where keys are spread, and never wrong.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::job::error::JobError;
use crate::job::storage::{self, Parameters, parameter};
use crate::s3::BucketName;
use crate::s3::xml::{ListedPage, PageEnd};
use crate::upstream::Upstreams;

/// Ranges for each shard: ranges differ in size, and several of them less so in sum.
const RANGES_PER_SHARD: usize = 8;

/// The maximum number of ranges, unless there are more shards.
const MAX_RANGES: usize = 4_096;

/// Sorts after every character that keys begin with.
const LAST_CHARACTER: char = char::MAX;

/// How a listing is divided: the file that shards share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// `s3://BUCKET/PREFIX`.
    pub(super) source: String,
    /// The number of shards.
    pub(super) shards: u32,
    /// Where ranges end: a key is of the first range whose boundary it does not exceed, or else of the last
    /// one. Ascending.
    pub(super) boundaries: Vec<String>,
}

/// A range of keys: those after the first text, up to and including the second; `None` is without end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) after: Option<String>,
    pub(super) to: Option<String>,
}

impl Plan {
    /// A number by which shards show that they share a plan.
    pub(super) fn id(&self) -> u64 {
        let text = serde_json::to_vec(self).expect("a plan is text");
        XxHash64::oneshot(0, &text)
    }

    /// Whether the boundaries are as they have to be.
    pub(super) fn is_valid(&self) -> bool {
        self.boundaries.is_sorted_by(|one, next| one < next)
    }

    /// The ranges of one shard, in order: every `shards`-th, since neighbours are alike in size.
    pub(super) fn ranges(&self, shard: u32) -> Vec<KeyRange> {
        let step = usize::try_from(self.shards).expect("a count of shards fits");
        let first = usize::try_from(shard).expect("an index of a shard fits");
        let range = |place: usize| KeyRange {
            after: place.checked_sub(1).map(|before| self.boundaries[before].clone()),
            to: self.boundaries.get(place).cloned(),
        };
        (first..=self.boundaries.len()).step_by(step).map(range).collect()
    }
}

/// Keys that begin with a text.
#[derive(Debug, Clone)]
struct Node {
    prefix: String,
    /// Whether there are more of them than one page has.
    is_large: bool,
}

/// Probes a bucket for boundaries.
pub(super) struct Probe<'a> {
    pub(super) upstreams: &'a Upstreams,
    pub(super) bucket: &'a BucketName,
    pub(super) prefix: &'a str,
}

impl Probe<'_> {
    /// A plan for this many shards.
    ///
    /// # Errors
    /// Those of listing the bucket.
    pub(super) async fn plan(&self, shards: u32) -> Result<Plan, JobError> {
        let source = format!("s3://{}/{}", self.bucket, self.prefix);
        let count = usize::try_from(shards).expect("a count of shards fits");
        let boundaries = if count == 1 { Vec::new() } else { self.boundaries(wanted_ranges(count)).await? };
        Ok(Plan { source, shards, boundaries })
    }

    /// Divides large nodes, the shallowest first, until there are as many as wanted.
    async fn boundaries(&self, wanted: usize) -> Result<Vec<String>, JobError> {
        let mut nodes = vec![Node { prefix: self.prefix.to_owned(), is_large: true }];
        let mut requests = 0;
        while nodes.len() < wanted && requests < 4 * wanted && nodes.iter().any(|node| node.is_large) {
            let share = (wanted / nodes.len()).max(2);
            let mut next = Vec::with_capacity(wanted);
            for node in nodes {
                if node.is_large {
                    next.extend(thinned(self.children(&node.prefix, wanted, &mut requests).await?, share));
                } else {
                    next.push(node);
                }
            }
            nodes = next;
        }
        let mut boundaries: Vec<_> = nodes.into_iter().skip(1).map(|node| node.prefix).collect();
        boundaries.sort();
        boundaries.dedup();
        boundaries.retain(|boundary| !boundary.is_empty());
        Ok(boundaries)
    }

    /// The parts of a node: by its folders if it has some, else by the next character of its keys.
    async fn children(
        &self,
        prefix: &str,
        wanted: usize,
        requests: &mut usize,
    ) -> Result<Vec<Node>, JobError> {
        let mut prefix = prefix.to_owned();
        loop {
            *requests += 1;
            let query = vec![parameter("prefix", &prefix), parameter("delimiter", "/")];
            let page = self.list(query).await?;
            match page.prefixes.as_slice() {
                // Everything is in one folder.
                [only] if page.objects.is_empty() && page.end == PageEnd::Last && *only != prefix => {
                    prefix.clone_from(only);
                }
                [] | [_] => return self.by_character(&prefix, wanted, requests).await,
                _ if page.end != PageEnd::Last => return self.by_character(&prefix, wanted, requests).await,
                folders => {
                    // What is beside the folders is few: it falls to the folder before.
                    let large = |prefix: &String| Node { prefix: prefix.clone(), is_large: true };
                    return Ok(folders.iter().map(large).collect());
                }
            }
        }
    }

    /// The parts of a node by the next character of its keys: one request finds each.
    async fn by_character(
        &self,
        prefix: &str,
        wanted: usize,
        requests: &mut usize,
    ) -> Result<Vec<Node>, JobError> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut after: Option<String> = None;
        while nodes.len() <= wanted {
            *requests += 1;
            let mut query = vec![parameter("prefix", prefix)];
            query.extend(after.map(|after| parameter("start-after", after)));
            let page = self.list(query).await?;
            let Some(first) =
                page.objects.iter().map(|object| &object.key).find(|key| key.len() > prefix.len())
            else {
                break;
            };
            let Some(character) = first.get(prefix.len()..).and_then(|rest| rest.chars().next()) else {
                break;
            };
            let child = format!("{prefix}{character}");
            let last = page.objects.last().map(|object| object.key.as_str()).unwrap_or_default();
            // A page that ends with keys of the node may go on with them.
            let is_large = page.end != PageEnd::Last && last.starts_with(&child);
            after = Some(format!("{child}{LAST_CHARACTER}"));
            nodes.push(Node { prefix: child, is_large });
            if page.end == PageEnd::Last && last.starts_with(&nodes[nodes.len() - 1].prefix) {
                break;
            }
        }
        if nodes.is_empty() {
            nodes.push(Node { prefix: prefix.to_owned(), is_large: false });
        }
        Ok(nodes)
    }

    async fn list(&self, mut query: Parameters) -> Result<ListedPage, JobError> {
        query.extend([parameter("list-type", "2"), parameter("encoding-type", "url")]);
        storage::list(self.upstreams, self.bucket, &query).await
    }
}

/// At most `count` of the nodes, evenly spaced. One that stands for others after it is not divided further.
fn thinned(nodes: Vec<Node>, count: usize) -> Vec<Node> {
    if nodes.len() <= count {
        return nodes;
    }
    let places = (0..count).map(|place| place * nodes.len() / count);
    places.map(|place| Node { is_large: false, ..nodes[place].clone() }).collect()
}

fn wanted_ranges(shards: usize) -> usize {
    (shards * RANGES_PER_SHARD).min(MAX_RANGES.max(shards))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(range: &KeyRange, key: &str) -> bool {
        range.after.as_deref().is_none_or(|after| key > after)
            && range.to.as_deref().is_none_or(|to| key <= to)
    }

    #[test]
    fn every_key_is_of_one_shard() {
        let boundaries = ["a/", "b/", "b/x", "é"].map(str::to_owned).to_vec();
        let plan = Plan { source: String::new(), shards: 3, boundaries };
        assert!(plan.is_valid());
        for key in ["", "\0", "a", "a/", "a/1", "b", "b/", "b/w", "b/x", "b/x1", "z", "é", "ê", "\u{10ffff}"]
        {
            let owners = (0..3).filter(|shard| plan.ranges(*shard).iter().any(|range| has(range, key)));
            assert_eq!(owners.count(), 1, "{key:?}");
        }
    }

    #[test]
    fn more_shards_than_ranges_leave_some_without() {
        let plan = Plan { source: String::new(), shards: 3, boundaries: vec!["m".to_owned()] };
        assert_eq!([0, 1, 2].map(|shard| plan.ranges(shard).len()), [1, 1, 0]);
    }
}
