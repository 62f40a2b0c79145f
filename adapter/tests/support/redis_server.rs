//! A real `redis-server` for tests: on a free port, without persistence, killed when dropped. Without it the test fails.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// A server that a test started.
pub struct RedisServer {
    child: Child,
    place: Place,
    arguments: Vec<String>,
    password: Option<String>,
}

/// What a server has for itself.
pub struct Place {
    /// Where it takes connections without TLS, on 127.0.0.1.
    pub port: u16,
    /// Another free port, for what else it listens to.
    pub second_port: u16,
    /// For its files; removed in the end.
    pub directory: PathBuf,
}

impl Place {
    /// A file of its directory.
    pub fn file(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("the path is UTF-8").to_owned()
    }

    fn arguments(&self) -> Vec<String> {
        let directory = self.file("");
        let port = self.port.to_string();
        words(&[
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            &directory,
        ])
    }
}

impl RedisServer {
    /// Starts a server and waits until it takes connections.
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server that wants a password.
    pub fn start_with_password(password: &str) -> Self {
        Self::launch(Some(password), &|place| {
            let mut arguments = place.arguments();
            arguments.extend(words(&["--requirepass", password]));
            arguments
        })
    }

    /// Starts a server with more options, as its command line has them.
    pub fn start_with(more: impl Fn(&Place) -> Vec<String>) -> Self {
        Self::launch(None, &|place| {
            let mut arguments = place.arguments();
            arguments.extend(more(place));
            arguments
        })
    }

    /// Starts a sentinel with this configuration, which it will write to.
    pub fn start_sentinel(configuration: &str, password: Option<&str>) -> Self {
        Self::launch(password, &|place| {
            let file = place.file("sentinel.conf");
            let mut own = format!("port {}\nbind 127.0.0.1\ndir {}\n", place.port, place.file(""));
            if let Some(password) = password {
                own += &format!("requirepass {password}\n");
            }
            std::fs::write(&file, own + configuration).expect("the file can be written");
            words(&[&file, "--sentinel"])
        })
    }

    fn launch(password: Option<&str>, arguments: &dyn Fn(&Place) -> Vec<String>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("broadgate-redis-{}-{number}", std::process::id()));
        for _ in 0..20 {
            std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
            let place = Place { port: free_port(), second_port: free_port(), directory: directory.clone() };
            let arguments = arguments(&place);
            let child = spawn(&arguments);
            let mut server = Self { child, place, arguments, password: password.map(str::to_owned) };
            // Another process may take a port first.
            if server.becomes_ready() {
                return server;
            }
        }
        panic!("no redis-server could be started");
    }

    /// Where it listens, without user and password.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// `127.0.0.1` and the port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.place.port)
    }

    /// Its ports and files.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// A connection for a test's own commands.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let mut info: redis::ConnectionInfo = self.url().parse().expect("the URL is valid");
        if let Some(password) = &self.password {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let client = redis::Client::open(info).expect("the URL is valid");
        let patient = patience(Duration::from_secs(20));
        client
            .get_multiplexed_async_connection_with_config(&patient)
            .await
            .expect("the server takes connections")
    }

    /// A connection that subscribes.
    pub async fn connect_pubsub(&self) -> redis::aio::PubSub {
        let client = redis::Client::open(self.url()).expect("the URL is valid");
        client.get_async_pubsub().await.expect("the server takes connections")
    }

    /// Runs a command on a connection of its own.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connect().await).await.expect("the command is valid")
    }

    /// The same, for a server that may cut its connections now, as one does whose role changes.
    pub async fn try_command<T: redis::FromRedisValue>(&self, words: &[&str]) -> Option<T> {
        let client = redis::Client::open(self.url()).expect("the URL is valid");
        let patient = patience(Duration::from_secs(5));
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await.ok()?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.ok()
    }

    /// SIGKILL: every connection is cut, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server can be waited for");
    }

    /// Starts it again on its port, after [`RedisServer::kill`].
    pub fn restart(&mut self) {
        self.child = spawn(&self.arguments);
        assert!(self.becomes_ready(), "redis-server has ended");
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

    /// Waits until this very process answers; false if it ends instead.
    fn becomes_ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.answers() {
            if self.child.try_wait().expect("its state can be read").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    fn answers(&self) -> bool {
        let answer = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.place.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            if let Some(password) = &self.password {
                stream.write_all(format!("AUTH {password}\r\n").as_bytes())?;
            }
            stream.write_all(b"INFO server\r\n")?;
            // A sentinel knows no QUIT.
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let process_id = format!("process_id:{}\r\n", self.child.id());
        answer().is_ok_and(|answer| answer.contains(&process_id))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.place.directory);
    }
}

/// Arguments of a command line.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The library's own limits are half a second for an answer and one for a connection: less than a busy machine's pauses.
fn patience(limit: Duration) -> redis::AsyncConnectionConfig {
    redis::AsyncConnectionConfig::new().set_connection_timeout(Some(limit)).set_response_timeout(Some(limit))
}

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server must be installed (Debian package redis-server)")
}

/// Below the ports that the system gives to outgoing connections: while the server is down, a client that tries again
/// and again could otherwise be given the server's port, and connect to itself.
fn free_port() -> u16 {
    static SEED: AtomicU32 = AtomicU32::new(0);
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    let start = std::process::id().wrapping_mul(7919).wrapping_add(seed.wrapping_mul(104_729));
    (0..20_000)
        .map(|step| u16::try_from(10_000 + start.wrapping_add(step) % 20_000).expect("it is below 30,000"))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("some port is free")
}
