//! The objects of a bucket as the storage lists them, in the key ranges of one shard.
//! It must not know what is done with an object.
//! It promises that all shards of a job use one plan, which is written once, so that every key is of exactly
//! one shard, whatever is stored or removed meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use super::InputRow;
use super::plan::{KeyRange, Plan, Probe};
use crate::job::error::JobError;
use crate::job::report::Place;
use crate::job::row::{Listed, Row};
use crate::job::shard::Shard;
use crate::job::storage::{self, Names, parameter};
use crate::s3::xml::{ListedObject, PageEnd};
use crate::s3::{BucketName, ObjectKey};
use crate::timer;
use crate::upload::Resources;
use crate::upload::conditional_writes::is_probe;

/// With more shards than this, most of them wait for the plan of another one before they make their own.
const PATIENT_SHARDS: u32 = 16;

/// How often, and how long, they wait.
const WAITS: u32 = 15;
const WAIT: Duration = Duration::from_secs(2);

/// Which versions of objects are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// The newest one of each object.
    Current,
    /// All of them.
    All,
}

/// The listing of one shard's ranges.
pub(super) struct Listing {
    resources: Resources,
    bucket: BucketName,
    prefix: String,
    versions: Versions,
    plan_id: u64,
    ranges: VecDeque<KeyRange>,
    /// The range that is listed, and where its next page begins; `None`: at the beginning.
    current: Option<(KeyRange, Option<PageEnd>)>,
    page: std::vec::IntoIter<ListedObject>,
    last_key: String,
}

impl Listing {
    /// Finds the ranges of the shard, and lists the first page.
    pub(super) async fn open(
        resources: &Resources,
        (bucket, prefix): (&BucketName, &str),
        versions: Versions,
        shard: Shard,
        place: Option<&Place>,
    ) -> Result<Self, JobError> {
        let probe = Probe { upstreams: &resources.upstreams, bucket, prefix };
        let plan = shared_plan(&probe, shard, place).await?;
        let mut listing = Self {
            resources: resources.clone(),
            bucket: bucket.clone(),
            prefix: prefix.to_owned(),
            versions,
            plan_id: plan.id(),
            ranges: plan.ranges(shard.index()).into(),
            current: None,
            page: Vec::new().into_iter(),
            last_key: String::new(),
        };
        listing.list_more().await?;
        Ok(listing)
    }

    /// The number of the plan.
    pub(super) fn plan_id(&self) -> u64 {
        self.plan_id
    }

    pub(super) async fn next(&mut self) -> Result<Option<InputRow>, JobError> {
        loop {
            if let Some(object) = self.page.next() {
                if let Some(row) = self.row(object)? {
                    return Ok(Some(row));
                }
                continue;
            }
            if !self.list_more().await? {
                return Ok(None);
            }
        }
    }

    /// Lists the next page of the range, or the first one of the next range; false after the last.
    async fn list_more(&mut self) -> Result<bool, JobError> {
        if self.current.is_none() {
            self.current = self.ranges.pop_front().map(|range| (range, None));
            self.last_key.clear();
        }
        let Some((range, end)) = self.current.take() else { return Ok(false) };
        let mut query = Vec::new();
        if !self.prefix.is_empty() {
            query.push(parameter("prefix", &self.prefix));
        }
        match self.versions {
            Versions::Current => query.push(parameter("list-type", "2")),
            Versions::All => query.push(("versions".to_owned(), None)),
        }
        match (&end, &range.after) {
            (Some(PageEnd::Token(token)), _) => query.push(parameter("continuation-token", token)),
            (Some(PageEnd::Markers(key, version)), _) => {
                query.push(parameter("key-marker", key));
                query.extend(version.as_ref().map(|version| parameter("version-id-marker", version)));
            }
            (Some(PageEnd::Last) | None, Some(after)) => {
                let name = if self.versions == Versions::All { "key-marker" } else { "start-after" };
                query.push(parameter(name, after));
            }
            (Some(PageEnd::Last) | None, None) => {}
        }
        let names = if range.after.is_some() { Names::Plain } else { Names::Encoded };
        let page = storage::list(&self.resources.upstreams, &self.bucket, &query, names).await?;
        if end.is_some() && end.as_ref() == Some(&page.end) {
            let message = format!("listing s3://{}: the storage repeats a page", self.bucket);
            return Err(JobError::Unavailable(message));
        }
        let mut objects = page.objects;
        self.current = (page.end != PageEnd::Last).then_some((range.clone(), Some(page.end)));
        // What is past the end of the range is of another shard: later pages, too.
        if let Some(to) = &range.to {
            let within = objects.partition_point(|object| object.key <= *to);
            if within < objects.len() {
                objects.truncate(within);
                self.current = None;
            }
        }
        // A marker may name a key that is listed again.
        if let Some(after) = &range.after {
            let before = objects.partition_point(|object| object.key <= *after);
            objects.drain(..before);
        }
        // Jobs and proxies try a storage with objects that they remove again.
        objects.retain(|object| !is_probe(&object.key));
        self.page = objects.into_iter();
        Ok(true)
    }

    fn row(&mut self, object: ListedObject) -> Result<Option<InputRow>, JobError> {
        let out_of_order = self.last_key > object.key || !object.key.starts_with(&self.prefix);
        if out_of_order {
            let advice = "the storage does not list keys in their order: use a manifest";
            return Err(JobError::Invalid(format!("listing s3://{}: {advice}", self.bucket)));
        }
        self.last_key.clone_from(&object.key);
        let Ok(object_key) = ObjectKey::parse(&object.key) else {
            let message = format!("listing s3://{}: an entry has no valid key", self.bucket);
            return Err(JobError::Unavailable(message));
        };
        // Without versioning, the only version is named null: it is the object itself.
        let is_named = |id: &String| id != "null" || !object.is_latest;
        let version_id = object.version_id.filter(is_named).filter(|_| self.versions == Versions::All);
        let listed = Listed {
            size: object.size,
            last_modified: object.last_modified,
            etag: object.etag,
            storage_class: object.storage_class.filter(|class| class != "STANDARD"),
            is_latest: object.is_latest,
        };
        let row = Row { bucket: self.bucket.clone(), object_key, version_id, listed: Some(listed) };
        Ok(Some(InputRow::Object(row)))
    }
}

/// The plan that all shards use: the first that is written beside the reports. One shard needs none.
///
/// # Errors
/// [`JobError::Invalid`] for several shards without a place that they share, and for a place with the plan of
/// another listing.
async fn shared_plan(probe: &Probe<'_>, shard: Shard, place: Option<&Place>) -> Result<Plan, JobError> {
    if shard.count() == 1 {
        return probe.plan(1).await;
    }
    let Some(place) = place else {
        let advice = "requires --report with a directory or s3://… that all shards share: the plan of the \
                      listing is there";
        return Err(JobError::Invalid(format!("a listing by several shards {advice}")));
    };
    let name = format!("listing-of-{:05}.json", shard.count());
    let waits = if shard.count() > PATIENT_SHARDS && shard.index() > 0 { WAITS } else { 0 };
    for wait in 0..=waits {
        if let Some(found) = place.read_small(&name).await? {
            return existing_plan(&found, probe, shard, place);
        }
        if wait < waits {
            timer::sleep(WAIT).await;
        }
    }
    let plan = probe.plan(shard.count()).await?;
    let document = serde_json::to_vec_pretty(&plan).expect("a plan is text");
    if place.write_new(&name, document).await? {
        // A storage without conditional writes may have let another shard write later.
        tracing::debug!(ranges = plan.boundaries.len() + 1, "the listing was divided");
    }
    let found = place
        .read_small(&name)
        .await?
        .ok_or_else(|| JobError::Unavailable(format!("{place}/{name} was written and is not there")))?;
    existing_plan(&found, probe, shard, place)
}

fn existing_plan(document: &[u8], probe: &Probe<'_>, shard: Shard, place: &Place) -> Result<Plan, JobError> {
    let plan: Plan = serde_json::from_slice(document).map_err(|error| {
        JobError::Invalid(format!("{place}: the plan of the listing is invalid: {error}"))
    })?;
    let source = format!("s3://{}/{}", probe.bucket, probe.prefix);
    if plan.source != source || plan.shards != shard.count() {
        let other = format!("{place} has the reports of a job over {}", plan.source);
        return Err(JobError::Invalid(format!("{other}: name another --report, or remove it")));
    }
    if !plan.is_valid() {
        return Err(JobError::Invalid(format!("{place}: the plan of the listing is invalid: remove it")));
    }
    Ok(plan)
}
