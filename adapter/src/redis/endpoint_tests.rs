use proptest::prelude::*;

use super::*;

fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint { address: Address::Tcp { host: host.into(), port }, tls: None, login: None }
}

fn unix(path: &str) -> Endpoint {
    Endpoint { address: Address::Unix(path.into()), tls: None, login: None }
}

fn with_login(endpoint: Endpoint, user: Option<&str>, password: &str) -> Endpoint {
    let login = Login::new(user, password);
    Endpoint { login: Some(login), ..endpoint }
}

#[test]
fn urls_and_what_they_name() {
    let local = || tcp("127.0.0.1", 6379);
    let socket = || unix("/run/redis.sock");
    for (url, expected) in [
        ("redis://127.0.0.1", local()),
        ("redis://127.0.0.1:6379/", local()),
        ("redis://127.0.0.1/0", local()),
        ("redis://127.0.0.1:6380/15", tcp("127.0.0.1", 6380)),
        ("REDIS://Redis_1.internal-x", tcp("Redis_1.internal-x", 6379)),
        ("redis://[::1]", tcp("::1", 6379)),
        ("redis://[2001:DB8:0::1]:7000/1", tcp("2001:db8::1", 7000)),
        ("rediss://h:6390", Endpoint { tls: Some(TlsSettings::default()), ..tcp("h", 6390) }),
        ("redis://@h", tcp("h", 6379)),
        ("redis://:@h", tcp("h", 6379)),
        ("redis://:secret@h", with_login(tcp("h", 6379), None, "secret")),
        ("redis://app:secret@h:1", with_login(tcp("h", 1), Some("app"), "secret")),
        ("redis://app:@h", with_login(tcp("h", 6379), Some("app"), "")),
        ("redis://app:se:c@ret@h", with_login(tcp("h", 6379), Some("app"), "se:c@ret")),
        ("redis://a%3ab:%2F%3f%23%40%25@[::1]:1", with_login(tcp("::1", 1), Some("a:b"), "/?#@%")),
        ("redis://:%C3%A9é@h", with_login(tcp("h", 6379), None, "éé")),
        ("unix:///run/redis.sock", socket()),
        ("redis+unix:///run/redis.sock", socket()),
        ("unix:///a%20b/%25%40", unix("/a b/%@")),
        ("unix://app:secret@/run/redis.sock", with_login(socket(), Some("app"), "secret")),
        ("unix://:secret@/run/redis.sock", with_login(socket(), None, "secret")),
    ] {
        // Equality, as `Debug` hides the log-in.
        assert!(Endpoint::parse(url) == Ok(expected), "{url}: {:?}", Endpoint::parse(url));
    }
}

#[test]
fn each_fault_has_its_error() {
    for (url, expected) in [
        ("", EndpointError::Scheme),
        ("redis:6379", EndpointError::Scheme),
        ("127.0.0.1:6379", EndpointError::Scheme),
        ("http://h", EndpointError::Scheme),
        ("redis-sentinel://h", EndpointError::Scheme),
        ("redis://", EndpointError::NoHost),
        ("redis:///0", EndpointError::NoHost),
        ("redis://:6379", EndpointError::NoHost),
        ("redis://:secret@", EndpointError::NoHost),
        ("redis://ho st", EndpointError::Host),
        ("redis://höst", EndpointError::Host),
        ("redis://h%41", EndpointError::Host),
        ("redis://[::1", EndpointError::Host),
        ("redis://[::1]6379", EndpointError::Host),
        ("redis://[h]", EndpointError::Host),
        ("redis://[]", EndpointError::Host),
        ("redis://h:", EndpointError::Port),
        ("redis://h:0", EndpointError::Port),
        ("redis://h:65536", EndpointError::Port),
        ("redis://h:+1", EndpointError::Port),
        ("redis://[::1]:x", EndpointError::Port),
        ("redis://::1", EndpointError::NoHost),
        ("redis://fe80::1", EndpointError::Port),
        // Not escaped: what follows the slash looks like the path.
        ("redis://app:se/cret@h", EndpointError::Port),
        ("redis://app@h", EndpointError::NoPassword),
        ("redis://:50%off@h", EndpointError::Escape),
        ("redis://:%4@h", EndpointError::Escape),
        ("redis://:%+1@h", EndpointError::Escape),
        ("redis://:%ff@h", EndpointError::Escape),
        ("redis://h/name", EndpointError::Database),
        ("redis://h/0/1", EndpointError::Database),
        ("redis://h/-1", EndpointError::Database),
        ("redis://h?db=1", EndpointError::Query),
        ("redis://:se#cret@h", EndpointError::Query),
        ("unix:///s?db=1", EndpointError::Query),
        ("unix://", EndpointError::Path),
        ("unix:///", EndpointError::Path),
        ("unix:///run/", EndpointError::Path),
        ("unix://run/redis.sock", EndpointError::Path),
        ("unix:///a%00b", EndpointError::Path),
        ("unix://app:p@/cret@/run/redis.sock", EndpointError::Path),
    ] {
        assert_eq!(Endpoint::parse(url), Err(expected), "{url}");
    }
}

#[test]
fn an_address_is_shown_as_one_writes_it() {
    for (url, expected) in [
        ("redis://:secret@h", "h:6379"),
        ("redis://:secret@[::1]:1", "[::1]:1"),
        ("unix://:secret@/run/redis.sock", "/run/redis.sock"),
    ] {
        assert_eq!(Endpoint::parse(url).expect("it is valid").address.to_string(), expected);
    }
}

fn percent_encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    #[test]
    fn no_error_and_no_debug_shows_the_log_in(
        scheme in prop::sample::select(vec!["redis", "rediss", "unix", "redis+unix", "http", ""]),
        // A mark that nothing else has, among characters that break a URL in every way.
        user in "[a-z:@/?#%\\[\\]]{0,4}",
        before in "[a-z:@/?#%\\[\\] é]{0,4}",
        after in "[a-z:@/?#%\\[\\] é]{0,4}",
        host in "[a-z.:\\[\\]]{0,6}",
        end in "[0-9a-z:/?#]{0,6}",
    ) {
        let url = format!("{scheme}://{user}HIDDEN:{before}HIDDEN{after}@{host}{end}");
        match Endpoint::parse(&url) {
            Ok(endpoint) => prop_assert!(!format!("{endpoint:?} {}", endpoint.address).contains("HIDDEN"), "{url}"),
            Err(error) => prop_assert!(!format!("{error:?} {error}").contains("HIDDEN"), "{url}"),
        }
    }

    #[test]
    fn every_user_and_password_can_be_escaped(user in ".*", password in ".+") {
        let user = Some(user).filter(|user| !user.is_empty());
        let (escaped_user, escaped_password) =
            (percent_encode(user.as_deref().unwrap_or_default()), percent_encode(&password));
        for rest in ["h:1", "/run/redis.sock"] {
            let scheme = if rest.starts_with('/') { "unix" } else { "redis" };
            let endpoint = Endpoint::parse(&format!("{scheme}://{escaped_user}:{escaped_password}@{rest}"));
            let login = endpoint.expect("it is valid").login;
            let expected = Login::new(user.as_deref(), &password);
            prop_assert!(login == Some(expected), "another log-in");
        }
    }

    #[test]
    fn no_text_panics(url in "(redis|unix)://.*|.*") {
        let _ = Endpoint::parse(&url);
    }
}
