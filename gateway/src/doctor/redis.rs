//! Redis: what follows from what the adapter found there.

use std::{collections::BTreeMap, time::Duration};

use broadgate_adapter::redis::inspect::{InspectError, Inspection};

use super::Finding;
use crate::config::{RedisMode, RedisSettings};

const AREA: &str = "redis";
/// RESP3 and ACLs came with it.
const OLDEST_VERSION: u64 = 6;
/// A node that stalls for a moment under a burst has this much waiting at Redis before it is cut.
const SMALLEST_OUTPUT_BUFFER_BYTES: u64 = 64 << 20;
const SLOW: Duration = Duration::from_millis(5);
/// Tokens and revocations compare times of different hosts.
const MAX_SKEW_MS: u64 = 1000;

const ACL_REMEDY: &str =
    "give the user what README.md lists under \"Redis: passwords, TLS, Sentinel, Cluster\" (ACL SETUSER ...)";

/// What follows.
pub(super) fn findings(
    inspected: Result<&Inspection, &InspectError>,
    settings: &RedisSettings,
) -> Vec<Finding> {
    let found = match inspected {
        Ok(found) => found,
        Err(error) => {
            let remedy = "check adapter.redis (mode, url, password, TLS) and the way to the server";
            return vec![Finding::fault(AREA, format!("can't be used: {error}"), remedy)];
        }
    };
    let mut findings = vec![server(found, settings.mode)];
    findings.extend(access(found));
    findings.push(latency(found));
    findings.extend(buffers(&found.settings));
    findings.extend(memory(found));
    findings.extend(clients(&found.info));
    findings.extend(cluster(&found.cluster));
    findings.push(clock(found.clock_ahead_ms));
    findings
}

fn server(found: &Inspection, mode: RedisMode) -> Finding {
    let field = |name: &str| found.info.get(name).map_or("?", String::as_str);
    let (version, role) = (field("redis_version"), field("role"));
    let address = &found.address;
    let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
    if major.is_some_and(|major| major < OLDEST_VERSION) {
        let what = format!("{address} is version {version}; nodes need {OLDEST_VERSION} or newer (RESP3)");
        return Finding::fault(AREA, what, "upgrade the server");
    }
    if field("cluster_enabled") == "1" && mode != RedisMode::Cluster {
        let what = format!(
            "{address} belongs to a cluster, and adapter.redis.mode is another: nodes at its other \
                            servers would still hear each other, but a failover would not be followed"
        );
        return Finding::fault(AREA, what, "set adapter.redis.mode = \"cluster\" and adapter.redis.urls");
    }
    if role == "slave" {
        let what =
            format!("{address} is a replica: what is published there does not reach the nodes at its master");
        return Finding::fault(AREA, what, "connect to the master, or use adapter.redis.mode = \"sentinel\"");
    }
    Finding::good(
        AREA,
        format!("{address}, version {version}, {role}, user {}", found.user.as_deref().unwrap_or("?")),
    )
}

/// What the user may not do, and whether messages arrive.
fn access(found: &Inspection) -> Vec<Finding> {
    if !found.refused.is_empty() {
        let fault = |(what, words): &(String, String)| {
            Finding::fault(AREA, format!("{what} is refused: {words}"), ACL_REMEDY)
        };
        return found.refused.iter().map(fault).collect();
    }
    if let Some(words) = &found.keys_refused {
        let what = format!(
            "keys are refused ({words}): revocations are not kept for nodes that start later, and connections of a user \
             are counted on each node alone"
        );
        return vec![Finding::advice(AREA, what, ACL_REMEDY)];
    }
    if found.message_round_trip.is_none() {
        let what = "a message that was published did not come back by the subscription";
        return vec![Finding::fault(AREA, what, "is there a proxy between that does not know pub/sub?")];
    }
    Vec::new()
}

fn latency(found: &Inspection) -> Finding {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let message = found.message_round_trip.map_or_else(|| "-".to_owned(), ms);
    let what = format!(
        "round trip {} (slowest {}), a message to itself {message}",
        ms(found.round_trip),
        ms(found.slowest_round_trip)
    );
    if found.round_trip < SLOW {
        return Finding::good(AREA, what);
    }
    let what = format!("{what}: each delivery to another node takes at least that long");
    Finding::advice(
        AREA,
        what,
        "put nodes and Redis into one zone; look for other work on the server (SLOWLOG GET)",
    )
}

/// `client-output-buffer-limit` is a list of class, hard limit, soft limit, seconds.
fn buffers(settings: &BTreeMap<String, String>) -> Option<Finding> {
    let limits = settings.get("client-output-buffer-limit")?;
    let words: Vec<&str> = limits.split_whitespace().collect();
    let pubsub = words.chunks(4).find(|class| class.first() == Some(&"pubsub"))?;
    let bytes = |place: usize| pubsub.get(place).and_then(|word| word.parse::<u64>().ok());
    let (hard, soft) = (bytes(1)?, bytes(2)?);
    let is_small = |limit: u64| limit != 0 && limit < SMALLEST_OUTPUT_BUFFER_BYTES;
    if !is_small(hard) && !is_small(soft) {
        return Some(Finding::good(
            AREA,
            format!("output buffers for subscribers: {hard} bytes, {soft} for longer"),
        ));
    }
    Some(Finding::advice(
        AREA,
        format!(
            "a subscriber is cut once {hard} bytes wait for it, or {soft} for some time: a node that stalls under a burst \
             loses messages for all of its clients"
        ),
        "CONFIG SET client-output-buffer-limit \"pubsub 268435456 67108864 60\"",
    ))
}

/// Messages need no memory, revocations and the counts of users do.
fn memory(found: &Inspection) -> Option<Finding> {
    let policy = found.settings.get("maxmemory-policy")?;
    let limit: u64 = found.info.get("maxmemory")?.parse().ok()?;
    let evicts = limit > 0 && policy != "noeviction";
    evicts.then(|| {
        let what = format!("at {limit} bytes the server evicts keys ({policy}), and revocations with them");
        Finding::advice(
            AREA,
            what,
            "CONFIG SET maxmemory-policy noeviction, or a Redis of its own for the nodes",
        )
    })
}

fn clients(info: &BTreeMap<String, String>) -> Option<Finding> {
    let number = |name: &str| info.get(name)?.parse::<u64>().ok();
    let (connected, most) = (number("connected_clients")?, number("maxclients")?);
    (connected.saturating_mul(5) > most.saturating_mul(4)).then(|| {
        let what = format!(
            "{connected} of {most} clients are connected: soon a node that starts gets no connection"
        );
        Finding::advice(AREA, what, "raise maxclients, or find who leaks connections (CLIENT LIST)")
    })
}

fn cluster(fields: &BTreeMap<String, String>) -> Option<Finding> {
    let state = fields.get("cluster_state")?;
    Some(if state == "ok" {
        Finding::good(AREA, "the cluster is whole")
    } else {
        let what = format!("the cluster's state is {state:?}");
        Finding::fault(AREA, what, "CLUSTER NODES shows which servers are gone")
    })
}

fn clock(ahead_ms: i64) -> Finding {
    let what = match ahead_ms {
        0.. => format!("the server's clock is {ahead_ms} ms ahead of this host's"),
        _ => format!("the server's clock is {} ms behind this host's", ahead_ms.unsigned_abs()),
    };
    if ahead_ms.unsigned_abs() < MAX_SKEW_MS {
        return Finding::good(AREA, what);
    }
    let what = format!("{what}: tokens expire early or late, and so do revocations");
    Finding::advice(AREA, what, "run NTP on both (timedatectl, chronyc tracking)")
}

#[cfg(test)]
mod tests {
    use super::{super::Severity, *};
    use crate::config::{AdapterSettings, Flags, Sources, load};

    fn settings() -> RedisSettings {
        let flags = Flags { redis: Some("redis://127.0.0.1:1".to_owned()), ..Flags::default() };
        match load(&Sources { flags, ..Sources::default() }).unwrap().adapter {
            AdapterSettings::Redis(redis) => *redis,
            AdapterSettings::Memory => panic!("a URL was given"),
        }
    }

    fn map(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn healthy() -> Inspection {
        Inspection {
            address: "127.0.0.1:6379".to_owned(),
            info: map(&[
                ("redis_version", "7.2.4"),
                ("role", "master"),
                ("cluster_enabled", "0"),
                ("maxmemory", "0"),
                ("connected_clients", "10"),
                ("maxclients", "10000"),
            ]),
            settings: map(&[
                ("maxmemory-policy", "noeviction"),
                ("client-output-buffer-limit", "normal 0 0 0 slave 1 1 60 pubsub 268435456 67108864 60"),
            ]),
            user: Some("default".to_owned()),
            round_trip: Duration::from_micros(200),
            slowest_round_trip: Duration::from_millis(1),
            message_round_trip: Some(Duration::from_micros(400)),
            ..Inspection::default()
        }
    }

    #[test]
    fn a_server_that_is_set_up_well_gets_no_advice() {
        let findings = findings(Ok(&healthy()), &settings());
        assert!(findings.iter().all(|finding| finding.severity == Severity::Good), "{findings:?}");
    }

    #[test]
    fn each_trouble_is_named_with_what_to_do() {
        type Change = fn(&mut Inspection);
        let cases: [(Change, Severity, &str); 12] = [
            (|it| drop(it.info.insert("redis_version".into(), "5.0.14".into())), Severity::Fault, "upgrade"),
            (|it| drop(it.info.insert("role".into(), "slave".into())), Severity::Fault, "sentinel"),
            (
                |it| drop(it.info.insert("cluster_enabled".into(), "1".into())),
                Severity::Fault,
                "mode = \"cluster\"",
            ),
            (|it| it.refused.push(("PUBLISH a".into(), "NOPERM".into())), Severity::Fault, "ACL SETUSER"),
            (|it| it.keys_refused = Some("NOPERM".into()), Severity::Advice, "revocations are not kept"),
            (|it| it.message_round_trip = None, Severity::Fault, "pub/sub"),
            (|it| it.round_trip = Duration::from_millis(20), Severity::Advice, "one zone"),
            (
                |it| {
                    let limits = "pubsub 33554432 8388608 60".into();
                    it.settings.insert("client-output-buffer-limit".into(), limits);
                },
                Severity::Advice,
                "client-output-buffer-limit",
            ),
            (
                |it| {
                    it.info.insert("maxmemory".into(), "1000".into());
                    it.settings.insert("maxmemory-policy".into(), "allkeys-lru".into());
                },
                Severity::Advice,
                "noeviction",
            ),
            (
                |it| drop(it.info.insert("connected_clients".into(), "9000".into())),
                Severity::Advice,
                "maxclients",
            ),
            (
                |it| drop(it.cluster.insert("cluster_state".into(), "fail".into())),
                Severity::Fault,
                "CLUSTER NODES",
            ),
            (|it| it.clock_ahead_ms = -5000, Severity::Advice, "NTP"),
        ];
        for (change, severity, expected) in cases {
            let mut found = healthy();
            change(&mut found);
            let findings = findings(Ok(&found), &settings());
            let bad: Vec<_> = findings.iter().filter(|finding| finding.severity > Severity::Good).collect();
            assert!(bad.len() == 1 && bad[0].severity == severity, "{expected}: {bad:?}");
            assert!(bad[0].to_string().contains(expected), "{expected}: {}", bad[0]);
        }
    }

    #[test]
    fn a_server_that_is_away_is_a_fault() {
        let error = InspectError::Link("connection refused".to_owned());
        let findings = findings(Err(&error), &settings());
        assert!(findings.len() == 1 && findings[0].severity == Severity::Fault);
        assert!(findings[0].to_string().contains("connection refused"));
    }
}
