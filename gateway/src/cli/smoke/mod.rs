//! `smoke`: one client's way through a cluster, from the public address to a message, by each transport. `helm test` runs it,
//! and whoever wants to know whether a balancer lets WebSockets and polling through.

mod client;
mod link;
mod pinned;
mod target;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    DEFAULT_OPS_URL,
    http::{self, Call},
    ops_key::OpsKeyArgs,
};
use client::{Client, Refusal};
use target::Target;

const EXAMPLES: &str = "\
Examples:
  broadgate smoke                                   a node in development mode on this machine
  broadgate smoke --url https://realtime.example.com --ops http://broadgate-ops:8081 --key-file /run/secrets/ops-key
  broadgate smoke --url https://10.0.0.7:8443 --certificate-file tls.crt --transport websocket
  broadgate smoke --url http://10.0.0.7:8080 --expect-refusal authentication_required";

/// What is published.
const EVENT: &str = "broadgate-smoke";
/// More than any token may be.
const MAX_TOKEN_BYTES: u64 = 128 * 1024;

/// `smoke`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SmokeArgs {
    /// Where clients connect: http:// or https://, a node or what is in front of the nodes
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The ops address of any node of the cluster, to publish through
    #[arg(long, value_name = "URL", default_value = DEFAULT_OPS_URL)]
    ops: String,
    #[command(flatten)]
    bearer: OpsKeyArgs,
    /// engine.path of the nodes
    #[arg(long, value_name = "PATH", default_value = "/socket.io/")]
    path: String,
    /// The namespace to connect to
    #[arg(long, value_name = "NAMESPACE", default_value = "/")]
    namespace: String,
    /// A room to join and to publish to, whose members then all get the event. Without it the message goes to this one
    /// client, by the room of its own id, which needs no rule
    #[arg(long, value_name = "ROOM")]
    room: Option<String>,
    /// A transport to try; may be repeated. Both unless set
    #[arg(long = "transport", value_name = "TRANSPORT")]
    transports: Vec<Transport>,
    /// File with a token (JWT) to connect with
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// With https://: certificates (PEM) of the authorities to trust in place of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_file")]
    ca_file: Option<PathBuf>,
    /// With https://: the one certificate (PEM, the first in the file) that the server has to show, whatever its name and
    /// authority are
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<PathBuf>,
    /// Whom the server's certificate must name, where that is not the host of the URL
    #[arg(long, value_name = "NAME", conflicts_with = "certificate_file")]
    server_name: Option<String>,
    /// Begin each connection with a PROXY header, as a balancer does for its own checks
    #[arg(long)]
    proxy_protocol: bool,
    /// What has to be refused: a code of Broadgate's such as authentication_required or forbidden, or the status of the
    /// publish, such as 401. Then a delivery is a failure
    #[arg(long, value_name = "CODE")]
    expect_refusal: Option<String>,
    /// Seconds that each transport may take
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_seconds: u64,
}

/// How a client talks to the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    /// One WebSocket from the start.
    Websocket,
    /// HTTP requests, each on a connection of its own, so that a balancer may choose a node for each.
    Polling,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Polling => "polling",
        }
    }
}

/// How a transport's way ended.
enum Outcome {
    Delivered { socket: String, round_trip: Duration },
    Refused(Refusal),
}

pub(super) fn smoke(args: &SmokeArgs) -> anyhow::Result<String> {
    ensure!(args.namespace.starts_with('/'), "{:?}: a namespace starts with a slash", args.namespace);
    let target = Target::new(args)?;
    http::parse_base(&args.ops).context("--ops")?;
    let token = args.token_file.as_ref().map(|file| read_token(file)).transpose()?;
    let both = [Transport::Websocket, Transport::Polling];
    let transports = if args.transports.is_empty() { &both[..] } else { &args.transports };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime did not start")?;
    let mut lines = Vec::new();
    for transport in transports {
        let outcome = runtime
            .block_on(once(args, &target, *transport, token.as_deref()))
            .and_then(|outcome| judge(args, outcome))
            .with_context(|| format!("{} to {}", transport.name(), args.url))?;
        lines.push(format!("{}: {outcome}", transport.name()));
    }
    Ok(lines.join("\n"))
}

async fn once(
    args: &SmokeArgs,
    target: &Target,
    transport: Transport,
    token: Option<&str>,
) -> anyhow::Result<Outcome> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout_seconds);
    let mut client = Client::open(target, transport, &args.namespace, deadline).await?;
    let outcome = deliver(args, &mut client, token, deadline).await;
    client.close().await;
    outcome
}

async fn deliver(
    args: &SmokeArgs,
    client: &mut Client<'_>,
    token: Option<&str>,
    deadline: Instant,
) -> anyhow::Result<Outcome> {
    let socket = match client.connect(token).await? {
        Ok(socket) => socket,
        Err(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    if let Some(room) = &args.room
        && let Err(refusal) = client.join(room).await?
    {
        return Ok(Outcome::Refused(refusal));
    }
    let mark = random_hex();
    let started = Instant::now();
    // Blocks, which holds up nothing: what comes meanwhile waits in the kernel or in the session.
    if let Err(refusal) = publish(args, args.room.as_ref().unwrap_or(&socket), &mark, deadline)? {
        return Ok(Outcome::Refused(refusal));
    }
    client.event(EVENT, &mark).await?;
    Ok(Outcome::Delivered { socket, round_trip: started.elapsed() })
}

fn publish(
    args: &SmokeArgs,
    room: &str,
    mark: &str,
    deadline: Instant,
) -> anyhow::Result<Result<(), Refusal>> {
    let body = json!({ "namespace": args.namespace, "room": room, "event": EVENT, "data": mark });
    let (body, key) = (body.to_string(), args.bearer.key()?);
    let timeout = deadline.saturating_duration_since(Instant::now());
    let call = Call { timeout, ..Call::post("/api/v1/publish", &body, key.as_ref()) };
    let response = http::request(&args.ops, call)?;
    if (200..300).contains(&response.status) {
        return Ok(Ok(()));
    }
    let text = format!("{} refused the publish: {} {}", args.ops, response.status, response.body);
    Ok(Err(Refusal { code: response.status.to_string(), text }))
}

fn judge(args: &SmokeArgs, outcome: Outcome) -> anyhow::Result<String> {
    match (outcome, &args.expect_refusal) {
        (Outcome::Delivered { socket, round_trip }, None) => Ok(format!(
            "connected to {} as {socket}, published through {} and received after {:.1} ms",
            args.url,
            args.ops,
            round_trip.as_secs_f64() * 1000.0
        )),
        (Outcome::Refused(refusal), Some(code)) if refusal.code == *code => {
            Ok(format!("connected to {} and refused, as it has to be: {}", args.url, refusal.text))
        }
        (Outcome::Delivered { .. }, Some(code)) => {
            bail!("a message was published and received, where {code} was expected")
        }
        (Outcome::Refused(refusal), _) => bail!("{}", refusal.text),
    }
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    let read = |file| {
        let mut text = String::new();
        File::open(file)?.take(MAX_TOKEN_BYTES).read_to_string(&mut text).map(|_| text)
    };
    let text = read(file).with_context(|| format!("--token-file: cannot read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

fn random_hex() -> String {
    let bytes: [u8; 8] = random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that nobody can foresee.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel has randomness");
    bytes
}

/// What a packet's payload says of a refusal: `{message, data: {code}}` of a CONNECT_ERROR, `{error, message}` of an ack.
fn refusal(what: &str, payload: &Value) -> Refusal {
    let message = payload["message"].as_str().unwrap_or_default();
    let code = payload["data"]["code"].as_str().or_else(|| payload["error"].as_str()).unwrap_or(message);
    let words = if code == message { message.to_owned() } else { format!("{code}: {message}") };
    Refusal { code: code.to_owned(), text: format!("{what} was refused: {words}") }
}
