//! The header that a balancer puts before everything else on a connection: HAProxy's PROXY protocol, versions 1 and 2
//! (proxy-protocol.txt, 2.1 and 2.2). Pure; only the source's address is of interest.
//!
//! Own lines and not the crate `ppp`: it takes ten times as many to give all of a header, and what is hard here, to know
//! when more has to be read and when no more may be, would be left to us all the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest header that is taken. Version 1 has at most 107 bytes; version 2 has room for extensions, of which balancers
/// use some hundred bytes.
pub const MAX_HEADER_BYTES: usize = 4096;
/// Longest header of version 1 (proxy-protocol.txt, 2.1).
const MAX_TEXT_BYTES: usize = 107;

const TEXT_SIGNATURE: &[u8] = b"PROXY ";
const BINARY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const BINARY_PREFIX_BYTES: usize = 16;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Who connected to the proxy; `None`: the proxy speaks for itself (a health check), or can't tell.
    pub source: Option<IpAddr>,
    /// Bytes of the header, at most [`MAX_HEADER_BYTES`].
    pub length: usize,
}

/// It is no such header, or one that is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header")]
pub struct NoProxyHeader;

/// Reads the header at the beginning of `input`. `None`: all of `input` may belong to one, and more has to come.
///
/// # Errors
/// No header begins like this.
pub fn parse_proxy_header(input: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    if begins_alike(input, BINARY_SIGNATURE) {
        return parse_binary(input);
    }
    if begins_alike(input, TEXT_SIGNATURE) { parse_text(input) } else { Err(NoProxyHeader) }
}

/// Is one the beginning of the other?
fn begins_alike(input: &[u8], signature: &[u8]) -> bool {
    input.iter().zip(signature).all(|(a, b)| a == b)
}

fn parse_text(input: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let window = &input[..input.len().min(MAX_TEXT_BYTES)];
    let Some(end) = window.windows(2).position(|bytes| bytes == b"\r\n") else {
        return if window.len() < MAX_TEXT_BYTES { Ok(None) } else { Err(NoProxyHeader) };
    };
    let line = std::str::from_utf8(&window[TEXT_SIGNATURE.len()..end]).map_err(|_| NoProxyHeader)?;
    let source = text_source(line).ok_or(NoProxyHeader)?;
    Ok(Some(ProxyHeader { source, length: end + 2 }))
}

/// `TCP4 source destination port port`, or `UNKNOWN` with anything behind it. The outer `None`: neither.
fn text_source(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _destination) = (address(words.next()?)?, address(words.next()?)?);
    for _port in 0..2 {
        let port = words.next()?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
            return None;
        }
    }
    words.next().is_none().then_some(Some(source))
}

fn parse_binary(input: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let Some(prefix) = input.first_chunk::<BINARY_PREFIX_BYTES>() else { return Ok(None) };
    let length = BINARY_PREFIX_BYTES + usize::from(u16::from_be_bytes([prefix[14], prefix[15]]));
    let (version, command, family) = (prefix[12] >> 4, prefix[12] & 0x0f, prefix[13]);
    if version != 2 || command > 1 || length > MAX_HEADER_BYTES {
        return Err(NoProxyHeader);
    }
    let Some(addresses) = input.get(BINARY_PREFIX_BYTES..length) else { return Ok(None) };
    // Families other than TCP and UDP over IP have no address that would mean something here.
    let source = match (command, family) {
        (1, 0x11 | 0x12) => {
            let source = addresses.get(..12).and_then(<[u8]>::first_chunk::<4>).ok_or(NoProxyHeader)?;
            Some(IpAddr::from(*source))
        }
        (1, 0x21 | 0x22) => {
            let source = addresses.get(..36).and_then(<[u8]>::first_chunk::<16>).ok_or(NoProxyHeader)?;
            Some(IpAddr::from(*source))
        }
        _ => None,
    };
    Ok(Some(ProxyHeader { source, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(source: Option<&str>, length: usize) -> Result<Option<ProxyHeader>, NoProxyHeader> {
        Ok(Some(ProxyHeader { source: source.map(|source| source.parse().unwrap()), length }))
    }

    fn binary(version_and_command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [BINARY_SIGNATURE, &[version_and_command, family], &length, addresses].concat()
    }

    #[test]
    fn headers_of_version_1() {
        for (text, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET /", header(Some("192.0.2.1"), 45)),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", header(Some("2001:db8::1"), 44)),
            ("PROXY UNKNOWN\r\n", header(None, 15)),
            ("PROXY UNKNOWN ffff::1 whatever\r\nrest", header(None, 32)),
            ("", Ok(None)),
            ("PRO", Ok(None)),
            ("PROXY TCP4 192.0.2.1", Ok(None)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r", Ok(None)),
            ("GET / HTTP/1.1\r\n", Err(NoProxyHeader)),
            ("PROXYTCP4", Err(NoProxyHeader)),
            ("proxy TCP4 ", Err(NoProxyHeader)),
            ("PROXY \r\n", Err(NoProxyHeader)),
            ("PROXY TCP5 192.0.2.1 198.51.100.1 56324 443\r\n", Err(NoProxyHeader)),
            ("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", Err(NoProxyHeader)),
            ("PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n", Err(NoProxyHeader)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n", Err(NoProxyHeader)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 65536\r\n", Err(NoProxyHeader)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n", Err(NoProxyHeader)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n", Err(NoProxyHeader)),
            ("PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n", Err(NoProxyHeader)),
        ] {
            assert_eq!(parse_proxy_header(text.as_bytes()), expected, "{text:?}");
        }
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!(parse_proxy_header(too_long.as_bytes()), Err(NoProxyHeader));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(parse_proxy_header(longest.as_bytes()), header(None, MAX_TEXT_BYTES));
    }

    #[test]
    fn headers_of_version_2() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 1]);
        v6[15] = 1;
        let extended = [&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        for (bytes, expected) in [
            (binary(0x21, 0x11, &v4), header(Some("192.0.2.1"), 28)),
            (binary(0x21, 0x12, &v4), header(Some("192.0.2.1"), 28)),
            (binary(0x21, 0x11, &extended), header(Some("192.0.2.1"), 35)),
            (binary(0x21, 0x21, &v6), header(Some("2001::1"), 52)),
            // LOCAL, a Unix socket, no family: the proxy's own address counts.
            (binary(0x20, 0x11, &v4), header(None, 28)),
            (binary(0x20, 0x00, &[]), header(None, 16)),
            (binary(0x21, 0x31, &[0; 216]), header(None, 232)),
            (binary(0x21, 0x00, &[1, 2, 3]), header(None, 19)),
            (binary(0x11, 0x11, &v4), Err(NoProxyHeader)),
            (binary(0x22, 0x11, &v4), Err(NoProxyHeader)),
            (binary(0x21, 0x11, &v4[..11]), Err(NoProxyHeader)),
            (binary(0x21, 0x21, &v4), Err(NoProxyHeader)),
            (binary(0x21, 0x00, &[0; MAX_HEADER_BYTES]), Err(NoProxyHeader)),
        ] {
            assert_eq!(parse_proxy_header(&bytes), expected, "{bytes:02x?}");
        }
    }

    /// However a header is cut, more is asked for until it is whole, and what follows is never touched.
    #[test]
    fn a_header_may_come_in_pieces() {
        let text = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec();
        for whole in [text, binary(0x21, 0x11, &[192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9])] {
            for cut in 0..whole.len() {
                assert_eq!(parse_proxy_header(&whole[..cut]), Ok(None), "{cut}");
            }
            let followed = [&whole[..], b"PROXY \r\n"].concat();
            assert_eq!(parse_proxy_header(&followed), header(Some("192.0.2.1"), whole.len()));
        }
    }
}
