//! The task that keeps the keys of one issuer fresh. Runs on the main runtime, for as long as the node does.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    authenticator::FetchedIssuer,
    fetch::{FetchError, fetch},
    keys::KeySet,
    metrics::AuthCounters,
    schedule::Schedule,
};
use crate::{
    config::FetchSettings,
    telemetry::{SpanKind, Traces},
};

/// Fetches for ever. One fetch is under way at a time.
pub(super) async fn keep_fresh(issuer: FetchedIssuer, counters: Arc<AuthCounters>, traces: Traces) {
    let FetchedIssuer { name, keys, settings } = issuer;
    let mut schedule = Schedule::new(settings.refresh_ms, settings.min_refresh_ms);
    let mut failing = false;
    loop {
        keys.begin();
        let span = traces.root("fetch keys", SpanKind::Client);
        let fetched = fetch_keys(&settings).await;
        if let Some(mut span) = span {
            span.set("broadgate.issuer", &*name);
            if let Err(error) = &fetched {
                span.fail(error.to_string());
            }
        }
        counters.fetched(&fetched);
        schedule.ended(fetched.is_ok(), keys.now_ms(), chance());
        let retry_ms = schedule.next_ms().saturating_sub(keys.now_ms());
        match &fetched {
            Ok(set) if failing => tracing::info!(issuer = &*name, keys = set.len(), "keys are fetched again"),
            Ok(set) => tracing::debug!(issuer = &*name, keys = set.len(), "keys are fetched"),
            // At most one line for each attempt, and those get rarer.
            Err(error) => {
                let kept = keys.len();
                tracing::warn!(issuer = &*name, %error, kept, retry_ms, "cannot fetch the keys of tokens");
            }
        }
        failing = fetched.is_err();
        keys.end(fetched.ok());

        until(schedule.open_ms(), keys.now_ms()).await;
        tokio::select! {
            () = until(schedule.next_ms(), keys.now_ms()) => {}
            () = keys.wanted() => {}
        }
    }
}

async fn fetch_keys(settings: &FetchSettings) -> Result<KeySet, FetchError> {
    let json = fetch(&settings.place).await?;
    Ok(KeySet::from_jwks(&json, &settings.algorithms)?)
}

async fn until(then_ms: u64, now_ms: u64) {
    sleep(Duration::from_millis(then_ms.saturating_sub(now_ms))).await;
}

/// Without a random source all nodes fetch at the same pace, which is no reason to stop.
fn chance() -> u32 {
    getrandom::u32().unwrap_or(0)
}
