use super::*;

fn pair(names: &[&str]) -> KeyPair {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    KeyPair::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap()
}

#[test]
fn the_name_chooses_the_certificate() {
    let (default, exact, wildcard) =
        (pair(&["s3.example.com"]), pair(&["A.example.com"]), pair(&["*.example.com", "other.example"]));
    let mut tls = Tls::new(default.clone());
    tls.add_host(exact.clone()).unwrap();
    tls.add_host(wildcard.clone()).unwrap();
    for (name, chosen) in [
        ("s3.example.com", &default),
        ("a.example.com", &exact),
        ("b.example.com", &wildcard),
        ("other.example", &wildcard),
        ("a.b.example.com", &default),
        ("example.com", &default),
        ("b.other.example", &default),
        ("localhost", &default),
        ("", &default),
    ] {
        assert!(Arc::ptr_eq(tls.certificates.for_name(name), &chosen.key), "{name}");
    }
    let names: Vec<_> = tls.validities().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["certificate", "host.certificate a.example.com", "host.certificate *.example.com"]);
}

#[test]
fn a_host_name_belongs_to_one_certificate() {
    let mut tls = Tls::new(pair(&["s3.example.com"]));
    tls.add_host(pair(&["a.example.com", "*.example.com"])).unwrap();
    for name in ["s3.example.com", "a.example.com", "*.example.com"] {
        let refused = tls.add_host(pair(&["b.example", name]));
        assert_eq!(refused, Err(TlsError::DuplicateHostName(name.to_owned())));
    }
    assert_eq!(tls.add_host(pair(&["192.0.2.1"])), Err(TlsError::NoHostName));
    tls.add_host(pair(&["b.example"])).expect("a refused certificate has left no name");
}

#[test]
fn an_authoritys_file_holds_certificates() {
    let made = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    let both = format!("{}{}", made.cert.pem(), made.cert.pem());
    let authorities = ClientAuthorities::from_pem(both.as_bytes()).unwrap();
    let mut tls = Tls::new(pair(&["localhost"]));
    assert!(!tls.verifies_clients());
    tls.verify_clients(authorities, ClientCertificate::Optional);
    assert!(tls.verifies_clients());
    let named = tls.validities().iter().filter(|(name, _)| name == "client_ca CN=rcgen self signed cert");
    assert_eq!(named.count(), 2);
    assert_eq!(ClientAuthorities::from_pem(b"").unwrap_err(), TlsError::Certificate);
    let key = made.signing_key.serialize_pem();
    assert_eq!(ClientAuthorities::from_pem(key.as_bytes()).unwrap_err(), TlsError::Certificate);
}
