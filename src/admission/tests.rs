use std::task::{Context, Waker};

use super::*;
use crate::meter::Direction;
use crate::s3::ErrorCode;

fn meter() -> Meter {
    Meter::new(1024)
}

/// Requests that wait for their client, the longest first.
fn waiting(admission: &Admission, client: usize, number: usize) -> Vec<(RequestPermit, Meter, Direction)> {
    let begin = |_| {
        let meter = meter();
        let permit = admission.try_admit(client, &meter).unwrap();
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
    let permit = [0, 0].map(|client| admission.try_admit(client, &meter()).unwrap());
    assert_eq!(admission.try_admit(0, &meter()).unwrap_err(), Full);
    drop(permit);
    admission.try_admit(0, &meter()).unwrap();
}

#[test]
fn requests_that_wait_for_their_client_take_no_place() {
    let admission = Admission::with_limits(4, 2, 1);
    let _waiting = waiting(&admission, 0, 4);
    let _active: Vec<_> = (0..2).map(|_| admission.try_admit(0, &meter()).unwrap()).collect();
}

#[test]
fn when_too_many_wait_the_slowest_is_cut_off() {
    // Four that work, and two more that wait.
    let admission = Admission::with_limits(4, 2, 1);
    let mut slow = waiting(&admission, 0, 4);
    slow.extend(waiting(&admission, 0, 2));
    let _active = admission.try_admit(0, &meter()).unwrap();
    let cut: Vec<_> = slow.iter().map(|(_, meter, _)| meter.is_cut()).collect();
    assert_eq!(cut, [true, false, false, false, false, false]);
    // A request that was cut off and ends later frees no second place.
    drop(slow);
    let _more: Vec<_> = (0..3).map(|_| admission.try_admit(0, &meter()).unwrap()).collect();
    assert_eq!(admission.try_admit(0, &meter()).unwrap_err(), Full);
}

#[test]
fn a_request_that_works_is_never_cut_off() {
    let admission = Admission::new(2, 1);
    let meters = [meter(), meter()];
    let _working: Vec<_> = meters.iter().map(|meter| admission.try_admit(0, meter).unwrap()).collect();
    std::thread::sleep(2 * MIN_WAITING_DELAY);
    assert_eq!(admission.try_admit(0, &meter()).unwrap_err(), Full);
    assert!(meters.iter().all(|meter| !meter.is_cut()));
}

#[test]
fn one_client_leaves_room_for_the_others() {
    let admission = Admission::new(16, 2);
    let _busy: Vec<_> = (0..14).map(|_| admission.try_admit(0, &meter()).unwrap()).collect();
    assert_eq!(admission.try_admit(0, &meter()).unwrap_err(), Full);
    let _other = [1, 1].map(|client| admission.try_admit(client, &meter()).unwrap());
    assert_eq!(admission.try_admit(1, &meter()).unwrap_err(), Full);
}

#[test]
fn the_client_with_the_most_slow_requests_loses_one_first() {
    let admission = Admission::with_limits(6, 3, 2);
    let one = waiting(&admission, 1, 1);
    let many = waiting(&admission, 0, 5);
    let many_more = waiting(&admission, 0, 3);
    let _fresh = admission.try_admit(1, &meter()).unwrap();
    let is_cut = |requests: &[(RequestPermit, Meter, Direction)]| {
        requests.iter().filter(|(_, meter, _)| meter.is_cut()).count()
    };
    assert_eq!((is_cut(&one), is_cut(&many), is_cut(&many_more)), (0, 1, 0));
}

#[test]
fn a_client_that_stays_too_slow_is_cut_off() {
    let admission = Admission::new(4, 1);
    let slow = waiting(&admission, 0, 1);
    let fast = meter();
    let _fast = admission.try_admit(0, &fast).unwrap();
    admission.cut_slower_than(MIN_WAITING_DELAY);
    assert!(slow[0].1.is_cut() && !fast.is_cut());
}

#[test]
fn new_limits_count_the_requests_in_flight() {
    let admission = Admission::new(1, 1);
    let first = admission.try_admit(0, &meter()).unwrap();
    admission.resize(8, 3);
    let _more: Vec<_> = (0..6).map(|_| admission.try_admit(0, &meter()).unwrap()).collect();
    assert_eq!(admission.try_admit(0, &meter()).unwrap_err(), Full);
    let _other = admission.try_admit(2, &meter()).unwrap();
    assert_eq!(admission.try_admit(1, &meter()).unwrap_err(), Full);
    drop(first);
    let _last = admission.try_admit(1, &meter()).unwrap();
    // A client that is gone keeps its number while its requests are in flight.
    admission.resize(8, 1);
    assert_eq!(admission.try_admit(2, &meter()).unwrap_err(), Full);
}

#[tokio::test]
async fn a_request_waits_for_a_place_but_not_for_long() {
    let admission = Admission::new(1, 1);
    let permit = admission.admit(0, &meter()).await.unwrap();
    let refused = admission.admit(0, &meter()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::SlowDown);
    let waiting = admission.clone();
    let waiting = tokio::spawn(async move { waiting.admit(0, &meter()).await });
    while admission.0.lock().queued.all == 0 {
        tokio::task::yield_now().await;
    }
    drop(permit);
    waiting.await.unwrap().unwrap();
    assert_eq!(admission.0.lock().queued.by_client, [0]);
}

async fn next<T>(order: &mut tokio::sync::mpsc::UnboundedReceiver<T>) -> T {
    let next = tokio::time::timeout(Duration::from_secs(10), order.recv()).await;
    next.expect("a place became free").expect("there is a sender")
}

#[tokio::test]
async fn places_go_to_the_first_and_to_one_client_after_the_other() {
    let admission = Admission::new(2, 2);
    let mut permits = vec![admission.admit(0, &meter()).await.unwrap()];
    permits.push(admission.admit(1, &meter()).await.unwrap());
    let (admitted, mut order) = tokio::sync::mpsc::unbounded_channel();
    for (number, client) in [0, 0, 1, 1].into_iter().enumerate() {
        let (waiting, admitted) = (admission.clone(), admitted.clone());
        tokio::spawn(async move {
            let permit = waiting.admit(client, &meter()).await.unwrap();
            admitted.send((number, permit)).unwrap();
        });
        while admission.0.lock().queued.all <= number {
            tokio::task::yield_now().await;
        }
    }
    let mut numbers = Vec::new();
    for permit in permits {
        drop(permit);
        let (number, permit) = next(&mut order).await;
        numbers.push(number);
        drop(permit);
        let (number, _permit) = next(&mut order).await;
        numbers.push(number);
    }
    assert!(numbers.iter().position(|it| *it == 0) < numbers.iter().position(|it| *it == 1), "{numbers:?}");
    assert!(numbers.iter().position(|it| *it == 2) < numbers.iter().position(|it| *it == 3), "{numbers:?}");
}
