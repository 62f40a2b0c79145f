//! wire.md 1.5 and 1.6: long-polling.

use std::{io::Read, time::Duration};

use flate2::read::{GzDecoder, ZlibDecoder};

use super::{
    on_each_layout,
    support::{
        engineio::{OK, Polling, SEPARATOR, UNKNOWN_SESSION, packets},
        eventually,
        http::{Connection, head},
    },
};

const MAX_PAYLOAD_BYTES: usize = 1_000_000;

/// A payload of several packets.
fn join(packets: &[&str]) -> String {
    packets.join(&SEPARATOR.to_string())
}

#[test]
fn messages_come_back_text_and_binary_one_and_several() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let table: [&[&str]; 8] = [
            &["4hello"],
            &["4"],
            &["4€😀\\u001e"],
            &["bAQIDBA=="],
            &["b"],
            &["4test1", "4test2", "4test3"],
            &["4text", "bAQID", "4more", "b/w=="],
            &["4 2probe", "41", "4b"],
        ];
        for sent in table {
            session.push(&join(sent));
            assert_eq!(session.poll(), sent);
        }
    });
}

/// All that waits goes out in one answer.
#[test]
fn messages_of_several_posts_wait_for_one_poll() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let sent: Vec<String> = (0..20).map(|number| format!("4{number}")).collect();
        for packet in &sent {
            session.push(packet);
        }
        assert_eq!(session.poll(), sent);
    });
}

#[test]
fn a_poll_is_held_until_there_is_something_to_send() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut poll = session.begin_get();
        assert!(poll.is_silent_for(Duration::from_millis(1000)));
        session.push("4now");
        let response = poll.receive().unwrap();
        assert_eq!(packets(&response), ["4now"]);
        assert_eq!(response.header("content-type"), "text/plain; charset=UTF-8");
        assert_eq!(response.header("cache-control"), "no-store");
        assert_eq!(response.header("content-length"), "4");
    });
}

#[test]
fn a_connection_serves_request_after_request() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut connection = Connection::open(server.address);
        for number in 0..10 {
            let packet = format!("4{number}");
            connection.send("POST", &session.target(), &[], packet.as_bytes());
            assert_eq!(connection.receive().unwrap().text(), OK);
            connection.send("GET", &session.target(), &[], b"");
            assert_eq!(packets(&connection.receive().unwrap()), [packet]);
        }
    });
}

#[test]
fn a_second_poll_ends_the_session() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut first = session.begin_get();
        assert!(first.is_silent_for(Duration::from_millis(1000)));
        let (second, first) = (session.get(), first.receive().unwrap());
        // On two shards the second may be the first to arrive.
        let (refused, released) = if first.status == 400 { (first, second) } else { (second, first) };
        assert_eq!((refused.status, refused.text()), (400, ""));
        assert_eq!(packets(&released), ["1"]);
        session.assert_gone();
    });
}

#[test]
fn a_poll_whose_client_goes_away_ends_the_session() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut poll = session.begin_get();
        assert!(poll.is_silent_for(Duration::from_millis(1000)));
        drop(poll);
        // A PUT changes nothing about a session.
        eventually("the session is gone", || session.request("PUT", &[], b"").status == UNKNOWN_SESSION.0);
        session.assert_gone();
    });
}

#[test]
fn the_answer_to_a_post() {
    on_each_layout(|server| {
        let response = Polling::open(server.address).post("4x");
        assert_eq!((response.status, response.text()), (200, OK));
        assert_eq!(response.header("content-type"), "text/html");
        assert_eq!(response.header("content-length"), "2");
    });
}

#[test]
fn a_body_in_pieces_or_chunks_is_one_body() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut connection = Connection::open(server.address);
        connection.write(&head("POST", &session.target(), &[], Some(6)));
        for byte in b"4whole" {
            connection.write(&[*byte]);
        }
        assert_eq!(connection.receive().unwrap().text(), OK);
        connection.write(&head("POST", &session.target(), &[("Transfer-Encoding", "chunked")], None));
        connection.write(b"2\r\n4c\r\n5\r\nhunks\r\n0\r\n\r\n");
        assert_eq!(connection.receive().unwrap().text(), OK);
        assert_eq!(session.poll(), ["4whole", "4chunks"]);
    });
}

/// As curl does with large bodies.
#[test]
fn a_client_may_ask_before_it_sends_the_body() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut connection = Connection::open(server.address);
        connection.write(&head("POST", &session.target(), &[("Expect", "100-continue")], Some(4)));
        assert_eq!(connection.receive().unwrap().status, 100);
        connection.write(b"4yes");
        assert_eq!(connection.receive().unwrap().text(), OK);
        assert_eq!(session.poll(), ["4yes"]);
        // One whose session is unknown need not send it.
        let target = session.target().replace(&session.sid, "unknown");
        connection.write(&head("POST", &target, &[("Expect", "100-continue")], Some(4)));
        assert_eq!(connection.receive().unwrap().status, UNKNOWN_SESSION.0);
    });
}

#[test]
fn a_second_post_ends_the_session_and_the_first_gets_no_answer() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut first = Connection::open(server.address);
        first.write(&head("POST", &session.target(), &[], Some(10)));
        first.write(b"4half");
        assert!(first.is_silent_for(Duration::from_millis(1000)));
        let second = session.post("4x");
        assert_eq!((second.status, second.text()), (400, ""));
        assert!(first.is_ended());
        session.assert_gone();
    });
}

#[test]
fn a_post_whose_client_goes_away_ends_the_session() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut post = Connection::open(server.address);
        post.write(&head("POST", &session.target(), &[], Some(10)));
        post.write(b"4half");
        assert!(post.is_silent_for(Duration::from_millis(1000)));
        drop(post);
        eventually("the session is gone", || session.request("PUT", &[], b"").status == UNKNOWN_SESSION.0);
        session.assert_gone();
    });
}

/// The largest body is taken, one byte more is 413 with nothing in it, and the session lives on.
#[test]
fn a_body_above_the_limit_costs_only_the_request() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let largest = format!("4{}", "x".repeat(MAX_PAYLOAD_BYTES - 1));
        session.push(&largest);
        assert_eq!(session.poll(), [largest.as_str()]);
        let response = session.post(largest.clone() + "x");
        assert_eq!((response.status, response.text()), (413, ""));
        session.assert_alive();
        // The limit is on what comes, whatever was announced.
        let mut chunked = Connection::open(server.address);
        chunked.write(&head("POST", &session.target(), &[("Transfer-Encoding", "chunked")], None));
        chunked.write(format!("{:x}\r\n{largest}x\r\n0\r\n\r\n", largest.len() + 1).as_bytes());
        assert_eq!(chunked.receive().unwrap().status, 413);
        session.assert_alive();
    });
}

#[test]
fn a_body_of_octets_ends_the_session() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let response = session.request("POST", &[("Content-Type", "application/octet-stream")], b"4x");
        assert_eq!((response.status, response.text()), (400, ""));
        session.assert_gone();
    });
}

#[test]
fn a_body_that_cannot_be_read_is_answered_ok_and_ends_the_session() {
    on_each_layout(|server| {
        let bodies: [&[u8]; 9] =
            [b"", b"abc", b"7", b"9x", b"\x1e", b"4a\x1e", b"4\xff", b"b*", "é4".as_bytes()];
        for body in bodies {
            let session = Polling::open(server.address);
            let response = session.post(body);
            assert_eq!((response.status, response.text()), (200, OK), "{body:?}");
            session.assert_gone();
        }
    });
}

#[test]
fn packets_before_the_bad_one_are_processed_and_those_after_it_are_not() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut poll = session.begin_get();
        assert!(poll.is_silent_for(Duration::from_millis(1000)));
        session.push(&join(&["4first", "4second", "abc", "4third"]));
        assert_eq!(packets(&poll.receive().unwrap()), ["4first", "4second", "1"]);
        session.assert_gone();
    });
}

#[test]
fn a_close_packet_releases_the_poll_and_ends_the_session() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        let mut poll = session.begin_get();
        assert!(poll.is_silent_for(Duration::from_millis(1000)));
        session.push("1");
        assert_eq!(packets(&poll.receive().unwrap()), ["6"]);
        session.assert_gone();
    });
}

#[test]
fn other_methods_are_500_and_the_session_lives_on() {
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        for method in ["PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"] {
            let response = session.request(method, &[], b"");
            assert_eq!((response.status, response.text()), (500, ""), "{method}");
        }
        session.assert_alive();
    });
}

/// Polls of 1024 bytes and more, by what the client accepts; never brotli.
#[test]
fn large_polls_are_compressed() {
    let table = [
        (1024, "gzip, deflate, br", "gzip"),
        (1024, "deflate", "deflate"),
        (1024, "br", ""),
        (1024, "gzip;q=0", ""),
        (1023, "gzip, deflate, br", ""),
    ];
    on_each_layout(|server| {
        let session = Polling::open(server.address);
        for (bytes, accepted, encoding) in table {
            let packet = "4".repeat(bytes);
            session.push(&packet);
            let response = session.request("GET", &[("Accept-Encoding", accepted)], b"");
            assert_eq!(response.header("content-encoding"), encoding, "{bytes} bytes, {accepted}");
            let mut text = String::new();
            match encoding {
                "gzip" => GzDecoder::new(&*response.body).read_to_string(&mut text).unwrap(),
                "deflate" => ZlibDecoder::new(&*response.body).read_to_string(&mut text).unwrap(),
                _ => (&*response.body).read_to_string(&mut text).unwrap(),
            };
            assert_eq!(text, packet);
            assert_eq!(response.header("content-length"), response.body.len().to_string());
        }
    });
}
