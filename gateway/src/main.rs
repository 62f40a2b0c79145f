//! The binary `broadgate`: says what was asked for, and its exit code. Everything else is in the library.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, ServeArgs};

/// jemalloc keeps the many small states of idle connections denser than the system's allocator. Its options are compiled
/// in by `JEMALLOC_SYS_WITH_MALLOC_CONF` in `.cargo/config.toml`.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(&Cli::parse().into_command(), serve)
}

fn serve(args: &ServeArgs) -> ExitCode {
    let settings = match cli::load_or_report(args) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let log_filter = cli::init_logging(&settings.log);
    match broadgate::app::run(settings, log_filter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
