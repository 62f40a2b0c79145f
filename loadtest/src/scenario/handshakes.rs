//! Handshakes with and without affinity, in turn, so that both meet the same host.

use super::{Session, cluster::Cluster};
use crate::{
    cli::HandshakesArgs,
    driver::Faults,
    handshake::{Affinity, HandshakeLoad, HandshakeRound, run_round},
    plan,
    report::{HandshakeReport, HandshakeSeries},
};

/// Sockets of one client at a time: one to each node for HTTP with a second one for the held poll, and the WebSocket.
const SOCKETS_PER_NODE: usize = 2;

/// Which rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandshakePlan {
    pub(crate) handshakes: usize,
    pub(crate) concurrency: usize,
    pub(crate) rounds: u16,
}

/// `broadgate-loadtest handshakes`
pub(crate) fn run(
    session: &Session,
    args: &HandshakesArgs,
    plan: HandshakePlan,
) -> anyhow::Result<HandshakeReport> {
    let cluster = Cluster::new(args, &session.interrupt)?;
    let nodes = cluster.endpoints.len();
    plan::check_open_files(plan.concurrency * (nodes * SOCKETS_PER_NODE + 1))?;
    let mut faults = Faults::default();
    let mut rounds: [Vec<HandshakeRound>; 2] = Default::default();
    let mut first = 0;
    // A round before the others: what is done once, and who is slow at first, counts for neither.
    for number in 0..=plan.rounds {
        let handshakes = if number == 0 { plan.handshakes.div_ceil(10) } else { plan.handshakes };
        for (affinity, rounds) in [Affinity::Client, Affinity::None].into_iter().zip(&mut rounds) {
            let what = format!("round {number} of {}, {}", plan.rounds, name(affinity));
            let bar = session.progress.counting(&what, handshakes);
            let load = HandshakeLoad { handshakes, concurrency: plan.concurrency, affinity };
            let Cluster { endpoints, meters, .. } = &cluster;
            let round = run_round(endpoints, meters, load, first, &bar, &session.interrupt, &mut faults)?;
            first += handshakes;
            rounds.extend(round.filter(|_| number > 0));
            if !faults.is_clean() {
                break;
            }
        }
        if !faults.is_clean() {
            break;
        }
    }
    let [with_affinity, without_affinity] = rounds.map(|rounds| HandshakeSeries::over(&rounds));
    Ok(HandshakeReport::new(nodes, plan.concurrency, with_affinity, without_affinity, faults))
}

const fn name(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Client => "each client at one node",
        Affinity::None => "each request at the next node",
    }
}
