//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{attack::Abuse, baseline, message, plan::Endpoint};

const EXAMPLES: &str = "\
Examples:
  Everything at once, against the release build, on this host (a few minutes):
    cargo build --release --workspace && target/release/broadgate-loadtest suite

  1,000 members, 1, 16 and 64 messages in flight, servers started and stopped for you:
    broadgate-loadtest broadcast --spawn

  Against a node that runs already (process 4711, for its CPU time):
    broadgate-loadtest broadcast --url ws://127.0.0.1:8080 --redis 127.0.0.1:6379 --pid 4711

  Memory of 15,000 idle connections:
    broadgate-loadtest idle --spawn --connections 15000

  What strangers can do to 1,000 clients that behave, one abuse after the other:
    broadgate-loadtest attack
    broadgate-loadtest attack --abuse ack-flood,slow-readers --seconds 20

  What no affinity costs: handshakes per second where each request goes to the next of three nodes:
    broadgate-loadtest handshakes --spawn
    broadgate-loadtest handshakes --target ws://127.0.0.1:8080,ws://127.0.0.1:8082 --pid 4711,4712

How to read the figures:
  A delivery is one message received by one member. Deliveries per CPU second are those of the process under test
  alone (user and system time, all threads); on loopback they include the kernel's work for the sending side.
  The bare loop is a process on the same core that only calls send() with a ready frame of the same bytes. Its rounds
  alternate with the server's, so that a busy host slows both; a ratio is the median of the one over that of the other.

Exit status: 0, or 1 if a connection failed or a message was lost, duplicated or out of order, or 2 for wrong usage.";

/// Load generator for Broadgate: raw epoll Socket.IO clients that cost little, and a bare send() loop to compare with.
#[derive(Debug, Parser)]
#[command(name = "broadgate-loadtest", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Write the full report as JSON to this file (`-`: standard output, in place of the tables)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables as Markdown to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open many connections in one room and hold them: rate of opening, memory and CPU time for each
    Idle(IdleArgs),
    /// Publish to the members of one room with a window of messages in flight, and compare with the bare loop
    Broadcast(BroadcastArgs),
    /// Connect by polling and upgrade at the nodes of a cluster, with and without affinity: rates, their ratio, CPU time
    Handshakes(HandshakesArgs),
    /// Abuse a node in every way that strangers on the internet do, and see what that does to clients that behave
    Attack(AttackArgs),
    /// The bare send() loop alone: what this host can do at most
    Baseline(BaselineArgs),
    /// Measure everything that Broadgate promises and print one table: target, measured, pass or miss
    Suite(SuiteArgs),
    /// The process behind the bare loop
    #[command(name = baseline::SUBCOMMAND, hide = true)]
    BareSendLoop { connections: usize, size_bytes: usize },
}

/// What is tested.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Where clients connect to
    #[arg(long, default_value = "ws://127.0.0.1:8080")]
    pub(crate) url: Endpoint,
    /// Process id of the server, for its CPU time and memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Start a release build of the node with a Redis server of its own, and stop both at the end
    #[arg(long, conflicts_with_all = ["url", "pid", "redis", "ops"])]
    pub(crate) spawn: bool,
    /// Redis server to publish through
    #[arg(long, default_value = "127.0.0.1:6379", value_name = "HOST:PORT")]
    pub(crate) redis: String,
    /// Ops listener to publish through, with `--publish-via ops`
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "HOST:PORT")]
    pub(crate) ops: String,
    #[command(flatten)]
    pub(crate) spawned: SpawnArgs,
}

/// How to start it.
#[derive(Debug, Args)]
pub(crate) struct SpawnArgs {
    /// The node to start, if not the one beside this program or in target/release
    #[arg(long, value_name = "FILE")]
    pub(crate) server_bin: Option<PathBuf>,
    /// Core for the process under test; clients and Redis get the others
    #[arg(long, default_value_t = 0, value_name = "CORE")]
    pub(crate) server_core: usize,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// How many
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Room that each one joins
    #[arg(long, default_value = "idle", value_parser = room_name)]
    pub(crate) room: String,
    /// Connections to open per second; 0: as fast as the server takes them
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u32,
    /// How long to hold them; memory is read at the end (allocators give back with a delay)
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    pub(crate) hold_s: u32,
}

#[derive(Debug, Args)]
pub(crate) struct BroadcastArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Room that each one joins
    #[arg(long, default_value = "load", value_parser = room_name)]
    pub(crate) room: String,
    /// Messages in flight, one series for each
    #[arg(long, default_value = "1,16,64", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) in_flight: Vec<u16>,
    /// Way of publishing
    #[arg(long, value_enum, default_value_t = Via::Redis)]
    pub(crate) publish_via: Via,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// The message of a Socket.IO emitter, by PUBLISH
    Redis,
    /// POST /api/v1/publish at the ops listener
    Ops,
}

#[derive(Debug, Args)]
pub(crate) struct HandshakesArgs {
    /// The nodes of one cluster
    #[arg(long = "target", value_delimiter = ',', value_name = "URL", required_unless_present = "spawn")]
    pub(crate) targets: Vec<Endpoint>,
    /// Process ids of the nodes, for their CPU time
    #[arg(long = "pid", value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
    /// Process id of their Redis server, for its CPU time
    #[arg(long)]
    pub(crate) redis_pid: Option<u32>,
    /// Start release builds of the node with a Redis server of their own, and stop all at the end
    #[arg(long, conflicts_with_all = ["targets", "pids", "redis_pid"])]
    pub(crate) spawn: bool,
    /// How many nodes to start
    #[arg(long, default_value_t = 3, requires = "spawn", value_parser = clap::value_parser!(u8).range(2..=16))]
    pub(crate) nodes: u8,
    #[command(flatten)]
    pub(crate) spawned: SpawnArgs,
    /// Handshakes of each round
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) handshakes: u32,
    /// Clients that connect at the same time; each waits 0.1 s for its upgrade, as in all Engine.IO servers, so few of
    /// them do not make a node busy
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Rounds of each kind, in turn; figures are medians over them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
}

#[derive(Debug, Args)]
pub(crate) struct AttackArgs {
    #[command(flatten)]
    pub(crate) spawned: SpawnArgs,
    /// Clients that behave: members of one room that each get every message
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) members: u32,
    /// Messages per second to that room
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rate: u32,
    /// Length of each abuse, and of the calm before it
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The abuses to try; all of them unless given
    #[arg(long = "abuse", value_enum, value_delimiter = ',')]
    pub(crate) abuses: Vec<Abuse>,
    /// How many times the 99th percentile of the calm the latency may be
    #[arg(long, default_value_t = 5.0, value_name = "TIMES", value_parser = times)]
    pub(crate) max_p99_ratio: f64,
}

#[derive(Debug, Args)]
pub(crate) struct BaselineArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Core for the bare loop; the clients get the others
    #[arg(long, default_value_t = 0, value_name = "CORE")]
    pub(crate) server_core: usize,
}

/// The shape of a broadcast.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Connections in the room
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) members: u32,
    /// Bytes of the event's one argument, a string
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(message::SEQUENCE_DIGITS as i64..=60_000))]
    pub(crate) size: u32,
    /// Length of a round
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// End a round after this many messages instead
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "seconds")]
    pub(crate) messages: Option<u64>,
    /// Rounds; figures are medians over them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
}

#[derive(Debug, Args)]
pub(crate) struct SuiteArgs {
    #[command(flatten)]
    pub(crate) spawned: SpawnArgs,
    /// Rounds of each broadcast
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
    /// Length of a round
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected 0.05 to 600".to_owned()),
    }
}

fn times(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(times) if (1.0..=1e6).contains(&times) => Ok(times),
        _ => Err("expected 1 or more".to_owned()),
    }
}

/// Templates find the place of the sequence number by its zeros.
fn room_name(text: &str) -> Result<String, String> {
    let mark = "0".repeat(message::SEQUENCE_DIGITS);
    if text.is_empty() || text.contains(&mark) {
        return Err(format!("a room's name is not empty and does not contain {mark}"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_are_checked() {
        for (line, good) in [
            ("idle --connections 10 --spawn", true),
            ("idle --connections 0", false),
            ("idle --spawn --pid 1", false),
            ("idle --url wss://127.0.0.1", false),
            ("broadcast --in-flight 1,16,64 --json - --messages 5", true),
            ("broadcast --in-flight 0", false),
            ("broadcast --messages 5 --seconds 1", false),
            ("broadcast --room a000000000000", false),
            ("handshakes --target ws://127.0.0.1:1,ws://127.0.0.1:2 --pid 1,2 --redis-pid 3", true),
            ("handshakes --spawn --nodes 4", true),
            ("handshakes --spawn --nodes 1", false),
            ("handshakes --spawn --target ws://127.0.0.1:1", false),
            ("handshakes", false),
            ("baseline --size 11", false),
            ("baseline --seconds nan", false),
            ("attack --abuse ack-flood,slow-readers --members 50", true),
            ("attack --abuse kindness", false),
            ("attack --max-p99-ratio 0.5", false),
            ("suite", true),
            ("", false),
        ] {
            let words = std::iter::once("broadgate-loadtest").chain(line.split_ascii_whitespace());
            assert_eq!(Cli::try_parse_from(words).is_ok(), good, "{line}");
        }
    }
}
