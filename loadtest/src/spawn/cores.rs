//! Which cores the process under test has, and which are left to the clients and to Redis.

use anyhow::{Context, bail};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// A split of the cores that this process may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: CpuSet,
    pub(crate) clients: CpuSet,
}

impl Cores {
    /// The server on core number `core`, everything else on the others.
    ///
    /// # Errors
    /// There is no such core, or it is not ours.
    pub(crate) fn with_server_on(core: usize) -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        if core >= CpuSet::MAX_CPU || !allowed.is_set(core) {
            bail!("core {core} is not one of the {} that this process may use", allowed.count());
        }
        let mut server = CpuSet::new();
        server.set(core);
        Ok(Self { server, clients: difference(&allowed, &server) })
    }

    /// The split around a server that runs already.
    pub(crate) fn around(pid: u32) -> anyhow::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
        let server = sched_getaffinity(Some(pid))?;
        Ok(Self { server, clients: difference(&sched_getaffinity(None)?, &server) })
    }

    /// No split: the server is not on this host, or is not measured.
    pub(crate) fn all() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        Ok(Self { server: allowed, clients: allowed })
    }

    /// Moves this thread, and what it starts from now on, to the clients' cores.
    pub(crate) fn enter_clients(&self) -> anyhow::Result<()> {
        sched_setaffinity(None, &self.clients).context("cannot pin the clients")
    }

    /// Runs `start` on the server's cores: what it starts stays there with all of its threads.
    pub(crate) fn on_server<T>(&self, start: impl FnOnce() -> T) -> anyhow::Result<T> {
        let before = sched_getaffinity(None)?;
        sched_setaffinity(None, &self.server).context("cannot pin the server")?;
        let started = start();
        sched_setaffinity(None, &before)?;
        Ok(started)
    }
}

/// The cores in `all` but not in `taken`; all of them if nothing would be left.
fn difference(all: &CpuSet, taken: &CpuSet) -> CpuSet {
    let mut rest = CpuSet::new();
    for core in (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core) && !taken.is_set(core)) {
        rest.set(core);
    }
    if rest.count() == 0 { *all } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cores: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        cores.iter().for_each(|&core| set.set(core));
        set
    }

    #[test]
    fn clients_get_the_other_cores_or_share_the_only_one() {
        for (all, taken, rest) in [
            (&[0, 1][..], &[0][..], &[1][..]),
            (&[0, 1, 2, 3], &[1], &[0, 2, 3]),
            (&[0], &[0], &[0]),
            (&[0, 1], &[0, 1], &[0, 1]),
        ] {
            assert!(difference(&set(all), &set(taken)) == set(rest), "{all:?} without {taken:?}");
        }
    }

    #[test]
    fn a_core_that_is_not_there_is_refused() {
        assert!(Cores::with_server_on(CpuSet::MAX_CPU).is_err());
    }
}
