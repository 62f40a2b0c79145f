//! Starting what is to be measured, on the right cores, and stopping it again.

mod cores;
mod node;
mod process;

pub(crate) use self::{
    cores::Cores,
    node::{Node, OPEN_RULES, Redis, find_binary},
    process::{RunningChild, TemporaryFolder},
};
