//! The command line: what can be said, and the commands that are not the node itself.

mod config;
mod doctor;
mod healthcheck;
mod http;
mod log_level;
mod logging;
mod ops_key;
mod publish;
mod smoke;
mod token;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use broadgate::config::{Flags, Secret, Sources};
use clap::{Args, Parser, Subcommand};

pub(crate) use config::load_or_report;
use healthcheck::HealthcheckArgs;
use log_level::LogLevelArgs;
pub(crate) use logging::init_logging;
use publish::PublishArgs;
use smoke::SmokeArgs;
use token::{TokenArgs, TokenCommand};

/// Where a node's operators' listener is unless told otherwise.
const DEFAULT_OPS_URL: &str = "http://127.0.0.1:8081";

const EXAMPLES: &str = "\
Examples:
  broadgate                                     development mode on http://127.0.0.1:8080, everything open
  broadgate --redis redis://127.0.0.1:6379      the same, as one of several nodes
  broadgate serve --config broadgate.toml       production: only what the file allows
  broadgate check-config --config broadgate.toml
  broadgate token verify --config broadgate.toml < token
  broadgate doctor --config broadgate.toml      is Redis, the host and everything else ready for it?
  broadgate publish --room news headline '{\"title\":\"hi\"}'
  broadgate smoke --url https://realtime.example.com --key-file ops-key       does a message get through?

Configuration, each layer over the one before: defaults, the file, environment variables such as
BROADGATE__SERVER__LISTEN, flags. All keys: broadgate print-config --reference

Exit codes: 0 done; 1 failed (faults in the configuration, no answer, not ready); 2 wrong usage";

/// A ready-made real-time gateway: Socket.IO clients in rooms, published to over Redis.
#[derive(Debug, Parser)]
#[command(name = "broadgate", version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node; also what runs when no command is given
    Serve(ServeArgs),
    /// Check the configuration and report every fault in it
    CheckConfig(ServeArgs),
    /// Print the configuration in force, with where each value comes from
    PrintConfig(PrintConfigArgs),
    /// Publish one event to rooms, through Redis or through a node
    Publish(PublishArgs),
    /// Look at everything a node would meet (configuration, ports, limits of the host, Redis) and say what to change
    Doctor(ServeArgs),
    /// Ask a node whether it is ready: exit code 0 if so, else 1
    Healthcheck(HealthcheckArgs),
    /// Connect as a client, publish, and wait for the message: do they get through, by each transport?
    Smoke(SmokeArgs),
    /// What a node logs: look at it, change it for a while
    LogLevel(LogLevelArgs),
    /// Look at a token (JWT)
    Token(TokenArgs),
}

/// What a configuration is made from.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// TOML file, or JSON if its name ends with .json. Without it the node is in development mode: everything open
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address for clients, such as 0.0.0.0:8080
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Address for operators (metrics, health, publish API), such as 127.0.0.1:8081
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ops_listen: Option<String>,
    /// Share work with other nodes through this Redis, such as redis://127.0.0.1:6379. The process list shows flags:
    /// give a password in BROADGATE__ADAPTER__REDIS__URL instead
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<Secret>,
}

/// `print-config`
#[derive(Debug, Args)]
pub(crate) struct PrintConfigArgs {
    #[command(flatten)]
    sources: ServeArgs,
    /// Print every key with its meaning and default instead, as a file to start from
    #[arg(long)]
    reference: bool,
}

impl Cli {
    /// The command; `serve` where none was given.
    pub(crate) fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

impl ServeArgs {
    /// The sources that these flags and this process's environment make.
    pub(crate) fn sources(&self) -> Sources {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Sources {
            file: self.config.clone(),
            env: std::env::vars_os().map(|(name, text)| (lossy(name), lossy(text))).collect(),
            flags: Flags {
                listen: self.listen.clone(),
                ops_listen: self.ops_listen.clone(),
                redis: self.redis.as_ref().map(|url| url.expose().to_owned()),
            },
        }
    }
}

/// Runs a command that is not `serve`, which is the caller's: it needs the node.
pub(crate) fn run(command: &Command, serve: impl FnOnce(&ServeArgs) -> ExitCode) -> ExitCode {
    match command {
        Command::Serve(args) => serve(args),
        Command::CheckConfig(args) => config::check(args),
        Command::PrintConfig(args) => config::print(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Publish(args) => outcome(publish::publish(args)),
        Command::LogLevel(args) => outcome(log_level::log_level(args)),
        Command::Healthcheck(args) => outcome(healthcheck::healthcheck(args)),
        Command::Smoke(args) => outcome(smoke::smoke(args)),
        Command::Token(TokenArgs { command: TokenCommand::Verify(args) }) => match load_or_report(args) {
            Ok(settings) => outcome(token::verify(&settings)),
            Err(code) => code,
        },
    }
}

fn outcome(result: anyhow::Result<String>) -> ExitCode {
    match result {
        Ok(message) => say(&message),
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Writes to standard output. A closed pipe is not an error worth a word.
fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes to standard error, whose loss leaves nobody to tell.
fn fail(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
    ExitCode::FAILURE
}
