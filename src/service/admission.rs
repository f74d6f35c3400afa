//! Limits the requests in flight, and keeps one client from using all of that limit while there are other
//! clients.
//!
//! A request that waits for its client does no work and does not count against `max_requests`. Since each
//! waiting request holds memory, at most a quarter of `max_requests` may wait in addition to those that count;
//! when more wait, the slowest of them are cut off.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::meter::Meter;
use crate::object::slow_down;
use crate::s3::S3Error;

/// Client delay from which a request counts as waiting for its client. The round trip of a fast client is
/// shorter; after a longer one, the bytes that arrive reduce the delay at once.
const WAITING: Duration = Duration::from_millis(100);

/// The share of the places that is kept from each client while there are others: an eighth.
const KEPT_FOR_OTHERS: usize = 8;

/// Looking at all requests costs microseconds; while nothing has changed, it is not done again.
const PAUSE: Duration = Duration::from_millis(2);

/// How often clients are looked for that are too slow.
const SWEEP: Duration = Duration::from_secs(1);

/// Lets in so many requests at once. Nobody waits here: whoever is refused tries again later, as S3's clients do, while a
/// queue would hold connections and answer when nobody listens any more.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Places>);

#[derive(Debug)]
struct Places {
    limits: Limits,
    held: Mutex<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Requests that do not wait for their client.
    active: usize,
    /// Of these, requests of one client.
    of_one_client: usize,
    /// Requests that wait for their client.
    waiting: usize,
}

/// The requests that were let in.
#[derive(Debug, Default)]
struct Held {
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
    next_id: u64,
    total: Count,
    /// About as many are active: by the last look at all of them, and what came and went since then.
    active: Count,
    /// When a look at all of them last found no room.
    full_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_client: Vec<usize>,
}

impl Count {
    fn new(clients: usize) -> Self {
        Self { all: 0, by_client: vec![0; clients] }
    }

    fn add(&mut self, client: usize) {
        self.all += 1;
        self.by_client[client] += 1;
    }

    fn subtract(&mut self, client: usize) {
        self.all = self.all.saturating_sub(1);
        self.by_client[client] = self.by_client[client].saturating_sub(1);
    }
}

#[derive(Debug)]
struct Entry {
    id: u64,
    client: usize,
    meter: Meter,
}

/// A request that was let in, until its answer has ended.
#[derive(Debug)]
pub(super) struct Admitted {
    places: Arc<Places>,
    slot: usize,
    id: u64,
    meter: Meter,
}

impl Admission {
    /// Room for `max_requests` of `clients` clients.
    pub(super) fn new(max_requests: usize, clients: usize) -> Self {
        Self::with_limits(max_requests, max_requests.div_ceil(4), clients)
    }

    fn with_limits(max_requests: usize, waiting: usize, clients: usize) -> Self {
        let kept = if clients > 1 { max_requests.div_ceil(KEPT_FOR_OTHERS) } else { 0 };
        let limits = Limits { active: max_requests, of_one_client: (max_requests - kept).max(1), waiting };
        let held = Held { total: Count::new(clients), active: Count::new(clients), ..Held::default() };
        Self(Arc::new(Places { limits, held: Mutex::new(held) }))
    }

    /// Lets a request of the client of this number in, which comes on the connection of this meter.
    ///
    /// # Errors
    /// `SlowDown` when there are too many.
    pub(super) fn admit(&self, client: usize, meter: &Meter) -> Result<Admitted, S3Error> {
        meter.restart();
        let (slot, id) = {
            let mut held = self.0.lock();
            held.make_room(&self.0.limits, client).map_err(|Full| slow_down())?;
            held.insert(client, meter.clone())
        };
        metrics::gauge!("s3veil_requests_under_way").increment(1.0);
        Ok(Admitted { places: Arc::clone(&self.0), slot, id, meter: meter.clone() })
    }

    /// Cuts off, as long as there is an admission, every client whose delay has reached `patience`.
    pub(super) fn cut_slow_clients(&self, patience: Duration) -> impl Future<Output = ()> + Send + use<> {
        let places: Weak<Places> = Arc::downgrade(&self.0);
        async move {
            let mut ticks = tokio::time::interval(SWEEP);
            loop {
                ticks.tick().await;
                let Some(places) = places.upgrade() else { return };
                places.lock().cut_slower_than(patience);
            }
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Whether its client was cut off.
    pub(super) fn is_cut(&self) -> bool {
        self.meter.is_cut()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.places.lock().remove(self.slot, self.id);
        metrics::gauge!("s3veil_requests_under_way").decrement(1.0);
    }
}

/// Error: no further request can be admitted.
#[derive(Debug, PartialEq, Eq)]
struct Full;

impl Entry {
    fn is_waiting(&self) -> bool {
        self.meter.delay() >= WAITING
    }
}

impl Held {
    fn insert(&mut self, client: usize, meter: Meter) -> (usize, u64) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let id = self.next_id;
        self.next_id += 1;
        self.slots[slot] = Some(Entry { id, client, meter });
        self.total.add(client);
        self.active.add(client);
        (slot, id)
    }

    /// Takes a request out, unless it was cut off and is out already.
    fn remove(&mut self, slot: usize, id: u64) {
        if let Some(entry) = self.slots[slot].take_if(|entry| entry.id == id) {
            self.free.push(slot);
            self.total.subtract(entry.client);
            if !entry.is_waiting() {
                self.active.subtract(entry.client);
            }
        }
    }

    fn make_room(&mut self, limits: &Limits, client: usize) -> Result<(), Full> {
        let has_memory = self.total.all < limits.active + limits.waiting;
        let has_room = self.has_room(limits, client);
        if has_room && has_memory {
            return Ok(());
        }
        let now = Instant::now();
        if !has_room && self.full_at.is_some_and(|full_at| now.duration_since(full_at) < PAUSE) {
            return Err(Full);
        }
        self.count_active();
        if !self.has_room(limits, client) {
            self.full_at = Some(now);
            return Err(Full);
        }
        if !has_memory {
            // Several at once, since more such requests will come.
            self.cut_slowest(1 + limits.waiting / 32);
        }
        Ok(())
    }

    fn has_room(&self, limits: &Limits, client: usize) -> bool {
        let all = self.active.all.min(self.total.all);
        let of_client = self.active.by_client[client].min(self.total.by_client[client]);
        all < limits.active && of_client < limits.of_one_client
    }

    fn count_active(&mut self) {
        self.active = Count::new(self.active.by_client.len());
        for entry in self.slots.iter().flatten().filter(|entry| !entry.is_waiting()) {
            self.active.add(entry.client);
        }
    }

    /// Cuts off the slowest of the client that has most requests waiting.
    fn cut_slowest(&mut self, number: usize) {
        let mut waiting = vec![0_usize; self.active.by_client.len()];
        let slow = self.slots.iter().flatten().filter(|entry| entry.is_waiting());
        slow.for_each(|entry| waiting[entry.client] += 1);
        let Some(most) = (0..waiting.len()).max_by_key(|client| waiting[*client]) else { return };
        let of_most = self.slots.iter().enumerate().filter_map(|(slot, entry)| {
            let entry = entry.as_ref().filter(|entry| entry.client == most && entry.is_waiting())?;
            Some((entry.meter.delay(), slot, entry.id))
        });
        let mut of_most: Vec<_> = of_most.collect();
        of_most.sort_unstable_by(|one, next| next.cmp(one));
        for (_, slot, id) in of_most.into_iter().take(number) {
            self.cut(slot, id);
        }
    }

    fn cut_slower_than(&mut self, patience: Duration) {
        let too_slow = |(slot, entry): (usize, &Option<Entry>)| {
            let entry = entry.as_ref().filter(|entry| entry.meter.delay() >= patience)?;
            Some((slot, entry.id))
        };
        let too_slow: Vec<_> = self.slots.iter().enumerate().filter_map(too_slow).collect();
        too_slow.into_iter().for_each(|(slot, id)| self.cut(slot, id));
    }

    fn cut(&mut self, slot: usize, id: u64) {
        if let Some(entry) = &self.slots[slot] {
            entry.meter.cut();
            metrics::counter!("s3veil_slow_clients_cut_total").increment(1);
            self.remove(slot, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::meter::Direction;
    use crate::s3::ErrorCode;

    fn meter() -> Meter {
        Meter::new(1024)
    }

    /// Requests that wait for their client, the longest first.
    fn waiting(admission: &Admission, client: usize, number: usize) -> Vec<(Admitted, Meter, Direction)> {
        let begin = |_| {
            let meter = meter();
            let admitted = admission.admit(client, &meter).unwrap();
            let mut sends = meter.direction();
            sends.wait(&Context::from_waker(Waker::noop())).unwrap();
            std::thread::sleep(Duration::from_millis(1));
            (admitted, meter, sends)
        };
        let requests = (0..number).map(begin).collect();
        std::thread::sleep(WAITING);
        requests
    }

    #[test]
    fn there_is_room_again_when_a_request_has_ended() {
        let admission = Admission::new(2, 1);
        let admitted = [0, 0].map(|client| admission.admit(client, &meter()).unwrap());
        assert_eq!(admission.admit(0, &meter()).unwrap_err().code, ErrorCode::SlowDown);
        drop(admitted);
        admission.admit(0, &meter()).unwrap();
    }

    #[test]
    fn requests_that_wait_for_their_client_take_no_place() {
        let admission = Admission::with_limits(4, 2, 1);
        let _waiting = waiting(&admission, 0, 4);
        let _active: Vec<_> = (0..2).map(|_| admission.admit(0, &meter()).unwrap()).collect();
    }

    #[test]
    fn when_too_many_wait_the_slowest_is_cut_off() {
        // Four that work, and two more that wait.
        let admission = Admission::with_limits(4, 2, 1);
        let mut slow = waiting(&admission, 0, 4);
        slow.extend(waiting(&admission, 0, 2));
        let _active = admission.admit(0, &meter()).unwrap();
        let cut: Vec<_> = slow.iter().map(|(_, meter, _)| meter.is_cut()).collect();
        assert_eq!(cut, [true, false, false, false, false, false]);
        // What was cut off and ends later leaves no place twice.
        drop(slow);
        let _more: Vec<_> = (0..3).map(|_| admission.admit(0, &meter()).unwrap()).collect();
        assert_eq!(admission.admit(0, &meter()).unwrap_err().code, ErrorCode::SlowDown);
    }

    #[test]
    fn a_request_that_works_is_never_cut_off() {
        let admission = Admission::new(2, 1);
        let meters = [meter(), meter()];
        let _working: Vec<_> = meters.iter().map(|meter| admission.admit(0, meter).unwrap()).collect();
        std::thread::sleep(2 * WAITING);
        assert_eq!(admission.admit(0, &meter()).unwrap_err().code, ErrorCode::SlowDown);
        assert!(meters.iter().all(|meter| !meter.is_cut()));
    }

    #[test]
    fn one_client_leaves_room_for_the_others() {
        let admission = Admission::new(16, 2);
        let _busy: Vec<_> = (0..14).map(|_| admission.admit(0, &meter()).unwrap()).collect();
        assert_eq!(admission.admit(0, &meter()).unwrap_err().code, ErrorCode::SlowDown);
        let _other = [1, 1].map(|client| admission.admit(client, &meter()).unwrap());
        assert_eq!(admission.admit(1, &meter()).unwrap_err().code, ErrorCode::SlowDown);
    }

    #[test]
    fn the_client_with_the_most_slow_requests_loses_one_first() {
        let admission = Admission::with_limits(6, 3, 2);
        let one = waiting(&admission, 1, 1);
        let many = waiting(&admission, 0, 5);
        let many_more = waiting(&admission, 0, 3);
        let _fresh = admission.admit(1, &meter()).unwrap();
        let is_cut = |requests: &[(Admitted, Meter, Direction)]| {
            requests.iter().filter(|(_, meter, _)| meter.is_cut()).count()
        };
        assert_eq!((is_cut(&one), is_cut(&many), is_cut(&many_more)), (0, 1, 0));
    }

    #[tokio::test]
    async fn a_client_that_stays_too_slow_is_cut_off() {
        let admission = Admission::new(4, 1);
        let slow = waiting(&admission, 0, 1);
        let fast = meter();
        let _fast = admission.admit(0, &fast).unwrap();
        let sweeping = tokio::spawn(admission.cut_slow_clients(WAITING));
        while !slow[0].1.is_cut() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!fast.is_cut());
        drop((admission, slow, _fast));
        sweeping.await.unwrap();
    }
}
