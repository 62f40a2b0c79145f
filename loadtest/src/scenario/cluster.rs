//! What the handshakes go to: the nodes of a cluster that runs already, or of one that is started. Owns what was started.

use crate::{
    cli::HandshakesArgs,
    handshake::Meters,
    interrupt::Interrupt,
    measure::ProcessMeter,
    plan::Endpoint,
    spawn::{Cores, Node, OPEN_RULES, Redis, TemporaryFolder, find_binary},
};

/// The nodes, and how to measure them.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) meters: Meters,
    _started: Option<Started>,
}

/// Fields are dropped in this order: the nodes before their Redis, the folder last.
#[derive(Debug)]
struct Started {
    _nodes: Vec<Node>,
    _redis: Redis,
    _folder: TemporaryFolder,
}

impl Cluster {
    pub(super) fn new(args: &HandshakesArgs, interrupt: &Interrupt) -> anyhow::Result<Self> {
        if args.spawn {
            return Self::spawn(args, interrupt);
        }
        let nodes = args.pids.iter().copied().map(ProcessMeter::new).collect::<Result<_, _>>()?;
        let redis = args.redis_pid.map(ProcessMeter::new).transpose()?;
        Ok(Self { endpoints: args.targets.clone(), meters: Meters { nodes, redis }, _started: None })
    }

    /// All nodes share the server's core: what one handshake costs does not depend on how many cores there are.
    fn spawn(args: &HandshakesArgs, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let cores = Cores::with_server_on(args.spawned.server_core)?;
        let binary = find_binary(args.spawned.server_bin.as_deref())?;
        let folder = TemporaryFolder::new()?;
        cores.enter_clients()?;
        let redis = Redis::start(folder.path(), interrupt)?;
        let nodes = (0..args.nodes)
            .map(|_| Node::start(&binary, &cores, redis.address, OPEN_RULES, &folder, interrupt))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let meters = Meters {
            nodes: nodes.iter().map(|node| ProcessMeter::new(node.id())).collect::<Result<_, _>>()?,
            redis: Some(ProcessMeter::new(redis.id())?),
        };
        Ok(Self {
            endpoints: nodes.iter().map(|node| Endpoint::local(node.port)).collect(),
            meters,
            _started: Some(Started { _nodes: nodes, _redis: redis, _folder: folder }),
        })
    }
}
