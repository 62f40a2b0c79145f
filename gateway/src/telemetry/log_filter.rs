//! Which log lines are written, as it can be changed while the node runs. Owns the filter in force; a change holds for a
//! while, and then what the configuration says holds again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Directives are few; this is no place for a novel.
pub const MAX_FILTER_BYTES: usize = 1024;

/// Puts a filter in force; for whoever set up the subscriber.
pub type ApplyFilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// See the module.
pub struct LogFilter {
    configured: String,
    apply: ApplyFilter,
    changed: Mutex<Option<Change>>,
    reverting: Mutex<Option<AbortHandle>>,
}

/// What holds in place of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The directives.
    pub filter: String,
    /// Until when.
    pub until: Instant,
}

/// Why a filter is not put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It can't be read.
    #[error("\"filter\" is no list of directives such as \"info\" or \"info,broadgate::hub=debug\": {0}")]
    Directives(String),
    /// It is longer than [`MAX_FILTER_BYTES`].
    #[error("\"filter\" is longer than {MAX_FILTER_BYTES} bytes")]
    TooLong,
    /// The subscriber did not take it.
    #[error("the filter could not be put in force: {0}")]
    Apply(String),
}

impl LogFilter {
    /// `configured` is in force already.
    #[must_use]
    pub fn new(configured: &str, apply: ApplyFilter) -> Self {
        Self {
            configured: configured.to_owned(),
            apply,
            changed: Mutex::default(),
            reverting: Mutex::default(),
        }
    }

    /// Of a process whose log is not ours to change.
    #[must_use]
    pub fn fixed(configured: &str) -> Self {
        Self::new(configured, Box::new(|_| Err("the log of this process can't be changed".to_owned())))
    }

    /// What the configuration says.
    #[must_use]
    pub fn configured(&self) -> &str {
        &self.configured
    }

    /// What holds in its place.
    #[must_use]
    pub fn changed(&self) -> Option<Change> {
        self.changed.lock().clone()
    }

    /// Puts `filter` in force for a while. Whoever changes it must call [`LogFilter::revert`] when that is over.
    ///
    /// # Errors
    /// If it can't be read; then nothing changes.
    pub fn change(&self, filter: &str, hold: Duration) -> Result<Change, FilterError> {
        if filter.len() > MAX_FILTER_BYTES {
            return Err(FilterError::TooLong);
        }
        let parsed = parse_filter(filter).map_err(|error| FilterError::Directives(error.to_string()))?;
        // Before it holds: a filter that lets nothing through must not hide itself.
        tracing::warn!(filter, seconds = hold.as_secs(), "the log filter was changed");
        let mut changed = self.changed.lock();
        (self.apply)(parsed).map_err(FilterError::Apply)?;
        let change = Change { filter: filter.to_owned(), until: Instant::now() + hold };
        *changed = Some(change.clone());
        Ok(change)
    }

    /// Puts the configured filter in force again; with `only`, where that change still holds. Was there a change?
    pub fn revert(&self, only: Option<&Change>) -> bool {
        let mut changed = self.changed.lock();
        if changed.is_none() || only.is_some_and(|only| changed.as_ref() != Some(only)) {
            return false;
        }
        let Ok(configured) = parse_filter(&self.configured) else { return false };
        if (self.apply)(configured).is_ok() {
            *changed = None;
            tracing::warn!(filter = self.configured, "the log filter is the configured one again");
        }
        changed.is_none()
    }

    /// Keeps the task that will revert the change in force; the one of the change before it has no more to do.
    pub fn keep_reverting(&self, task: Option<AbortHandle>) {
        if let Some(before) = std::mem::replace(&mut *self.reverting.lock(), task) {
            before.abort();
        }
    }
}

/// Reads directives. Values of fields are compared as texts: as regular expressions, which `tracing-subscriber` makes
/// automata of whose size nothing bounds, a filter of 150 bytes would take gigabytes.
///
/// # Errors
/// It is no list of directives.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_regex(false).parse(filter)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// The filters that were put in force.
    fn recorded() -> (Arc<Mutex<Vec<String>>>, LogFilter) {
        let applied: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = Arc::clone(&applied);
        let apply = move |filter: EnvFilter| {
            into.lock().push(filter.to_string());
            Ok(())
        };
        (applied, LogFilter::new("info", Box::new(apply)))
    }

    /// As a regular expression it would have 2^25 states.
    #[test]
    fn values_of_fields_are_texts() {
        let (applied, filter) = recorded();
        let value = format!("(x|y)*x{}", "(x|y)".repeat(25));
        filter.change(&format!("[{{event={value}}}]=debug"), Duration::from_secs(1)).expect("it can be read");
        assert_eq!(applied.lock().len(), 1);
    }

    #[test]
    fn a_change_holds_until_it_is_reverted_or_followed_by_another() {
        let (applied, filter) = recorded();
        let first = filter.change("debug", Duration::from_secs(60)).expect("it is valid");
        let second = filter.change("warn", Duration::from_secs(60)).expect("it is valid");
        assert!(!filter.revert(Some(&first)), "another holds");
        assert_eq!(filter.changed(), Some(second.clone()));
        assert!(filter.revert(Some(&second)));
        assert!(!filter.revert(None), "there is none any more");
        assert_eq!(filter.changed(), None);
        assert_eq!(*applied.lock(), ["debug", "warn", "info"]);
    }

    #[test]
    fn what_is_no_filter_changes_nothing() {
        let (applied, filter) = recorded();
        for text in ["info,,=", "broadgate=loud", "[", &"a,".repeat(600)] {
            let refused = filter.change(text, Duration::from_secs(1)).expect_err(text);
            assert!(refused.to_string().starts_with("\"filter\" is "), "{refused}");
        }
        assert!(filter.changed().is_none() && applied.lock().is_empty());
    }

    #[test]
    fn the_log_of_another_process_is_left_alone() {
        let filter = LogFilter::fixed("info");
        let refused = filter.change("debug", Duration::from_secs(1));
        assert!(matches!(refused, Err(FilterError::Apply(_))));
        assert_eq!((filter.configured(), filter.changed()), ("info", None));
    }
}
