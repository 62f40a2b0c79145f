//! Runs the bodies of the fuzz targets over their committed corpora: seeds written by hand, and what was once found.

#[expect(unreachable_pub, reason = "public where it is the library of the fuzz crate")]
#[path = "../../fuzz/src/lib.rs"]
pub(crate) mod bodies;

use std::fs;
use std::path::Path;

fn run(target: &str, body: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&corpus).expect("each target has a corpus");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let data = fs::read(&path).expect("a readable seed");
        let outcome = std::panic::catch_unwind(|| body(&data));
        assert!(outcome.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 5, "{} holds only {count} seeds", corpus.display());
}

#[test]
fn ws_decoder() {
    run("ws_decoder", bodies::ws_decoder);
}

#[test]
fn eio_payload() {
    run("eio_payload", bodies::eio_payload);
}

#[test]
fn eio_query() {
    run("eio_query", bodies::eio_query);
}

#[test]
fn sio_text() {
    run("sio_text", bodies::sio_text);
}
