//! Suggestions for misspelt names.
//! It must not know where a name is used.
//! It promises no suggestion for a name that resembles none.

/// The most similar candidate, if at most a third of its letters differ from `word`.
pub(in crate::config) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word = word.to_lowercase().replace('-', "_");
    let distances = candidates.iter().map(|name| (distance(&word, &name.replace('-', "_")), *name));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= candidate.len().max(3) / 3).then_some(candidate)
}

/// The restricted Damerau–Levenshtein distance: the number of letters to insert, delete, replace or exchange
/// with their neighbour to turn `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, &a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == right[j - 1] && b == left[i - 1] {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distance_counts_single_letter_changes() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("adress", "address", 1),
            ("regoin", "region", 1),
            ("kitten", "sitting", 3),
            ("abcd", "", 4),
        ];
        for (left, right, expected) in cases {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn nearest_suggests_typing_mistakes_and_nothing_far_fetched() {
        let keys = ["address", "domain", "tls", "max_connections"];
        let cases = [
            ("adress", Some("address")),
            ("Address", Some("address")),
            ("max-connections", Some("max_connections")),
            ("max_conections", Some("max_connections")),
            ("tsl", Some("tls")),
            ("port", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, &keys), expected, "{word}");
        }
        assert_eq!(nearest("anything", &[]), None);
    }
}
