//! Whose request it is behind proxies: the walk through `X-Forwarded-For`. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Cidr;

/// The client's address. `peer` is who is connected, `forwarded` the values of `X-Forwarded-For` in their order. Each
/// proxy appends whom it heard, so the walk goes from the right, for as long as whoever said it is to be trusted; what
/// can't be read ends it at the last hop that could.
pub fn forwarded_client<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[Cidr],
) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    for hop in forwarded.rev().flat_map(|value| value.rsplit(|&byte| byte == b',')) {
        if !is_trusted(client) {
            return client;
        }
        match parse_hop(hop) {
            Some(address) => client = address,
            None => return client,
        }
    }
    client
}

/// An address, perhaps with a port.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let address = (text.parse::<IpAddr>().ok())
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(in_brackets)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<Cidr> = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap()).into();
        let values = forwarded.iter().map(|value| value.as_bytes());
        forwarded_client(peer.parse().unwrap(), values, &trusted).to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        for (peer, forwarded, expected) in [
            // Nobody is believed who is not trusted.
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("2001:db8::1", &["198.51.100.1"], "198.51.100.1"),
            // What the client wrote itself stands to the left of what the proxies wrote.
            ("10.0.0.1", &["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.2.3.4, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["1.2.3.4,198.51.100.1,10.0.0.2 ,\t10.0.0.3"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Several headers are one list.
            ("10.0.0.1", &["1.2.3.4", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1", "10.0.0.2, 10.0.0.3"], "198.51.100.1"),
            // Forms of addresses.
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db9::1]:4711"], "2001:db9::1"),
            ("10.0.0.1", &["[2001:db9::1]"], "2001:db9::1"),
            ("10.0.0.1", &["2001:DB9::1"], "2001:db9::1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
            // Garbage ends the walk.
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1,, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1:x"], "10.0.0.1"),
            ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1"),
            ("10.0.0.1", &["\"198.51.100.1\""], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1\u{a0}"], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    /// Whatever a client writes, it stays on the left of what the first trusted proxy appended.
    #[test]
    fn a_client_cannot_choose_its_address() {
        for forged in ["10.0.0.9", "198.51.100.200", "unknown", "", ",,,", "10.0.0.9, 10.0.0.8", "[::1]:1"] {
            let value = format!("{forged}, 198.51.100.1");
            assert_eq!(client("10.0.0.1", &[&value]), "198.51.100.1", "{forged}");
            assert_eq!(client("10.0.0.1", &[forged, "198.51.100.1"]), "198.51.100.1", "{forged}");
        }
    }
}
