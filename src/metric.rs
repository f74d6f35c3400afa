//! Handles of the metrics that every request counts, so that counting doesn't search the recorder's registry.
//! It must not know which metrics there are.
//! It promises that a handle is kept only once the recorder is final: an earlier one would count nothing.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static IS_RECORDER_FINAL: AtomicBool = AtomicBool::new(false);

/// Keeps handles from now on. For the process that has installed its recorder, or will install none.
pub fn keep_handles() {
    IS_RECORDER_FINAL.store(true, Ordering::Release);
}

/// A time as the value of a metric named `..._timestamp_seconds`: seconds since 1970, and 0 before that.
pub fn timestamp_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn are_kept() -> bool {
    IS_RECORDER_FINAL.load(Ordering::Acquire)
}

/// The handle of one metric, shared by all threads.
pub(crate) struct MetricHandle<H> {
    register: fn() -> H,
    kept: OnceLock<H>,
}

impl<H> MetricHandle<H> {
    /// A handle that `register` makes when it is first needed.
    pub(crate) const fn new(register: fn() -> H) -> Self {
        Self { register, kept: OnceLock::new() }
    }

    /// Calls `count` with the handle.
    pub(crate) fn with(&self, count: impl FnOnce(&H)) {
        self.with_kept(are_kept(), count);
    }

    fn with_kept(&self, is_kept: bool, count: impl FnOnce(&H)) {
        if is_kept { count(self.kept.get_or_init(self.register)) } else { count(&(self.register)()) }
    }
}

/// The handles of one metric by its labels `K`, for one thread. Labels come from a small set.
pub(crate) struct LabelledHandles<K, H>(RefCell<Vec<(K, H)>>);

impl<K: PartialEq, H> LabelledHandles<K, H> {
    /// No handle yet.
    pub(crate) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// Calls `count` with the handle for `labels`, which `register` makes when it is first needed.
    pub(crate) fn with(&self, labels: K, register: impl FnOnce() -> H, count: impl FnOnce(&H)) {
        self.with_kept(are_kept(), labels, register, count);
    }

    fn with_kept(&self, is_kept: bool, labels: K, register: impl FnOnce() -> H, count: impl FnOnce(&H)) {
        if !is_kept {
            return count(&register());
        }
        let mut handles = self.0.borrow_mut();
        let index = handles.iter().position(|(kept, _)| *kept == labels).unwrap_or_else(|| {
            handles.push((labels, register()));
            handles.len() - 1
        });
        count(&handles[index].1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_handle_is_made_once_but_each_time_before_the_recorder_is_final() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let handle = MetricHandle::new(|| MADE.fetch_add(1, Ordering::Relaxed));
        let mut counted = Vec::new();
        for is_kept in [false, false, true, true] {
            handle.with_kept(is_kept, |number| counted.push(*number));
        }
        assert_eq!(counted, [0, 1, 2, 2]);
    }

    #[test]
    fn each_pair_of_labels_has_its_own_handle() {
        let handles = LabelledHandles::new();
        let mut counted = Vec::new();
        for (made, (is_kept, labels)) in
            [(false, 'a'), (true, 'a'), (true, 'b'), (true, 'a')].into_iter().enumerate()
        {
            handles.with_kept(is_kept, labels, || made, |number| counted.push(*number));
        }
        assert_eq!(counted, [0, 1, 2, 1]);
    }
}
