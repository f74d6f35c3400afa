use super::state::Track;
use super::*;
use crate::admin::Problem;

const CACHED_FOR: Duration = Duration::from_secs(300);

fn trouble<T>(message: &str) -> Result<T, DependencyError> {
    Err(DependencyError { message: message.to_owned() })
}

/// One storage and `keys` keys, without results.
fn state(keys: usize) -> State {
    State::with_tracks(vec![Track::default()], vec![Track::default(); keys], CACHED_FOR)
}

/// One storage and keys that work.
fn well(keys: usize) -> State {
    let mut state = state(keys);
    state.record_storage(0, 0, Ok(None));
    for index in 0..keys {
        state.record_key(0, index, Ok(()));
    }
    state
}

fn messages(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}", problem.component, problem.message)).collect()
}

/// The problems and what is degraded, in words.
fn now(state: &State) -> (Vec<String>, Vec<String>) {
    let health = state.health(Instant::now());
    (messages(&health.problems), messages(&health.degraded))
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

#[test]
fn nothing_known_is_unready() {
    let not_yet = "not assessed yet: the first assessment is running";
    let expected = texts([&format!("storage: {not_yet}"), &format!("keyring: {not_yet}")]);
    assert_eq!(now(&state(1)), (expected, Vec::new()));
    assert_eq!(well(1).health(Instant::now()), Health::default());
}

#[test]
fn a_storage_that_never_worked_is_unready() {
    for message in ["refused", "503 InternalError", "not S3", "SignatureDoesNotMatch"] {
        let mut state = state(1);
        state.record_key(0, 0, Ok(()));
        state.record_storage(0, 0, trouble(message));
        assert_eq!(now(&state), (texts([&format!("storage: {message}")]), Vec::new()));
    }
}

#[test]
fn a_storage_that_fails_after_it_worked_is_degraded_for_as_long_as_it_fails() {
    for message in ["refused", "503 InternalError", "not S3", "SignatureDoesNotMatch"] {
        let mut state = well(1);
        for _ in 0..100 {
            state.record_storage(0, 0, trouble(message));
            assert_eq!(now(&state), (Vec::new(), texts([&format!("storage: {message}")])));
        }
        assert_eq!(state.record_storage(0, 0, Ok(None)), Changed::WorksAgain);
        assert_eq!(state.health(Instant::now()), Health::default());
    }
}

#[test]
fn a_storage_that_throttles_is_degraded() {
    let mut state = state(1);
    state.record_key(0, 0, Ok(()));
    state.record_storage(0, 0, Ok(Some("asks for fewer requests".to_owned())));
    assert_eq!(now(&state), (Vec::new(), texts(["storage: asks for fewer requests"])));
}

#[test]
fn a_key_that_never_worked_is_unready() {
    let mut state = state(1);
    state.record_storage(0, 0, Ok(None));
    state.record_key(0, 0, trouble("denied"));
    assert_eq!(now(&state), (texts(["keyring: denied"]), Vec::new()));
    state.record_key(0, 0, Ok(()));
    assert_eq!(now(&state), (Vec::new(), Vec::new()));
}

#[test]
fn a_key_that_fails_after_it_worked_is_degraded_with_and_without_cached_data_keys() {
    let mut state = well(1);
    state.record_key(0, 0, trouble("refused"));
    assert_eq!(now(&state), (Vec::new(), texts(["keyring: refused; cached data keys still serve"])));
    let later = state.health(Instant::now() + CACHED_FOR);
    assert_eq!(messages(&later.degraded), ["keyring: refused; no cached data key can serve any more"]);
    assert_eq!(later.problems, []);
}

#[test]
fn one_broken_key_of_several_is_degraded() {
    let mut state = state(2);
    state.record_storage(0, 0, Ok(None));
    state.record_key(0, 1, Ok(()));
    state.record_key(0, 0, trouble("disabled"));
    assert_eq!(now(&state), (Vec::new(), texts(["keyring: disabled"])));
}

#[test]
fn one_storage_of_several_that_is_away_is_degraded() {
    let mut state = State::with_tracks(vec![Track::default(); 2], vec![Track::default()], CACHED_FOR);
    state.record_key(0, 0, Ok(()));
    state.record_storage(0, 0, Ok(None));
    state.record_storage(0, 1, trouble("refused"));
    assert_eq!(now(&state), (Vec::new(), texts(["storage: refused"])));
}

#[test]
fn a_process_that_was_ready_stays_so_with_dependencies_that_never_worked() {
    let mut state = well(1);
    state.storages[0] = Track::default();
    state.keys[0] = Track::default();
    assert_eq!(state.health(Instant::now()).problems, [], "not assessed after a reload");
    state.record_storage(0, 0, trouble("refused"));
    state.record_key(0, 0, trouble("denied"));
    assert_eq!(now(&state), (Vec::new(), texts(["storage: refused", "keyring: denied"])));
}

#[test]
fn a_result_of_replaced_dependencies_changes_nothing() {
    let mut state = well(1);
    assert_eq!(state.record_storage(7, 0, trouble("refused")), Changed::Nothing);
    assert_eq!(state.record_key(7, 0, trouble("refused")), Changed::Nothing);
    assert_eq!(state.health(Instant::now()), Health::default());
}

#[test]
fn the_log_has_one_line_for_each_change() {
    let mut state = well(1);
    assert_eq!(state.record_storage(0, 0, trouble("refused")), Changed::Fails("refused".to_owned()));
    assert_eq!(state.record_storage(0, 0, trouble("refused")), Changed::Nothing);
    assert!(!state.is_well());
    assert_eq!(state.record_storage(0, 0, Ok(None)), Changed::WorksAgain);
    assert_eq!(state.record_storage(0, 0, Ok(None)), Changed::Nothing);
    assert!(state.is_well());
}

#[test]
fn the_key_service_is_called_once_a_minute_for_all_keys_together() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut state = state(3);
    assert_eq!(state.take_due_keys(start), [0, 1, 2], "each key once at the start");
    for index in 0..3 {
        state.keys[index].record(Ok(None), start + Duration::from_millis(index as u64));
    }
    state.record_storage(0, 0, Ok(None));
    let mut calls = Vec::new();
    for second in 1..=600 {
        for index in state.take_due_keys(after(second)) {
            state.keys[index].record(if index == 0 { trouble("refused") } else { Ok(None) }, after(second));
            calls.push((second, index));
        }
    }
    assert_eq!(calls[..4], [(60, 0), (120, 1), (180, 2), (240, 0)]);
    assert_eq!(calls.len(), 10);
}

#[test]
fn before_the_process_is_ready_a_failing_key_is_tried_at_growing_intervals() {
    let start = Instant::now();
    let mut state = state(1);
    state.take_due_keys(start);
    state.keys[0].record(trouble("refused"), start);
    let mut tried = Vec::new();
    for second in 1..=300 {
        let at = start + Duration::from_secs(second);
        if !state.take_due_keys(at).is_empty() {
            state.keys[0].record(trouble("refused"), at);
            tried.push(second);
        }
    }
    assert_eq!(tried, [5, 15, 35, 75, 135, 195, 255]);
}

#[test]
fn a_storage_is_assessed_every_five_seconds_at_most() {
    let start = Instant::now();
    let mut state = state(1);
    assert!(state.is_due(start));
    state.take_due_keys(start);
    assert!(!state.is_due(start + Duration::from_millis(4_999)));
    assert!(state.is_due(start + ASSESSMENT_INTERVAL));
}
