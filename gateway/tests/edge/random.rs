//! Whatever comes, nothing panics and nobody is believed who is not trusted. The corpus of the fuzz target runs here, too.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use broadgate::net::{Cidr, MAX_PROXY_HEADER_BYTES, forwarded_client, parse_proxy_header};
use proptest::prelude::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn check_header(bytes: &[u8]) {
    match parse_proxy_header(bytes) {
        Ok(Some(header)) => {
            assert!(header.length <= bytes.len().min(MAX_PROXY_HEADER_BYTES));
            for cut in 0..header.length {
                assert_eq!(parse_proxy_header(&bytes[..cut]), Ok(None), "a header has one length");
            }
        }
        Ok(None) => assert!(bytes.len() < MAX_PROXY_HEADER_BYTES, "no more than that is read"),
        Err(_) => {}
    }
}

fn check_hops(values: &[&[u8]]) {
    let trusted: [Cidr; 1] = ["10.0.0.0/8".parse().unwrap()];
    assert_eq!(forwarded_client(PEER, values.iter().copied(), &[]), PEER);
    let appended = [values, &[&b"198.51.100.1"[..]]].concat();
    assert_eq!(forwarded_client(PEER, appended.into_iter(), &trusted).to_string(), "198.51.100.1");
}

#[test]
fn the_corpus_of_the_fuzz_target_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/client_address");
    let mut inputs = 0;
    for file in fs::read_dir(corpus).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        check_header(&bytes);
        check_hops(&bytes.split(|&byte| byte == b'\n').collect::<Vec<_>>());
        inputs += 1;
    }
    assert!(inputs > 0);
}

proptest! {
    #[test]
    fn bytes_that_begin_like_a_header(
        version_1 in any::<bool>(),
        mut rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = if version_1 { b"PROXY TCP4 ".to_vec() } else { b"\r\n\r\n\0\r\nQUIT\n".to_vec() };
        bytes.append(&mut rest);
        check_header(&bytes);
    }

    #[test]
    fn addresses_survive_the_header(source in any::<IpAddr>(), port in any::<u16>(), more in any::<Vec<u8>>()) {
        let (family, destination) = if source.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
        let header = format!("PROXY {family} {source} {destination} {port} 443\r\n");
        let parsed = parse_proxy_header(&[header.as_bytes(), &more].concat()).unwrap().unwrap();
        prop_assert_eq!((parsed.source, parsed.length), (Some(source), header.len()));
    }

    #[test]
    fn whatever_a_client_writes(values in proptest::collection::vec("[ -~]{0,40}", 0..5)) {
        check_hops(&values.iter().map(String::as_bytes).collect::<Vec<_>>());
    }
}
