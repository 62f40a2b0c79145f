//! `check-config`, `print-config`, and the loading of the configuration for `serve`.

use std::process::ExitCode;

use broadgate::config::{self, AdapterSettings, ConfigErrors, Settings};

use super::{PrintConfigArgs, ServeArgs, fail, say};

/// The settings, or the exit code after every fault was written to standard error.
pub(crate) fn load_or_report(args: &ServeArgs) -> Result<Settings, ExitCode> {
    config::load(&args.sources()).map_err(|errors| report(&errors))
}

fn report(errors: &ConfigErrors) -> ExitCode {
    let count = errors.0.len();
    let plural = if count == 1 { "" } else { "s" };
    fail(&format!("{errors}\n{count} error{plural} in the configuration"))
}

pub(super) fn check(args: &ServeArgs) -> ExitCode {
    match load_or_report(args) {
        Ok(settings) => say(&summary(&settings)),
        Err(code) => code,
    }
}

fn summary(settings: &Settings) -> String {
    let mode = if settings.development { "development mode, everything open; " } else { "" };
    let adapter = match settings.adapter {
        AdapterSettings::Memory => "memory",
        AdapterSettings::Redis(_) => "redis",
    };
    format!(
        "ok: {mode}listen {}, ops {}, {} shards, adapter {adapter}, {} namespaces, {} room rules",
        settings.server.listen,
        settings.ops.listen,
        settings.server.shards,
        settings.namespaces.len(),
        settings.rooms.len(),
    )
}

pub(super) fn print(args: &PrintConfigArgs) -> ExitCode {
    if args.reference {
        return say(&config::reference());
    }
    match config::render(&args.sources.sources()) {
        Ok(text) => say(&text),
        Err(errors) => report(&errors),
    }
}
