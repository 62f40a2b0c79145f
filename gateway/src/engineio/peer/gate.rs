//! Which broadcasts a session takes while it is on its way between two nodes. The node that it leaves and the node that
//! it comes to have its rooms both for a moment; every message is to be delivered by exactly one of them.

use broadgate_adapter::Origin;

/// Where a broadcast comes from, as a shard sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client of this shard published it just now.
    OwnShard,
    /// Another shard of this node, or its ops API.
    OwnNode,
    /// Redis: another node, a server, an emitter.
    Cluster(Origin),
}

/// What of each [`Source`] is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    pub(super) own_shard: bool,
    pub(super) own_node: bool,
    pub(super) cluster: FromCluster,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FromCluster {
    All,
    /// But what this node published: the one that takes the session over delivers it itself.
    AllBut(Origin),
    Nothing,
}

impl Gate {
    /// Of a session that comes: nothing is its own yet.
    pub const ARRIVING: Self = Self { own_shard: false, own_node: false, cluster: FromCluster::Nothing };
    /// Of a session that leaves: everything still is.
    pub(super) const LEAVING: Self = Self { own_shard: true, own_node: true, cluster: FromCluster::All };

    /// Of a session that comes: is what Redis takes now for it?
    pub fn is_past_cut(&self) -> bool {
        self.cluster == FromCluster::All
    }

    /// Is a broadcast delivered here?
    pub fn lets_through(&self, source: Source) -> bool {
        match (source, self.cluster) {
            (Source::OwnShard, _) => self.own_shard,
            (Source::OwnNode, _) => self.own_node,
            (Source::Cluster(_), FromCluster::All) => true,
            (Source::Cluster(origin), FromCluster::AllBut(other)) => origin != other,
            (Source::Cluster(_), FromCluster::Nothing) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_gate_of_its_own() {
        let (a, b) = (Origin::of("nodeA"), Origin::of("nodeB"));
        let sources = [Source::OwnShard, Source::OwnNode, Source::Cluster(a), Source::Cluster(b)];
        let cut = Gate { own_shard: false, own_node: true, cluster: FromCluster::AllBut(a) };
        for (gate, expected) in [
            (Gate::LEAVING, [true, true, true, true]),
            (Gate::ARRIVING, [false, false, false, false]),
            (cut, [false, true, false, true]),
        ] {
            assert_eq!(sources.map(|source| gate.lets_through(source)), expected, "{gate:?}");
        }
    }
}
