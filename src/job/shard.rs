//! One of the equal shares of a job's input.
//! It must not know engines or environment variables.
//! It promises that every key is of exactly one shard, for all versions of the key, in every release.

use std::fmt;

use twox_hash::XxHash64;

/// The maximum number of shards: as many indexes as a Kubernetes Indexed Job can have.
const MAX_SHARDS: u32 = 100_000;

/// The share `index` of `count`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// The numbers do not name a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidShard {
    /// There are none, or too many.
    #[error("the number of shards must be 1 to {MAX_SHARDS}")]
    Count,
    /// There is no such shard.
    #[error("shard {index} of {count} is invalid: shards are counted from 0 to {}", count - 1)]
    Index {
        /// The index that was named.
        index: u32,
        /// The number of shards.
        count: u32,
    },
}

impl Shard {
    /// The whole input.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The share `index` of `count`, counted from 0.
    ///
    /// # Errors
    /// [`InvalidShard`].
    pub fn parse(index: u32, count: u32) -> Result<Self, InvalidShard> {
        match (index, count) {
            (_, 0) => Err(InvalidShard::Count),
            (_, count) if count > MAX_SHARDS => Err(InvalidShard::Count),
            (index, count) if index >= count => Err(InvalidShard::Index { index, count }),
            (index, count) => Ok(Self { index, count }),
        }
    }

    /// The index, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// The number of shards.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether a row of a manifest, by its object's key, is of this shard: XXH64 with seed 0, modulo the
    /// number of shards.
    pub fn has(self, object_key: &str) -> bool {
        XxHash64::oneshot(0, object_key.as_bytes()) % u64::from(self.count) == u64::from(self.index)
    }
}

/// `00003-of-00008`, as the names of files have it.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}-of-{:05}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_shard() {
        let shards: Vec<_> = (0..7).map(|index| Shard::parse(index, 7).unwrap()).collect();
        let mut keys_of = [0; 7];
        for number in 0..7_000 {
            let key = format!("logs/2026/{number}");
            let owners: Vec<_> = shards.iter().filter(|shard| shard.has(&key)).collect();
            assert_eq!(owners.len(), 1, "{key}");
            keys_of[owners[0].index() as usize] += 1;
        }
        assert!(keys_of.iter().all(|keys| (800..1_200).contains(keys)), "{keys_of:?}");
    }

    /// A shard that runs again, perhaps by a later release, must have the rows that it had.
    #[test]
    fn the_shard_of_a_key_is_fixed() {
        let shard_of = |key: &str| (0..8).find(|index| Shard::parse(*index, 8).unwrap().has(key)).unwrap();
        // XXH64("") is ef46db3751d8e999, XXH64("a") d24ec4f1a98c6e5b.
        assert_eq!((shard_of(""), shard_of("a")), (0x999 % 8, 0xe5b % 8));
    }

    #[test]
    fn only_existing_shards_are_named() {
        assert_eq!(Shard::parse(0, 0), Err(InvalidShard::Count));
        assert_eq!(Shard::parse(0, 100_001), Err(InvalidShard::Count));
        assert_eq!(Shard::parse(3, 3), Err(InvalidShard::Index { index: 3, count: 3 }));
        assert_eq!(Shard::parse(3, 8).unwrap().to_string(), "00003-of-00008");
        assert!(Shard::WHOLE.has("anything"));
    }
}
