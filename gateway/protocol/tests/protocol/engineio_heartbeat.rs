//! wire.md 1.9 and "Newer than the snapshot" (b): the heartbeat.

use broadgate_protocol::engineio::{Heartbeat, HeartbeatAction, HeartbeatRest, HeartbeatTiming};

const TIMING: HeartbeatTiming = HeartbeatTiming { ping_interval_ms: 300, ping_timeout_ms: 200 };

use HeartbeatAction::{Expired, None as Nothing, SendPing};
use Step::{Other, Poll, Pong};

enum Step {
    /// Poll, the action expected, and the deadline after it.
    Poll(HeartbeatAction, u64),
    Pong,
    Other,
}

fn run(steps: &[(u64, Step)]) {
    let mut heartbeat = Heartbeat::new(1000, &TIMING);
    assert_eq!(heartbeat.deadline_ms(), 1300);
    for (now_ms, step) in steps {
        match step {
            Pong => drop(heartbeat.on_pong(*now_ms, &TIMING)),
            Other => heartbeat.on_other_packet(*now_ms, &TIMING),
            Poll(action, deadline_ms) => {
                assert_eq!(heartbeat.poll(*now_ms, &TIMING), *action, "at {now_ms}");
                assert_eq!(heartbeat.deadline_ms(), *deadline_ms, "after {now_ms}");
            }
        }
    }
}

#[test]
fn section_1_9_pings_are_scheduled_from_the_pong() {
    run(&[
        (1299, Poll(Nothing, 1300)),
        (1300, Poll(SendPing, 1500)),
        (1300, Poll(Nothing, 1500)),
        (1450, Pong),
        (1450, Poll(Nothing, 1750)),
        (1760, Poll(SendPing, 1960)),
    ]);
}

#[test]
fn section_1_9_no_pong_in_time() {
    run(&[(1300, Poll(SendPing, 1500)), (1499, Poll(Nothing, 1500)), (1500, Poll(Expired, 1500))]);
}

#[test]
fn section_1_9_a_stray_pong_is_harmless() {
    run(&[(1100, Pong), (1100, Poll(Nothing, 1300)), (1300, Poll(SendPing, 1500))]);
}

#[test]
fn newer_than_the_snapshot_b_another_packet_restarts_the_timeout_once() {
    run(&[
        (1300, Poll(SendPing, 1500)),
        (1490, Other),
        (1500, Poll(Nothing, 1690)),
        (1600, Other),
        (1690, Poll(Expired, 1690)),
    ]);
}

#[test]
fn newer_than_the_snapshot_b_each_ping_can_be_put_off() {
    run(&[
        (1300, Poll(SendPing, 1500)),
        (1400, Other),
        (1500, Pong),
        (1800, Poll(SendPing, 2000)),
        (1900, Other),
        (2000, Poll(Nothing, 2100)),
    ]);
}

#[test]
fn other_packets_while_no_pong_is_due_change_nothing() {
    run(&[(1200, Other), (1200, Poll(Nothing, 1300)), (1300, Poll(SendPing, 1500))]);
}

#[test]
fn another_server_goes_on_where_this_one_stopped() {
    let mut idle = Heartbeat::new(1000, &TIMING);
    assert_eq!(idle.poll(1250, &TIMING), Nothing);
    let rest = idle.rest(1250);
    assert_eq!(rest, HeartbeatRest { left_ms: 50, awaits_pong: false, is_put_off: false });
    let mut moved = Heartbeat::resume(&rest, 77, &TIMING);
    assert_eq!((moved.deadline_ms(), moved.poll(127, &TIMING)), (127, SendPing));
    moved.on_other_packet(200, &TIMING);
    let rest = moved.rest(300);
    assert_eq!(rest, HeartbeatRest { left_ms: 100, awaits_pong: true, is_put_off: true });
    let mut back = Heartbeat::resume(&rest, 5000, &TIMING);
    back.on_other_packet(5050, &TIMING);
    assert_eq!(back.poll(5100, &TIMING), Expired);
}

#[test]
fn a_time_left_is_never_longer_than_this_servers_own() {
    for (awaits_pong, deadline_ms) in [(false, 1300), (true, 1200)] {
        let rest = HeartbeatRest { left_ms: u64::MAX, awaits_pong, is_put_off: false };
        assert_eq!(Heartbeat::resume(&rest, 1000, &TIMING).deadline_ms(), deadline_ms);
    }
}

#[test]
fn the_state_is_small() {
    assert!(size_of::<Heartbeat>() <= 24);
}

#[test]
fn a_pong_tells_the_round_trip_unless_something_else_came_before_it() {
    for (between, expected) in [(None, Some(70)), (Some(1350), None)] {
        let mut heartbeat = Heartbeat::new(1000, &TIMING);
        assert_eq!(heartbeat.on_pong(1200, &TIMING), None, "a pong that nobody waits for");
        assert_eq!(heartbeat.poll(1310, &TIMING), SendPing);
        if let Some(at_ms) = between {
            heartbeat.on_other_packet(at_ms, &TIMING);
        }
        assert_eq!(heartbeat.on_pong(1380, &TIMING), expected);
        assert_eq!(heartbeat.on_pong(1381, &TIMING), None, "the same pong again");
    }
}
