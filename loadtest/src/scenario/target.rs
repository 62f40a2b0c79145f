//! What a scenario measures: a server that runs already, or one that is started for it. Owns what was started.

use std::{net::SocketAddr, path::Path};

use crate::{
    cli::TargetArgs,
    interrupt::Interrupt,
    measure::ProcessMeter,
    plan::{self, Endpoint},
    spawn::{Cores, Node, OPEN_RULES, Redis, TemporaryFolder, find_binary},
};

/// A server, and how to reach, publish to and measure it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) redis: SocketAddr,
    pub(crate) ops: SocketAddr,
    /// `None`: it is not known which process it is.
    pub(crate) meter: Option<ProcessMeter>,
    pub(crate) cores: Cores,
    _started: Option<Started>,
}

/// Fields are dropped in this order: the node before its Redis, the folder last.
#[derive(Debug)]
struct Started {
    _node: Node,
    _redis: Redis,
    _folder: TemporaryFolder,
}

impl Target {
    pub(crate) fn new(args: &TargetArgs, interrupt: &Interrupt) -> anyhow::Result<Self> {
        if args.spawn {
            let cores = Cores::with_server_on(args.spawned.server_core)?;
            return Self::spawn(args.spawned.server_bin.as_deref(), cores, OPEN_RULES, interrupt);
        }
        let cores = match args.pid {
            Some(pid) => Cores::around(pid)?,
            None => Cores::all()?,
        };
        cores.enter_clients()?;
        Ok(Self {
            endpoint: args.url.clone(),
            redis: plan::resolve(
                args.redis.strip_prefix("redis://").unwrap_or(&args.redis).trim_end_matches('/'),
            )?,
            ops: plan::resolve(&args.ops)?,
            meter: args.pid.map(ProcessMeter::new).transpose()?,
            cores,
            _started: None,
        })
    }

    /// Starts `binary`, or the one that is found, with these rules and a Redis server.
    pub(crate) fn spawn(
        binary: Option<&Path>,
        cores: Cores,
        rules: &str,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let binary = find_binary(binary)?;
        let folder = TemporaryFolder::new()?;
        cores.enter_clients()?;
        let redis = Redis::start(folder.path(), interrupt)?;
        let node = Node::start(&binary, &cores, redis.address, rules, &folder, interrupt)?;
        Ok(Self {
            endpoint: Endpoint::local(node.port),
            redis: redis.address,
            ops: node.ops,
            meter: Some(ProcessMeter::new(node.id())?),
            cores,
            _started: Some(Started { _node: node, _redis: redis, _folder: folder }),
        })
    }
}
