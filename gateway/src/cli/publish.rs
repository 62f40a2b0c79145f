//! `publish`: one event to rooms, for scripts and for trying things out.

use anyhow::{bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{DEFAULT_OPS_URL, http};

const EXAMPLES: &str = "\
Examples:
  broadgate publish --room news headline '{\"title\":\"hi\"}'
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
    through_node(args, &values)
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
    let response = http::request(&args.ops, "/api/v1/publish", Some(&body.to_string()))?;
    if !(200..300).contains(&response.status) {
        bail!("{} refused it: {} {}", args.ops, response.status, response.body);
    }
    Ok(format!("published to {} through {}: {}", target(args), args.ops, response.body))
}

/// For people: `news, sport of /`.
fn target(args: &PublishArgs) -> String {
    if args.all {
        format!("all of {}", args.namespace)
    } else {
        format!("{} of {}", args.rooms.join(", "), args.namespace)
    }
}
