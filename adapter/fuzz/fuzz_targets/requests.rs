//! Requests and answers: what is taken for one can be sent on and means the same; no bytes do harm.
#![no_main]

use broadgate_adapter::wire::{
    InboundRequest, Limits, decode_request, decode_response, encode_request, encode_response,
    response_request_id,
};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|payload: &[u8]| {
    let limits = Limits::default();
    if let Ok(InboundRequest::Request(first)) = decode_request(payload, "/", &limits) {
        let id = first.request_id.as_deref().unwrap_or("id");
        // JSON allows numbers and escapes that Rust has no values for: 1e999, half of a surrogate pair.
        if let Ok(sent_on) = encode_request("uid", Some(id), &first.request, &limits) {
            let Ok(InboundRequest::Request(second)) = decode_request(&sent_on, "/", &limits) else {
                panic!("what was sent on can't be read");
            };
            assert_eq!(second.request.kind.number(), first.request.kind.number());
        }
    }
    let _ = response_request_id(payload, &limits);
    for kind in 0..8 {
        let Ok(response) = decode_response(payload, kind, &limits) else { continue };
        let Ok(encoded) = encode_response("id", &response, &limits) else { continue };
        if encoded.payload.first() == Some(&b'{') {
            serde_json::from_slice::<&RawValue>(&encoded.payload).expect("valid JSON");
        }
    }
});
