//! Patterns of bucket names, as access rights and rules are written with.

use std::net::Ipv4Addr;

/// Bucket names have at most 63 characters, those made before 2018 in us-east-1 at most 255.
const MAX_PATTERN: usize = 255;

/// A pattern of bucket names, in which `*` matches any number of characters, and `?` matches one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPattern(String);

/// Why a pattern is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The pattern is empty.
    #[error("is empty")]
    Empty,
    /// It is longer than any bucket's name.
    #[error("is too long")]
    TooLong,
    /// No bucket's name has this character.
    #[error("has a character no bucket's name has, {0:?}")]
    Character(char),
    /// No bucket's name begins with this character.
    #[error("begins with {0:?}, which no bucket's name does")]
    First(char),
    /// A name without `*` and `?` that no bucket can have: an IP address.
    #[error("is an IP address, which no bucket's name is")]
    Address,
}

impl BucketPattern {
    /// The pattern `*`.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] for what could never match a bucket.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let stray = text.chars().find(|c| !(c.is_ascii_alphanumeric() || ".-_*?".contains(*c)));
        match (stray, text.chars().next()) {
            (Some(c), _) => Err(InvalidPattern::Character(c)),
            (None, None) => Err(InvalidPattern::Empty),
            (None, Some(first @ ('.' | '-' | '_'))) => Err(InvalidPattern::First(first)),
            (None, Some(_)) if text.len() > MAX_PATTERN => Err(InvalidPattern::TooLong),
            (None, Some(_)) if text.parse::<Ipv4Addr>().is_ok() => Err(InvalidPattern::Address),
            (None, Some(_)) => Ok(Self(text.to_owned())),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches `bucket`.
    pub fn matches(&self, bucket: &str) -> bool {
        let (pattern, bucket) = (self.0.as_bytes(), bucket.as_bytes());
        let (mut at, mut next) = (0, 0);
        // The last star, and how much of the bucket's name it matches so far.
        let mut star = None;
        while next < bucket.len() {
            match pattern.get(at) {
                Some(b'*') if at + 1 == pattern.len() => return true,
                Some(b'*') => {
                    star = Some((at, next));
                    at += 1;
                }
                Some(&byte) if byte == b'?' || byte == bucket[next] => {
                    at += 1;
                    next += 1;
                }
                Some(_) | None => {
                    let Some((position, taken)) = star else { return false };
                    star = Some((position, taken + 1));
                    at = position + 1;
                    next = taken + 1;
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }

    /// What every name that the pattern matches begins with: the pattern up to its first `*` or `?`.
    pub fn literal_prefix(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }

    /// Whether the pattern is the name of one bucket.
    pub fn is_name(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Whether every bucket `other` stands for is surely one of this pattern's; `false` where that is not
    /// plain to see.
    pub fn covers(&self, other: &Self) -> bool {
        self.0 == "*" || self == other || (other.is_name() && self.matches(&other.0))
    }

    /// Whether some text matches both patterns.
    pub fn meets(&self, other: &Self) -> bool {
        let (left, right) = (self.0.as_bytes(), other.0.as_bytes());
        // For each number of bytes of both patterns, whether one text can match so much of each.
        let mut reached = vec![vec![false; right.len() + 1]; left.len() + 1];
        reached[0][0] = true;
        for at in 0..=left.len() {
            for to in 0..=right.len() {
                if !reached[at][to] {
                    continue;
                }
                match (left.get(at), right.get(to)) {
                    (Some(b'*'), Some(_)) | (Some(_), Some(b'*')) => {
                        reached[at + 1][to] = true;
                        reached[at][to + 1] = true;
                    }
                    (Some(b'*'), None) => reached[at + 1][to] = true,
                    (None, Some(b'*')) => reached[at][to + 1] = true,
                    (Some(one), Some(other)) if one == other || *one == b'?' || *other == b'?' => {
                        reached[at + 1][to + 1] = true;
                    }
                    (Some(_), _) | (None, _) => {}
                }
            }
        }
        reached[left.len()][right.len()]
    }
}

#[cfg(test)]
mod tests;
