#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| broadgate_protocol_fuzz::sio_text(data));
