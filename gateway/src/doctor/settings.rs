//! The configuration: what is valid, and opens more than its author may think.

use super::Finding;
use crate::config::{Access, OpsScope, Settings};

/// What follows from the settings alone.
pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    if settings.development {
        let what = "no config file: development mode, in which every client may join and publish everywhere";
        return vec![Finding::advice("config", what, "give --config before strangers can reach the node")];
    }
    let mut findings = vec![Finding::good("config", "the configuration is valid")];
    findings.extend(open_api(settings));
    if !settings.server.listen.ip().is_loopback() {
        findings.extend(strangers_who_publish(settings));
        findings.extend(addresses_of_balancers(settings));
    }
    if !settings.auth.issuers.is_empty() && !settings.auth.require_expiry {
        findings.push(Finding::advice(
            "config",
            "tokens without an expiry are accepted: one that is stolen counts until it is revoked",
            "leave auth.require_expiry out, and sign tokens that last for minutes",
        ));
    }
    findings
}

fn open_api(settings: &Settings) -> Option<Finding> {
    let open = |scope: &OpsScope| settings.ops.anonymous.contains(*scope);
    let changes_something = [OpsScope::Publish, OpsScope::Control].iter().any(open);
    (changes_something && !settings.ops.listen.ip().is_loopback()).then(|| {
        Finding::advice(
            "config",
            format!(
                "ops.anonymous: everyone who reaches {} may publish to clients or disconnect them",
                settings.ops.listen
            ),
            "give keys with [[ops.keys]], and leave ops.anonymous out",
        )
    })
}

fn strangers_who_publish(settings: &Settings) -> Option<Finding> {
    let rule = settings.rooms.iter().position(|rule| rule.publish == Access::Anyone)?;
    settings.auth.issuers.is_empty().then(|| {
        Finding::advice(
            "config",
            format!("rooms[{rule}].publish = \"anyone\", and no client needs a token: strangers can write to your users"),
            "sign tokens ([[auth.issuers]]), and let \"authenticated\" or \"token\" publish; or \"nobody\" but backends",
        )
    })
}

/// A balancer in a private network is not counted as a client, and so none of those behind it is.
fn addresses_of_balancers(settings: &Settings) -> Option<Finding> {
    let limits = &settings.limits;
    let counts = limits.max_connections_per_address > 0
        || limits.max_handshakes_per_second_per_address > 0
        || limits.max_tls_handshakes_per_second_per_address > 0;
    let is_blind = settings.server.edge.trusted_proxies.is_empty() && !limits.address_limit_exempt.is_empty();
    (counts && is_blind).then(|| {
        Finding::advice(
            "config",
            "no server.trusted_proxies: behind a balancer or an ingress all clients have its address, and if that is a \
             private one the limits per address hold for none of them",
            "name the balancer's networks in server.trusted_proxies; nothing, if clients connect directly",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{super::Severity, *};

    /// A node on a public address that opens nothing.
    fn closed() -> Settings {
        let mut settings = Settings::development();
        settings.development = false;
        settings.server.listen = ([0, 0, 0, 0], 8080).into();
        settings.server.edge.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        settings.ops.anonymous = [].into_iter().collect();
        settings.rooms.clear();
        settings
    }

    fn advice(settings: &Settings) -> Vec<String> {
        let findings = findings(settings);
        findings.into_iter().filter(|it| it.severity > Severity::Good).map(|it| it.to_string()).collect()
    }

    #[test]
    fn what_opens_nothing_gets_no_advice() {
        assert_eq!(advice(&closed()), Vec::<String>::new());
    }

    #[test]
    fn each_door_that_is_open_is_named_with_how_to_close_it() {
        type Opens = fn(&mut Settings);
        let doors: [(Opens, &str); 4] = [
            (|settings| settings.development = true, "give --config"),
            (|settings| settings.server.edge.trusted_proxies.clear(), "server.trusted_proxies"),
            (
                |settings| {
                    settings.ops.listen = ([0, 0, 0, 0], 8081).into();
                    settings.ops.anonymous = [OpsScope::Control].into_iter().collect();
                },
                "[[ops.keys]]",
            ),
            (|settings| settings.rooms = Settings::development().rooms, "rooms[0].publish"),
        ];
        for (open, expected) in doors {
            let mut settings = closed();
            open(&mut settings);
            let advice = advice(&settings);
            assert!(advice.len() == 1 && advice[0].contains(expected), "{expected}: {advice:?}");
        }
    }

    #[test]
    fn a_node_that_only_this_machine_reaches_may_be_open() {
        let mut settings = Settings::development();
        settings.development = false;
        assert_eq!(advice(&settings), Vec::<String>::new());
    }
}
