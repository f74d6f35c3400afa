//! Admission control: a limit of the requests in flight, and a lower one for each client while there are
//! others. It must not know what a request does. It promises that a request which waits for its client does
//! not count against `max_requests`, that at most a quarter of `max_requests` waits in addition, since each
//! holds memory, and that the slowest are cut off beyond it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use metrics::Gauge;

use crate::meter::Meter;
use crate::metric::MetricHandle;
use crate::object::slow_down;
use crate::s3::S3Error;

/// Client delay from which a request counts as waiting for its client. The round trip of a fast client is
/// shorter; after a longer one, the bytes that arrive reduce the delay at once.
const MIN_WAITING_DELAY: Duration = Duration::from_millis(100);

/// Divisor of the share of `max_requests` that no single client may use while there are others: an eighth.
const RESERVED_SHARE: usize = 8;

/// Counting the active requests takes microseconds, so a full table is not counted again within this
/// interval.
const MIN_RECOUNT_INTERVAL: Duration = Duration::from_millis(2);

/// How often clients that are too slow are searched for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

static REQUESTS_IN_FLIGHT: MetricHandle<Gauge> =
    MetricHandle::new(|| metrics::gauge!("s3veil_requests_under_way"));

/// Admits a limited number of requests. Refuses the others at once, since S3 clients retry: a queue would
/// hold connections and respond after its clients have given up.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    requests: Mutex<Requests>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Maximum number of requests that do not wait for their client.
    active: usize,
    /// Maximum number of those requests for one client.
    per_client: usize,
    /// Maximum number of requests that wait for their client.
    waiting: usize,
}

/// The requests in flight.
#[derive(Debug, Default)]
struct Requests {
    slots: Vec<Option<InFlightRequest>>,
    free: Vec<usize>,
    next_id: u64,
    total: Count,
    /// Estimated number of active requests: the last count of them, and the requests that began and ended
    /// since.
    active: Count,
    /// When the last count found the limit reached.
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
struct InFlightRequest {
    id: u64,
    client: usize,
    meter: Meter,
}

/// Counts a request as in flight until the last clone is dropped: with the end of its response, or later if
/// work continues after it.
#[derive(Debug, Clone)]
pub struct RequestPermit(Arc<Permit>);

#[derive(Debug)]
struct Permit {
    admission: Arc<Inner>,
    slot: usize,
    id: u64,
    meter: Meter,
}

impl Admission {
    /// Admits up to `max_requests` requests of `clients` clients.
    pub(crate) fn new(max_requests: usize, clients: usize) -> Self {
        Self::with_limits(max_requests, max_requests.div_ceil(4), clients)
    }

    fn with_limits(max_requests: usize, waiting: usize, clients: usize) -> Self {
        let reserved = if clients > 1 { max_requests.div_ceil(RESERVED_SHARE) } else { 0 };
        let limits = Limits { active: max_requests, per_client: (max_requests - reserved).max(1), waiting };
        let requests =
            Requests { total: Count::new(clients), active: Count::new(clients), ..Requests::default() };
        Self(Arc::new(Inner { limits, requests: Mutex::new(requests) }))
    }

    /// Admits a request of the client with this number, received on the connection of this meter.
    ///
    /// # Errors
    /// `SlowDown` at the limit.
    pub(crate) fn admit(&self, client: usize, meter: &Meter) -> Result<RequestPermit, S3Error> {
        meter.restart();
        let (slot, id) = {
            let mut requests = self.0.lock();
            requests.make_room(&self.0.limits, client).map_err(|Full| slow_down())?;
            requests.insert(client, meter.clone())
        };
        REQUESTS_IN_FLIGHT.with(|gauge| gauge.increment(1.0));
        let meter = meter.clone();
        Ok(RequestPermit(Arc::new(Permit { admission: Arc::clone(&self.0), slot, id, meter })))
    }

    /// Cuts off every client whose delay has reached `max_delay`, until the last clone of this value is
    /// dropped.
    pub(crate) fn cut_slow_clients(&self, max_delay: Duration) -> impl Future<Output = ()> + Send + use<> {
        let inner: Weak<Inner> = Arc::downgrade(&self.0);
        async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                ticks.tick().await;
                let Some(inner) = inner.upgrade() else { return };
                inner.lock().cut_slower_than(max_delay);
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestPermit {
    /// Whether the client of the request was cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.meter.is_cut()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.lock().remove(self.slot, self.id);
        REQUESTS_IN_FLIGHT.with(|gauge| gauge.decrement(1.0));
    }
}

/// No further request can be admitted.
#[derive(Debug, PartialEq, Eq)]
struct Full;

impl InFlightRequest {
    fn is_waiting(&self) -> bool {
        self.meter.delay() >= MIN_WAITING_DELAY
    }
}

impl Requests {
    fn insert(&mut self, client: usize, meter: Meter) -> (usize, u64) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let id = self.next_id;
        self.next_id += 1;
        self.slots[slot] = Some(InFlightRequest { id, client, meter });
        self.total.add(client);
        self.active.add(client);
        (slot, id)
    }

    /// Removes a request, unless it was cut off and so removed before.
    fn remove(&mut self, slot: usize, id: u64) {
        if let Some(request) = self.slots[slot].take_if(|request| request.id == id) {
            self.free.push(slot);
            self.total.subtract(request.client);
            if !request.is_waiting() {
                self.active.subtract(request.client);
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
        if !has_room && self.full_at.is_some_and(|full_at| now.duration_since(full_at) < MIN_RECOUNT_INTERVAL)
        {
            return Err(Full);
        }
        self.count_active();
        if !self.has_room(limits, client) {
            self.full_at = Some(now);
            return Err(Full);
        }
        if !has_memory {
            // Several at once, since more requests are expected to wait.
            self.cut_slowest(1 + limits.waiting / 32);
        }
        Ok(())
    }

    fn has_room(&self, limits: &Limits, client: usize) -> bool {
        let all = self.active.all.min(self.total.all);
        let of_client = self.active.by_client[client].min(self.total.by_client[client]);
        all < limits.active && of_client < limits.per_client
    }

    fn count_active(&mut self) {
        self.active = Count::new(self.active.by_client.len());
        for request in self.slots.iter().flatten().filter(|request| !request.is_waiting()) {
            self.active.add(request.client);
        }
    }

    /// Cuts off the slowest requests of the client with the most waiting requests.
    fn cut_slowest(&mut self, number: usize) {
        let mut waiting = vec![0_usize; self.active.by_client.len()];
        let slow = self.slots.iter().flatten().filter(|request| request.is_waiting());
        slow.for_each(|request| waiting[request.client] += 1);
        let Some(busiest) = (0..waiting.len()).max_by_key(|client| waiting[*client]) else { return };
        let slowest = self.slots.iter().enumerate().filter_map(|(slot, request)| {
            let request =
                request.as_ref().filter(|request| request.client == busiest && request.is_waiting())?;
            Some((request.meter.delay(), slot, request.id))
        });
        let mut slowest: Vec<_> = slowest.collect();
        slowest.sort_unstable_by(|one, next| next.cmp(one));
        for (_, slot, id) in slowest.into_iter().take(number) {
            self.cut(slot, id);
        }
    }

    fn cut_slower_than(&mut self, max_delay: Duration) {
        let too_slow = |(slot, request): (usize, &Option<InFlightRequest>)| {
            let request = request.as_ref().filter(|request| request.meter.delay() >= max_delay)?;
            Some((slot, request.id))
        };
        let too_slow: Vec<_> = self.slots.iter().enumerate().filter_map(too_slow).collect();
        too_slow.into_iter().for_each(|(slot, id)| self.cut(slot, id));
    }

    fn cut(&mut self, slot: usize, id: u64) {
        if let Some(request) = &self.slots[slot] {
            request.meter.cut();
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
    fn waiting(
        admission: &Admission,
        client: usize,
        number: usize,
    ) -> Vec<(RequestPermit, Meter, Direction)> {
        let begin = |_| {
            let meter = meter();
            let permit = admission.admit(client, &meter).unwrap();
            let mut sends = meter.direction();
            sends.wait(&Context::from_waker(Waker::noop())).unwrap();
            std::thread::sleep(Duration::from_millis(1));
            (permit, meter, sends)
        };
        let requests = (0..number).map(begin).collect();
        std::thread::sleep(MIN_WAITING_DELAY);
        requests
    }

    #[test]
    fn there_is_room_again_when_a_request_has_ended() {
        let admission = Admission::new(2, 1);
        let permit = [0, 0].map(|client| admission.admit(client, &meter()).unwrap());
        assert_eq!(admission.admit(0, &meter()).unwrap_err().code, ErrorCode::SlowDown);
        drop(permit);
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
        // A request that was cut off and ends later frees no second place.
        drop(slow);
        let _more: Vec<_> = (0..3).map(|_| admission.admit(0, &meter()).unwrap()).collect();
        assert_eq!(admission.admit(0, &meter()).unwrap_err().code, ErrorCode::SlowDown);
    }

    #[test]
    fn a_request_that_works_is_never_cut_off() {
        let admission = Admission::new(2, 1);
        let meters = [meter(), meter()];
        let _working: Vec<_> = meters.iter().map(|meter| admission.admit(0, meter).unwrap()).collect();
        std::thread::sleep(2 * MIN_WAITING_DELAY);
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
        let is_cut = |requests: &[(RequestPermit, Meter, Direction)]| {
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
        let sweeping = tokio::spawn(admission.cut_slow_clients(MIN_WAITING_DELAY));
        while !slow[0].1.is_cut() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!fast.is_cut());
        drop((admission, slow, _fast));
        sweeping.await.unwrap();
    }
}
