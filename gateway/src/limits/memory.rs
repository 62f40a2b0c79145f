//! The watermark of memory: above it no new client is let in, so that the kernel need not end the process with all of
//! them. What the process has resident is compared, once a second.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::telemetry::resident_bytes;

/// How often the memory is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Of the limit that the system sets, what is used before clients are refused: the rest is for those that are there.
const DEFAULT_PERCENT: u64 = 90;
/// Of the watermark, below which clients are let in again.
const RESUME_PERCENT: u64 = 95;
/// A limit of this size or above is none: version 1 of the control groups writes a number also where there is no limit.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryWatermark {
    /// 0: there is none.
    max_bytes: u64,
    reached: AtomicBool,
}

impl MemoryWatermark {
    /// With a bound, or none where it is 0.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, reached: AtomicBool::new(false) }
    }

    /// The bound in bytes; 0 for none.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Are new clients to be refused?
    pub fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Takes in what is resident now.
    pub fn observe(&self, resident_bytes: u64) {
        let before = self.is_reached();
        let reached = is_reached(before, resident_bytes, self.max_bytes);
        self.reached.store(reached, Ordering::Relaxed);
        let max_bytes = self.max_bytes;
        match (before, reached) {
            (false, true) => {
                tracing::warn!(
                    resident_bytes,
                    max_bytes,
                    "limits.max_memory_bytes is reached; new clients are refused"
                );
            }
            (true, false) => tracing::info!(resident_bytes, max_bytes, "new clients are let in again"),
            _ => {}
        }
    }

    /// Looks at the memory of the process again and again. Ends at once where there is no bound. A look that fails changes
    /// nothing: without descriptors, none can be taken for a while.
    pub async fn watch(&self) {
        if self.max_bytes == 0 {
            return;
        }
        let mut is_told = false;
        loop {
            match resident_bytes() {
                Ok(bytes) => self.observe(bytes),
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(%error, "cannot read the memory in use; limits.max_memory_bytes waits for it");
                }
                Err(_) => {}
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// With some distance between there and back, or the state would flicker.
fn is_reached(before: bool, resident_bytes: u64, max_bytes: u64) -> bool {
    let resume_bytes = percent_of(max_bytes, RESUME_PERCENT);
    max_bytes > 0 && (resident_bytes >= max_bytes || before && resident_bytes >= resume_bytes)
}

/// What `limits.max_memory_bytes` is where it is not set: a share of the control group's limit, or 0 for none.
pub fn default_max_memory_bytes() -> u64 {
    memory_limit_bytes().map_or(0, |bytes| percent_of(bytes, DEFAULT_PERCENT))
}

/// The memory that the control groups of the process allow it; `None` where there is no limit.
pub fn memory_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    cgroup_limit_bytes(&groups, Path::new("/sys/fs/cgroup"))
}

/// The least of the limits of the control groups that the process is in, of either version (cgroups(7)). `groups`:
/// `/proc/self/cgroup`; `root`: where their file system is.
fn cgroup_limit_bytes(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        if controllers.is_empty() {
            return least_limit(root, group, "memory.max");
        }
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        is_memory.then(|| least_limit(&root.join("memory"), group, "memory.limit_in_bytes")).flatten()
    });
    limits.min()
}

/// A group has the limits of those around it, too. In a container the names may be those outside of it, and only the root
/// is there.
fn least_limit(root: &Path, group: &str, file: &str) -> Option<u64> {
    let group = root.join(group);
    let around = group.ancestors().take_while(|directory| directory.starts_with(root));
    let limits =
        around.filter_map(|directory| fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok());
    limits.filter(|&bytes| bytes < NO_LIMIT_BYTES).min()
}

fn percent_of(bytes: u64, percent: u64) -> u64 {
    bytes / 100 * percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_let_in_again_some_way_below_the_bound() {
        for (before, resident_bytes, expected) in [
            (false, 999, false),
            (false, 1000, true),
            (true, 999, true),
            (true, 950, true),
            (true, 949, false),
        ] {
            assert_eq!(is_reached(before, resident_bytes, 1000), expected, "{before} {resident_bytes}");
        }
        assert!(!is_reached(false, u64::MAX, 0), "0 is no bound");
    }

    #[test]
    fn the_limit_is_the_least_of_the_groups_around_the_process() {
        let root = std::env::temp_dir().join(format!("broadgate-cgroups-{}", std::process::id()));
        let file = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        file("slice/memory.max", "2000\n");
        file("slice/node.service/memory.max", "3000\n");
        file("free/memory.max", "max\n");
        file("memory/memory.limit_in_bytes", "9223372036854771712\n");
        file("memory/docker/abc/memory.limit_in_bytes", "1500\n");
        let limit = |groups: &str| cgroup_limit_bytes(groups, &root);
        for (groups, expected) in [
            ("0::/slice/node.service\n", Some(2000)),
            ("0::/free\n", None),
            ("0::/\n", None),
            ("0::/../../slice\n", None),
            ("12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/free\n", Some(1500)),
            ("4:memory:/docker/other\n", None),
            ("4:memory:/docker/abc\n0::/slice\n", Some(1500)),
            ("nonsense\n", None),
        ] {
            assert_eq!(limit(groups), expected, "{groups:?}");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
