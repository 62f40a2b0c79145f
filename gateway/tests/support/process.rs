//! A server in a process of its own, which ends with the test.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::eventually;

/// See the module.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts one of the package's examples on a free port. Cargo builds them for a full `cargo test -p broadgate`;
    /// for a single test binary it wants to be told: `cargo build -p broadgate --examples`.
    pub fn example(name: &str, arguments: &[&str]) -> Self {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
        let mut child = Command::new(profile.join("examples").join(name))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cargo build -p broadgate --examples was not run: {error}"));
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let address = address.trim().parse().unwrap_or_else(|_| panic!("{name} said {line:?}"));
        Self { child, address }
    }

    /// Starts `broadgate serve` on free ports. `config`: the text of a config file; without one it is in development
    /// mode.
    pub fn node(config: Option<&str>) -> Self {
        let (address, ops) = (free_address(), free_address());
        let mut command = Command::new(env!("CARGO_BIN_EXE_broadgate"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BROADGATE_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--listen", &address.to_string(), "--ops-listen", &ops.to_string()]);
        if let Some(text) = config {
            // Named after the port, which is this node's alone.
            let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
            fs::create_dir_all(&directory).unwrap();
            let path = directory.join(format!("{}.toml", address.port()));
            fs::write(&path, text).unwrap();
            command.arg("--config").arg(path);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, address };
        eventually("the node listens", || {
            assert_eq!(server.child.try_wait().unwrap(), None, "the node ended");
            TcpStream::connect(address).is_ok()
        });
        server
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

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
