//! The host: limits of the process, of the kernel and of the container.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::{config::Settings, limits::memory_limit_bytes, public_listener::LISTEN_BACKLOG};

/// What the kernel takes for the buffers of an idle TCP connection, about.
const KERNEL_BYTES_PER_CONNECTION: u64 = 8 * 1024;
const MIB: u64 = 1 << 20;

/// What is known of the host; `None` where it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Files that the process may open (`RLIMIT_NOFILE`, hard).
    pub max_open_files: Option<u64>,
    /// `net.core.somaxconn`
    pub max_backlog: Option<u64>,
    /// `net.netfilter.nf_conntrack_max`
    pub max_tracked_connections: Option<u64>,
    /// `net.ipv4.tcp_mem`, the last of the three, in bytes.
    pub max_tcp_bytes: Option<u64>,
    /// Memory that the container may take.
    pub max_memory_bytes: Option<u64>,
    /// Processors that the container may use, in hundredths.
    pub cpu_percent: Option<u64>,
}

impl HostFacts {
    /// Reads them.
    pub fn read() -> Self {
        let number = |path: &str| first_number(&fs::read_to_string(path).ok()?);
        Self {
            max_open_files: getrlimit(Resource::Nofile).maximum,
            max_backlog: number("/proc/sys/net/core/somaxconn"),
            max_tracked_connections: number("/proc/sys/net/netfilter/nf_conntrack_max"),
            max_tcp_bytes: fs::read_to_string("/proc/sys/net/ipv4/tcp_mem")
                .ok()
                .and_then(|text| tcp_bytes(&text)),
            max_memory_bytes: memory_limit_bytes(),
            cpu_percent: fs::read_to_string("/sys/fs/cgroup/cpu.max")
                .ok()
                .and_then(|text| cpu_percent(&text)),
        }
    }
}

/// The first word, if it is a number; `max` is none.
fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn tcp_bytes(text: &str) -> Option<u64> {
    let pages: u64 = text.split_whitespace().nth(2)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// `cpu.max` of cgroup v2: quota and period.
fn cpu_percent(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace().map(str::parse::<u64>);
    let (quota, period) = (words.next()?.ok()?, words.next()?.ok()?);
    (period > 0).then(|| quota * 100 / period)
}

/// What follows from them for a node with these settings.
pub(super) fn findings(facts: &HostFacts, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let connections = settings.limits.max_connections as u64;
    if let Some(files) = facts.max_open_files {
        findings.push(if files < connections + settings.limits.max_http_connections as u64 {
            Finding::advice(
                "host",
                format!("the process may open {files} files; limits.max_connections is {connections}, and is lowered"),
                "raise the limit (ulimit -Hn, LimitNOFILE= in systemd, the container runtime's default-ulimits), or \
                 lower limits.max_connections to what is meant",
            )
        } else {
            Finding::good("host", format!("{files} open files are enough"))
        });
    }
    if let Some(backlog) = facts.max_backlog.filter(|backlog| *backlog < u64::from(LISTEN_BACKLOG)) {
        findings.push(Finding::advice(
            "host",
            format!("the kernel holds {backlog} connections that wait to be accepted: a reconnect storm overflows it"),
            format!("sysctl net.core.somaxconn={LISTEN_BACKLOG}"),
        ));
    }
    if let Some(tracked) =
        facts.max_tracked_connections.filter(|tracked| *tracked < connections.saturating_mul(2))
    {
        findings.push(Finding::advice(
            "host",
            format!("the firewall tracks {tracked} connections; limits.max_connections is {connections}"),
            format!("sysctl net.netfilter.nf_conntrack_max={}", connections.saturating_mul(2)),
        ));
    }
    let needed = connections.saturating_mul(KERNEL_BYTES_PER_CONNECTION);
    if let Some(tcp) = facts.max_tcp_bytes.filter(|tcp| *tcp < needed) {
        findings.push(Finding::advice(
            "host",
            format!(
                "TCP may take {} MiB of memory on this host; {connections} connections need about {} MiB",
                tcp / MIB,
                needed / MIB
            ),
            "raise sysctl net.ipv4.tcp_mem, or lower limits.max_connections",
        ));
    }
    findings.extend(memory(facts, settings));
    let shards = settings.server.shards as u64;
    if let Some(percent) = facts.cpu_percent.filter(|percent| *percent < shards * 100) {
        findings.push(Finding::advice(
            "host",
            format!(
                "{shards} shards share {}.{:02} processors: the container is stopped for a part of each period when it is \
                 busy, and latency jumps",
                percent / 100,
                percent % 100
            ),
            format!("set server.shards = {}, or raise the CPU limit", (percent / 100).max(1)),
        ));
    }
    findings
}

/// Queues have bounds of their own, but together they may be more than the container has.
fn memory(facts: &HostFacts, settings: &Settings) -> Option<Finding> {
    let limits = &settings.limits;
    let inboxes = limits.max_shard_inbox_bytes.saturating_mul(settings.server.shards);
    let buffers = (limits.max_inbound_buffer_bytes.saturating_add(inboxes)) as u64;
    let memory = facts.max_memory_bytes?;
    Some(if memory < buffers {
        Finding::advice(
            "host",
            format!(
                "the container may take {} MiB; limits.max_inbound_buffer_bytes and max_shard_inbox_bytes allow {} MiB",
                memory / MIB,
                buffers / MIB
            ),
            "lower these two, or raise the memory limit",
        )
    } else {
        Finding::good("host", format!("{} MiB of memory", memory / MIB))
    })
}

#[cfg(test)]
mod tests {
    use super::{super::Severity, *};

    fn advice(facts: HostFacts) -> Vec<String> {
        let mut settings = Settings::development();
        settings.server.shards = 4;
        settings.limits.max_connections = 100_000;
        let findings = findings(&facts, &settings);
        findings.into_iter().filter(|it| it.severity > Severity::Good).map(|it| it.to_string()).collect()
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        assert_eq!(first_number("4096\n"), Some(4096));
        assert_eq!(first_number("max\n"), None);
        assert_eq!(tcp_bytes("1 2 3\n"), Some(3 * rustix::param::page_size() as u64));
        assert_eq!(cpu_percent("150000 100000\n"), Some(150));
        assert_eq!(cpu_percent("max 100000\n"), None);
        assert_eq!(cpu_percent("1 0\n"), None);
    }

    #[test]
    fn each_limit_that_is_too_low_is_named_with_what_to_set() {
        let none = HostFacts::default();
        for (facts, expected) in [
            (HostFacts { max_open_files: Some(1024), ..none }, "LimitNOFILE="),
            (HostFacts { max_backlog: Some(128), ..none }, "net.core.somaxconn=4096"),
            (HostFacts { max_tracked_connections: Some(65_536), ..none }, "nf_conntrack_max=200000"),
            (HostFacts { max_tcp_bytes: Some(100 << 20), ..none }, "net.ipv4.tcp_mem"),
            (HostFacts { max_memory_bytes: Some(128 << 20), ..none }, "max_inbound_buffer_bytes"),
            (HostFacts { cpu_percent: Some(150), ..none }, "server.shards = 1"),
        ] {
            let advice = advice(facts);
            assert!(advice.len() == 1 && advice[0].contains(expected), "{facts:?}: {advice:?}");
        }
    }

    #[test]
    fn a_host_with_room_gets_no_advice() {
        let facts = HostFacts {
            max_open_files: Some(1 << 20),
            max_backlog: Some(4096),
            max_tracked_connections: Some(1 << 20),
            max_tcp_bytes: Some(8 << 30),
            max_memory_bytes: Some(8 << 30),
            cpu_percent: Some(400),
        };
        assert_eq!(advice(facts), Vec::<String>::new());
        assert_eq!(advice(HostFacts::default()), Vec::<String>::new());
    }
}
