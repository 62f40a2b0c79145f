//! The msgpack tuple: what is taken for an event is valid JSON, and survives being sent on.
#![no_main]

use broadgate_adapter::wire::{Inbound, Limits, decode_tuple, encode_tuple};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|payload: &[u8]| {
    let limits = Limits::default();
    let Ok(Inbound::Broadcast(first, _)) = decode_tuple(payload, "own", "/", &limits) else { return };
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("valid JSON");
    json(&first.packet.json);
    let sent_on = encode_tuple("next", &first, &limits).expect("it can be sent on");
    let Ok(Inbound::Broadcast(second, _)) = decode_tuple(&sent_on, "own", "/", &limits) else {
        panic!("what was sent on can't be read");
    };
    assert_eq!(second.packet.attachments, first.packet.attachments);
    assert_eq!((second.rooms, second.except), (first.rooms, first.except));
    assert_eq!((second.flags, second.stamp), (first.flags, first.stamp));
});
