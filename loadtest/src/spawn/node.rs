//! A node and a Redis server of our own.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    cores::Cores,
    process::{RunningChild, TemporaryFolder, free_port},
};
use crate::interrupt::Interrupt;

const READY_WITHIN: Duration = Duration::from_secs(20);
const LOG_LINES_SHOWN: usize = 15;

/// A Redis server that keeps nothing.
#[derive(Debug)]
pub(crate) struct Redis {
    child: RunningChild,
    pub(crate) address: SocketAddr,
}

impl Redis {
    pub(crate) fn start(folder: &Path, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let port = free_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log = folder.join("redis.log");
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.current_dir(folder).stdin(Stdio::null()).stdout(File::create(&log)?).stderr(Stdio::null());
        let mut child = RunningChild::start(&mut command)?;
        wait_for("redis-server", &mut child, &log, interrupt, || {
            ask(address, "PING\r\n").starts_with("+PONG")
        })?;
        Ok(Self { child, address })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

/// A node with one shard that fans out through Redis.
#[derive(Debug)]
pub(crate) struct Node {
    child: RunningChild,
    pub(crate) port: u16,
    pub(crate) ops: SocketAddr,
}

impl Node {
    /// Starts `binary` on the server's cores and waits until it is ready. `rules`: the end of its config file, such as
    /// [`OPEN_RULES`].
    pub(crate) fn start(
        binary: &Path,
        cores: &Cores,
        redis: SocketAddr,
        rules: &str,
        folder: &TemporaryFolder,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let ops = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = folder.path().join(format!("broadgate-{port}.toml"));
        fs::write(&config, config_text(port, ops, redis, rules))?;
        let log = folder.path().join(format!("broadgate-{port}.log"));
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(&config);
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = cores.on_server(|| RunningChild::start(&mut command))??;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {ops}\r\nConnection: close\r\n\r\n");
        wait_for("broadgate", &mut child, &log, interrupt, || {
            ask(ops, &request).starts_with("HTTP/1.1 200")
        })?;
        Ok(Self { child, port, ops })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

/// Everyone may do everything, and as much as they like: the load is the point.
pub(crate) const OPEN_RULES: &str = r#"[limits]
max_messages_per_second = 0
max_received_bytes_per_second = 0

[[rooms]]
namespace = "/"
match = "*"
join = "anyone"
publish = "anyone"
"#;

fn config_text(port: u16, ops: SocketAddr, redis: SocketAddr, rules: &str) -> String {
    format!(
        r#"[server]
listen = "127.0.0.1:{port}"
shards = 1
drain_delay_ms = 0
drain_window_ms = 0

[ops]
listen = "{ops}"
anonymous = ["publish", "read", "control"]

[adapter]
kind = "redis"

[adapter.redis]
url = "redis://{redis}/"

{rules}"#
    )
}

/// The release binary: beside this one, or in `target/release` of the current folder.
pub(crate) fn find_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        return if path.is_file() { Ok(path.to_owned()) } else { bail!("there is no {}", path.display()) };
    }
    let beside = std::env::current_exe()?.with_file_name("broadgate");
    [beside, PathBuf::from("target/release/broadgate")].into_iter().find(|path| path.is_file()).context(
        "no broadgate binary found: run `cargo build --release -p broadgate`, or name one with --server-bin",
    )
}

/// One request, one answer; empty if there is none.
fn ask(address: SocketAddr, request: &str) -> String {
    let timeout = Duration::from_millis(500);
    let exchange = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect_timeout(&address, timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.write_all(request.as_bytes())?;
        let mut answer = [0; 64];
        let read = socket.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
    };
    exchange().unwrap_or_default()
}

fn wait_for(
    what: &str,
    child: &mut RunningChild,
    log: &Path,
    interrupt: &Interrupt,
    mut ready: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !ready() {
        interrupt.check()?;
        if let Some(status) = child.exited()? {
            bail!("{what} ended with {status}:\n{}", last_lines(log));
        }
        if started.elapsed() > READY_WITHIN {
            bail!("{what} is not ready after {READY_WITHIN:?}:\n{}", last_lines(log));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_told_its_addresses() {
        let [ops, redis] = [81, 63].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let config = config_text(8080, ops, redis, OPEN_RULES);
        for line in [
            "listen = \"127.0.0.1:8080\"",
            "listen = \"127.0.0.1:81\"",
            "url = \"redis://127.0.0.1:63/\"",
            "match = \"*\"",
        ] {
            assert!(config.contains(line), "{config}");
        }
    }

    #[test]
    fn a_binary_that_is_not_there_is_an_error() {
        assert!(find_binary(Some(Path::new("/nowhere/broadgate"))).is_err());
    }
}
