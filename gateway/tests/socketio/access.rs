//! What clients with tokens may do: rules that ask for one, patterns that it carries, and names that are kept for others.

use serde_json::{Value, json};

use super::{
    support::{process::Server, socketio::Client},
    tokens::{connected, node, rule, token, token_of},
};

fn asked(client: &mut Client, event: &str, room: &str) -> Value {
    let event = if event == "publish" { json!([event, room, "e"]) } else { json!([event, room]) };
    client.ask(&event.to_string())
}

fn assert_refused(answer: &Value, reason: &str) {
    assert_eq!(answer["error"], "forbidden", "{answer}");
    assert!(answer["message"].as_str().unwrap().contains(reason), "{answer} should say: {reason}");
}

fn anonymous(server: &Server) -> Client {
    let mut client = Client::open(server);
    client.join_namespace("/");
    client
}

#[test]
fn rules_ask_for_a_token_or_for_one_that_names_the_room() {
    let rules = [
        rule("public", "anyone", "anyone"),
        rule("members", "authenticated", "authenticated"),
        rule("chat-*", "token", "token"),
        rule("news", "anyone", "nobody"),
        rule("inbox-{sub}", "authenticated", "nobody"),
        rule("inbox-*", "nobody", "authenticated"),
    ];
    let server = node_with_optional(&rules.concat());
    let mut stranger = anonymous(&server);
    let mut ada = connected(
        &server,
        &token(json!({ "sub": "ada", "join": ["chat-{1,2}", "chat-of-{sub}"], "publish": "chat-1" })),
    );
    let mut bob = connected(&server, &token_of("bob"));
    let (no_token, not_named) = ("needs a token", "does not name this room");
    let (no_client, no_rule) = ("no client may", "no rule allows");
    let table: &[(&str, &str, [&str; 3])] = &[
        // Before anybody is in the rooms.
        ("publish", "public", ["", "", ""]),
        ("publish", "members", [no_token, "", ""]),
        ("publish", "chat-1", [no_token, "", not_named]),
        ("publish", "chat-2", [no_token, not_named, not_named]),
        ("publish", "news", [no_client, no_client, no_client]),
        ("publish", "inbox-bob", [no_token, "", no_client]),
        ("publish", "unknown", [no_rule, no_rule, no_rule]),
        ("join", "public", ["", "", ""]),
        ("join", "members", [no_token, "", ""]),
        ("join", "chat-1", [no_token, "", not_named]),
        ("join", "chat-2", [no_token, "", not_named]),
        ("join", "chat-3", [no_token, not_named, not_named]),
        ("join", "chat-of-ada", [no_token, "", not_named]),
        ("join", "chat-of-bob", [no_token, not_named, not_named]),
        ("join", "news", ["", "", ""]),
        ("join", "inbox-ada", [no_client, "", no_client]),
        ("join", "inbox-bob", [no_client, no_client, ""]),
        ("join", "unknown", [no_rule, no_rule, no_rule]),
    ];
    for (event, room, expected) in table {
        for (client, reason) in [&mut stranger, &mut ada, &mut bob].into_iter().zip(expected) {
            let answer = asked(client, event, room);
            match *reason {
                "" => assert_eq!(answer["ok"], true, "{event} {room}: {answer}"),
                reason => assert_refused(&answer, reason),
            }
        }
    }
}

/// Where the main namespace lets clients in without a token.
fn node_with_optional(more: &str) -> Server {
    let namespaces = "[[namespaces]]\nname = \"/\"\nauthentication = \"optional\"\n";
    let key = "[[auth.issuers]]\nkey = \"0123456789abcdef0123456789abcdef\"\n";
    Server::node(Some(&format!("{namespaces}{key}{more}")))
}

#[test]
fn the_room_of_another_user_can_be_joined_only_where_the_token_says_so() {
    let server = node_with_optional(&rule("*", "anyone", "anyone"));
    let mut stranger = anonymous(&server);
    let mut ada = connected(&server, &token_of("ada"));
    let mut support =
        connected(&server, &token(json!({ "sub": "sue", "join": ["user:a*"], "rooms": ["user:bob"] })));
    for client in [&mut stranger, &mut ada] {
        assert_refused(&asked(client, "join", "user:bob"), "another user");
    }
    assert_refused(&asked(&mut support, "join", "user:carl"), "another user");
    assert_eq!(asked(&mut support, "join", "user:ada")["joined"], true);
    assert_eq!(asked(&mut support, "leave", "user:ada")["left"], true);
    assert_eq!(asked(&mut support, "leave", "user:bob")["left"], true, "a room of the token can be left");
    assert_eq!(asked(&mut support, "join", "user:bob")["joined"], true);
    // Everyone is in the own one, and stays there.
    assert_eq!(asked(&mut ada, "join", "user:ada")["joined"], false);
    assert_eq!(asked(&mut ada, "leave", "user:ada")["left"], false);
    assert_eq!(asked(&mut support, "publish", "user:ada")["ok"], true);
    assert_eq!(ada.receive(), r#"2["e"]"#);
}

#[test]
fn the_id_of_a_socket_is_no_room_to_join() {
    let server = super::node();
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    assert_refused(&asked(&mut client, "join", &other.id), "id of a socket");
    // Also one that is not there: its node could still give it out.
    let made_up = format!("{}{}", &other.id[..5], "A".repeat(15));
    assert_refused(&asked(&mut client, "join", &made_up), "id of a socket");
    let own = client.id.clone();
    assert_eq!(asked(&mut client, "join", &own)["ok"], true);
    assert_eq!(asked(&mut other, "publish", &own)["ok"], true);
    assert_eq!(client.receive(), r#"2["e"]"#);
    client.assert_alive();
    for room in ["A".repeat(20), other.id[..19].to_owned(), format!("{}x", other.id)] {
        assert_eq!(asked(&mut client, "join", &room)["ok"], true, "{room}");
    }
}

#[test]
fn in_a_node_without_rules_a_token_alone_opens_nothing() {
    let server = node("");
    let mut client = connected(&server, &token(json!({ "sub": "ada", "join": ["*"], "publish": ["*"] })));
    for event in ["join", "publish"] {
        assert_refused(&asked(&mut client, event, "room"), "no rule");
    }
}
