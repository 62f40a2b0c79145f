//! Sets up what `[log]` says.

use std::io::{self, IsTerminal};

use broadgate::{
    config::{LogFormat, LogSettings},
    telemetry::{ApplyFilter, LogFilter, parse_filter},
};
use tracing_subscriber::{EnvFilter, reload::Handle};

/// Sends log lines to standard error, for the whole process. Only the first call counts.
pub(crate) fn init_logging(log: &LogSettings) -> LogFilter {
    // It was parsed when the settings were made.
    let filter = parse_filter(&log.filter).unwrap_or_default();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let (taken, apply) = match log.format {
        LogFormat::Text => {
            let subscriber = subscriber.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
            let apply = apply_by(subscriber.reload_handle());
            (subscriber.try_init(), apply)
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).with_filter_reloading();
            let apply = apply_by(subscriber.reload_handle());
            (subscriber.try_init(), apply)
        }
    };
    match taken {
        Ok(()) => LogFilter::new(&log.filter, apply),
        Err(_) => LogFilter::fixed(&log.filter),
    }
}

fn apply_by<S: 'static>(handle: Handle<EnvFilter, S>) -> ApplyFilter {
    Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
}
