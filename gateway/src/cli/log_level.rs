//! `log-level`: what a node logs, looked at and changed while it runs.

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::{
    DEFAULT_OPS_URL,
    http::{self, Call},
    ops_key::OpsKeyArgs,
};

const PATH: &str = "/api/v1/log-level";

const EXAMPLES: &str = "\
Examples:
  broadgate log-level                                              what is in force
  broadgate log-level info,broadgate::hub=debug --for-seconds 300
  broadgate log-level --revert";

/// `log-level`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogLevelArgs {
    /// The ops address of the node
    #[arg(long, value_name = "URL", default_value = DEFAULT_OPS_URL)]
    ops: String,
    #[command(flatten)]
    bearer: OpsKeyArgs,
    /// Filter directives that are to hold for a while; without them the ones in force are printed
    filter: Option<String>,
    /// For how long they hold; ten minutes unless given, a day at most
    #[arg(long, value_name = "SECONDS", requires = "filter")]
    for_seconds: Option<u64>,
    /// Back to what the configuration says
    #[arg(long, conflicts_with = "filter")]
    revert: bool,
}

pub(super) fn log_level(args: &LogLevelArgs) -> anyhow::Result<String> {
    let body = args.filter.as_ref().map(|filter| match args.for_seconds {
        None => json!({ "filter": filter }).to_string(),
        Some(seconds) => json!({ "filter": filter, "for_seconds": seconds }).to_string(),
    });
    let method = match (&body, args.revert) {
        (Some(_), _) => "PUT",
        (None, true) => "DELETE",
        (None, false) => "GET",
    };
    let key = args.bearer.key()?;
    let call = Call { method, body: body.as_deref(), key: key.as_ref(), ..Call::get(PATH) };
    let response = http::request(&args.ops, call)?;
    let answer: Value = serde_json::from_str(&response.body).unwrap_or_default();
    if response.status != 200 {
        let why = answer["message"].as_str().unwrap_or(&response.body);
        bail!("{} refused it: {} {why}", args.ops, response.status);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    Ok(match answer["reverts_in_seconds"].as_f64() {
        None => text("filter"),
        Some(seconds) => format!("{} for {seconds} s, then {}", text("filter"), text("configured")),
    })
}
