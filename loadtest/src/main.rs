//! Load generator for Broadgate: raw epoll Socket.IO clients that cost little, and a bare `send()` loop to compare
//! with. The program itself: arguments in, a report out.

mod attack;
mod baseline;
mod cli;
mod driver;
mod handshake;
mod interrupt;
mod measure;
mod message;
mod plan;
mod progress;
mod publish;
mod report;
mod scenario;
mod spawn;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Parser;

use self::{
    cli::{Cli, Command, LoadArgs},
    driver::Until,
    interrupt::Interrupt,
    progress::Progress,
    report::Report,
    scenario::{BroadcastPlan, HandshakePlan, IdlePlan, LoopPlan, Session, Target},
    spawn::Cores,
};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            Progress::on_stderr().say(&format!("broadgate-loadtest: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Gives whether nothing went wrong.
fn run(cli: &Cli) -> anyhow::Result<bool> {
    if let Command::BareSendLoop { connections, size_bytes } = cli.command {
        return baseline::serve(connections, size_bytes).map(|()| true);
    }
    let session = Session { progress: Progress::on_stderr(), interrupt: Interrupt::on_signals()? };
    let report = measure(&session, &cli.command)?;
    if let Some(path) = &cli.markdown {
        write(path, &report.markdown())?;
    }
    if let Some(path) = &cli.json {
        write(path, &format!("{}\n", report.json()?))?;
    }
    if cli.json.as_deref() != Some(Path::new("-")) {
        write(Path::new("-"), &report.markdown())?;
    }
    Ok(report.faults().is_clean())
}

fn measure(session: &Session, command: &Command) -> anyhow::Result<Report> {
    Ok(match command {
        Command::Idle(args) => {
            let target = Target::new(&args.target, &session.interrupt)?;
            let plan = IdlePlan {
                connections: args.connections as usize,
                room: args.room.clone(),
                rate: args.rate,
                hold: Duration::from_secs(args.hold_s.into()),
            };
            Report::Idle(scenario::run_idle(session, &target, &plan)?)
        }
        Command::Broadcast(args) => {
            let target = Target::new(&args.target, &session.interrupt)?;
            let plan = BroadcastPlan {
                shape: shape(&args.load),
                room: args.room.clone(),
                in_flight: args.in_flight.iter().map(|&count| count.into()).collect(),
                via: args.publish_via,
            };
            Report::Broadcast(scenario::run_broadcast(session, &target, &plan)?)
        }
        Command::Baseline(args) => {
            let cores = Cores::with_server_on(args.server_core)?;
            cores.enter_clients()?;
            Report::Baseline(scenario::run_baseline(session, &cores, shape(&args.load))?)
        }
        Command::Handshakes(args) => {
            let plan = HandshakePlan {
                handshakes: args.handshakes as usize,
                concurrency: args.concurrency.into(),
                rounds: args.rounds,
            };
            Report::Handshakes(scenario::run_handshakes(session, args, plan)?)
        }
        Command::Attack(args) => Report::Attack(scenario::run_attack(session, args)?),
        Command::Suite(args) => {
            let round_time = Duration::from_secs_f64(args.seconds);
            Report::Suite(Box::new(scenario::run_suite(session, &args.spawned, args.rounds, round_time)?))
        }
        Command::BareSendLoop { .. } => unreachable!("handled before anything is measured"),
    })
}

fn shape(args: &LoadArgs) -> LoopPlan {
    LoopPlan {
        members: args.members as usize,
        size_bytes: args.size as usize,
        until: args.messages.map_or(Until::Elapsed(Duration::from_secs_f64(args.seconds)), Until::Messages),
        rounds: args.rounds,
    }
}

/// To a file, or to standard output for `-`.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written =
        if path == Path::new("-") { io::stdout().write_all(text.as_bytes()) } else { fs::write(path, text) };
    written.with_context(|| format!("cannot write {}", path.display()))
}
