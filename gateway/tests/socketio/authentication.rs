//! Who gets in: tokens of CONNECT and of the handshake, refusals with their codes, and the rooms that a token brings.

use serde_json::{Value, json};

use super::{
    support::{
        engineio::{Polling, handshake},
        http::request,
        socketio::{Client, PATH},
    },
    tokens::{connect_answer, connect_to, connected, node, now_s, open_with, rule, token, token_of},
};

fn code(answer: &Value) -> &str {
    assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()), "for people: {answer}");
    answer["data"]["code"].as_str().unwrap_or_else(|| panic!("no refusal: {answer}"))
}

#[test]
fn a_refusal_has_a_code_and_the_connection_lives_on() {
    let server = node("");
    let valid = token_of("ada");
    let (signed, end) = valid.split_at(valid.len() - 4);
    let forged = format!("{signed}{}{}", if end.starts_with('x') { "y" } else { "x" }, &end[1..]);
    let table = [
        ("0", "authentication_required"),
        ("0{}", "authentication_required"),
        (r#"0{"token":null}"#, "authentication_required"),
        (r#"0{"token":""}"#, "authentication_required"),
        (r#"0{"Token":"x"}"#, "authentication_required"),
        (r#"0{"token":1}"#, "token_malformed"),
        (r#"0{"token":"x"}"#, "token_malformed"),
        (&format!("0{}", json!({ "token": forged })), "token_invalid"),
        (&format!("0{}", json!({ "token": "x".repeat(10_000) })), "token_too_large"),
        (
            &format!("0{}", json!({ "token": token(json!({ "sub": "a", "exp": now_s() - 1 })) })),
            "token_expired",
        ),
        (
            &format!("0{}", json!({ "token": token(json!({ "sub": "a", "nbf": now_s() + 60 })) })),
            "token_not_yet_valid",
        ),
        (&format!("0{}", json!({ "token": token(json!({ "x": 1 })) })), "token_claims"),
        (&format!("0{}", json!({ "token": token(json!({ "sub": "a", "aud": "b" })) })), "token_audience"),
    ];
    let mut client = Client::open(&server);
    for (packet, expected) in table {
        client.send(packet);
        assert_eq!(code(&connect_answer(&mut client, "/")), expected, "{packet}");
    }
    assert!(connect_to(&mut client, "/", &valid)["sid"].is_string());
    client.assert_alive();
}

#[test]
fn where_a_token_is_optional_none_is_well_and_a_bad_one_is_not() {
    let server = node("");
    let mut client = Client::open(&server);
    assert_eq!(code(&connect_to(&mut client, "/open", "x")), "token_malformed");
    client.join_namespace("/open");
    assert_eq!(
        code(&{
            client.send("0");
            connect_answer(&mut client, "/")
        }),
        "authentication_required",
        "each namespace for itself"
    );
    assert!(connect_to(&mut client, "/", &token_of("ada"))["sid"].is_string());
}

/// The first that is there counts: the packet's, the header's, the cookie's, the query's.
#[test]
fn the_handshake_may_bring_the_token() {
    let server = node("");
    let (good, bad) = (token_of("ada"), "bad");
    let (bearer, bad_bearer) = (format!("Bearer {good}"), format!("Bearer {bad}"));
    let (cookie, bad_cookie) = (format!("a=1; session={good}"), format!("session={bad}"));
    let (query, bad_query) = (format!("&token={good}"), format!("&token={bad}"));
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>, bool);
    let table: &[Case<'_>] = &[
        ("", &[("Authorization", &bearer)], None, true),
        ("", &[("Cookie", &cookie)], None, true),
        (&query, &[], None, true),
        (&bad_query, &[("Authorization", &bearer), ("Cookie", &bad_cookie)], None, true),
        (&bad_query, &[("Cookie", &cookie)], None, true),
        (&query, &[("Authorization", &bad_bearer), ("Cookie", &cookie)], None, false),
        ("", &[("Authorization", &bad_bearer)], Some(&good), true),
        ("", &[("Authorization", &bearer)], Some(bad), false),
    ];
    for (query, headers, own, is_let_in) in table {
        let mut client = open_with(&server, query, headers);
        let answer = match own {
            Some(token) => connect_to(&mut client, "/", token),
            None => {
                client.send("0");
                connect_answer(&mut client, "/")
            }
        };
        assert_eq!(answer["sid"].is_string(), *is_let_in, "{query} {headers:?} {own:?}: {answer}");
    }
    // For every namespace, not only the first.
    let mut client = open_with(&server, "", &[("Cookie", &cookie)]);
    for namespace in ["/", "/open"] {
        client.join_namespace(namespace);
    }
}

#[test]
fn on_polling_too() {
    let server = node("");
    let bearer = format!("Bearer {}", token_of("ada"));
    let target = format!("{PATH}?EIO=4&transport=polling");
    let opened = request(server.address, "GET", &target, &[("Authorization", &bearer)], b"");
    let sid = handshake(opened.text())["sid"].as_str().unwrap().to_owned();
    let polling = Polling { address: server.address, path: PATH, sid };
    polling.push("40");
    let [answer] = &polling.poll()[..] else { panic!("one packet") };
    assert!(answer.starts_with(r#"40{"sid":""#), "{answer}");
}

#[test]
fn a_handshake_that_is_too_long_is_told() {
    let server = node("max_token_bytes = 256");
    let bearer = format!("Bearer {}", "x".repeat(5000));
    let mut client = open_with(&server, "", &[("Authorization", &bearer)]);
    client.send("0");
    assert_eq!(code(&connect_answer(&mut client, "/")), "token_too_large");
}

#[test]
fn without_issuers_tokens_are_not_looked_at() {
    let server = super::node();
    let mut client = open_with(&server, "&token=x", &[("Authorization", "Bearer x")]);
    assert!(connect_to(&mut client, "/", "x")["sid"].is_string());
    assert_eq!(client.ask(r#"["auth","x"]"#)["error"], "token_user");
}

#[test]
fn every_socket_of_a_user_is_in_the_users_room_and_in_those_of_its_token() {
    let server = node(&rule("*", "nobody", "anyone"));
    let claims = json!({ "sub": "ada", "rooms": ["news", "team 1", "news"] });
    let mut devices: Vec<_> = (0..4).map(|_| connected(&server, &token(claims.clone()))).collect();
    let mut other = connected(&server, &token(json!({ "sub": "bob", "rooms": ["team 1"] })));
    for (room, reaches_other) in [("user:ada", false), ("news", false), ("team 1", true)] {
        let (publisher, rest) = devices.split_first_mut().unwrap();
        let event = json!(["publish", room, "e", room]).to_string();
        assert_eq!(publisher.ask(&event)["ok"], true);
        for device in rest {
            assert_eq!(device.receive(), json!(["e", room]).to_string().replacen('[', "2[", 1), "{room}");
        }
        if reaches_other {
            assert_eq!(other.receive(), r#"2["e","team 1"]"#);
        }
        other.assert_alive();
    }
}

#[test]
fn the_rooms_of_a_token_count_as_others_do() {
    let server = node("[limits]\nmax_rooms_per_socket = 3\n");
    let mut client = Client::open(&server);
    let claims = |rooms: &[&str]| token(json!({ "sub": "ada", "rooms": rooms }));
    assert_eq!(code(&connect_to(&mut client, "/", &claims(&["a", "b", "c"]))), "too_many_rooms");
    assert!(connect_to(&mut client, "/", &claims(&["a", "b"]))["sid"].is_string());
}

#[test]
fn results_are_counted_by_code() {
    let server = node("");
    let mut client = Client::open(&server);
    client.send("0");
    connect_answer(&mut client, "/");
    connect_to(&mut client, "/", "x");
    connect_to(&mut client, "/", &token_of("ada"));
    let page = request(server.ops_address.unwrap(), "GET", "/metrics", &[], b"");
    for (result, count) in [("ok", 1), ("authentication_required", 1), ("token_malformed", 1), ("refused", 0)]
    {
        let line = format!("broadgate_connects_total{{result=\"{result}\"}} {count}\n");
        assert!(page.text().contains(&line), "{line}");
    }
}
