//! The handshakes as a program, against servers that do not play along.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::Command,
    thread,
};

use serde_json::Value;

/// Answers every request with 200 and `body`.
fn start_server(body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            thread::spawn(move || {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                while socket.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    if socket.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn run(targets: &[SocketAddr]) -> (Option<i32>, Value) {
    let urls: Vec<String> = targets.iter().map(|target| format!("ws://{target}")).collect();
    let run = Command::new(env!("CARGO_BIN_EXE_broadgate-loadtest"))
        .args(["handshakes", "--target", &urls.join(","), "--handshakes", "4", "--rounds", "1"])
        .args(["--concurrency", "2", "--json", "-"])
        .output()
        .expect("the program");
    (run.status.code(), serde_json::from_slice(&run.stdout).expect("JSON on standard output"))
}

#[test]
fn each_step_s_answer_is_checked() {
    for (body, expected) in [
        ("nonsense", "the handshake was answered with: 200 nonsense"),
        (r#"0{"upgrades":["websocket"]}"#, r#"the handshake was answered with: 0{"upgrades""#),
        (r#"0{"sid":"x"}"#, r#"the POST of CONNECT was answered with: 200 0{"sid":"x"}"#),
    ] {
        let (code, document) = run(&[start_server(body), start_server(body)]);
        assert_eq!(code, Some(1));
        assert_eq!(document["passed"], false);
        let reason = document["report"]["faults"]["reasons"][0].as_str().unwrap_or_default();
        assert!(reason.starts_with(expected), "{reason}");
    }
}

#[test]
fn nodes_that_are_not_there_fail_the_run() {
    let (code, document) = run(&[SocketAddr::from(([127, 0, 0, 1], 1))]);
    assert_eq!(code, Some(1));
    let reason = document["report"]["faults"]["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.starts_with("the handshake: ") && reason.contains("refused"), "{reason}");
    assert_eq!(document["report"]["rate_ratio"], Value::Null);
}
