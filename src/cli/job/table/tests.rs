use std::collections::BTreeMap;

use super::*;

fn tally(keys: &[(&str, u64)]) -> Tally {
    let count = |versions| KeyCount { objects: versions, versions, bytes: 0 };
    let keys_before: BTreeMap<_, _> =
        keys.iter().map(|(key, versions)| ((*key).to_owned(), count(*versions))).collect();
    Tally { rows: 5, succeeded: 5, keys_before, ..Tally::default() }
}

fn proof(tally: &Tally, is_whole: bool, all_versions: Option<bool>, sample: Option<f64>) -> String {
    let shown = Shown {
        title: String::new(),
        tally,
        key_id: Some("K"),
        all_versions,
        sample,
        requests: (0, 0, 0),
        failed_rows: &[],
        is_whole,
        is_keys: true,
    };
    under(&shown, "K")
}

#[test]
fn nothing_under_a_key_is_a_proof_only_where_all_was_looked_at() {
    assert_eq!(proof(&tally(&[("K", 2)]), true, Some(true), None), "2 under K\n");
    assert_eq!(proof(&tally(&[]), true, Some(true), None), "0 under K\n");
    for (tally, is_whole, all_versions, sample, doubt) in [
        (tally(&[]), false, Some(true), None, "not whole"),
        (tally(&[]), true, Some(false), None, "older versions"),
        (tally(&[]), true, Some(true), Some(0.5), "a sample"),
        (Tally { failed: 1, ..tally(&[]) }, true, Some(true), None, "1 rows failed"),
        (Tally { raced: 1, ..tally(&[]) }, true, Some(true), None, "1 rows failed"),
        (Tally::default(), true, Some(true), None, "no objects"),
        (tally(&[("aws-kms:?", 3)]), true, Some(true), None, "3 versions do not tell"),
    ] {
        let text = proof(&tally, is_whole, all_versions, sample);
        assert!(text.starts_with("0 under K: NO PROOF") && text.contains(doubt), "{text}");
    }
}
