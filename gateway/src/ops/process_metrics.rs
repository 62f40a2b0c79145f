//! What the metrics page says of the process: what it takes from the machine, by the names of Prometheus' own clients.

use prometheus::proto::MetricFamily;

use super::exposition::{counter, encode_values, gauge, labelled};
use crate::telemetry::{ProcessUsage, thread_cpu_seconds};

/// Empty where the system has no `/proc`.
pub(super) fn families() -> Vec<MetricFamily> {
    let Ok(usage) = ProcessUsage::read() else { return Vec::new() };
    let gauge = |name, help| gauge(name, help, "");
    // Prometheus' own clients leave the limit out where there is none; a share of it then has no value either.
    let max_fds = usage
        .max_fds
        .map(|max| (gauge("process_max_fds", "File descriptors that may be open at most."), max as f64));
    [
        (
            counter("process_cpu_seconds_total", "CPU time of the process in user and system mode."),
            usage.cpu_seconds,
        ),
        (
            gauge("process_resident_memory_bytes", "Physical memory of the process."),
            usage.resident_bytes as f64,
        ),
        (gauge("process_virtual_memory_bytes", "Address space of the process."), usage.virtual_bytes as f64),
        (gauge("process_threads", "Threads of the process."), usage.threads as f64),
        (gauge("process_open_fds", "Open file descriptors, of clients and others."), usage.open_fds as f64),
        (gauge("process_start_time_seconds", "Start of the process as Unix time."), usage.start_time_seconds),
    ]
    .into_iter()
    .chain(max_fds)
    .map(|(family, value)| encode_values(family, [("", value)]))
    .chain(thread_family())
    .collect()
}

fn thread_family() -> Option<MetricFamily> {
    let seconds = thread_cpu_seconds().ok()?;
    let family = labelled(
        "broadgate_thread_cpu_seconds_total",
        "CPU time of each shard's thread, of the main thread (acceptor, Redis, ops) and of all others; 1 a second is all that one has.",
        "thread",
    );
    Some(encode_values(family, seconds.iter().map(|(thread, seconds)| (&**thread, *seconds))))
}
