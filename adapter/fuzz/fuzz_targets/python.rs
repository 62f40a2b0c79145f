//! Messages of python-socketio: what is taken for one can be sent on between nodes; no bytes do harm.
#![no_main]

use broadgate_adapter::wire::{
    Limits, PythonMessage, decode_python, decode_tuple, encode_request, encode_tuple,
};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|payload: &[u8]| {
    let limits = Limits::default();
    match decode_python(payload, &limits) {
        Ok(PythonMessage::Emit(broadcast)) => {
            serde_json::from_str::<&RawValue>(&broadcast.packet.json).expect("valid JSON");
            // JSON allows numbers and escapes that Rust has no values for: 1e999, half of a surrogate pair.
            let Ok(sent_on) = encode_tuple("uid", &broadcast, &limits) else { return };
            decode_tuple(&sent_on, "own", &broadcast.namespace, &limits).expect("what was sent on can be read");
        }
        Ok(PythonMessage::Command(request)) => {
            assert!(request.kind.is_command());
            encode_request("uid", None, &request, &limits).expect("a command can be sent on");
        }
        Ok(PythonMessage::Nothing | PythonMessage::Unknown) | Err(_) => {}
    }
});
