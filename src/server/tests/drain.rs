use super::*;

#[tokio::test]
async fn a_drain_lets_running_requests_end_and_takes_no_new_ones() {
    let running = start(settings()).await;
    let (mut idle, mut busy) = (running.connect().await, running.connect().await);
    send(&mut idle, &get("/")).await;
    assert_eq!(receive(&mut idle).await.0, 200);
    send(&mut busy, &get("/wait")).await;
    running.arrived.notified().await;
    running.shutdown.send(()).expect("the server runs");

    assert!(until_closed(&mut idle).await.is_empty());
    let refused = TcpStream::connect(running.address).await.expect_err("the listener is closed");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    running.release.notify_one();
    assert_eq!(receive(&mut busy).await, (200, "waited".to_owned()));
    assert!(until_closed(&mut busy).await.is_empty());
    assert_eq!(running.ended.await.expect("no panic"), DrainOutcome { cut: 0 });
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let running = start(Settings { drain_timeout: SHORT, ..settings() }).await;
    let mut busy = running.connect().await;
    send(&mut busy, &get("/wait")).await;
    running.arrived.notified().await;
    let begun = Instant::now();
    running.shutdown.send(()).expect("the server runs");
    assert_eq!(running.ended.await.expect("no panic"), DrainOutcome { cut: 1 });
    assert!(begun.elapsed() >= SHORT);
    assert!(until_closed(&mut busy).await.is_empty());
}

#[tokio::test]
async fn during_the_delay_requests_are_served_and_their_connections_closed() {
    let running = start(Settings { drain_delay: LONG, ..settings() }).await;
    let (mut idle, mut used) = (running.connect().await, running.connect().await);
    for stream in [&mut idle, &mut used] {
        send(stream, &get("/")).await;
        let (head, _) = receive_head(stream).await;
        assert!(!head.contains("connection: close"), "{head}");
    }
    let address = running.address;
    running.shutdown.send(()).expect("the server runs");
    loop {
        let mut new = TcpStream::connect(address).await.expect("the port is open");
        send(&mut new, &get("/")).await;
        let (head, _) = receive_head(&mut new).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        if head.contains("connection: close") {
            break;
        }
    }
    send(&mut used, &get("/")).await;
    let response = String::from_utf8(until_closed(&mut used).await).expect("text").to_lowercase();
    assert!(response.contains("http/1.1 200") && response.contains("connection: close"), "{response}");
    let still_open = tokio::time::timeout(SHORT, idle.read_u8()).await;
    assert!(still_open.is_err(), "an idle connection stays open during the delay");
    running.ended.abort();
}

#[tokio::test]
async fn connections_that_wait_for_room_are_served_before_a_shared_port_closes() {
    let running = start(Settings { max_connections: 1, reuse_port: true, ..settings() }).await;
    let mut held = Vec::new();
    for _ in 0..=MAX_SURPLUS {
        let mut one = running.connect().await;
        send(&mut one, &get("/surplus")).await;
        assert_eq!(receive(&mut one).await.0, 200);
        held.push(one);
    }
    let mut waiting = running.connect().await;
    send(&mut waiting, &get("/surplus")).await;
    running.shutdown.send(()).expect("the server runs");
    drop(held);
    assert_eq!(receive(&mut waiting).await.0, 200);
    running.ended.await.expect("no panic");
}

#[tokio::test]
async fn connections_that_wait_to_be_accepted_are_served_before_the_port_closes() {
    let running = start(settings()).await;
    // The server runs on this thread, and accepts no connection meanwhile.
    let connect = |_| std::net::TcpStream::connect(running.address).expect("a connection");
    let waiting: Vec<_> = (0..50).map(connect).collect();
    running.shutdown.send(()).expect("the server runs");
    for stream in waiting {
        stream.set_nonblocking(true).expect("a socket");
        let mut stream = TcpStream::from_std(stream).expect("a socket");
        send(&mut stream, &get("/")).await;
        assert_eq!(receive(&mut stream).await.0, 200);
    }
    assert_eq!(running.ended.await.expect("no panic"), DrainOutcome { cut: 0 });
}

/// A client that connected before the shutdown, and whose first request comes after it.
#[tokio::test]
async fn a_first_request_on_its_way_is_served() {
    let running = start(settings()).await;
    let (mut late, mut used) = (running.connect().await, running.connect().await);
    // The server has accepted a connection when it serves a later one.
    send(&mut used, &get("/")).await;
    assert_eq!(receive(&mut used).await.0, 200);
    running.shutdown.send(()).expect("the server runs");
    assert!(until_closed(&mut used).await.is_empty(), "the drain has begun");
    send(&mut late, &get("/")).await;
    assert_eq!(receive(&mut late).await, (200, "hello".to_owned()));
    assert_eq!(running.ended.await.expect("no panic"), DrainOutcome { cut: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_takes_over_the_port_without_a_refused_connection() {
    let mut old = start(Settings { reuse_port: true, ..settings() }).await;
    let address = old.address;
    let clients = tokio::spawn(async move {
        let mut served = 0;
        loop {
            let mut stream = TcpStream::connect(address).await.expect("no connection is refused");
            send(&mut stream, &get("/")).await;
            assert_eq!(receive(&mut stream).await.0, 200);
            served += 1;
            if served == 300 {
                return;
            }
        }
    });
    for _ in 0..3 {
        let new = start(Settings { reuse_port: true, address, ..settings() }).await;
        old.shutdown.send(()).expect("the server runs");
        old.ended.await.expect("no panic");
        old = new;
    }
    clients.await.expect("no failed request");
}

#[tokio::test]
async fn a_port_is_shared_only_if_both_say_so() {
    let first = Server::bind(Settings { reuse_port: true, ..settings() }).await.expect("a port");
    let address = first.local_address();
    Server::bind(Settings { address, ..settings() }).await.expect_err("the port is taken");
    Server::bind(Settings { address, reuse_port: true, ..settings() }).await.expect("a shared port");
}

fn handed_over(name: &str) -> (HandedOver, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (HandedOver { name: name.to_owned(), listener }, address)
}

#[tokio::test]
async fn a_handed_over_socket_serves_and_outlives_the_server() {
    let (socket, address) = handed_over("s3");
    let kept = socket.listener.try_clone().expect("a socket");
    let running = start_bound(Server::adopt(settings(), socket).expect("a listener"));
    assert_eq!(running.address, address);
    let mut stream = running.connect().await;
    send(&mut stream, &get("/")).await;
    assert_eq!(receive(&mut stream).await.0, 200);
    running.shutdown.send(()).expect("the server runs");
    running.ended.await.expect("no panic");

    let mut waiting = TcpStream::connect(address).await.expect("the socket still listens");
    send(&mut waiting, &get("/")).await;
    let again = start_bound(
        Server::adopt(settings(), HandedOver { name: String::new(), listener: kept }).expect("it"),
    );
    assert_eq!(receive(&mut waiting).await.0, 200);
    again.ended.abort();
}

#[tokio::test]
async fn handed_over_sockets_are_found_by_name_then_by_address() {
    const NAMES: [&str; 2] = ["s3", "admin"];
    let (named, at_address) = (handed_over("admin"), handed_over("unit.socket"));
    let mut sockets = vec![named.0, at_address.0];
    assert!(HandedOver::take(&mut sockets, "s3", &NAMES, named.1).is_none(), "it is named otherwise");
    let found = HandedOver::take(&mut sockets, "s3", &NAMES, at_address.1).expect("by its address");
    assert_eq!(found.name, "unit.socket");
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let found = HandedOver::take(&mut sockets, "admin", &NAMES, elsewhere).expect("by its name");
    assert_eq!((found.name.as_str(), sockets.len()), ("admin", 0));
    let refusal = found.refuse_unused(&NAMES).to_string();
    assert!(refusal.starts_with("the socket handed over as \"admin\" listens on 127.0.0.1:"), "{refusal}");
}

#[tokio::test]
async fn unsuitable_handed_over_sockets_are_refused() {
    let open = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let socket = HandedOver { name: "s3".to_owned(), listener: open };
    let refusal = Server::adopt(settings(), socket).expect_err("This is a security issue.").to_string();
    assert!(refusal.contains("which can be reached from outside, and `listen.address`"), "{refusal}");

    let (served, address) = handed_over("");
    let _client = std::net::TcpStream::connect(address).expect("a connection");
    let accepted = served.listener.accept().expect("a connection").0;
    let socket = HandedOver { name: "s3".to_owned(), listener: std::os::fd::OwnedFd::from(accepted).into() };
    let refusal = Server::adopt(settings(), socket).expect_err("it is a connection").to_string();
    assert!(refusal.contains("does not listen"), "{refusal}");
}
