//! Revocations: what is taken for one can be sent on and means the same; no bytes do harm.
#![no_main]

use broadgate_adapter::wire::{decode_revocation, encode_revocation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(first) = decode_revocation(payload) else { return };
    let second = decode_revocation(&encode_revocation(&first)).expect("what was sent on can be read");
    assert_eq!(second, first);
});
