//! Messages between nodes: what is taken for one can be sent on and means the same; no bytes do harm.
#![no_main]

use broadgate::engineio::{NodeId, PeerDelivery};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let node = NodeId::parse("owner").expect("a name");
    let Ok((shard, delivery)) = PeerDelivery::read(node, Bytes::copy_from_slice(message)) else { return };
    let Ok(again) = delivery.rewritten() else { return };
    let (same_shard, second) = PeerDelivery::read(node, again.clone()).expect("what was sent on can be read");
    assert_eq!(same_shard, shard);
    assert_eq!(second.rewritten().expect("its body, too"), again);
});
