//! A key in a file of its own, which is looked at now and then, so that whoever changes the key restarts nothing. Runs on the
//! main runtime, for as long as the node does; it is the one who writes the keys.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use super::{keys::KeySet, metrics::AuthCounters};
use crate::config::{KeyFile, read_secret_file};

/// Between two looks, as at all files that may change (`ops/keys.rs`).
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The keys of one issuer, from a file.
pub(super) struct WatchedKeys {
    pub(super) name: Arc<str>,
    pub(super) keys: Arc<ArcSwap<KeySet>>,
    pub(super) file: KeyFile,
}

/// What a look found that was not there before.
#[derive(Debug)]
enum Look {
    New(KeySet),
    Same,
    /// Why it can't be used. Quotes nothing of it.
    Unusable(String),
}

/// Looks for ever. A file that can't be used leaves the key as it was.
pub(super) async fn watch(watched: WatchedKeys, counters: Arc<AuthCounters>) {
    let WatchedKeys { name, keys, file } = watched;
    let file = Arc::new(file);
    // The key may have changed since the settings were read, so the first look always counts as a change.
    let (mut seen, mut told) = (None, None);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let read = Arc::clone(&file);
        let look = tokio::task::spawn_blocking(move || look(&read, seen)).await;
        let Ok((digest, found)) = look else { continue };
        let is_first = seen.is_none();
        seen = digest.or(seen);
        match found {
            Look::New(new) => {
                keys.store(Arc::new(new));
                told = None;
                if !is_first {
                    counters.reloaded(true);
                    tracing::info!(
                        issuer = &*name,
                        "the file of a token key has changed; its key is in force"
                    );
                }
            }
            Look::Same => told = None,
            Look::Unusable(error) => {
                counters.reloaded(false);
                if told.as_ref() != Some(&error) {
                    tracing::error!(issuer = &*name, %error, "the file of a token key can't be used; the old key stays");
                    told = Some(error);
                }
            }
        }
    }
}

/// Also gives the digest of a key that can be used. `seen`: that of the last one.
fn look(file: &KeyFile, seen: Option<[u8; 32]>) -> (Option<[u8; 32]>, Look) {
    let text = match read_secret_file(&file.path) {
        Ok(text) => text,
        Err(error) => return (None, Look::Unusable(error)),
    };
    let digest: [u8; 32] = Sha256::digest(text.expose().as_bytes()).into();
    if seen == Some(digest) {
        return (None, Look::Same);
    }
    match file.parse(&text) {
        Ok(keys) => (Some(digest), Look::New(keys)),
        Err(error) => (None, Look::Unusable(format!("{}: {error}", file.path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_look_takes_what_is_new_and_can_be_used() {
        let path = std::env::temp_dir().join(format!("broadgate-key-file-{}", std::process::id()));
        let file =
            KeyFile { path: path.clone(), key_id: None, algorithms: Vec::new(), at_start: KeySet::default() };
        let [first, second] =
            ["a first secret of thirty-two bytes!!", "a second secret of thirty-two bytes!"];
        let mut seen = None;
        let steps = [
            (Some(first), "new"),
            (Some(first), "same"),
            (Some("too short"), "needs"),
            (Some(""), "is empty"),
            (None, "No such file"),
            (Some(first), "same"),
            (Some(second), "new"),
        ];
        for (content, expected) in steps {
            match content {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let (digest, found) = look(&file, seen);
            seen = digest.or(seen);
            let found = match found {
                Look::New(_) => "new".to_owned(),
                Look::Same => "same".to_owned(),
                Look::Unusable(error) => error,
            };
            assert!(found.contains(expected), "{content:?}: {found}");
            assert!(!found.contains("too short"), "it quotes nothing");
        }
        fs::remove_file(&path).unwrap();
    }
}
