//! The metrics page of a node: what it promises to Prometheus, and that deploy/METRICS.md says what is on it. After a
//! change of the metrics: `BROADGATE_WRITE_METRICS=1 cargo test -p broadgate --test metrics`.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, fs, path::PathBuf, sync::LazyLock};

use support::{http::request, process::Server};

/// What deploy/METRICS.md has around its table.
const INTRODUCTION: &str = "# Metrics

Every metric on `/metrics` of the ops listener. Made from a running node's page by `gateway/tests/metrics.rs`; do not edit.

- All are there from the start of the node, so a counter that is missing means that the node is not there. Only those with
  the label `issuer` need an issuer whose keys are fetched; its value is `auth.issuers.name`.
- No label has a value that clients choose: the number of series is fixed, whatever the load.
- Counting takes plain integers of each shard, which a scrape adds up. Histograms have fixed buckets and are cumulative, so
  those of all nodes may be added up before a quantile is taken.
- What a shard measures of a broadcast (`broadgate_delivery_latency_seconds`, `broadgate_broadcast_fanout`) it measures once,
  not for each member.

";
/// The labels with values that say something about one build only.
const NOT_LISTED: [&str; 7] =
    ["version", "commit", "rustc", "hash", "issuer", "socketio_namespace", "thread"];

/// One family as the page says it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    /// Each series' labels and value.
    series: Vec<(Vec<(String, String)>, f64)>,
}

type Page = BTreeMap<String, Family>;

#[test]
fn the_reference_has_every_metric_of_a_node() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/METRICS.md");
    let expected = format!("{INTRODUCTION}{}", table(&PAGE_WITH_ALL));
    if std::env::var_os("BROADGATE_WRITE_METRICS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    let missing: Vec<_> =
        expected.lines().filter(|line| !found.lines().any(|other| other == *line)).collect();
    let stale: Vec<_> = found.lines().filter(|line| !expected.lines().any(|other| other == *line)).collect();
    assert!(
        found == expected,
        "deploy/METRICS.md lacks {missing:#?} and has {stale:#?}; \
         BROADGATE_WRITE_METRICS=1 cargo test -p broadgate --test metrics"
    );
}

#[test]
fn counters_of_clients_and_the_adapter_exist_at_0_from_the_start() {
    let page = page_of_new_node();
    let counters: Vec<_> = page.iter().filter(|(_, family)| family.kind == "counter").collect();
    assert!(counters.len() > 30, "{counters:?}");
    for (name, family) in counters {
        assert!(!family.series.is_empty(), "{name} has no series");
        // To start takes time of the processor.
        if name.starts_with("broadgate_") && name != "broadgate_thread_cpu_seconds_total" {
            let nonzero: Vec<_> = family.series.iter().filter(|(_, value)| *value != 0.0).collect();
            assert!(nonzero.is_empty(), "{name}: {nonzero:?}");
        }
    }
}

#[test]
fn histograms_have_all_their_buckets_at_0_from_the_start() {
    let page = page_of_new_node();
    let histograms: Vec<_> = page.iter().filter(|(_, family)| family.kind == "histogram").collect();
    assert!(histograms.len() > 5, "{histograms:?}");
    for (name, family) in histograms {
        let samples =
            family.series.iter().filter(|(labels, _)| bound(labels).is_some_and(|le| le == "+Inf")).count();
        assert!(samples > 0, "{name} has no bucket without a bound");
        let finite = family.series.iter().filter(|(labels, _)| bound(labels).is_some()).count() / samples - 1;
        assert!((5..20).contains(&finite), "{name} has {finite} bounds");
        // A sum and a count for each.
        assert_eq!(family.series.len(), samples * (finite + 1 + 2), "{name}");
        assert!(family.series.iter().all(|(_, value)| *value == 0.0), "{name}: {:?}", family.series);
    }
}

/// The upper bound of a histogram's bucket.
fn bound(labels: &[(String, String)]) -> Option<&str> {
    labels.iter().find(|(name, _)| name == "le").map(|(_, value)| value.as_str())
}

#[test]
fn names_and_help_follow_the_conventions() {
    // https://prometheus.io/docs/practices/naming: one prefix, base units, `_total` for counters only.
    const NOT_BASE_UNITS: [&str; 9] = [
        "_ms",
        "_milliseconds",
        "_minutes",
        "_hours",
        "_kilobytes",
        "_kib",
        "_megabytes",
        "_percent",
        "_count",
    ];
    for (name, family) in &*PAGE_WITH_ALL {
        assert!(name.starts_with("broadgate_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name} is a {}", family.kind);
        let stem = name.strip_suffix("_total").unwrap_or(name);
        assert!(!NOT_BASE_UNITS.iter().any(|unit| stem.ends_with(unit)), "{name}");
        assert!(family.help.ends_with('.') && family.help.len() > 5, "{name}: {:?}", family.help);
    }
}

/// Of a node that fetches keys and speaks TLS, too.
static PAGE_WITH_ALL: LazyLock<Page> = LazyLock::new(|| {
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    let jwks = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("metrics-jwks.json");
    let key = format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{X}\",\"y\":\"{Y}\"}}");
    fs::write(&jwks, format!("{{\"keys\":[{key}]}}")).unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = ["crt", "key"].map(|end| jwks.with_file_name(format!("metrics-tls.{end}")));
    fs::write(&files[0], own.cert.pem()).unwrap();
    fs::write(&files[1], own.signing_key.serialize_pem()).unwrap();
    let tls = format!("[server]\ntls_cert_file = {:?}\ntls_key_file = {:?}\n", files[0], files[1]);
    page_of(&Server::node(Some(&format!("{tls}[[auth.issuers]]\nissuer = \"i\"\njwks_file = {jwks:?}\n"))))
});

/// So that one sees in a rollout which nodes have the new configuration, and learns nothing of secrets.
#[test]
fn a_configuration_is_told_by_its_hash_in_which_secrets_have_no_part() {
    let hash = |config: &str| {
        let page = page_of(&Server::node(Some(config)));
        let [(labels, 1.0)] = &page["broadgate_config_info"].series[..] else {
            panic!("not one series of 1")
        };
        labels[0].1.clone()
    };
    let config = |secret: &str, shards: usize| {
        let issuer = format!("[[auth.issuers]]\nissuer = \"i\"\nkey = \"{secret}\"\n");
        format!("[server]\nshards = {shards}\n{issuer}")
    };
    let (one, another) = ("a secret of thirty-two bytes or more", "another secret of thirty-two bytes!!");
    let first = hash(&config(one, 1));
    assert_eq!(first.len(), 12, "{first}");
    assert_eq!(hash(&config(another, 1)), first, "a secret");
    assert_ne!(hash(&config(one, 2)), first, "another number of shards");
}

/// Each bound says what it is and how often it was reached, under one name.
#[test]
fn every_limit_is_a_gauge_with_a_counter() {
    // They say how other bounds count.
    const NO_BOUNDS: [&str; 3] = ["rate_burst_ms", "handshake_burst_ms", "address_limit_exempt"];
    let page = page_of_new_node();
    let has = |family: &str, key: &str| {
        page[family].series.iter().any(|(labels, _)| labels.iter().any(|(_, value)| value == key))
    };
    let reference = broadgate::config::reference();
    let (_, limits) = reference.split_once("[limits]\n").unwrap();
    let (limits, _) = limits.split_once("\n[").unwrap();
    let keys = limits.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" = "));
    let keys: Vec<_> = keys.map(|(key, _)| key).collect();
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        assert!(has("broadgate_limit", key), "broadgate_limit lacks {key}");
        assert_eq!(has("broadgate_limit_reached_total", key), !NO_BOUNDS.contains(&key), "{key}");
    }
}

fn page_of_new_node() -> Page {
    page_of(&Server::node(None))
}

fn page_of(node: &Server) -> Page {
    let response = request(node.ops_address.unwrap(), "GET", "/metrics", &[], b"");
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), "text/plain; version=0.0.4");
    parse(response.text())
}

/// Reads the text format, as far as it is used: <https://prometheus.io/docs/instrumenting/exposition_formats>.
fn parse(text: &str) -> Page {
    let mut page = Page::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            page.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            page.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = family_of(&mut page, name);
            family.series.push((parse_labels(labels.trim_end_matches('}')), value.parse().unwrap()));
        }
    }
    page
}

/// A histogram's series have names of their own.
fn family_of<'a>(page: &'a mut Page, series: &str) -> &'a mut Family {
    let stems = ["_bucket", "_sum", "_count"].iter().filter_map(|suffix| series.strip_suffix(suffix));
    let histogram = stems.into_iter().find(|stem| page.get(*stem).is_some_and(|f| f.kind == "histogram"));
    let name = histogram.unwrap_or(series);
    page.get_mut(name).unwrap_or_else(|| panic!("{series} has no HELP and TYPE before it"))
}

fn parse_labels(text: &str) -> Vec<(String, String)> {
    let labels = text.split("\",").filter(|label| !label.is_empty());
    let split = |label: &str| {
        let (name, value) = label.split_once("=\"").unwrap();
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    };
    labels.map(split).collect()
}

fn table(page: &Page) -> String {
    let mut table = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for (name, family) in page {
        let Family { kind, help, .. } = family;
        let help = help.replace('|', "\\|");
        let help = format!("{help}{}", bounds(family));
        table.push_str(&format!("| `{name}` | {kind} | {} | {help} |\n", labels(family)));
    }
    table
}

/// What is said of a histogram's buckets.
fn bounds(family: &Family) -> String {
    let mut bounds: Vec<f64> = family
        .series
        .iter()
        .filter_map(|(labels, _)| bound(labels)?.parse().ok())
        .filter(|le: &f64| le.is_finite())
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    match bounds[..] {
        [first, .., last] => format!(" Buckets: {} from {first} to {last}.", bounds.len()),
        _ => String::new(),
    }
}

/// The labels of a family with all their values. The bounds of a histogram's buckets are none.
fn labels(family: &Family) -> String {
    let mut values = BTreeMap::<&str, Vec<&str>>::new();
    for (name, value) in family.series.iter().flat_map(|(labels, _)| labels).filter(|(name, _)| name != "le")
    {
        let values = values.entry(name).or_default();
        if !values.contains(&value.as_str()) && !NOT_LISTED.contains(&name.as_str()) {
            values.push(value);
        }
    }
    let said = values.into_iter().map(|(name, values)| match values.join("`, `") {
        values if values.is_empty() => format!("`{name}`"),
        values => format!("`{name}`: `{values}`"),
    });
    said.collect::<Vec<_>>().join("; ")
}
