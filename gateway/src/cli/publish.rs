//! `publish`: one event to rooms, for scripts and for trying things out.

use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use broadgate::config::Secret;
use broadgate_adapter::{Broadcast, EventPacket, Flags, Stamp, TraceParent, emitter};
use clap::Args;
use serde_json::{Value, json};

use super::{
    DEFAULT_OPS_URL,
    http::{self, Call},
    ops_key::OpsKeyArgs,
};

const EXAMPLES: &str = "\
Examples:
  broadgate publish --room news headline '{\"title\":\"hi\"}'
  broadgate publish --key-file /run/secrets/ops-key --room news headline
  broadgate publish --redis redis://127.0.0.1:6379 --room news --room sport score 2 1
  broadgate publish --all --namespace /chat --except staff closing 'in five minutes'

An argument that is not JSON is sent as a string; to send a number as a string, quote it: '\"42\"'";

/// `publish`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PublishArgs {
    /// Publish through the ops address of a node
    #[arg(long, value_name = "URL", default_value = DEFAULT_OPS_URL)]
    ops: String,
    #[command(flatten)]
    bearer: OpsKeyArgs,
    /// Publish through Redis instead, to all nodes and Node.js servers of the cluster
    #[arg(long, value_name = "URL", conflicts_with_all = ["ops", "key", "key_file"])]
    redis: Option<Secret>,
    /// With --redis: the cluster's channel prefix
    #[arg(long, value_name = "PREFIX", default_value = "socket.io", requires = "redis")]
    prefix: String,
    /// A room to publish to; may be repeated, and a socket that is in several gets the event once
    #[arg(long = "room", value_name = "ROOM", required_unless_present = "all")]
    rooms: Vec<String>,
    /// Publish to every socket of the namespace
    #[arg(long, conflicts_with = "rooms")]
    all: bool,
    /// The rooms' namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "/")]
    namespace: String,
    /// A room (or a socket's id) whose members are left out; may be repeated
    #[arg(long, value_name = "ROOM")]
    except: Vec<String>,
    /// The span that publishes, for traces (W3C Trace Context)
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<TraceParent>,
    /// Name of the event
    event: String,
    /// Arguments of the event, each as JSON
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    args: Vec<String>,
}

pub(super) fn publish(args: &PublishArgs) -> anyhow::Result<String> {
    ensure!(args.namespace.starts_with('/'), "{:?}: a namespace starts with a slash", args.namespace);
    ensure!(!args.event.is_empty(), "the event has no name");
    let values: Vec<Value> = args.args.iter().map(|arg| argument(arg)).collect();
    match &args.redis {
        Some(url) => through_redis(args, url, &values),
        None => through_node(args, &values),
    }
}

fn argument(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn through_node(args: &PublishArgs, values: &[Value]) -> anyhow::Result<String> {
    let body = json!({
        "namespace": args.namespace,
        "rooms": args.rooms,
        "except": args.except,
        "event": args.event,
        "args": values,
    });
    let (body, key) = (body.to_string(), args.bearer.key()?);
    let call = Call { trace: args.traceparent, ..Call::post("/api/v1/publish", &body, key.as_ref()) };
    let response = http::request(&args.ops, call)?;
    if !(200..300).contains(&response.status) {
        bail!("{} refused it: {} {}", args.ops, response.status, response.body);
    }
    // A node that can't reach the others may deliver to its own members all the same (adapter.redis.when_down).
    let answer: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let where_to = if answer["local_only"] == json!(true) { " on this node only" } else { "" };
    Ok(format!("published to {}{where_to} through {}: {}", target(args), args.ops, response.body))
}

fn through_redis(args: &PublishArgs, url: &Secret, values: &[Value]) -> anyhow::Result<String> {
    let event = std::iter::once(json!(args.event)).chain(values.iter().cloned());
    let broadcast = Broadcast {
        namespace: args.namespace.as_str().into(),
        rooms: args.rooms.iter().map(|room| room.as_str().into()).collect(),
        except: args.except.iter().map(|room| room.as_str().into()).collect(),
        flags: Flags::default(),
        stamp: Stamp::at(SystemTime::now()).in_trace(args.traceparent),
        packet: EventPacket {
            json: Value::Array(event.collect()).to_string().into(),
            attachments: Vec::new(),
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime did not start")?;
    let subscriptions = runtime.block_on(emitter::publish_once(url.expose(), &args.prefix, &broadcast))?;
    Ok(format!(
        "published to {} through Redis, which passed it to {subscriptions} subscriptions",
        target(args)
    ))
}

/// For people: `news, sport of /`.
fn target(args: &PublishArgs) -> String {
    if args.all {
        format!("all of {}", args.namespace)
    } else {
        format!("{} of {}", args.rooms.join(", "), args.namespace)
    }
}
