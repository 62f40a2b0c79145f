//! Abuses that do the same thing again and again, each thread from an address of its own.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use broadgate_protocol::websocket::OpCode;

use super::{
    Shared,
    peer::{Peer, frame},
};
use crate::plan::Endpoint;

/// Each thread connects at most this often: loopback has only so many ports, and all of them share two cores.
const CONNECTS_PER_SECOND: u32 = 100;
/// Messages written with one call, and the pause after it.
const BATCH: u64 = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// Calls `once` at the pace until the abuse is over. Errors are what the abuser wants or meets: it goes on.
fn again_and_again(shared: &Shared, mut once: impl FnMut(u64) -> io::Result<()>) {
    let begun = Instant::now();
    let mut turn = 0_u32;
    while !shared.is_over() {
        shared.attempted();
        let _refused_or_cut = once(turn.into());
        turn += 1;
        let next = begun + Duration::from_secs(1) / CONNECTS_PER_SECOND * turn;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

pub(super) fn websocket_garbage(shared: &Shared, number: u8) {
    let mut noise = Noise(u64::from(number) + 1);
    again_and_again(shared, |_| {
        let mut peer = Peer::websocket(&shared.endpoint, number, None)?;
        let bytes: Vec<u8> = (0..64).flat_map(|_| noise.next().to_le_bytes()).collect();
        // The first byte asks for a reserved opcode, so that no noise is a frame by chance.
        peer.write(&[&[0x8f], bytes.as_slice()].concat())?;
        peer.read_to_end();
        Ok(())
    });
}

pub(super) fn socketio_garbage(shared: &Shared, number: u8) {
    const PACKETS: &[&str] =
        &["49", "42", "40{", "41/none", "45999999-[]", "44{\"message\":\"no\"}", "42[", "4\u{0}", "451-[0]"];
    again_and_again(shared, |turn| {
        let mut peer = Peer::websocket(&shared.endpoint, number, None)?;
        peer.text(PACKETS[usize::try_from(turn).unwrap_or(0) % PACKETS.len()])?;
        peer.text("42/nowhere,[\"x\"]")?;
        peer.read_to_end();
        Ok(())
    });
}

/// RSV1 without the extension (RFC 6455 section 5.2; RFC 7692): what would be inflated is never looked at.
pub(super) fn compressed_frames(shared: &Shared, number: u8) {
    again_and_again(shared, |_| {
        let mut peer = Peer::socket(&shared.endpoint, number, None)?;
        let mut bomb = frame(OpCode::Text, &[0; 1024]);
        bomb[0] |= 0x40;
        peer.write(&bomb)?;
        peer.read_to_end();
        Ok(())
    });
}

pub(super) fn abandoned_handshakes(shared: &Shared, number: u8) {
    let Endpoint { path, host, .. } = &shared.endpoint;
    let request = format!("GET {path}?EIO=4&transport=polling HTTP/1.1\r\nHost: {host}\r\n\r\n");
    again_and_again(shared, |_| {
        let mut peer = Peer::connect(&shared.endpoint, number, None)?;
        // Ten sessions on one connection, and then nobody polls.
        for _ in 0..10 {
            peer.write(request.as_bytes())?;
        }
        thread::sleep(PAUSE);
        Ok(())
    });
}

/// {"alg":"HS256"}
const TOKEN_HEADER: &str = "eyJhbGciOiJIUzI1NiJ9";
/// The issuer, the audience, a user, and the year 2100.
const TOKEN_CLAIMS: &str =
    "eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiYnJvYWRnYXRlIiwic3ViIjoiYSIsImV4cCI6NDEwMjQ0NDgwMH0";

pub(super) fn tokens(shared: &Shared, number: u8) {
    let mut noise = Noise(u64::from(number) + 1);
    flood(
        shared,
        |endpoint| Peer::websocket(endpoint, number, None),
        |_, batch| {
            // The 43rd character of base64url has two bits that must be zero, as those of "0" are.
            let (a, b, c) = (noise.next(), noise.next(), noise.next() >> 24);
            let packet =
                format!("40{{\"token\":\"{TOKEN_HEADER}.{TOKEN_CLAIMS}.{a:016x}{b:016x}{c:010x}0\"}}");
            batch.extend_from_slice(&frame(OpCode::Text, packet.as_bytes()));
        },
    );
}

/// One socket after the other that sends packets as fast as the server takes them.
pub(super) fn packets(shared: &Shared, number: u8, packet: impl Fn(u64) -> String) {
    flood(
        shared,
        |endpoint| Peer::socket(endpoint, number, None),
        |turn, batch| {
            batch.extend_from_slice(&frame(OpCode::Text, packet(turn).as_bytes()));
        },
    );
}

pub(super) fn pings(shared: &Shared, number: u8) {
    flood(
        shared,
        |endpoint| Peer::socket(endpoint, number, None),
        |_, batch| batch.extend_from_slice(&frame(OpCode::Ping, b"x")),
    );
}

fn flood(
    shared: &Shared,
    open: impl Fn(&Endpoint) -> io::Result<Peer>,
    mut push: impl FnMut(u64, &mut Vec<u8>),
) {
    let mut turn = 0;
    again_and_again(shared, |_| {
        let mut peer = open(&shared.endpoint)?;
        while !shared.is_over() && !peer.is_cut() {
            let mut batch = Vec::new();
            for _ in 0..BATCH {
                push(turn, &mut batch);
                turn += 1;
                shared.attempted();
            }
            peer.stream.write_all(&batch)?;
            thread::sleep(PAUSE);
        }
        Ok(())
    });
}

/// The same noise in each run (xorshift64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
