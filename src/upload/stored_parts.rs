//! The parts of an upload, as the storage lists them.
//!
//! It must not know requests of clients or the cache. Times of different storages are never compared as
//! times: only their order within one list counts.

use crate::envelope::native::multipart::{PartNumber, StoredPart};
use crate::s3::xml::ListedPart;

/// All parts of an upload, by ascending number.
pub(crate) struct StoredParts {
    parts: Vec<ListedPart>,
    /// The times of the parts, ascending. A part's rank in this list stands for its time.
    times: Vec<String>,
}

impl StoredParts {
    pub(super) fn new(mut parts: Vec<ListedPart>) -> Self {
        parts.sort_by_key(|part| part.number);
        let mut times: Vec<_> = parts.iter().map(|part| part.last_modified.clone()).collect();
        times.sort_unstable();
        Self { parts, times }
    }

    /// The part with this number.
    pub(crate) fn number(&self, number: u16) -> Option<&ListedPart> {
        let index = self.parts.binary_search_by_key(&number, |part| part.number).ok()?;
        self.parts.get(index)
    }

    /// The parts as the envelope format describes them, without receipts.
    pub(crate) fn stored(&self) -> Vec<StoredPart> {
        self.parts.iter().filter_map(|part| self.stored_part(part)).collect()
    }

    /// One part as the envelope format describes it.
    pub(crate) fn stored_part(&self, part: &ListedPart) -> Option<StoredPart> {
        let number = PartNumber::new(part.number)?;
        let modified = self.times.partition_point(|time| *time < part.last_modified) as u64;
        Some(StoredPart { number, stored_length: part.size, modified, receipt: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which parts were stored is right whatever order the storage lists them in.
    #[test]
    fn parts_are_ranked_by_their_times() {
        let listed = |number, second: &str| ListedPart {
            number,
            etag: "e".to_owned(),
            size: 80,
            last_modified: second.to_owned(),
        };
        let all = StoredParts::new(vec![listed(3, "09"), listed(1, "10"), listed(2, "09"), listed(4, "")]);
        let ranks: Vec<_> = all.stored().iter().map(|part| (part.number.value(), part.modified)).collect();
        assert_eq!(ranks, [(1, 3), (2, 1), (3, 1), (4, 0)]);
        assert_eq!(all.number(3).map(|part| part.number), Some(3));
        assert!(all.number(5).is_none());
    }
}
