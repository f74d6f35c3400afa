//! Whether the process is ready, why not, and since when.
//! It must not know how health is assessed.
//! It promises that a time is never later than the first moment at which the state or the reason was seen.

use std::time::SystemTime;

use super::{Health, Problem};

/// What the status page says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Degraded,
    NotReady,
    Draining,
}

/// The state, and since when.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) since: SystemTime,
    pub(super) reasons: Vec<(Problem, SystemTime)>,
}

impl State {
    /// The name in the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NotReady => "not_ready",
            Self::Draining => "draining",
        }
    }

    /// The words on the page.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::NotReady => "Not ready",
            Self::Draining => "Draining",
        }
    }

    fn new(health: &Health) -> Self {
        let Health { problems, degraded, is_draining } = health;
        match (is_draining, problems.is_empty(), degraded.is_empty()) {
            (true, _, _) => Self::Draining,
            (false, false, _) => Self::NotReady,
            (false, true, false) => Self::Degraded,
            (false, true, true) => Self::Ready,
        }
    }
}

impl Verdict {
    /// The verdict before anything was assessed.
    pub(super) fn new(now: SystemTime) -> Self {
        Self { state: State::NotReady, since: now, reasons: Vec::new() }
    }

    /// Takes the health of `now` into account. What goes on keeps its time.
    pub(super) fn observe(&mut self, health: &Health, now: SystemTime) {
        let state = State::new(health);
        if state != self.state {
            (self.state, self.since) = (state, now);
        }
        let earlier = std::mem::take(&mut self.reasons);
        let since = |problem: &Problem| {
            let known = earlier.iter().find(|(known, _)| known == problem);
            known.map_or(now, |(_, since)| *since)
        };
        let all = health.problems.iter().chain(&health.degraded);
        self.reasons = all.map(|problem| (problem.clone(), since(problem))).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn problem(message: &str) -> Problem {
        Problem { component: "storage", message: message.to_owned() }
    }

    #[test]
    fn states_and_reasons_keep_the_time_at_which_they_began() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut verdict = Verdict::new(at(0));
        let away = Health { degraded: vec![problem("away")], ..Health::default() };
        let worse = Health { degraded: vec![problem("away"), problem("slow")], ..Health::default() };
        let draining = Health { problems: vec![problem("stops")], is_draining: true, ..Health::default() };
        let unready = Health { problems: vec![problem("never worked")], ..Health::default() };
        for (second, health, state, since, reasons) in [
            (1, &unready, State::NotReady, 0, &[1][..]),
            (2, &Health::default(), State::Ready, 2, &[]),
            (3, &away, State::Degraded, 3, &[3]),
            (4, &worse, State::Degraded, 3, &[3, 4]),
            (5, &Health::default(), State::Ready, 5, &[]),
            (6, &away, State::Degraded, 6, &[6]),
            (7, &draining, State::Draining, 7, &[7]),
        ] {
            verdict.observe(health, at(second));
            let expected: Vec<_> = reasons.iter().map(|second| at(*second)).collect();
            let found: Vec<_> = verdict.reasons.iter().map(|(_, since)| *since).collect();
            assert_eq!((verdict.state, verdict.since, found), (state, at(since), expected), "{second}");
        }
    }
}
