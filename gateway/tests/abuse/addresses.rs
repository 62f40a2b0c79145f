//! One address that opens as much as it can. The clients beside it have another.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Neighbours, POLLING, WEBSOCKET, metric, node, reached, rejected,
    support::{
        eventually,
        http::{Connection, Response},
        process::Server,
        websocket::Socket,
    },
};

const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn get(server: &Server, target: &str) -> Response {
    let mut connection = Connection::open_from(ATTACKER, server.address);
    connection.send("GET", target, &[], b"");
    connection.receive().expect("an answer")
}

fn websocket(server: &Server) -> (Option<Socket>, Response) {
    Socket::ask_over(Connection::open_from(ATTACKER, server.address), WEBSOCKET, &[], b"")
}

#[test]
fn connections_that_ask_for_nothing() {
    let server = node("[limits]\naddress_limit_exempt = []\nmax_connections_per_address = 5\n");
    let mut neighbours = Neighbours::connect(&server);
    let held: Vec<_> = (0..5).map(|_| Connection::open_from(ATTACKER, server.address)).collect();
    eventually("they are taken in", || metric(&server, "broadgate_http_connections") == 5);
    for _ in 0..20 {
        assert!(Connection::open_from(ATTACKER, server.address).is_ended());
    }
    assert_eq!(metric(&server, "broadgate_accept_refused_total"), 20);
    assert_eq!(reached(&server, "max_connections_per_address"), 20);
    assert_eq!(metric(&server, "broadgate_accept_pauses_total"), 0, "nobody else has to wait");
    neighbours.assert_well();
    drop(held);
    eventually("its places are free again", || {
        metric(&server, "broadgate_http_connections") == 0 && get(&server, POLLING).status == 200
    });
}

#[test]
fn sessions_of_one_address() {
    let server = node("[limits]\naddress_limit_exempt = []\nmax_connections_per_address = 3\n");
    let mut neighbours = Neighbours::connect(&server);
    let mut held: Vec<_> = (0..2).map(|_| websocket(&server).0.expect("a place")).collect();
    assert_eq!(get(&server, POLLING).status, 200);
    for target in [POLLING, WEBSOCKET] {
        let response = if target == POLLING { get(&server, target) } else { websocket(&server).1 };
        assert_eq!(response.status, 429, "{target}");
        let retry_after: u64 = response.header("retry-after").parse().unwrap();
        assert!((5..16).contains(&retry_after), "{retry_after}");
        assert_eq!(response.header("connection"), "close", "its connection would only hold a place");
    }
    assert_eq!(rejected(&server, "address_connections"), 2);
    assert_eq!(reached(&server, "max_connections_per_address"), 2);
    neighbours.assert_well();
    drop(held.pop());
    eventually("one place is free again", || websocket(&server).0.map(|socket| held.push(socket)).is_some());
    assert_eq!(websocket(&server).1.status, 429);
}

#[test]
fn handshakes_one_after_another() {
    let limits = "max_handshakes_per_second_per_address = 1\nhandshake_burst_ms = 20000\n";
    let server = node(&format!("[limits]\naddress_limit_exempt = []\n{limits}"));
    let mut neighbours = Neighbours::connect(&server);
    // Those that are refused for what they say count, too, or they would be the better flood.
    let asked = ["/socket.io/?EIO=3&transport=polling", POLLING, "/socket.io/?EIO=4&transport=tcp"];
    let statuses: Vec<u16> = (0..40).map(|number| get(&server, asked[number % asked.len()]).status).collect();
    let taken = statuses.iter().position(|status| *status == 429).expect("a bound");
    assert!((20..40).contains(&taken), "{statuses:?}");
    assert!(rejected(&server, "address_rate") > 0);
    assert!(reached(&server, "max_handshakes_per_second_per_address") > 0);
    let response = get(&server, POLLING);
    if response.status == 429 {
        assert_eq!(response.header("retry-after"), "1");
    }
    neighbours.assert_well();
}

/// Whatever way sessions end: their WebSocket, a close packet, a heartbeat, a fault, an upgrade in between.
#[test]
fn no_count_is_left_behind() {
    let server = node(
        "[limits]\naddress_limit_exempt = []\nmax_connections_per_address = 500\n\
         max_handshakes_per_second_per_address = 1000\nhandshake_burst_ms = 1000\n\
         [engine]\nping_interval_ms = 3000\nping_timeout_ms = 3000\nconnect_timeout_ms = 3000\n",
    );
    for round in 0..20 {
        let (socket, _) = websocket(&server);
        let mut socket = socket.expect("a place");
        let opened = get(&server, POLLING);
        let sid = opened.text().split('"').nth(3).unwrap().to_owned();
        let target = format!("{POLLING}&sid={sid}");
        match round % 5 {
            0 => drop(socket),
            1 => socket.send_text("9"),
            2 => socket.reset(),
            3 => {
                let mut post = Connection::open_from(ATTACKER, server.address);
                post.send("POST", &target, &[], b"1");
                assert_eq!(post.receive().unwrap().status, 200);
            }
            _ => {
                let upgrade = format!("{WEBSOCKET}&sid={sid}");
                let connection = Connection::open_from(ATTACKER, server.address);
                let mut upgraded = Socket::ask_over(connection, &upgrade, &[], b"").0.expect("an upgrade");
                upgraded.send_text("2probe");
                assert_eq!(upgraded.receive_text(), "3probe");
                upgraded.send_text("5");
            }
        }
    }
    eventually("all sessions have ended", || {
        let sessions = ["polling", "websocket"]
            .map(|transport| metric(&server, &format!("broadgate_connections{{transport=\"{transport}\"}}")));
        sessions == [0, 0] && metric(&server, "broadgate_connections_pending") == 0
    });
    eventually("no address is kept", || metric(&server, "broadgate_addresses") == 0);
}

/// A balancer in a private network that nobody told the node of is not one client.
#[test]
fn addresses_that_no_client_on_the_internet_has() {
    let server = node(
        "[limits]\nmax_connections_per_address = 1\nmax_handshakes_per_second_per_address = 1\nhandshake_burst_ms = 1000\n",
    );
    let held: Vec<_> = (0..10).map(|_| websocket(&server).0.expect("a place")).collect();
    assert_eq!((held.len(), metric(&server, "broadgate_addresses")), (10, 0));
}
