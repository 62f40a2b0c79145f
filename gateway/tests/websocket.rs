//! RFC 6455 over TCP, against `examples/websocket_echo`: the cases of the Autobahn test suite, as tables, and the peers
//! that it does not have. The groups of Autobahn stand in brackets.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
    thread,
};

use broadgate_protocol::websocket::OpCode::{self, Binary, Close, Continuation, Ping, Pong, Text};
use support::{
    DEADLINE, eventually,
    http::Connection,
    process::Server,
    websocket::{Received, Socket, UPGRADE, frame, frame_with_first_byte},
};

const MAX_MESSAGE_BYTES: usize = 16 << 20;

fn echo() -> Server {
    Server::example("websocket_echo", &[])
}

fn connect(server: &Server) -> Socket {
    Socket::connect(server.address, "/")
}

/// Opcode, FIN and payload of one frame.
type Fragment<'a> = (OpCode, bool, &'a [u8]);

fn frames(frames: &[Fragment<'_>]) -> Vec<u8> {
    frames.iter().flat_map(|(opcode, fin, payload)| frame(*opcode, *fin, payload)).collect()
}

fn pong(payload: &[u8]) -> Received {
    Received::Pong(payload.to_vec())
}

/// The server still does its work, for this client and for new ones.
fn assert_serves(server: &Server) {
    let mut socket = connect(server);
    socket.send_text("still there?");
    assert_eq!(socket.receive(), Received::text("still there?"));
}

/// What the server does with `bytes` until it ends the connection, which it has to do by itself.
fn until_end(server: &Server, bytes: &[u8]) -> Vec<Received> {
    let mut socket = connect(server);
    socket.write(bytes);
    socket.receive_all()
}

/// [1] Messages of every length form.
#[test]
fn messages_of_every_length_come_back() {
    let server = echo();
    let mut socket = connect(&server);
    for bytes in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 1 << 20, MAX_MESSAGE_BYTES] {
        let text = "*".repeat(bytes);
        socket.send_text(&text);
        assert_eq!(socket.receive(), Received::Text(text));
        let data: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        socket.send(Binary, &data);
        assert_eq!(socket.receive(), Received::Binary(data));
    }
}

/// [1] The stream may be cut anywhere.
#[test]
fn the_cuts_of_the_stream_do_not_matter() {
    let server = echo();
    let mut socket = connect(&server);
    let small = frames(&[(Text, false, b"a"), (Ping, true, b"p"), (Continuation, true, &[b'b'; 126])]);
    for byte in &small {
        socket.write(&[*byte]);
    }
    assert_eq!(socket.receive(), pong(b"p"));
    assert_eq!(socket.receive(), Received::Text("a".to_owned() + &"b".repeat(126)));
    for chop in [997, 65_536] {
        let text = "x".repeat(300_000);
        for piece in frame(Text, true, text.as_bytes()).chunks(chop) {
            socket.write(piece);
        }
        assert_eq!(socket.receive(), Received::Text(text));
    }
}

#[test]
fn many_messages_in_one_write_come_back_in_order() {
    let server = echo();
    let mut socket = connect(&server);
    let texts: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    socket.write(&texts.iter().flat_map(|text| frame(Text, true, text.as_bytes())).collect::<Vec<_>>());
    for text in texts {
        assert_eq!(socket.receive(), Received::Text(text));
    }
}

#[test]
fn frames_that_come_with_the_upgrade_request_are_not_lost() {
    let server = echo();
    let early = frames(&[(Text, true, b"early"), (Text, false, b"ha")]);
    let (mut socket, _) = Socket::connect_with(server.address, "/", &[], &early);
    assert_eq!(socket.receive(), Received::text("early"));
    socket.write(&frame(Continuation, true, b"lf"));
    assert_eq!(socket.receive(), Received::text("half"));
}

/// [2] Pings are answered with their payload, in order; pongs ask for nothing.
#[test]
fn pings_and_pongs() {
    let server = echo();
    let mut socket = connect(&server);
    for payload in [&b""[..], b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", &[0xfe; 125]] {
        socket.send(Pong, payload);
        socket.send(Ping, payload);
        assert_eq!(socket.receive(), pong(payload));
    }
    let numbers: Vec<[u8; 1]> = (0..10).map(|number| [number]).collect();
    socket.write(&numbers.iter().flat_map(|number| frame(Ping, true, number)).collect::<Vec<_>>());
    for number in numbers {
        assert_eq!(socket.receive(), pong(&number));
    }
    for opcode in [Ping, Pong] {
        let answer = until_end(&server, &frame(opcode, true, &[0xfe; 126]));
        assert_eq!(answer, [Received::Close(Some(1002))], "a {opcode:?} of 126 bytes");
    }
}

/// [3] Reserved bits, [4] reserved opcodes; also a frame without a mask. What came before is answered.
#[test]
fn headers_that_the_rfc_keeps_for_later_fail_the_connection() {
    let server = echo();
    let reserved_bits = (1..8_u8).flat_map(|bits| [0x81, 0x82, 0x89].map(|first| first | bits << 4));
    let reserved_opcodes = (3..8).chain(11..16).map(|opcode| 0x80 | opcode);
    for first in reserved_bits.chain(reserved_opcodes) {
        for payload in [&b""[..], b"Hello"] {
            let mut bytes = frame(Text, true, b"before");
            bytes.extend(frame_with_first_byte(first, payload));
            bytes.extend(frame(Ping, true, b"after"));
            let expected = [Received::text("before"), Received::Close(Some(1002))];
            assert_eq!(until_end(&server, &bytes), expected, "first byte {first:#x}");
        }
    }
    assert_eq!(until_end(&server, b"\x81\x05Hello"), [Received::Close(Some(1002))], "no mask");
}

/// [5] Fragments: what comes back until the connection ends.
#[test]
fn fragments() {
    let server = echo();
    let violation = || Received::Close(Some(1002));
    let end = (Close, true, &[3_u8, 0xe8][..]);
    let normal = || Received::Close(Some(1000));
    let pieces: Vec<_> = (0..5)
        .flat_map(|i| {
            let opcode = if i == 0 { Text } else { Continuation };
            [(opcode, i == 4, &b"fragment "[..]), (Ping, true, &b"pongme"[..])]
        })
        .chain([end])
        .collect();
    let five_pongs_around =
        [vec![pong(b"pongme"); 4], vec![Received::Text("fragment ".repeat(5)), pong(b"pongme"), normal()]]
            .concat();
    #[rustfmt::skip]
    let table: Vec<(&str, Vec<Fragment<'_>>, Vec<Received>)> = vec![
        ("5.1 fragmented ping", vec![(Ping, false, b"a"), (Continuation, true, b"b")], vec![violation()]),
        ("5.2 fragmented pong", vec![(Pong, false, b"a"), (Continuation, true, b"b")], vec![violation()]),
        ("5.3 two fragments", vec![(Text, false, b"a"), (Continuation, true, b"b"), end], vec![Received::text("ab"), normal()]),
        ("5.3 empty fragments", vec![(Binary, false, b""), (Continuation, false, b""), (Continuation, true, b""), end], vec![Received::Binary(vec![]), normal()]),
        ("5.6 ping between", vec![(Text, false, b"a"), (Ping, true, b"p"), (Continuation, true, b"b"), end], vec![pong(b"p"), Received::text("ab"), normal()]),
        ("5.9 nothing to continue", vec![(Continuation, true, b"x"), (Text, true, b"y")], vec![violation()]),
        ("5.12 nothing to continue, unfinished", vec![(Continuation, false, b"x"), (Text, true, b"y")], vec![violation()]),
        ("5.15 continued after its end", vec![(Text, false, b"a"), (Continuation, true, b"b"), (Continuation, false, b"c")], vec![Received::text("ab"), violation()]),
        ("5.18 new message inside", vec![(Text, false, b"a"), (Text, true, b"b")], vec![violation()]),
        ("5.18 binary inside text", vec![(Text, false, b"a"), (Binary, false, b"b")], vec![violation()]),
        ("5.19 five with pings", pieces, five_pongs_around),
    ];
    for (name, sent, expected) in table {
        assert_eq!(until_end(&server, &frames(&sent)), expected, "{name}");
    }
}

/// [6] Text is UTF-8; also where fragments cut its characters.
#[test]
fn valid_text_comes_back() {
    let server = echo();
    let mut socket = connect(&server);
    for text in
        ["", "Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\u{0}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}"]
    {
        socket.send_text(text);
        assert_eq!(socket.receive(), Received::text(text));
        socket.write(&frame(Text, false, b""));
        for byte in text.bytes() {
            socket.write(&frame(Continuation, false, &[byte]));
        }
        socket.write(&frame(Continuation, true, b""));
        assert_eq!(socket.receive(), Received::text(text));
    }
}

/// [6] Everything else fails with 1007, at the first byte that can't be: the rest of the message never comes here.
#[test]
fn invalid_text_fails_fast() {
    let server = echo();
    let table: [(&str, &[u8]); 9] = [
        ("continuation alone", b"\x80"),
        ("overlong 2", b"\xc0"),
        ("overlong 3", b"\xe0\x80"),
        ("overlong 4", b"\xf0\x80"),
        ("surrogate", b"\xed\xa0"),
        ("above 10ffff", b"\xf4\x90"),
        ("lead of 5", b"\xf8"),
        ("cut off by a letter", b"\xe2\x82x"),
        ("after valid text", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90"),
    ];
    for (name, until_bad) in table {
        let failed = [Received::Close(Some(1007))];
        assert_eq!(until_end(&server, &frame(Text, true, until_bad)), failed, "{name}: whole");
        assert_eq!(until_end(&server, &frame(Text, false, until_bad)), failed, "{name}: first fragment");
        let unfinished = frame(Text, true, &[until_bad, &[b'x'; 200]].concat());
        let part = &unfinished[..unfinished.len() - 200];
        assert_eq!(until_end(&server, part), failed, "{name}: unfinished frame");
    }
    assert_eq!(until_end(&server, &frame(Text, true, b"\xe2\x82")), [Received::Close(Some(1007))]);
    let mut socket = connect(&server);
    socket.send(Binary, b"\xff\xfe");
    assert_eq!(socket.receive(), Received::Binary(b"\xff\xfe".to_vec()), "binary may be anything");
}

/// [7] Close frames: payload => the code that answers. Then the server ends the TCP connection.
#[test]
fn the_close_handshake() {
    let server = echo();
    let with_reason = |code: u16, reason: &[u8]| [&code.to_be_bytes()[..], reason].concat();
    let mut table = vec![
        (vec![], None),
        (vec![3], Some(1002)),
        (with_reason(1000, b"bye"), Some(1000)),
        (with_reason(1000, &[b'r'; 123]), Some(1000)),
        (with_reason(1000, &[b'r'; 124]), Some(1002)),
        (with_reason(1000, b"\xce\xba\xf4\x90\x80\x80"), Some(1007)),
    ];
    let valid = (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]);
    table.extend(valid.map(|code: u16| (code.to_be_bytes().to_vec(), Some(code))));
    let invalid = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16];
    table.extend(invalid.map(|code| (code.to_be_bytes().to_vec(), Some(1002))));
    for (payload, expected) in table {
        let answer = until_end(&server, &frame(Close, true, &payload));
        assert_eq!(answer, [Received::Close(expected)], "{payload:?}");
    }
    assert_eq!(
        until_end(&server, &frame(Close, false, b"\x03\xe8")),
        [Received::Close(Some(1002))],
        "without FIN"
    );
}

/// [7] Around the close frame: what came before is answered, what comes after is not.
#[test]
fn nothing_comes_after_the_close_frame() {
    let server = echo();
    let close = (Close, true, &[3_u8, 0xe8][..]);
    let big = vec![b'x'; 256 << 10];
    let closed = || Received::Close(Some(1000));
    let table = [
        ("message after", vec![close, (Text, true, b"late")], vec![closed()]),
        ("ping after", vec![close, (Ping, true, b"late")], vec![closed()]),
        ("close after", vec![close, (Close, true, b"\x03\xe9")], vec![closed()]),
        ("garbage after", vec![close, (Continuation, true, b"\xff")], vec![closed()]),
        ("inside fragments", vec![(Text, false, b"a"), close, (Continuation, true, b"b")], vec![closed()]),
        (
            "big message before",
            vec![(Binary, true, &big), close],
            vec![Received::Binary(big.clone()), closed()],
        ),
    ];
    for (name, sent, expected) in table {
        assert_eq!(until_end(&server, &frames(&sent)), expected, "{name}");
    }
}

/// [9] A message of very many fragments, and the bound on its size.
#[test]
fn messages_are_bounded_by_size_not_by_fragments() {
    let server = echo();
    let mut socket = connect(&server);
    let data: Vec<u8> = (0..4_usize << 20).map(|i| (i % 253) as u8).collect();
    let pieces = data.chunks(64).enumerate();
    let last = data.len() / 64 - 1;
    let bytes: Vec<u8> = pieces
        .flat_map(|(i, piece)| frame(if i == 0 { Binary } else { Continuation }, i == last, piece))
        .collect();
    socket.write(&bytes);
    assert_eq!(socket.receive(), Received::Binary(data));

    let too_big = [Received::Close(Some(1009))];
    let mut header = frame(Binary, true, &vec![0; MAX_MESSAGE_BYTES + 1]);
    header.truncate(14);
    assert_eq!(until_end(&server, &header), too_big, "refused from its header");
    let parts = [
        (Binary, false, &vec![0; MAX_MESSAGE_BYTES][..]),
        (Continuation, false, b""),
        (Continuation, true, b"x"),
    ];
    assert_eq!(until_end(&server, &frames(&parts)), too_big, "one byte too many over all fragments");
}

#[test]
fn bad_handshakes_are_refused() {
    let server = echo();
    let table = [
        ("Upgrade", None, 400),
        ("Upgrade", Some("h2c"), 400),
        ("Connection", None, 400),
        ("Connection", Some("keep-alive"), 400),
        ("Sec-WebSocket-Version", None, 426),
        ("Sec-WebSocket-Version", Some("8"), 426),
        ("Sec-WebSocket-Key", None, 400),
        ("Sec-WebSocket-Key", Some("dG9vIHNob3J0"), 400),
    ];
    for (changed, value, status) in table {
        let mut headers = UPGRADE.to_vec();
        headers.retain(|(name, _)| *name != changed);
        headers.extend(value.map(|value| (changed, value)));
        let mut connection = Connection::open(server.address);
        connection.send("GET", "/", &headers, b"");
        let response = connection.receive().unwrap();
        assert_eq!(response.status, status, "{changed}: {value:?}");
        if status == 426 {
            assert_eq!(response.header("sec-websocket-version"), "13");
        }
    }
    for method in ["POST", "PUT"] {
        let mut connection = Connection::open(server.address);
        connection.send(method, "/", &UPGRADE, b"");
        assert_eq!(connection.receive().unwrap().status, 400, "{method}");
    }
    let mut connection = Connection::open(server.address);
    connection.write(b"no HTTP at all\r\n\r\n");
    assert_eq!(connection.receive().unwrap().status, 400);
    assert_serves(&server);
}

/// The echo keeps at most 64 MiB for a peer; then it cuts it.
#[test]
fn a_peer_that_does_not_read_is_cut_and_memory_stays_bounded() {
    let server = echo();
    let mut socket = connect(&server);
    let message = frame(Binary, true, &vec![7; 1 << 20]);
    let mut sent = 0;
    let error = loop {
        match socket.stream.write_all(&message) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 400, "400 MiB were taken in, none was read");
    };
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "cut, not kept waiting: {error}"
    );
    assert!(sent >= 64, "cut after {sent} MiB only");
    let peak_bytes = server.peak_memory_bytes();
    assert!(peak_bytes < 160 << 20, "{peak_bytes}");
    assert_serves(&server);
}

#[test]
fn a_peer_that_reads_late_gets_everything() {
    let server = echo();
    let mut socket = connect(&server);
    let message = vec![7; 1 << 20];
    let mut writer = socket.stream.try_clone().unwrap();
    let frame = frame(Binary, true, &message);
    // Far more than kernel buffers hold: the server's queue has to take it.
    let written = thread::spawn(move || (0..40).for_each(|_| writer.write_all(&frame).unwrap()));
    written.join().unwrap();
    for _ in 0..40 {
        assert_eq!(socket.receive(), Received::Binary(message.clone()));
    }
}

type Prepare = fn(&mut Socket);

#[test]
fn peers_that_vanish_leave_nothing_behind() {
    let server = echo();
    assert_serves(&server);
    let mut before = 0;
    eventually("the first connection is gone", || {
        let now = server.open_descriptors();
        std::mem::replace(&mut before, now) == now
    });
    let states: [(&str, Prepare); 4] = [
        ("idle", |_| {}),
        ("inside a header", |socket| socket.write(&frame(Text, true, b"abc")[..3])),
        ("inside a message", |socket| socket.write(&frame(Text, false, b"abc"))),
        ("with unread answers", |socket| socket.send(Binary, &vec![0; 8 << 20])),
    ];
    for (name, prepare) in states {
        for reset in [true, false] {
            let mut socket = connect(&server);
            prepare(&mut socket);
            if reset {
                socket.reset();
            } else {
                drop(socket);
            }
            eventually(&format!("gone: {name}"), || server.open_descriptors() <= before);
        }
    }
    assert_serves(&server);
}

/// A client of others, with its own idea of the protocol.
#[test]
fn tungstenite_as_the_client() {
    use tungstenite::{Error, Message, protocol::CloseFrame};
    let server = echo();
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut client, _) = tungstenite::client(format!("ws://{}/", server.address), stream).unwrap();
    let messages = [
        Message::text("text"),
        Message::text(""),
        Message::text("κόσμε".repeat(20_000)),
        Message::binary(vec![0xff; 70_000]),
        Message::binary(vec![]),
    ];
    for message in messages {
        client.send(message.clone()).unwrap();
        assert_eq!(client.read().unwrap(), message);
    }
    client.send(Message::Ping(b"ping".to_vec().into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong(b"ping".to_vec().into()));
    client.close(Some(CloseFrame { code: 4000.into(), reason: "done".into() })).unwrap();
    let Message::Close(Some(answer)) = client.read().unwrap() else { panic!("no close frame") };
    assert_eq!(u16::from(answer.code), 4000);
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
}
