use super::*;

const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
    sec-websocket-ACCEPT: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const OPEN: &str = r#"0{"sid":"x","upgrades":[]}"#;
const CONNECTED: &str = r#"40{"sid":"y"}"#;
const JOINED: &str = r#"430[{"ok":true,"room":"r"}]"#;

fn script() -> Script {
    let endpoint = "ws://127.0.0.1:8080".parse().expect("endpoint");
    Script::new(&endpoint, "r")
}

fn frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    websocket::push_frame(&mut bytes, OpCode::Text, text.as_bytes());
    bytes
}

/// Feeds `chunks`; gives the texts that the client sent, the sequence numbers and the client.
fn feed(chunks: &[Vec<u8>]) -> Result<(Vec<String>, Vec<u64>, Connection), Fault> {
    let script = script();
    let (mut connection, _) = Connection::upgrading(&script);
    let (mut replies, mut sequences) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let mut chunk = chunk.clone();
        connection.receive(Some(&script), &mut chunk, &mut replies, |sequence| sequences.push(sequence))?;
    }
    let mut texts = Vec::new();
    let mut decoder = Decoder::new();
    let mut input = replies.as_mut_slice();
    while let Some(event) = decoder.next(Role::Server, 1024, &mut input).expect("our own frames") {
        if let Event::Text(text) = event {
            texts.push(text.to_owned());
        }
    }
    Ok((texts, sequences, connection))
}

#[test]
fn the_request_is_a_websocket_upgrade_of_engine_io_4() {
    let script = script();
    let (_, request) = Connection::upgrading(&script);
    let request = std::str::from_utf8(request).expect("text");
    assert!(
        request.starts_with("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n")
    );
    assert!(request.ends_with("\r\n\r\n"));
}

#[test]
fn the_client_connects_joins_and_counts_however_the_bytes_are_cut() {
    let mut all = HEAD.to_vec();
    for packet in [OPEN, CONNECTED, JOINED, "2", r#"42["m","000000000009"]"#, r#"42["other"]"#] {
        all.extend(frame(packet));
    }
    for chunk_bytes in [1, 3, 64, all.len()] {
        let chunks: Vec<_> = all.chunks(chunk_bytes).map(<[u8]>::to_vec).collect();
        let (sent, sequences, connection) = feed(&chunks).expect("a good server");
        assert_eq!(sent, ["40", r#"420["join","r"]"#, "3"], "{chunk_bytes}");
        assert_eq!(sequences, [9], "{chunk_bytes}");
        assert!(connection.is_joined());
    }
}

#[test]
fn a_server_that_does_not_play_along_is_a_fault() {
    for (chunks, expected) in [
        (vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()], "answered with: HTTP/1.1 400 Bad Request"),
        (vec![b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec()], "Sec-WebSocket-Accept"),
        (vec![vec![b'x'; MAX_HEAD_BYTES + 1]], "without an end"),
        (vec![HEAD.to_vec(), frame("40")], "expected the open packet, got: 40"),
        (vec![HEAD.to_vec(), frame(OPEN), frame(r#"44{"message":"no"}"#)], "the answer to CONNECT"),
        (
            vec![
                HEAD.to_vec(),
                frame(OPEN),
                frame(CONNECTED),
                frame(r#"430[{"ok":false,"error":"forbidden"}]"#),
            ],
            "forbidden",
        ),
        (vec![HEAD.to_vec(), frame(OPEN), frame(CONNECTED), frame(JOINED), frame("41")], "closed"),
        (vec![HEAD.to_vec(), vec![0x88, 0]], "closed"),
        (vec![HEAD.to_vec(), vec![0x81, 0x81, 0, 0, 0, 0, b'2']], "WebSocket"),
    ] {
        let fault = feed(&chunks).expect_err(expected).to_string();
        assert!(fault.contains(expected), "{fault}");
    }
}

#[test]
fn a_client_of_the_bare_loop_takes_frames_at_once() {
    let mut connection = Connection::bare();
    let mut input = frame(r#"42["m","000000000001x"]"#);
    let mut sequences = Vec::new();
    connection
        .receive(None, &mut input, &mut Vec::new(), |sequence| sequences.push(sequence))
        .expect("a frame");
    assert_eq!(sequences, [1]);
}
