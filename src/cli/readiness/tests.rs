use super::*;

fn trouble(message: &str, may_pass: bool) -> Result<Option<String>, DependencyError> {
    Err(DependencyError { message: message.to_owned(), may_pass })
}

fn state(keys: usize) -> State {
    State {
        storage: Track::default(),
        keys: (0..keys).map(|_| (None, Track::default())).collect(),
        cached_for: Duration::from_secs(300),
    }
}

fn well(keys: usize) -> State {
    let mut state = state(keys);
    state.storage.record("storage", Ok(None));
    for (_, track) in &mut state.keys {
        track.record("keyring", Ok(None));
    }
    state
}

fn messages(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}", problem.component, problem.message)).collect()
}

#[test]
fn nothing_known_is_not_ready() {
    let health = state(1).health(Instant::now());
    assert_eq!(health.problems.len(), 2);
    assert_eq!(well(1).health(Instant::now()), Health::default());
}

#[test]
fn a_storage_that_stumbles_is_degraded_and_one_that_stays_away_is_not_ready() {
    let mut state = well(1);
    for _ in 1..MAX_STORAGE_FAILURES {
        state.storage.record("storage", trouble("refused", true));
        let health = state.health(Instant::now());
        assert_eq!(
            (health.problems.len(), messages(&health.degraded)),
            (0, vec!["storage: refused".to_owned()])
        );
    }
    state.storage.record("storage", trouble("refused", true));
    assert_eq!(messages(&state.health(Instant::now()).problems), ["storage: refused"]);
    state.storage.record("storage", Ok(None));
    assert_eq!(state.health(Instant::now()), Health::default());
}

#[test]
fn what_does_not_pass_by_itself_is_not_ready_at_once() {
    let mut state = well(1);
    state.storage.record("storage", trouble("a web site", false));
    assert_eq!(messages(&state.health(Instant::now()).problems), ["storage: a web site"]);
}

#[test]
fn a_storage_that_never_worked_is_not_ready() {
    let mut state = well(1);
    state.storage = Track::default();
    state.storage.record("storage", trouble("refused", true));
    assert_eq!(state.health(Instant::now()).problems.len(), 1);
}

#[test]
fn a_storage_that_throttles_is_degraded() {
    let mut state = well(1);
    state.storage.record("storage", Ok(Some("asks for fewer requests".to_owned())));
    let health = state.health(Instant::now());
    assert_eq!((health.problems.len(), health.degraded.len()), (0, 1));
}

#[test]
fn a_key_service_that_is_away_is_degraded_as_long_as_cached_keys_serve() {
    for may_pass in [true, false] {
        let mut state = well(1);
        state.keys[0].1.record("keyring", trouble("refused", may_pass));
        let (now, age) = (Instant::now(), state.cached_for);
        let health = state.health(now);
        let degraded = messages(&health.degraded);
        assert_eq!(
            (health.problems.len(), degraded),
            (0, vec!["keyring: refused; cached data keys still serve".to_owned()])
        );
        assert_eq!(messages(&state.health(now + age).problems), ["keyring: refused"]);
    }
}

#[test]
fn a_key_service_that_never_worked_is_not_ready() {
    let mut state = well(1);
    state.keys[0].1 = Track::default();
    state.keys[0].1.record("keyring", trouble("denied", false));
    assert_eq!(state.health(Instant::now()).problems.len(), 1);
}

#[test]
fn one_broken_key_of_several_is_no_reason_to_serve_nothing() {
    let mut state = well(2);
    state.keys[0].1 = Track::default();
    state.keys[0].1.record("keyring", trouble("disabled", false));
    let health = state.health(Instant::now());
    assert_eq!(
        (health.problems.len(), messages(&health.degraded)),
        (0, vec!["keyring: disabled".to_owned()])
    );
}

#[test]
fn keys_take_turns_and_those_that_work_are_left_in_peace() {
    let mut state = state(3);
    assert_eq!(state.due_keys(usize::MAX).len(), 3);
    assert_eq!(state.due_keys(1), [(0, None)]);
    state.keys[0].1.record("keyring", Ok(None));
    assert_eq!(state.due_keys(1), [(1, None)]);
    for (_, track) in &mut state.keys {
        track.record("keyring", Ok(None));
    }
    assert_eq!(state.due_keys(usize::MAX), []);
    let long_ago = |ago: Duration| Instant::now().checked_sub(ago);
    state.keys[1].1.assessed_at = long_ago(KEY_INTERVAL);
    state.keys[2].1.assessed_at = long_ago(ASSESSMENT_INTERVAL);
    assert_eq!(state.due_keys(usize::MAX), [(1, None)]);
    state.keys[2].1.trouble = Some(DependencyError { message: String::new(), may_pass: true });
    assert_eq!(state.due_keys(1), [(1, None)], "assessed_at longest ago");
}
