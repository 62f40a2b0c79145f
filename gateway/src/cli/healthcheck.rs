//! `healthcheck`: for container images that have no other tool in them.

use anyhow::bail;
use clap::Args;

use super::{
    DEFAULT_OPS_URL,
    http::{self, Call},
};

/// `healthcheck`
#[derive(Debug, Args)]
#[command(after_help = "Example, in a Dockerfile:\n  HEALTHCHECK CMD [\"broadgate\", \"healthcheck\"]")]
pub(crate) struct HealthcheckArgs {
    /// The node's ops address
    #[arg(long, value_name = "URL", default_value = DEFAULT_OPS_URL)]
    ops: String,
}

pub(super) fn healthcheck(args: &HealthcheckArgs) -> anyhow::Result<String> {
    let response = http::request(&args.ops, Call::get("/readyz"))?;
    if response.status != 200 {
        bail!("not ready: {} {}", response.status, response.body);
    }
    Ok("ready".to_owned())
}
