//! The tests that can be run: each takes a plan and a target, and gives a report.

mod attack;
mod baseline;
mod broadcast;
mod cluster;
mod handshakes;
mod idle;
mod suite;
mod target;

pub(crate) use self::{
    attack::run as run_attack,
    baseline::{LoopPlan, run as run_baseline},
    broadcast::{BroadcastPlan, run as run_broadcast},
    handshakes::{HandshakePlan, run as run_handshakes},
    idle::{IdlePlan, run as run_idle},
    suite::run as run_suite,
    target::Target,
};

use crate::{interrupt::Interrupt, progress::Progress};

/// What every scenario needs from the outside.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) progress: Progress,
    pub(crate) interrupt: Interrupt,
}
