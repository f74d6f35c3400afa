//! Requests at the same moment, from one process or, as two stores on one directory, from two.

use super::uploads::{abort, complete, create, part, upload};
use super::*;

/// Two stores on one directory.
async fn two(root: &Path) -> [Upstream; 2] {
    [open(root).await, open(root).await]
}

/// The statuses of requests sent together.
async fn together(
    stores: &[Upstream; 2],
    count: usize,
    request: impl Fn(usize) -> UpstreamRequest,
) -> Vec<u16> {
    let sending: Vec<_> = (0..count)
        .map(|number| {
            let (upstream, request) = (stores[number % 2].clone(), request(number));
            tokio::spawn(async move {
                let response = upstream.send(request).await.unwrap();
                let status = response.status().as_u16();
                read(response).await;
                status
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for task in sending {
        statuses.push(task.await.unwrap());
    }
    statuses.sort();
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_must_be_the_first_one_is() {
    let root = tempfile::tempdir().unwrap();
    let stores = two(root.path()).await;
    for round in 0..20 {
        let key = format!("k{round}");
        let first = |number: usize| {
            let content = pattern(1000 + number);
            let body = if number.is_multiple_of(3) {
                stream(&content, 300)
            } else {
                UpstreamBody::Content(content.clone())
            };
            with_headers(put(&key, body), &[("if-none-match", "*")])
        };
        let statuses = together(&stores, 12, first).await;
        assert_eq!(statuses, [&[200][..], &[412; 11]].concat());
        let etag = etag_of(&expect(&stores[0], get(&key), 200).await.0);
        let successor = |_| {
            let request = put(&key, UpstreamBody::Content(pattern(2000)));
            with_headers(request, &[("if-match", etag.as_str())])
        };
        assert_eq!(together(&stores, 12, successor).await, [&[200][..], &[412; 11]].concat());
    }
}

/// A reader sees the content, length, ETag and metadata of one write.
#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_halves() {
    let root = tempfile::tempdir().unwrap();
    let stores = two(root.path()).await;
    let write = |number: usize| {
        let size = 100_000 + number;
        with_headers(put("k", stream(&pattern(size), 50_000)), &[("x-amz-meta-size", &size.to_string())])
    };
    expect(&stores[0], write(0), 200).await;
    let writer = stores[1].clone();
    let writing = tokio::spawn(async move {
        for number in 1..60 {
            expect(&writer, write(number), 200).await;
        }
    });
    while !writing.is_finished() {
        let (headers, body) = expect(&stores[0], get("k"), 200).await;
        assert_eq!(headers["x-amz-meta-size"], body.len().to_string().as_str());
        assert_eq!(body, pattern(body.len()));
    }
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_completed_once_and_all_who_ask_hear_of_it() {
    let root = tempfile::tempdir().unwrap();
    let stores = two(root.path()).await;
    let before = files(root.path()).len();
    let content = pattern(5 << 20);
    let id = create(&stores[0], "k").await;
    let one = upload(&stores[0], "k", &id, 1, &content).await;
    let two = upload(&stores[1], "k", &id, 2, &content).await;
    let parts = [(1, one.as_str()), (2, two.as_str())];
    let statuses = together(&stores, 6, |_| complete("k", &id, &parts)).await;
    assert_eq!(statuses, [200; 6]);
    assert_eq!(expect(&stores[0], get("k"), 200).await.1, [&content[..], &content[..]].concat());
    assert_eq!(files(root.path()).len(), before + 1);
    // The repetition of a request whose answer got lost, but no other.
    let conditional = with_headers(complete("k", &id, &parts), &[("if-none-match", "*")]);
    let repeated = expect_xml(&stores[0], conditional, 200).await;
    assert!(elements(&repeated, "ETag")[0].contains("-2"));
    assert_eq!(refused(&stores[0], complete("k", &id, &parts[..1]), 404).await, "NoSuchUpload");
    expect(&stores[0], put("k", UpstreamBody::Content(pattern(3))), 200).await;
    assert_eq!(refused(&stores[0], complete("k", &id, &parts), 404).await, "NoSuchUpload");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_can_be_conditional_and_a_refused_one_can_be_repeated() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let etag = etag_of(&expect(&upstream, put("k", UpstreamBody::Content(pattern(3))), 200).await.0);
    let id = create(&upstream, "k").await;
    let one = upload(&upstream, "k", &id, 1, &pattern(10)).await;
    let parts = [(1, one.as_str())];
    for (name, value, status) in
        [("if-none-match", "*", 412), ("if-match", "\"other\"", 412), ("if-match", etag.as_str(), 200)]
    {
        expect(&upstream, with_headers(complete("k", &id, &parts), &[(name, value)]), status).await;
    }
    assert_eq!(expect(&upstream, get("k"), 200).await.1, pattern(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_and_completion_agree_on_what_happened() {
    let root = tempfile::tempdir().unwrap();
    let stores = two(root.path()).await;
    let before = files(root.path()).len();
    let mut objects = 0;
    for round in 0..30 {
        let key = format!("k{round}");
        let id = create(&stores[0], &key).await;
        let one = upload(&stores[0], &key, &id, 1, &pattern(300_000)).await;
        let statuses = together(&stores, 2, |number| {
            if number == 0 { complete(&key, &id, &[(1, &one)]) } else { abort(&key, &id) }
        })
        .await;
        let is_there = stores[0].send(get(&key)).await.unwrap().status() == 200;
        objects += usize::from(is_there);
        // Completed: 200 and a late abort's 404. Aborted: 204 and a 4xx for the parts that are gone.
        let expected: &[[u16; 2]] = if is_there { &[[200, 404]] } else { &[[204, 404], [204, 400]] };
        assert!(
            expected.iter().any(|pair| statuses.iter().all(|status| pair.contains(status))),
            "{statuses:?}"
        );
    }
    assert_eq!(files(root.path()).len(), before + objects, "nothing is left of either");
}

/// What holds all names of a store until it is dropped, as another process would.
fn hold_everything(root: &Path) -> Vec<std::fs::File> {
    let locks = files(&root.join(".locks")).into_iter().filter(|path| !path.ends_with("in-use"));
    let locks = locks.map(|path| std::fs::File::options().write(true).open(path).unwrap());
    locks.inspect(|lock| lock.lock().unwrap()).collect()
}

/// As S3 does it: 200 first, spaces, then what came of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_outcome_is_told_in_the_body() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    for (succeeds, element) in [(true, "CompleteMultipartUploadResult"), (false, "Error")] {
        let id = create(&upstream, "k").await;
        let one = upload(&upstream, "k", &id, 1, &pattern(10)).await;
        let held = hold_everything(root.path());
        let response = upstream.send(complete("k", &id, &[(1, &one)])).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().get("transfer-encoding")), (200, None));
        if !succeeds {
            std::fs::remove_dir_all(root.path().join(".uploads/demo").join(&id)).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        let reading = tokio::spawn(read(response));
        tokio::time::sleep(Duration::from_millis(250)).await;
        drop(held);
        let body = String::from_utf8(reading.await.unwrap().to_vec()).unwrap();
        let (declaration, rest) = body.split_at(body.find("?>").unwrap() + 2);
        assert!(declaration.starts_with("<?xml") && rest.starts_with(' '), "{body}");
        assert!(rest.trim_start().starts_with(&format!("<{element}")), "{body}");
        assert!(!succeeds || rest.contains("-1"), "{body}");
        assert!(succeeds || elements(rest, "Code") == ["NoSuchUpload"], "{body}");
    }
}

/// A client that vanishes at any moment leaves a whole part or none.
#[tokio::test(flavor = "multi_thread")]
async fn vanishing_clients_leave_whole_parts_or_none() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let id = create(&upstream, "k").await;
    let before = files(root.path()).len();
    for number in 1..300_u64 {
        let body = stream(&pattern(400_000), 100_000);
        let sending = upstream.send(part("k", &id, i32::try_from(number).unwrap(), body));
        let _ = tokio::time::timeout(Duration::from_micros(number * 15), sending).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let list = query_request(Method::GET, Some("k"), &[("uploadId", &id)], UpstreamBody::Empty);
    let xml = expect_xml(&upstream, list, 200).await;
    let sizes = elements(&xml, "Size");
    assert!(sizes.iter().all(|size| size == "400000"));
    assert_eq!(files(root.path()).len(), before + sizes.len());
}

/// Another process's work is not swept away.
#[tokio::test]
async fn a_second_store_leaves_the_work_of_the_first_alone() {
    let root = tempfile::tempdir().unwrap();
    let upstream = open(root.path()).await;
    let content = pattern(600_000);
    let steps = [
        Step::Give(content.slice(..400_000)),
        Step::Wait(Duration::from_millis(300)),
        Step::Give(content.slice(400_000..)),
    ];
    let body = UpstreamBody::StreamedContent { body: script(steps), length: 600_000 };
    let sending = tokio::spawn({
        let upstream = upstream.clone();
        async move { upstream.send(put("k", body)).await.unwrap().status() }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(std::fs::read_dir(root.path().join(".temporary")).unwrap().count(), 1);
    let second = open(root.path()).await;
    assert_eq!(sending.await.unwrap(), 200);
    assert_eq!(expect(&second, get("k"), 200).await.1, content);
}
