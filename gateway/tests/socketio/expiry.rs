//! Tokens that end while their clients are connected, and fresh ones.

use serde_json::json;

use super::{
    support::{eventually, socketio::Client},
    tokens::{connect_to, connected, metric, node, now_s, open_with, rule, token},
};

/// Whole seconds: what is left of the last one may be next to nothing.
fn expiring(in_s: u64) -> String {
    token(json!({ "sub": "ada", "exp": now_s() + in_s }))
}

#[test]
fn who_sends_no_fresh_token_is_told_and_then_closed() {
    let server = node("expiry_grace_ms = 3000");
    let expiry_s = now_s() + 9;
    let mut client = connected(&server, &token(json!({ "sub": "ada", "exp": expiry_s })));
    let event = client.receive();
    let told: serde_json::Value = serde_json::from_str(event.strip_prefix('2').unwrap()).unwrap();
    assert_eq!(told[0], "token_expired", "{event}");
    assert!((1..=3000).contains(&told[1]["grace_ms"].as_u64().unwrap()), "{event}");
    client.assert_closed("its token expired");
    assert!(
        now_s() >= expiry_s + 2,
        "the grace, of which a second may be cut as clocks here count whole ones"
    );
    eventually("it is counted", || {
        metric(&server, r#"broadgate_connections_closed_total{reason="token_expired"} 1"#)
    });
    assert!(metric(&server, "broadgate_sockets_expired_total 1"));
}

#[test]
fn without_a_grace_it_is_closed_at_once() {
    let server = node("expiry_grace_ms = 0");
    connected(&server, &expiring(9)).assert_closed("its token expired");
}

#[test]
fn only_the_socket_ends_where_that_is_wanted() {
    let server = node("expiry_grace_ms = 0\non_expiry = \"disconnect\"");
    let mut client = Client::open(&server);
    client.join_namespace("/open");
    connect_to(&mut client, "/", &expiring(9));
    assert_eq!(client.receive(), "1");
    client.send(r#"2/open,1["leave","x"]"#);
    assert_eq!(client.ack("3/open,1")["ok"], true);
    assert!(connect_to(&mut client, "/", &expiring(60))["sid"].is_string(), "and may connect again");
}

#[test]
fn a_fresh_token_keeps_the_socket() {
    let server = node("expiry_grace_ms = 1000");
    let mut client = connected(&server, &expiring(9));
    let mut idle = connected(&server, &expiring(9));
    let id = client.id.clone();
    let exp = now_s() + 60;
    let fresh = token(json!({ "sub": "ada", "exp": exp }));
    let answer = client.ask(&json!(["auth", fresh]).to_string());
    assert_eq!(answer, json!({ "ok": true, "expires_at_s": exp }));
    assert!(idle.receive().starts_with(r#"2["token_expired""#));
    idle.assert_closed("it sent none");
    client.assert_alive();
    assert_eq!(client.id, id);
}

#[test]
fn also_in_the_time_of_grace() {
    let server = node("expiry_grace_ms = 30000");
    let mut client = connected(&server, &expiring(9));
    assert!(client.receive().starts_with(r#"2["token_expired""#));
    assert_eq!(client.ask(&json!(["auth", expiring(60)]).to_string())["ok"], true);
    client.assert_alive();
}

#[test]
fn a_fresh_token_that_is_refused_changes_nothing() {
    let server = node("");
    let mut client = connected(&server, &expiring(60));
    let other = token(json!({ "sub": "bob" }));
    for (arguments, error) in [
        (json!(["auth"]), "invalid_argument"),
        (json!(["auth", 1]), "invalid_argument"),
        (json!(["auth", "x", "y"]), "invalid_argument"),
        (json!(["auth", "x"]), "token_malformed"),
        (json!(["auth", expiring(0)]), "token_expired"),
        (json!(["auth", other]), "token_user"),
    ] {
        let answer = client.ask(&arguments.to_string());
        assert_eq!((&answer["ok"], &answer["error"]), (&json!(false), &json!(error)), "{arguments}");
        assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    client.assert_alive();
    client.join_namespace("/open");
}

#[test]
fn a_fresh_token_brings_its_own_rooms_and_rights() {
    let server = node(&rule("*", "token", "authenticated"));
    let claims = |rooms: &[&str], join: &str| token(json!({ "sub": "ada", "rooms": rooms, "join": [join] }));
    let mut client = connected(&server, &claims(&["a", "b"], "x"));
    let mut publisher = connected(&server, &token(json!({ "sub": "bob" })));
    assert_eq!(client.ask(r#"["join","x"]"#)["ok"], true);
    assert_eq!(client.ask(&json!(["auth", claims(&["b", "c"], "y")]).to_string())["ok"], true);
    for room in ["a", "b", "c", "x", "user:ada"] {
        assert_eq!(publisher.ask(&json!(["publish", room, room]).to_string())["ok"], true);
    }
    // What was joined by an event is kept.
    for room in ["b", "c", "x", "user:ada"] {
        assert_eq!(client.receive(), format!(r#"2["{room}"]"#));
    }
    client.assert_alive();
    assert_eq!(client.ask(r#"["join","y"]"#)["ok"], true);
    assert_eq!(client.ask(r#"["join","z"]"#)["error"], "forbidden");
}

/// A token of the handshake is looked at again for each namespace that is joined with it.
#[test]
fn a_handshakes_token_that_has_expired_joins_nothing_more() {
    let server = node("expiry_grace_ms = 0\non_expiry = \"disconnect\"");
    let mut client = open_with(&server, &format!("&token={}", expiring(9)), &[]);
    client.join_namespace("/");
    assert_eq!(client.receive(), "1");
    client.send("0/open,");
    assert!(client.receive().contains(r#""code":"token_expired""#));
}

#[test]
fn several_sockets_of_a_session_expire_each_in_its_time() {
    let server = node("expiry_grace_ms = 0\non_expiry = \"disconnect\"");
    let mut client = Client::open(&server);
    connect_to(&mut client, "/open", &expiring(13));
    connect_to(&mut client, "/", &expiring(9));
    assert_eq!(client.receive(), "1");
    assert_eq!(client.receive(), "1/open,");
}
