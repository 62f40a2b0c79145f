//! RFC 6455 section 4.2: the opening handshake.

use broadgate_protocol::websocket::handshake::{UpgradeError, accept_key, check};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const GOOD: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

/// Checks the good request with one header changed, or left out.
fn check_with(name: &str, value: Option<&'static str>) -> Result<String, UpgradeError> {
    let good = |wanted: &str| GOOD.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    check(|wanted| if wanted == name { value } else { good(wanted) })
}

/// 1.3 and 4.2.2: the RFC's example.
#[test]
fn the_example_of_the_rfc() {
    assert_eq!(accept_key(KEY), ACCEPT);
    assert_eq!(check_with("", None).as_deref(), Ok(ACCEPT));
}

/// 4.2.1, items 3 and 4: lists of tokens, in any case.
#[test]
fn tokens_are_found_in_lists() {
    for value in ["websocket", "WebSocket", "h2c, websocket", "h2c,WEBSOCKET "] {
        assert!(check_with("upgrade", Some(value)).is_ok(), "{value}");
    }
    for value in ["Upgrade", "upgrade", "keep-alive, Upgrade", "keep-alive,UPGRADE , x"] {
        assert!(check_with("connection", Some(value)).is_ok(), "{value}");
    }
}

/// 4.2.1 and 4.2.2, item 4: each header, missing and wrong.
#[test]
fn what_is_missing_or_wrong_is_named() {
    let table = [
        ("upgrade", None, UpgradeError::Upgrade, 400),
        ("upgrade", Some("h2c"), UpgradeError::Upgrade, 400),
        ("upgrade", Some("websockets"), UpgradeError::Upgrade, 400),
        ("connection", None, UpgradeError::Connection, 400),
        ("connection", Some("keep-alive"), UpgradeError::Connection, 400),
        ("sec-websocket-version", None, UpgradeError::Version, 426),
        ("sec-websocket-version", Some("8"), UpgradeError::Version, 426),
        ("sec-websocket-version", Some("13, 13"), UpgradeError::Version, 426),
        ("sec-websocket-key", None, UpgradeError::Key, 400),
        ("sec-websocket-key", Some(""), UpgradeError::Key, 400),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ="), UpgradeError::Key, 400),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZTEyMzQ="), UpgradeError::Key, 400),
        ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25j*Q=="), UpgradeError::Key, 400),
        (
            "sec-websocket-key",
            Some("dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="),
            UpgradeError::Key,
            400,
        ),
    ];
    for (name, value, expected, status) in table {
        assert_eq!(check_with(name, value), Err(expected), "{name}: {value:?}");
        assert_eq!(expected.http_status(), status);
    }
}
