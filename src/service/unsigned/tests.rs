use super::*;
use crate::s3::ErrorCode;

fn enter(limit: &RequestLimit, peer: &str) -> Result<UnsignedPermit, ErrorCode> {
    limit.enter(SocketAddr::new(peer.parse().unwrap(), 1)).map_err(|error| error.code)
}

#[test]
fn one_address_does_not_use_the_whole_limit() {
    let limit = RequestLimit::new(8);
    for pair in
        [["192.0.2.1", "192.0.2.1"], ["192.0.2.2", "::ffff:192.0.2.2"], ["2001:db8::1", "2001:db8::2:3"]]
    {
        let permits = pair.map(|peer| enter(&limit, peer).unwrap());
        assert_eq!(enter(&limit, pair[0]).unwrap_err(), ErrorCode::SlowDown, "{pair:?}");
        let _other = enter(&limit, "198.51.100.1").unwrap();
        drop(permits);
        enter(&limit, pair[0]).unwrap();
    }
}

#[test]
fn the_limit_holds() {
    let limit = RequestLimit::new(8);
    let permits: Vec<_> = (0..8).map(|last| enter(&limit, &format!("192.0.2.{last}")).unwrap()).collect();
    assert_eq!(enter(&limit, "192.0.2.99").unwrap_err(), ErrorCode::SlowDown);
    drop(permits);
    enter(&limit, "192.0.2.99").unwrap();
    assert!(limit.lock().by_address.is_empty(), "an address without requests takes no memory");
}
