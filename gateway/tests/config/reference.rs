//! What is printed, shipped and documented says what is so.

use std::{fs, path::PathBuf};

use broadgate::config::{Access, Authentication, OpsScopes, RoomRule, Sources, load, reference, render};

use super::{env, file, from_toml};

#[test]
fn print_config_gives_a_file_that_means_the_same() {
    let mut sources = from_toml(
        "round.toml",
        "[engine]\npath = \"/rt/\"\n[[rooms]]\nmatch = \"a\\\"b\"\njoin = \"anyone\"\n",
    );
    sources.env = env(&[("BROADGATE__LIMITS__MAX_CONNECTIONS", "77")]);
    let printed = render(&sources).unwrap();
    assert!(printed.contains("max_connections = 77  # BROADGATE__LIMITS__MAX_CONNECTIONS\n"), "{printed}");
    assert!(printed.contains("ping_interval_ms = 25000  # default\n"), "{printed}");
    let again = load(&from_toml("round-again.toml", &printed)).unwrap();
    assert_eq!(format!("{again:?}"), format!("{:?}", load(&sources).unwrap()));
}

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples").join(name)
}

#[test]
fn the_reference_file_is_up_to_date_and_means_the_defaults() {
    let path = example("broadgate.toml");
    let content = fs::read_to_string(&path).unwrap();
    assert_eq!(
        content,
        reference(),
        "run `broadgate print-config --reference > deploy/examples/broadgate.toml`"
    );
    let settings = load(&Sources { file: Some(path), ..Sources::default() }).unwrap();
    let defaults = load(&from_toml("defaults.toml", "")).unwrap();
    assert_eq!(format!("{settings:?}"), format!("{defaults:?}"));
}

#[test]
fn the_commented_parts_of_the_reference_are_valid_too() {
    let keys =
        reference().lines().filter_map(|line| line.strip_prefix("# ")).fold(String::new(), |keys, line| {
            let starts = ["namespace =", "match =", "join =", "publish =", "issuer =", "jwks_url ="];
            let is_example = line == "[[rooms]]"
                || line == "[[auth.issuers]]"
                || starts.iter().any(|start| line.starts_with(start));
            if is_example { keys + line + "\n" } else { keys }
        });
    let settings = load(&from_toml("commented.toml", &keys)).unwrap();
    assert_eq!((settings.rooms.len(), settings.auth.issuers.len()), (1, 1), "{keys}");
}

#[test]
fn the_examples_load() {
    for name in ["minimal.toml", "redis.toml"] {
        let settings = load(&Sources { file: Some(example(name)), ..Sources::default() })
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(!settings.rooms.is_empty(), "{name}");
    }
}

/// The one for the internet reads its secrets from files.
#[test]
fn the_example_for_the_internet_loads_and_opens_nothing() {
    let mut text = fs::read_to_string(example("internet.toml")).unwrap();
    for name in ["backend-key", "operators-key", "redis-password"] {
        let secret = file(name, &format!("a secret of {name}").replace(' ', "-"));
        let path = format!("/run/secrets/{name}");
        assert!(text.contains(&path), "{path}");
        text = text.replace(&path, secret.to_str().unwrap());
    }
    let settings = load(&from_toml("internet.toml", &text)).unwrap_or_else(|e| panic!("{e}"));
    assert!(settings.namespaces.iter().all(|namespace| namespace.authentication == Authentication::Required));
    let is_open = |rule: &RoomRule| rule.join == Access::Anyone || rule.publish == Access::Anyone;
    assert!(!settings.rooms.iter().any(is_open));
    assert_eq!(settings.ops.anonymous, OpsScopes::default());
}

/// README.md says of each bound what its default is, and what happens beyond it.
#[test]
fn the_readme_has_every_limit() {
    let readme = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let reference = reference();
    let (_, limits) = reference.split_once("[limits]\n").unwrap();
    let (limits, _) = limits.split_once("\n[").unwrap();
    let keys: Vec<_> =
        limits.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" = ")).collect();
    assert!(keys.len() > 20, "{keys:?}");
    for (key, default) in keys {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{key}` | ")));
        let row = row.unwrap_or_else(|| panic!("no row for limits.{key}"));
        let said = row.split(" | ").nth(1).unwrap();
        // What depends on the machine, and lists, are said in words.
        let is_said =
            said == format!("`{default}`") || ["address_limit_exempt", "max_memory_bytes"].contains(&key);
        assert!(is_said, "limits.{key} is {default} by default, not {said}");
    }
}
