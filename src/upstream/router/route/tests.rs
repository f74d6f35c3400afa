use proptest::prelude::*;

use super::*;

fn bucket(name: &str) -> BucketName {
    BucketName::parse(name).unwrap()
}

fn route(buckets: &str, upstream: usize, stored_as: &str) -> Route {
    let buckets = BucketPattern::parse(buckets).unwrap();
    let stored_as = (!stored_as.is_empty()).then(|| StoredName::parse(stored_as, &buckets).unwrap());
    Route { buckets, upstream, stored_as }
}

fn located(upstream: usize, stored: &str) -> Located {
    Located { upstream, stored: (!stored.is_empty()).then(|| bucket(stored)) }
}

#[test]
fn the_first_route_that_matches_applies() {
    let routes = Routes::new(vec![
        route("logs-old", 2, ""),
        route("logs-*", 1, "company-{bucket}"),
        route("data", 0, "company-data"),
        route("*-x", 1, ""),
    ]);
    for (name, expected) in [
        ("logs-old", located(2, "")),
        ("logs-new", located(1, "company-logs-new")),
        ("logs-x", located(1, "company-logs-x")),
        ("data", located(0, "company-data")),
        ("a-x", located(1, "")),
        ("other", located(0, "")),
    ] {
        assert_eq!(routes.locate(&bucket(name)).unwrap(), expected, "{name}");
        let stored = expected.stored.unwrap_or_else(|| bucket(name));
        assert_eq!(routes.client_name(expected.upstream, &stored), Some(bucket(name)), "{name}");
    }
    for (upstream, stored) in
        [(0, "logs-new"), (1, "logs-new"), (1, "logs-old"), (1, "company-data"), (0, "data")]
    {
        assert_eq!(routes.client_name(upstream, &bucket(stored)), None, "{stored} in {upstream}");
    }
}

#[test]
fn a_stored_bucket_has_one_name() {
    let routes = Routes::new(vec![route("logs-*", 0, "company-{bucket}"), route("*", 0, "")]);
    assert_eq!(routes.locate(&bucket("logs-a")).unwrap(), located(0, "company-logs-a"));
    let refused = routes.locate(&bucket("company-logs-a")).unwrap_err();
    assert!(matches!(refused, AddressError::AnotherBucket(name) if name == "company-logs-a"));
    // No bucket of clients has this one.
    assert_eq!(routes.locate(&bucket("company-data")).unwrap(), located(0, ""));
    assert_eq!(routes.client_name(0, &bucket("company-logs-a")), Some(bucket("logs-a")));
}

#[test]
fn a_stored_name_has_to_be_a_name() {
    let routes = Routes::new(vec![route("*", 0, "company-{bucket}")]);
    let long = "b".repeat(250);
    assert!(
        matches!(routes.locate(&bucket(&long)).unwrap_err(), AddressError::NoStoredName(name) if name == long)
    );
}

#[test]
fn what_is_no_stored_name_is_refused() {
    let parse = |text: &str, pattern: &str| StoredName::parse(text, &BucketPattern::parse(pattern).unwrap());
    assert_eq!(parse("x-{bucket}", "*"), Ok(StoredName::Around("x-".into(), String::new())));
    assert_eq!(parse("other", "logs"), Ok(StoredName::Literal(bucket("other"))));
    for (text, pattern, refused) in [
        ("other", "logs-*", InvalidStoredName::OneForAll),
        ("{bucket}", "*", InvalidStoredName::Unchanged),
        ("logs", "logs", InvalidStoredName::Unchanged),
        ("{bucket}-{bucket}", "*", InvalidStoredName::Characters),
        ("a/{bucket}", "*", InvalidStoredName::Characters),
        ("-{bucket}", "*", InvalidStoredName::Characters),
        ("{name}", "logs", InvalidStoredName::Characters),
        ("", "logs", InvalidStoredName::Characters),
    ] {
        assert_eq!(parse(text, pattern), Err(refused), "{text}");
    }
}

#[test]
fn conflicts_that_are_plain_to_see_are_found() {
    let found = |routes: Vec<Route>| {
        Routes::new(routes).conflict().map(|found| (found.route, found.other.to_string()))
    };
    let none = found(vec![route("a", 0, "x"), route("b", 1, "x"), route("*", 0, "y-{bucket}")]);
    assert_eq!(none, None);
    let both = found(vec![route("a", 1, "x"), route("b", 1, "x")]);
    assert_eq!(both, Some((0, "b".to_owned())));
    let own = found(vec![route("logs", 0, "x"), route("x", 0, "")]);
    assert_eq!(own, Some((1, "logs".to_owned())));
    let pattern = found(vec![route("logs", 0, "company-x"), route("*", 0, "company-{bucket}")]);
    assert_eq!(pattern, Some((0, "x".to_owned())));
}

#[test]
fn storages_that_no_bucket_of_a_client_is_in_are_not_reached() {
    let routes = Routes::new(vec![route("logs-*", 1, ""), route("data-*", 2, "")]);
    let reached = |pattern: &str| {
        let patterns = [BucketPattern::parse(pattern).unwrap()];
        (0..3).filter(|upstream| routes.can_reach(&patterns, *upstream)).collect::<Vec<_>>()
    };
    assert_eq!(reached("*"), [0, 1, 2]);
    assert_eq!(reached("logs-a*"), [0, 1]);
    assert_eq!(reached("logs-*"), [1]);
    assert_eq!(reached("data-1"), [2]);
    assert_eq!(reached("other"), [0]);
    assert_eq!(reached("*-eu"), [0, 1, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    /// A bucket is where the first route in order says, and no two buckets are one stored bucket.
    #[test]
    fn buckets_of_clients_are_never_one_stored_bucket(
        routes in prop::collection::vec(
            ("[ab]{1,3}|[ab]{0,2}[*?][ab*?]{0,2}", 0..3_usize, "|[ab]{1,2}\\{bucket\\}|\\{bucket\\}[ab]{1,2}"), 0..8,
        ),
        names in prop::collection::btree_set("[ab]{1,5}", 2..12),
    ) {
        let routes: Vec<_> = routes.iter().map(|(name, upstream, stored)| route(name, *upstream, stored)).collect();
        let all = Routes::new(routes.clone());
        let mut stored = Vec::new();
        for name in &names {
            let first = routes.iter().find(|route| route.buckets.matches(name));
            prop_assert_eq!(all.upstream(&bucket(name)), first.map_or(0, |route| route.upstream));
            let Ok(found) = all.locate(&bucket(name)) else { continue };
            let renamed = first.and_then(|route| route.stored_as.as_ref()).and_then(|it| it.stored(&bucket(name)));
            prop_assert_eq!(&found, &Located { upstream: all.upstream(&bucket(name)), stored: renamed });
            let there = (found.upstream, found.stored.unwrap_or_else(|| bucket(name)));
            prop_assert_eq!(all.client_name(there.0, &there.1), Some(bucket(name)));
            prop_assert!(!stored.contains(&there), "{} twice", there.1);
            stored.push(there);
            let patterns = [BucketPattern::parse(name).unwrap()];
            prop_assert!(all.can_reach(&patterns, found.upstream));
        }
    }
}
