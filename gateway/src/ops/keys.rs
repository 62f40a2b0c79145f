//! The keys of the ops API: what a bearer may do, and files of keys that change while the node runs.
//!
//! Keys are kept as SHA-256 digests: digests have one length, so comparing them in constant time tells nothing about the
//! key's length either, and what a memory dump shows of them is worth nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::access::AccessCounters;
use crate::config::{OpsKey, OpsKeySource, OpsScopes, OpsSettings, Secret, read_key_file};

/// Between two looks at the files. They are a few lines, and reading them is the one way that sees every kind of change:
/// an edit, a rename, the symbolic links that Kubernetes swaps.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type KeyDigest = [u8; 32];

/// One entry of `[[ops.keys]]` with the keys that it has now.
#[derive(Debug, Clone)]
struct Bearer {
    name: Arc<str>,
    scopes: OpsScopes,
    digests: Vec<KeyDigest>,
}

/// The keys in force. Owned by the ops listener; [`watch_key_files`] writes, requests read.
pub(super) struct KeyRing {
    bearers: RwLock<Arc<[Bearer]>>,
}

impl KeyRing {
    /// The keys that the settings name. A file that has become unreadable since the settings were checked gives none yet.
    pub(super) fn new(settings: &OpsSettings) -> Self {
        let bearer = |key: &OpsKey| {
            let digests = match &key.source {
                OpsKeySource::Inline(secret) => vec![digest(secret.expose())],
                OpsKeySource::File(path) => {
                    read_key_file(path).map(|keys| digests(&keys)).unwrap_or_default()
                }
            };
            Bearer { name: key.name.as_str().into(), scopes: key.scopes, digests }
        };
        Self { bearers: RwLock::new(settings.keys.iter().map(bearer).collect()) }
    }

    /// What the bearer of `key` may do; `None` where it is no key. All keys are compared, in constant time.
    pub(super) fn scopes_of(&self, key: &str) -> Option<OpsScopes> {
        let presented = digest(key);
        let bearers = Arc::clone(&self.bearers.read());
        let (mut known, mut granted) = (Choice::from(0), 0_u8);
        for bearer in bearers.iter() {
            for digest in &bearer.digests {
                let equal = digest.ct_eq(&presented);
                granted |= u8::conditional_select(&0, &bearer.scopes.bits(), equal);
                known |= equal;
            }
        }
        bool::from(known).then(|| OpsScopes::from_bits(granted))
    }

    /// Takes what a file holds now. True: it is not what was there before.
    fn replace(&self, index: usize, keys: &[Secret]) -> bool {
        let digests = digests(keys);
        let mut bearers = self.bearers.write();
        if bearers[index].digests == digests {
            return false;
        }
        let mut changed = bearers.to_vec();
        changed[index].digests = digests;
        *bearers = changed.into();
        true
    }

    fn name(&self, index: usize) -> Arc<str> {
        Arc::clone(&self.bearers.read()[index].name)
    }
}

fn digest(key: &str) -> KeyDigest {
    Sha256::digest(key.as_bytes()).into()
}

fn digests(keys: &[Secret]) -> Vec<KeyDigest> {
    keys.iter().map(|key| digest(key.expose())).collect()
}

/// Looks at the files for ever. A file that can't be used leaves the keys as they were.
pub(super) async fn watch_key_files(keys: Vec<OpsKey>, ring: Arc<KeyRing>, counters: Arc<AccessCounters>) {
    // What was last wrong with each, so that it is said once and not at every look.
    let mut faults: Vec<Option<String>> = vec![None; keys.len()];
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for (index, key) in keys.iter().enumerate() {
            let OpsKeySource::File(path) = &key.source else { continue };
            let path = path.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || read_key_file(&path)).await else { continue };
            look(&ring, &counters, index, read, &mut faults[index]);
        }
    }
}

/// Takes one look's result.
fn look(
    ring: &KeyRing,
    counters: &AccessCounters,
    index: usize,
    read: Result<Vec<Secret>, String>,
    fault: &mut Option<String>,
) {
    let name = ring.name(index);
    match read {
        Ok(keys) => {
            *fault = None;
            if ring.replace(index, &keys) {
                counters.reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%name, keys = keys.len(), "the file of an ops key has changed; its keys are in force");
            }
        }
        Err(error) => {
            counters.reload_failures.fetch_add(1, Ordering::Relaxed);
            if fault.as_ref() != Some(&error) {
                tracing::error!(%name, %error, "the file of an ops key can't be used; the keys stay as they were");
                *fault = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OpsScope::{Control, Publish, Read};

    const FIRST: &str = "first-key-0123456789";
    const SECOND: &str = "second-key-0123456789";

    fn ring() -> KeyRing {
        let key = |name: &str, key: &str, scopes: OpsScopes| OpsKey {
            name: name.to_owned(),
            source: OpsKeySource::Inline(Secret::new(key)),
            scopes,
        };
        KeyRing::new(&OpsSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            anonymous: OpsScopes::default(),
            keys: vec![
                key("a", FIRST, [Publish].into_iter().collect()),
                key("b", SECOND, [Read, Control].into_iter().collect()),
                key("c", SECOND, [Publish].into_iter().collect()),
            ],
        })
    }

    #[test]
    fn a_key_gives_its_scopes_and_nothing_else_does() {
        let ring = ring();
        let all = [Publish, Read, Control].into_iter().collect();
        let cases = [
            (FIRST, Some([Publish].into_iter().collect())),
            // Under two names it may do what both may.
            (SECOND, Some(all)),
            ("", None),
            ("first-key-012345678", None),
            ("first-key-0123456789 ", None),
            ("FIRST-KEY-0123456789", None),
        ];
        for (key, expected) in cases {
            assert_eq!(ring.scopes_of(key), expected, "{key:?}");
        }
    }

    #[test]
    fn a_changed_file_replaces_its_keys_and_a_bad_one_does_not() {
        let (ring, counters, mut fault) = (ring(), AccessCounters::default(), None);
        let keys = |keys: &[&str]| Ok(keys.iter().copied().map(Secret::new).collect());
        let third = "third-key-0123456789";

        look(&ring, &counters, 0, keys(&[FIRST, third]), &mut fault);
        assert!(ring.scopes_of(FIRST).is_some() && ring.scopes_of(third).is_some());
        look(&ring, &counters, 0, keys(&[FIRST, third]), &mut fault);
        assert_eq!(counters.reloads.load(Ordering::Relaxed), 1, "nothing has changed");

        look(&ring, &counters, 0, Err("is gone".to_owned()), &mut fault);
        assert!(ring.scopes_of(third).is_some());
        assert_eq!(counters.reload_failures.load(Ordering::Relaxed), 1);

        look(&ring, &counters, 0, keys(&[third]), &mut fault);
        assert_eq!((ring.scopes_of(FIRST), fault), (None, None));
    }
}
