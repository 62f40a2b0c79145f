#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| broadgate_protocol_fuzz::eio_payload(data));
