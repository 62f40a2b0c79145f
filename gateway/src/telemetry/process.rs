//! What the process takes from the machine, read from `/proc/self` at each scrape. Owns nothing.

use std::{
    collections::BTreeMap,
    fs, io, process,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// See the module. The names are those of Prometheus' own client libraries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessUsage {
    /// CPU time of all threads, user and system.
    pub cpu_seconds: f64,
    /// Physical memory.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The soft limit on them; `None` where there is no limit.
    pub max_fds: Option<u64>,
    /// When the process started, as Unix time.
    pub start_time_seconds: f64,
}

/// Physical memory of the process now, in bytes.
///
/// # Errors
/// `/proc` is not there or cannot be understood.
pub fn resident_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.map(|pages| pages * page_size() as u64).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl ProcessUsage {
    /// Reads it.
    ///
    /// # Errors
    /// `/proc` is not there or cannot be understood.
    pub fn read() -> io::Result<Self> {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat")?).ok_or(io::ErrorKind::InvalidData)?;
        let ticks = clock_ticks_per_second() as f64;
        Ok(Self {
            cpu_seconds: stat.cpu_ticks as f64 / ticks,
            resident_bytes: stat.resident_pages * page_size() as u64,
            virtual_bytes: stat.virtual_bytes,
            threads: stat.threads,
            open_fds: open_fds()?,
            max_fds: getrlimit(Resource::Nofile).current,
            start_time_seconds: *BOOT_TIME_SECONDS + stat.start_ticks as f64 / ticks,
        })
    }
}

/// CPU time of the process's threads by what they do: `shard-0` and on, `main`, and `other` for all of the rest.
///
/// # Errors
/// `/proc` is not there or cannot be understood.
pub fn thread_cpu_seconds() -> io::Result<BTreeMap<String, f64>> {
    let ticks_per_second = clock_ticks_per_second() as f64;
    let mut ticks = BTreeMap::from([("main".to_owned(), 0)]);
    let main = process::id().to_string();
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?;
        // One that ended meanwhile.
        let Ok(line) = fs::read_to_string(thread.path().join("stat")) else { continue };
        let stat = Stat::parse(&line).ok_or(io::ErrorKind::InvalidData)?;
        let name = match thread_name(&line) {
            _ if *thread.file_name() == *main => "main",
            name if name.starts_with("shard-") => name,
            _ => continue,
        };
        *ticks.entry(name.to_owned()).or_default() += stat.cpu_ticks;
    }
    // Those that have ended count as well, or the sum would go back with each.
    let all =
        Stat::parse(&fs::read_to_string("/proc/self/stat")?).ok_or(io::ErrorKind::InvalidData)?.cpu_ticks;
    let other = all.saturating_sub(ticks.values().sum());
    // The two are not read at the same moment.
    let other = OTHER_TICKS.fetch_max(other, Ordering::Relaxed).max(other);
    ticks.insert("other".to_owned(), other);
    Ok(ticks.into_iter().map(|(name, ticks)| (name, ticks as f64 / ticks_per_second)).collect())
}

/// The most that was seen of the threads that are neither `main` nor a shard's.
static OTHER_TICKS: AtomicU64 = AtomicU64::new(0);

/// What is in the brackets of the second field.
fn thread_name(line: &str) -> &str {
    let (_, rest) = line.split_once('(').unwrap_or_default();
    rest.rsplit_once(')').unwrap_or_default().0
}

/// The fields of `/proc/self/stat` that are used (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The second field is the name of the program in brackets and may hold anything; the third comes after it.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Linux tells the number as the directory's size since 6.2, so that 100,000 descriptors need not be listed.
fn open_fds() -> io::Result<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY)?.len() {
        // One of them is the listing's own.
        0 => Ok((fs::read_dir(DIRECTORY)?.count() as u64).saturating_sub(1)),
        count => Ok(count),
    }
}

/// When the machine was started, as Unix time; 0 where it does not say. Read once: the file grows with the machine.
static BOOT_TIME_SECONDS: LazyLock<f64> = LazyLock::new(|| {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0.0)
});

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_program_s_name_may_hold_brackets_and_spaces() {
        let line =
            "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 30 12 0 0 20 0 5 0 777 4096 3 18446744073709551615 1";
        let expected =
            Stat { cpu_ticks: 42, threads: 5, start_ticks: 777, virtual_bytes: 4096, resident_pages: 3 };
        assert_eq!(Stat::parse(line), Some(expected));
        for bad in ["", "7 (a", "7 (a) S 1 2 3", &line.replace("777", "x")] {
            assert_eq!(Stat::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn threads_are_told_apart_by_their_names() {
        let busy = std::thread::Builder::new().name("shard-7".into()).spawn(|| {
            let mut seconds = BTreeMap::new();
            // 10 ms is what a tick is; it must be seen while the thread is there.
            while seconds.get("shard-7").is_none_or(|seconds| *seconds == 0.0) {
                seconds = thread_cpu_seconds().unwrap();
            }
            seconds
        });
        let seconds = busy.unwrap().join().unwrap();
        assert_eq!(seconds.keys().collect::<Vec<_>>(), ["main", "other", "shard-7"]);
        assert_eq!(["7 (a) b (c)) S 1", "7", ""].map(thread_name), ["a) b (c)", "", ""]);
    }

    #[test]
    fn the_figures_are_those_of_this_process() {
        let before = ProcessUsage::read().unwrap();
        let files: Vec<_> = (0..10).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let ballast = vec![1_u8; 64 << 20];
        let after = ProcessUsage::read().unwrap();
        // Other tests run in the same process and open and close files as well.
        assert!(after.open_fds >= files.len() as u64, "{after:?}");
        assert!(after.resident_bytes >= ballast.len() as u64, "{after:?}");
        assert!(resident_bytes().unwrap() >= ballast.len() as u64);
        assert!(after.virtual_bytes >= after.resident_bytes, "{after:?}");
        assert!(after.cpu_seconds >= before.cpu_seconds, "{before:?} {after:?}");
        assert!(after.threads >= 1 && after.max_fds.is_none_or(|max| max >= after.open_fds), "{after:?}");
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        // The kernel rounds the time of its start to seconds.
        assert!((now - 86_400.0..now + 2.0).contains(&after.start_time_seconds), "{after:?} at {now}");
    }
}
