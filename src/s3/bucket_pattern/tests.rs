use proptest::prelude::*;

use super::*;

#[test]
fn star_and_question_mark() {
    let cases = [
        ("*", "anything", true),
        ("*", "", true),
        ("logs-*", "logs-2026", true),
        ("logs-*", "logs-", true),
        ("logs-*", "logs", false),
        ("logs-*", "my-logs-1", false),
        ("*-logs", "app-logs", true),
        ("*-logs", "app-logs-1", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-b-b-", false),
        ("a*a", "a", false),
        ("data-?", "data-1", true),
        ("data-?", "data-", false),
        ("data-?", "data-12", false),
        ("?*", "", false),
        ("exact", "exact", true),
        ("exact", "exactly", false),
        ("exact", "Exact", false),
    ];
    for (pattern, bucket, expected) in cases {
        let parsed = BucketPattern::parse(pattern).expect(pattern);
        assert_eq!(parsed.matches(bucket), expected, "{pattern} {bucket}");
    }
}

#[test]
fn many_stars_do_not_take_exponential_time() {
    let pattern = BucketPattern::parse(&"a*".repeat(60)).expect("a pattern");
    assert!(!pattern.matches(&format!("{}b", "a".repeat(59))));
}

#[test]
fn what_no_bucket_is_called_is_refused() {
    for bad in ["", "logs/", "[a-z]", "{a,b}", "a b", "_localstack", ".b", "-b", "10.0.0.1", &"a".repeat(256)]
    {
        assert!(BucketPattern::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn patterns_meet_where_a_name_matches_both() {
    let cases = [
        ("*", "a", true),
        ("logs-*", "*-eu", true),
        ("logs-*", "data-*", false),
        ("logs-?", "logs-*1", true),
        ("a?", "a", false),
        ("a*b", "*ba", false),
        ("a*b", "*b*a*", true),
        ("exact", "exact", true),
        ("exact", "exactly", false),
    ];
    for (one, other, expected) in cases {
        let (one, other) = (BucketPattern::parse(one).unwrap(), BucketPattern::parse(other).unwrap());
        assert_eq!(one.meets(&other), expected, "{one:?} {other:?}");
        assert_eq!(other.meets(&one), expected, "{other:?} {one:?}");
    }
}

proptest! {
    #[test]
    fn a_name_that_matches_both_shows_that_patterns_meet(
        one in "[ab*?]{1,4}", other in "[ab*?]{1,4}", names in prop::collection::vec("[ab]{1,5}", 40),
    ) {
        let (one, other) = (BucketPattern(one), BucketPattern(other));
        let shown = names.iter().any(|name| one.matches(name) && other.matches(name));
        prop_assert!(!shown || one.meets(&other));
        if one.is_name() {
            prop_assert_eq!(one.meets(&other), other.matches(one.as_str()));
        }
    }
}
