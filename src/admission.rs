//! Admission control: a limit of the requests in flight, and a lower one for each client while there are
//! others. It must not know what a request does. It promises that a request which waits for its client does
//! not count against `max_requests`, that at most an eighth of `max_requests` waits in addition, since each
//! holds memory, and that the slowest are cut off beyond it. A request that finds no place waits for one, not
//! longer than its client would wait before it repeats the request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Gauge;
use tokio::sync::Notify;

use crate::meter::Meter;
use crate::metric::MetricHandle;
use crate::object::slow_down;
use crate::s3::S3Error;
use crate::timer;

/// Client delay from which a request counts as waiting for its client. The round trip of a fast client is
/// shorter; after a longer one, the bytes that arrive reduce the delay at once.
const MIN_WAITING_DELAY: Duration = Duration::from_millis(100);

/// Divisor of the share of `max_requests` that no single client may use while there are others: an eighth.
const RESERVED_SHARE: usize = 8;

/// Divisor of the share of `max_requests` that may wait for their clients in addition to those that do not.
const WAITING_SHARE: usize = 8;

/// Counting the active requests takes microseconds, so a full table is not counted again within this
/// interval.
const MIN_RECOUNT_INTERVAL: Duration = Duration::from_millis(2);

/// How long a request waits for a place before it is refused: a burst has passed by then, and SDKs repeat a
/// refused request after about as long.
const MAX_WAIT: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(1) };

/// A request that waits looks for a place at this interval too, since one that begins to wait for its client
/// leaves a place without ending.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

static REQUESTS_IN_FLIGHT: MetricHandle<Gauge> =
    MetricHandle::new(|| metrics::gauge!("s3veil_requests_in_flight"));

/// Admits a limited number of requests. Others wait for a short time and are refused then: S3 clients retry,
/// and a long queue would respond after its clients have given up.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner(Mutex<Requests>);

#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Maximum number of requests that do not wait for their client.
    active: usize,
    /// Maximum number of those requests for one client.
    per_client: usize,
    /// Maximum number of requests that wait for their client.
    waiting: usize,
}

impl Limits {
    fn new(max_requests: usize, waiting: usize, clients: usize) -> Self {
        let reserved = if clients > 1 { max_requests.div_ceil(RESERVED_SHARE) } else { 0 };
        Self { active: max_requests, per_client: (max_requests - reserved).max(1), waiting }
    }
}

/// The requests in flight.
#[derive(Debug)]
struct Requests {
    limits: Limits,
    /// Wakes the requests that wait for a place, by client, the first one first.
    places: Vec<Arc<Notify>>,
    slots: Vec<Option<InFlightRequest>>,
    free: Vec<usize>,
    next_id: u64,
    total: Count,
    /// Estimated number of active requests: the last count of them, and the requests that began and ended
    /// since.
    active: Count,
    /// When the last count found the limit reached.
    full_at: Option<Instant>,
    /// The requests that wait for a place.
    queued: Count,
    /// The client whose request received the last place that became free.
    last_served: usize,
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

    fn grow(&mut self, clients: usize) {
        let clients = clients.max(self.by_client.len());
        self.by_client.resize(clients, 0);
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
        Self::with_limits(max_requests, max_requests.div_ceil(WAITING_SHARE), clients)
    }

    fn with_limits(max_requests: usize, waiting: usize, clients: usize) -> Self {
        let requests = Requests {
            limits: Limits::new(max_requests, waiting, clients),
            places: (0..clients).map(|_| Arc::default()).collect(),
            slots: Vec::new(),
            free: Vec::new(),
            next_id: 0,
            total: Count::new(clients),
            active: Count::new(clients),
            full_at: None,
            queued: Count::new(clients),
            last_served: 0,
        };
        Self(Arc::new(Inner(Mutex::new(requests))))
    }

    /// Changes the limits to `max_requests` and at least as many clients as before. The requests in flight
    /// count against the new limits.
    pub(crate) fn resize(&self, max_requests: usize, clients: usize) {
        let mut requests = self.0.lock();
        requests.limits = Limits::new(max_requests, max_requests.div_ceil(WAITING_SHARE), clients);
        let clients = clients.max(requests.places.len());
        requests.places.resize_with(clients, Arc::default);
        let Requests { total, active, queued, .. } = &mut *requests;
        [total, active, queued].into_iter().for_each(|count| count.grow(clients));
    }

    /// Admits a request of the client with this number, received on the connection of this meter. At the
    /// limit, the request waits behind the client's other requests.
    ///
    /// # Errors
    /// `SlowDown` after [`MAX_WAIT`].
    pub(crate) async fn admit(&self, client: usize, meter: &Meter) -> Result<RequestPermit, S3Error> {
        if let Ok(permit) = self.admit_unless_queued(client, meter) {
            return Ok(permit);
        }
        // On the heap, since few requests wait.
        Box::pin(self.wait(client, meter)).await
    }

    async fn wait(&self, client: usize, meter: &Meter) -> Result<RequestPermit, S3Error> {
        let (_queued, place) = Queued::enter(&self.0, client);
        let until = Instant::now() + MAX_WAIT;
        loop {
            let look_again = until.min(Instant::now() + RETRY_INTERVAL);
            let is_over =
                timer::timeout_at(look_again, place.notified()).await.is_err() && look_again == until;
            match self.try_admit(client, meter) {
                Ok(permit) => return Ok(permit),
                Err(Full) if is_over => return Err(slow_down()),
                Err(Full) => {}
            }
        }
    }

    /// Admits a request unless others of its client wait.
    fn admit_unless_queued(&self, client: usize, meter: &Meter) -> Result<RequestPermit, Full> {
        let mut requests = self.0.lock();
        if requests.queued.by_client[client] > 0 {
            return Err(Full);
        }
        self.admit_to(&mut requests, client, meter)
    }

    fn try_admit(&self, client: usize, meter: &Meter) -> Result<RequestPermit, Full> {
        self.admit_to(&mut self.0.lock(), client, meter)
    }

    fn admit_to(&self, requests: &mut Requests, client: usize, meter: &Meter) -> Result<RequestPermit, Full> {
        meter.restart();
        requests.make_room(client)?;
        let (slot, id) = requests.insert(client, meter.clone());
        REQUESTS_IN_FLIGHT.with(|gauge| gauge.increment(1.0));
        let meter = meter.clone();
        Ok(RequestPermit(Arc::new(Permit { admission: Arc::clone(&self.0), slot, id, meter })))
    }

    /// Cuts off every client whose delay has reached `max_delay`.
    pub(crate) fn cut_slower_than(&self, max_delay: Duration) {
        self.0.lock().cut_slower_than(max_delay);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let next = {
            let mut requests = self.admission.lock();
            requests.remove(self.slot, self.id);
            requests.next_client().map(|client| Arc::clone(&requests.places[client]))
        };
        if let Some(place) = next {
            place.notify_one();
        }
        REQUESTS_IN_FLIGHT.with(|gauge| gauge.decrement(1.0));
    }
}

/// Counts a request as waiting for a place until it is dropped.
struct Queued<'a> {
    admission: &'a Inner,
    client: usize,
}

impl<'a> Queued<'a> {
    /// Also returns what wakes the request.
    fn enter(admission: &'a Inner, client: usize) -> (Self, Arc<Notify>) {
        let mut requests = admission.lock();
        requests.queued.add(client);
        (Self { admission, client }, Arc::clone(&requests.places[client]))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.admission.lock().queued.subtract(self.client);
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

    /// The client whose request gets the place that has become free: the next one that has a request waiting,
    /// and is below its own limit.
    fn next_client(&mut self) -> Option<usize> {
        if self.queued.all == 0 {
            return None;
        }
        let queued = &self.queued.by_client;
        let mut turns = (1..=queued.len()).map(|turn| (self.last_served + turn) % queued.len());
        let next = turns.find(|client| queued[*client] > 0 && self.has_room(*client))?;
        self.last_served = next;
        Some(next)
    }

    fn make_room(&mut self, client: usize) -> Result<(), Full> {
        let limits = self.limits;
        let has_memory = self.total.all < limits.active + limits.waiting;
        let has_room = self.has_room(client);
        if has_room && has_memory {
            return Ok(());
        }
        let now = Instant::now();
        if !has_room && self.full_at.is_some_and(|full_at| now.duration_since(full_at) < MIN_RECOUNT_INTERVAL)
        {
            return Err(Full);
        }
        self.count_active();
        if !self.has_room(client) {
            self.full_at = Some(now);
            return Err(Full);
        }
        if !has_memory {
            // Several at once, since more requests are expected to wait.
            self.cut_slowest(1 + limits.waiting / 32);
        }
        Ok(())
    }

    fn has_room(&self, client: usize) -> bool {
        let all = self.active.all.min(self.total.all);
        let of_client = self.active.by_client[client].min(self.total.by_client[client]);
        all < self.limits.active && of_client < self.limits.per_client
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
mod tests;
