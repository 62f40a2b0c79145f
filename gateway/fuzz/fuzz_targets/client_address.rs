//! What balancers say of clients: PROXY headers and `X-Forwarded-For`. Nobody is believed who is not trusted, and more is
//! asked for only while what is there can be the beginning of a header.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use broadgate::net::{Cidr, MAX_PROXY_HEADER_BYTES, forwarded_client, parse_proxy_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse_proxy_header(bytes) {
        Ok(Some(header)) => {
            assert!(header.length <= bytes.len().min(MAX_PROXY_HEADER_BYTES));
            for cut in 0..header.length {
                assert_eq!(parse_proxy_header(&bytes[..cut]), Ok(None));
            }
        }
        Ok(None) => assert!(bytes.len() < MAX_PROXY_HEADER_BYTES),
        Err(_) => {}
    }
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let trusted: [Cidr; 1] = ["10.0.0.0/8".parse().expect("a network")];
    let values = || bytes.split(|&byte| byte == b'\n');
    assert_eq!(forwarded_client(peer, values(), &[]), peer);
    let appended: &[u8] = b"198.51.100.1";
    let client = forwarded_client(peer, values().chain([appended]).collect::<Vec<_>>().into_iter(), &trusted);
    assert_eq!(client.to_string(), "198.51.100.1");
});
