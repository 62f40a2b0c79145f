//! A server in a process of its own, which ends with the test.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::eventually;

/// See the module.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where a node listens for operators.
    pub ops_address: Option<SocketAddr>,
}

impl Server {
    /// Starts one of the package's examples on a free port. Cargo builds them for a full `cargo test -p broadgate`;
    /// for a single test binary it wants to be told: `cargo build -p broadgate --examples`.
    pub fn example(name: &str, arguments: &[&str]) -> Self {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
        let mut command = Command::new(profile.join("examples").join(name));
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::start(command, "://", &format!("{name}: was cargo build -p broadgate --examples run?"))
    }

    /// Starts `broadgate serve` on free ports. `config`: the text of a config file; without one it is in development
    /// mode.
    pub fn node(config: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_broadgate"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BROADGATE_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
        for key in ["DRAIN_DELAY_MS", "DRAIN_WINDOW_MS"] {
            command.env(format!("BROADGATE__SERVER__{key}"), "0");
        }
        if let Some(text) = config {
            static FILES: AtomicUsize = AtomicUsize::new(0);
            let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
            fs::create_dir_all(&directory).unwrap();
            let number = FILES.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}-{number}.toml", std::process::id()));
            fs::write(&path, text).unwrap();
            command.arg("--config").arg(path);
        }
        Self::start(command, "public=", "broadgate serve")
    }

    /// Starts a server and reads from its standard error where it listens: right behind `mark`.
    fn start(mut command: Command, mark: &str, what: &str) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{what} {error}"));
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut seen) = (String::new(), String::new());
        while !line.contains(mark) {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "{what} ended: {seen}");
            seen.push_str(&line);
        }
        // Nobody reads the rest, but a full pipe would stop the server.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        let address_behind = |mark: &str| {
            let (_, address) = line.split_once(mark)?;
            Some(address.split(['/', ' ']).next()?.trim().parse().unwrap())
        };
        let (address, ops_address) = (address_behind(mark).unwrap(), address_behind(" ops="));
        Self { child, address, ops_address }
    }

    /// Asks it to end in order (SIGTERM).
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut code = None;
        eventually("the server ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.and_then(|status| status.code())
    }

    /// The most memory that it ever had, in bytes.
    pub fn peak_memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Descriptors that it has open.
    pub fn open_descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which the test has seen by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
