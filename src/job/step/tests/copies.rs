use std::sync::Mutex;

use super::*;

#[tokio::test]
async fn copies_wait_for_a_permit_and_looks_do_not() {
    let (storage, resources, _folder) = Storage::default().serve().await;
    let holder = ScriptedHolder::rewrapping(&["old", "new"]);
    let keys = ["a", "b", "c"];
    for key in keys {
        keep_native(&storage, &scripted(&resources, &holder, &["old"]), key, b"content").await;
    }
    let resources = scripted(&resources, &holder, &["new", "old"]);
    let permits = Arc::new(Semaphore::new(0));
    // Each request, with the permits that were free.
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (noted, counted) = (Arc::clone(&requests), Arc::clone(&permits));
    storage.before(move |request, _| {
        noted.lock().unwrap().push((request.method().clone(), counted.available_permits()));
        None
    });
    let rows = keys.map(|key| {
        let (resources, permits) = (resources.clone(), Arc::clone(&permits));
        tokio::spawn(
            async move { Step::Rewrap.run(&resources, &row(key, None), Writes::Copies(&permits)).await },
        )
    });
    let heads = || requests.lock().unwrap().iter().filter(|(method, _)| *method == Method::HEAD).count();
    while heads() < keys.len() {
        tokio::task::yield_now().await;
    }
    let looked = requests.lock().unwrap().len();
    permits.add_permits(1);
    for row in rows {
        assert_succeeded(&row.await.unwrap());
    }
    let requests = std::mem::take(&mut *requests.lock().unwrap());
    let copies = |requests: &[(Method, usize)]| {
        requests
            .iter()
            .filter(|(method, _)| *method == Method::PUT)
            .map(|(_, free)| *free)
            .collect::<Vec<_>>()
    };
    assert!(copies(&requests[..looked]).is_empty(), "{requests:?}");
    assert_eq!(copies(&requests), [0; 3], "each copy holds the permit: {requests:?}");
    assert_eq!(requests.last(), Some(&(Method::HEAD, 1)), "the last look at an object holds no permit");
    assert_eq!(permits.available_permits(), 1);
}
