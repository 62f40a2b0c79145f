//! Sets up what `[log]` says.

use std::io::{self, IsTerminal};

use broadgate::config::{LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;

/// Sends log lines to standard error, for the whole process. Only the first call counts.
pub(crate) fn init_logging(log: &LogSettings) {
    // The filter was parsed when the settings were made, so nothing is lost here.
    let filter = EnvFilter::builder().parse_lossy(&log.filter);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let _ = match log.format {
        LogFormat::Text => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}
