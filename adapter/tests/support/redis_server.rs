//! A real `redis-server` for tests: on a free port, without files, killed when dropped. Without it the test fails.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// A server that a test started.
pub struct RedisServer {
    child: Child,
    port: u16,
    directory: PathBuf,
    password: Option<String>,
}

impl RedisServer {
    /// Starts a server and waits until it takes connections.
    pub fn start() -> Self {
        Self::launch(free_port(), None)
    }

    /// Starts a server that wants a password.
    pub fn start_with_password(password: &str) -> Self {
        Self::launch(free_port(), Some(password.to_owned()))
    }

    fn launch(port: u16, password: Option<String>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("broadgate-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let child = spawn(port, password.as_deref(), &directory);
        let mut server = Self { child, port, directory, password };
        server.wait_until_ready();
        server
    }

    /// Where it listens, without user and password.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection for a test's own commands.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let mut info: redis::ConnectionInfo = self.url().parse().expect("the URL is valid");
        if let Some(password) = &self.password {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let client = redis::Client::open(info).expect("the URL is valid");
        client.get_multiplexed_async_connection().await.expect("the server takes connections")
    }

    /// Runs a command on a connection of its own.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connect().await).await.expect("the command is valid")
    }

    /// SIGKILL: every connection is cut, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server can be waited for");
    }

    /// Starts it again on its port, after [`RedisServer::kill`].
    pub fn restart(&mut self) {
        self.child = spawn(self.port, self.password.as_deref(), &self.directory);
        self.wait_until_ready();
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill can be run").success());
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                self.child.try_wait().expect("its state can be read").is_none(),
                "redis-server has ended"
            );
            assert!(Instant::now() < deadline, "redis-server takes no connections");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(port: u16, password: Option<&str>, directory: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--dir", directory.to_str().expect("the path is UTF-8")]);
    if let Some(password) = password {
        command.args(["--requirepass", password]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server must be installed (Debian package redis-server)")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback can be bound");
    listener.local_addr().expect("it is bound").port()
}
