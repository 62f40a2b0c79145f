//! The plain JSON form: what is taken for an event is valid JSON.
#![no_main]

use broadgate_adapter::wire::{ChannelName, Limits, decode_json_message};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|payload: &[u8]| {
    for room in [None, Some("news")] {
        let channel = ChannelName { namespace: "/", room };
        let Ok(broadcast) = decode_json_message(payload, channel, &Limits::default()) else { continue };
        let items: Vec<&RawValue> = serde_json::from_str(&broadcast.packet.json).expect("valid JSON");
        assert!(!items.is_empty());
    }
});
