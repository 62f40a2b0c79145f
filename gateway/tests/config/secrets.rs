//! Passwords and keys: in files or in the settings, never in what is printed.

use broadgate::config::{AdapterSettings, Flags, OpsScope, Secret, Sources, load, read_key_file, render};

use super::{env, errors, file, from_toml};

const PASSWORD: &str = "tops3cret";

#[test]
fn a_password_is_in_no_output() {
    let url = format!("redis://app:{PASSWORD}@redis.internal:6379/");
    let sources = Sources {
        env: env(&[("BROADGATE__ADAPTER__REDIS__URL", &url)]),
        flags: Flags { redis: Some(url.clone()), ..Flags::default() },
        ..Sources::default()
    };
    let settings = load(&sources).unwrap();
    let AdapterSettings::Redis(redis) = &settings.adapter else { panic!("a URL turns Redis on") };
    assert_eq!(redis.url.expose(), url);
    assert!(!format!("{settings:?} {} {:?}", redis.url, sources.flags).contains(PASSWORD));
    assert_eq!(serde_json::to_string(&redis.url).unwrap(), "\"***\"");
    let printed = render(&sources).unwrap();
    assert!(printed.contains("url = \"redis://app:***@redis.internal:6379/\"  # --redis"), "{printed}");
    assert!(!printed.contains(PASSWORD));
}

#[test]
fn passwords_of_their_own_are_in_no_output_and_may_be_in_files() {
    let secret = file("password", &format!("{PASSWORD}\n"));
    let sources = from_toml(
        "passwords.toml",
        &format!(
            "[adapter.redis]\nmode = \"sentinel\"\nurls = [\"rediss://a\", \"rediss://b:1\"]\nusername = \"app\"\n\
             password_file = {secret:?}\nsentinel_password = \"{PASSWORD}\"\ntls_ca_file = \"ca.crt\"\n"
        ),
    );
    let settings = load(&sources).unwrap();
    let AdapterSettings::Redis(redis) = &settings.adapter else { panic!("URLs turn Redis on") };
    assert_eq!(redis.login.password.as_ref().map(Secret::expose), Some(PASSWORD));
    assert_eq!(redis.sentinel.login.password.as_ref().map(Secret::expose), Some(PASSWORD));
    assert_eq!(redis.sentinel.master, "mymaster");
    assert!(redis.sentinel.master_tls, "as the sentinels");
    assert!(!format!("{settings:?}").contains(PASSWORD));
    let printed = render(&sources).unwrap();
    assert!(printed.contains("sentinel_password = \"***\"  # "), "{printed}");
    assert!(printed.contains(&format!("password_file = {secret:?}")), "{printed}");
    assert!(!printed.contains(PASSWORD));
}

#[test]
fn a_key_of_the_ops_api_is_in_no_output() {
    let key = format!("{PASSWORD}-0123456789");
    let keys = file("ops-keys", &format!("\n{key}\n  {key}2  \n"));
    let sources = from_toml(
        "ops-keys.toml",
        &format!(
            "[[ops.keys]]\nname = \"a\"\nkey = \"{key}\"\nscopes = [\"read\"]\n\
             [[ops.keys]]\nname = \"b\"\nkey_file = {keys:?}\n"
        ),
    );
    let settings = load(&sources).unwrap();
    assert!(settings.ops.keys[0].scopes.contains(OpsScope::Read));
    assert!(!settings.ops.keys[0].scopes.contains(OpsScope::Publish));
    assert!(settings.ops.keys[1].scopes.contains(OpsScope::Control), "all unless set");
    let read: Vec<_> = read_key_file(&keys).unwrap();
    assert_eq!(read, [Secret::new(&*key), Secret::new(format!("{key}2"))]);
    assert!(!format!("{settings:?}").contains(PASSWORD));
    let printed = render(&sources).unwrap();
    assert!(printed.contains("key = \"***\"  # "), "{printed}");
    assert!(printed.contains(&format!("key_file = {keys:?}")), "{printed}");
    assert!(!printed.contains(PASSWORD));

    let bad = file("bad-ops-keys", &format!("{key}\n{PASSWORD} {PASSWORD}\n"));
    for content in [
        format!("[[ops.keys]]\nname = \"a\"\nkey = \"{PASSWORD}\""),
        format!("[[ops.keys]]\nname = \"a\"\nkey = [\"{key}\"]"),
        format!("[[ops.keys]]\nname = \"a\"\nkey_file = {bad:?}"),
        format!("[[ops.keys]]\nname = \"a\"\nkey = \"{key}\"\nkey_file = {keys:?}"),
    ] {
        let found = errors(&from_toml("ops-key.toml", &content)).join("\n");
        assert!(!found.contains(PASSWORD), "{content}\n{found}");
    }
}

#[test]
fn a_password_is_in_no_error() {
    let faulty = [
        format!("[adapter.redis]\nurl = \"redis-sentinel://:{PASSWORD}@h\""),
        format!("[adapter.redis]\nurl = \"redis://:{PASSWORD}@h\"\npassword = \"{PASSWORD}\""),
        format!("[adapter.redis]\nurls = \"redis://:{PASSWORD}@h\""),
        format!("[adapter.redis]\nurls = [\"redis://:{PASSWORD}@h\"]"),
        format!("[adapter.redis]\nurls = [\"redis://:{PASSWORD}\"]"),
        format!("[adapter.redis]\nurls = [[\"redis://:{PASSWORD}@h\"]]"),
        format!("[adapter.redis]\npassword = [\"{PASSWORD}\"]\nurl = \"redis://h\""),
        format!(
            "[adapter.redis]\nurl = \"redis://h\"\npassword = \"{PASSWORD}\"\nsentinel_password = \"{PASSWORD}\""
        ),
        format!("[adapter.redis]\nurl = \"http://:{PASSWORD}@h\""),
        format!("[adapter.redis]\nurl = \"redis://:{PASSWORD}@h/zero\""),
        format!("[adapter.redis]\nurl = \"redis://:{PASSWORD}@h:99999\""),
        format!("[adapter.redis]\nurl = \":{PASSWORD}@h\""),
        format!("[adapter.redis]\nurl = [\"redis://:{PASSWORD}@h\"]"),
        format!("[adapter.redis]\nurl = \"redis://:{PASSWORD}@h"),
        format!("[adapter.redis]\nurl = redis://:{PASSWORD}@h"),
        format!("[adapter]\nredis = \"redis://:{PASSWORD}@h\""),
        format!("[adapter]\nkind = \"redis://:{PASSWORD}@h\""),
        format!("[server]\nlisten = \"redis://:{PASSWORD}@h\""),
        format!("redis = \"redis://:{PASSWORD}@h\""),
    ];
    for content in faulty {
        let found = errors(&from_toml("password.toml", &content)).join("\n");
        assert!(!found.contains(PASSWORD), "{content}\n{found}");
    }
}
