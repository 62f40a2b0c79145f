//! The clients: state machines without I/O, the epoll loop around them, and the rounds that are driven through them.

mod connection;
mod fleet;
mod opening;
mod pace;
mod round;
mod sequence;
mod window;

pub(crate) use self::{
    connection::Script,
    fleet::{Faults, Fleet},
    opening::{OpeningPlan, open},
    pace::{Pace, run_paced},
    round::{Load, Round, Until, run as run_round},
};
