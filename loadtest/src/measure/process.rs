//! What a process costs, read from `/proc`: CPU time of all its threads, and resident memory.

use std::{fs, io, time::Duration};

use anyhow::Context;

/// A process to be measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessMeter {
    pid: u32,
}

impl ProcessMeter {
    /// # Errors
    /// There is no such process, or it must not be looked at.
    pub(crate) fn new(pid: u32) -> anyhow::Result<Self> {
        let meter = Self { pid };
        meter.cpu().with_context(|| format!("cannot measure process {pid}"))?;
        Ok(meter)
    }

    /// The load generator itself.
    pub(crate) fn this_process() -> Self {
        Self { pid: std::process::id() }
    }

    /// CPU time used since the process started, user and system, all threads.
    ///
    /// `schedstat` counts nanoseconds but knows living threads only; `stat` knows all but counts in ticks of 10 ms.
    /// The larger one is right.
    pub(crate) fn cpu(self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let ticks = cpu_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
        let from_ticks = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1));
        let mut from_threads = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))?.flatten() {
            // A thread that has ended meanwhile has no file any more.
            let Ok(schedstat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            from_threads += Duration::from_nanos(cpu_nanoseconds(&schedstat).unwrap_or(0));
        }
        Ok(from_threads.max(from_ticks))
    }

    /// Resident memory in bytes.
    pub(crate) fn rss_bytes(self) -> io::Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        rss_kibibytes(&rollup)
            .map(|kibibytes| kibibytes * 1024)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// `utime` + `stime` of `/proc/PID/stat` (fields 14 and 15; the name in field 2 may hold anything, even `)`).
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The first field of `/proc/PID/task/TID/schedstat`.
fn cpu_nanoseconds(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// The `Rss:` line of `/proc/PID/smaps_rollup`.
fn rss_kibibytes(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 5 6 7 8 120 34 0 0 20 0 3 0 99 1000 2000";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
        assert_eq!(cpu_nanoseconds("150135 12 2\n"), Some(150_135));
        assert_eq!(cpu_nanoseconds(""), None);
        let rollup = "00400000-7ffc rw-p 00000000 00:00 0 [rollup]\nRss:                1234 kB\nPss: 5 kB\n";
        assert_eq!(rss_kibibytes(rollup), Some(1234));
        assert_eq!(rss_kibibytes("Pss: 5 kB"), None);
    }

    #[test]
    fn a_process_that_works_uses_cpu_and_has_memory() {
        let meter = ProcessMeter::this_process();
        let before = meter.cpu().expect("cpu");
        while meter.cpu().expect("cpu") == before {
            std::hint::black_box((0..1000u32).sum::<u32>());
        }
        assert!(meter.rss_bytes().expect("rss") > 100_000);
        assert!(ProcessMeter::new(u32::MAX).is_err());
    }
}
