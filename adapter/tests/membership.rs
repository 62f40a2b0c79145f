//! Which nodes are known: the state machine alone, by a clock of the test's own.

use broadgate_adapter::{
    membership::{ANSWER_WITHIN_MS, Action, Hello, MAX_NODES, MIN_SPACING_MS, Membership, Refusal},
    wire::{DecodeError, MAX_NOTICE_BYTES, Notice, decode_notice, encode_notice},
};
use proptest::prelude::*;

const TURN_MS: u64 = 2000;

fn hello(name: &str, start: u64) -> Hello {
    Hello { name: name.into(), version: "1.0.0".into(), start, id_key: 0, asks: false, number: 0 }
}

/// One node and its clock. What it says comes back at once while `echoes`.
struct Setup {
    membership: Membership,
    now_ms: u64,
    echoes: bool,
    said: Vec<(u64, Hello)>,
    told: Vec<String>,
}

impl Setup {
    fn new() -> Self {
        let membership = Membership::new(hello("self", 1), TURN_MS);
        Self { membership, now_ms: 1_000_000, echoes: true, said: Vec::new(), told: Vec::new() }
    }

    /// Subscribed, and heard by all.
    fn linked() -> Self {
        let mut setup = Self::new();
        setup.membership.linked(setup.now_ms);
        setup.act();
        setup
    }

    fn act(&mut self) {
        while let Some(action) = self.membership.poll(self.now_ms, 0) {
            match action {
                Action::Say(hello) => {
                    self.said.push((self.now_ms, hello.clone()));
                    if self.echoes {
                        self.hear(&hello).expect("its own hello is taken in");
                    }
                }
                Action::Found { node } => self.told.push(format!("found {node}")),
                Action::Lost { node } => self.told.push(format!("lost {node}")),
            }
        }
    }

    fn hear(&mut self, hello: &Hello) -> Result<(), Refusal> {
        let heard = self.membership.heard(self.now_ms, hello, u32::MAX);
        self.act();
        heard
    }

    /// Lets time pass, with all that is to be done in between.
    fn pass(&mut self, duration_ms: u64) {
        let end_ms = self.now_ms + duration_ms;
        while let Some(next_ms) = self.membership.next_deadline_ms().filter(|next_ms| *next_ms <= end_ms) {
            self.now_ms = self.now_ms.max(next_ms);
            self.act();
        }
        self.now_ms = end_ms;
    }

    fn names(&self) -> Vec<String> {
        self.membership.nodes(self.now_ms).iter().map(|node| node.name.to_string()).collect()
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

#[test]
fn a_node_says_hello_when_it_is_subscribed_and_asks_until_it_is_heard() {
    let mut setup = Setup::new();
    setup.echoes = false;
    setup.pass(10 * TURN_MS);
    assert_eq!(setup.said, [], "nobody hears it");
    setup.membership.linked(setup.now_ms);
    setup.pass(600);
    assert_eq!(setup.said.len(), 3, "{:?}", setup.said);
    assert!(setup.said.iter().all(|(_, hello)| hello.asks));
    assert!(!setup.membership.was_heard());

    setup.echoes = true;
    setup.pass(400);
    assert!(setup.membership.was_heard());
    let before = setup.said.len();
    setup.pass(10 * TURN_MS);
    let later = &setup.said[before..];
    assert!((9..=11).contains(&later.len()), "{later:?}");
    assert!(later.iter().all(|(_, hello)| !hello.asks));
}

#[test]
fn turns_are_jittered_downwards() {
    let mut membership = Membership::new(hello("self", 1), TURN_MS);
    membership.linked(0);
    let Some(Action::Say(said)) = membership.poll(0, 0) else { panic!("a hello") };
    membership.heard(0, &said, 0).expect("it is its own");
    let mut waits = Vec::new();
    let mut now_ms = membership.next_deadline_ms().expect("a next one");
    for random in [0, u32::MAX / 2, u32::MAX] {
        assert_eq!(membership.poll(now_ms - 1, random), None, "not before it is time");
        assert!(matches!(membership.poll(now_ms, random), Some(Action::Say(_))));
        let next_ms = membership.next_deadline_ms().expect("a next one");
        waits.push(next_ms - now_ms);
        now_ms = next_ms;
    }
    assert_eq!(waits, [TURN_MS, TURN_MS - TURN_MS / 10 + 1, TURN_MS - TURN_MS / 5 + 1]);
}

#[test]
fn whoever_says_hello_is_known_with_version_and_age() {
    let mut setup = Setup::linked();
    setup.hear(&hello("b", 1)).expect("it is taken in");
    setup.hear(&Hello { version: "2.0.0".into(), ..hello("a", 1) }).expect("it is taken in");
    setup.pass(500);
    setup.hear(&hello("b", 1)).expect("it is taken in");
    setup.pass(250);
    let nodes = setup.membership.nodes(setup.now_ms);
    let nodes: Vec<_> = nodes.iter().map(|node| (&*node.name, &*node.version, node.age_ms)).collect();
    assert_eq!(nodes, [("a", "2.0.0", 750), ("b", "1.0.0", 250)]);
    assert_eq!(setup.told(), ["found b", "found a"]);
    assert_eq!(setup.membership.len(), 2);
}

#[test]
fn a_node_that_is_silent_for_three_turns_is_lost() {
    let mut setup = Setup::linked();
    for name in ["silent", "alive"] {
        setup.hear(&hello(name, 1)).expect("it is taken in");
    }
    setup.told();
    for _ in 0..2 {
        setup.pass(TURN_MS);
        setup.hear(&hello("alive", 1)).expect("it is taken in");
    }
    setup.pass(TURN_MS - 1);
    assert_eq!(setup.names(), ["alive", "silent"], "its time is not up");
    setup.pass(TURN_MS);
    assert_eq!(setup.told(), ["lost silent"]);
    assert_eq!(setup.names(), ["alive"]);

    setup.hear(&hello("silent", 1)).expect("it is taken in");
    assert_eq!(setup.told(), ["found silent"]);
}

#[test]
fn nobody_is_lost_while_the_own_hello_does_not_come_back() {
    let mut setup = Setup::linked();
    setup.hear(&hello("other", 1)).expect("it is taken in");
    setup.told();
    setup.echoes = false;
    setup.pass(20 * TURN_MS);
    assert_eq!(setup.told(), Vec::<String>::new());

    // It comes back: the other has three turns from now on, and is heard in the first.
    setup.echoes = true;
    setup.pass(TURN_MS);
    setup.hear(&hello("other", 1)).expect("it is taken in");
    setup.pass(TURN_MS);
    assert_eq!(setup.told(), Vec::<String>::new());
}

#[test]
fn the_loss_of_the_own_link_makes_nobody_look_dead() {
    let mut setup = Setup::linked();
    setup.hear(&hello("other", 1)).expect("it is taken in");
    setup.told();
    setup.pass(2 * TURN_MS);
    setup.membership.unlinked();
    let said = setup.said.len();
    setup.pass(20 * TURN_MS);
    assert_eq!((setup.said.len(), setup.names()), (said, vec!["other".to_owned()]));

    setup.membership.linked(setup.now_ms);
    setup.pass(2 * TURN_MS);
    assert!(setup.said[said].1.asks, "it may have missed new ones");
    assert_eq!(setup.told(), Vec::<String>::new(), "it has three turns again");
    setup.pass(2 * TURN_MS);
    assert_eq!(setup.told(), ["lost other"]);
}

#[test]
fn after_an_outage_turns_that_come_early_give_the_others_no_less_time_to_come_back() {
    let mut setup = Setup::linked();
    setup.hear(&hello("other", 1)).expect("it is taken in");
    setup.membership.unlinked();
    setup.pass(20 * TURN_MS);
    setup.membership.linked(setup.now_ms);
    setup.told();
    // Whoever comes back asks, and is answered before the next turn is due.
    for _ in 0..4 {
        setup.hear(&Hello { asks: true, ..hello("back", 1) }).expect("it is taken in");
        setup.pass(TURN_MS / 2);
    }
    assert_eq!(setup.told(), ["found back"]);
    setup.pass(2 * TURN_MS);
    assert!(setup.told().contains(&"lost other".to_owned()), "it had three turns");
}

#[test]
fn a_process_that_stood_still_takes_nobody_for_dead() {
    let mut setup = Setup::linked();
    setup.hear(&hello("other", 1)).expect("it is taken in");
    setup.told();
    // Stopped for a minute; then come its own hellos from before, and only behind them what the other said.
    setup.now_ms += 60_000;
    for _ in 0..5 {
        setup.membership.heard(setup.now_ms, &hello("self", 1), 0).expect("its own");
    }
    setup.act();
    setup.hear(&hello("other", 1)).expect("it is taken in");
    setup.pass(TURN_MS);
    assert_eq!(setup.told(), Vec::<String>::new());
}

#[test]
fn one_that_asks_is_answered_soon_and_others_with_it() {
    let mut setup = Setup::linked();
    setup.pass(TURN_MS / 2);
    let before = setup.said.len();
    let start_ms = setup.now_ms;
    for name in ["a", "b", "c"] {
        setup.hear(&Hello { asks: true, ..hello(name, 1) }).expect("it is taken in");
    }
    setup.pass(ANSWER_WITHIN_MS);
    let answers = &setup.said[before..];
    assert_eq!(answers.len(), 1, "one for all: {answers:?}");
    assert!(answers[0].0 <= start_ms + ANSWER_WITHIN_MS && !answers[0].1.asks);
}

#[test]
fn asking_again_and_again_does_not_make_others_talk_without_end() {
    let mut setup = Setup::linked();
    setup.pass(TURN_MS / 4);
    let before = setup.said.len();
    for _ in 0..1000 {
        setup
            .membership
            .heard(setup.now_ms, &Hello { asks: true, ..hello("flood", 1) }, 0)
            .expect("taken in");
        setup.act();
        setup.pass(1);
    }
    let bound = 1000 / usize::try_from(MIN_SPACING_MS).expect("it is small") + 1;
    assert!(setup.said.len() - before <= bound, "{}", setup.said.len() - before);
}

#[test]
fn a_goodbye_ends_the_process_that_said_it_and_no_other() {
    let mut setup = Setup::linked();
    setup.hear(&hello("a", 1)).expect("it is taken in");
    setup.hear(&hello("a", 2)).expect("it is taken in");
    assert_eq!(setup.told(), ["found a", "lost a", "found a"], "a new process: the old one's state is gone");
    setup.membership.goodbye("a", 1);
    setup.membership.goodbye("nobody", 1);
    setup.act();
    assert_eq!(setup.told(), Vec::<String>::new());
    setup.membership.goodbye("a", 2);
    setup.act();
    assert_eq!(setup.told(), ["lost a"]);
    assert!(setup.membership.is_empty());
}

#[test]
fn one_that_can_not_be_reached_is_gone_until_it_says_hello() {
    let mut setup = Setup::linked();
    setup.hear(&hello("a", 1)).expect("it is taken in");
    setup.membership.gone("a");
    setup.membership.gone("a");
    setup.act();
    assert_eq!(setup.told(), ["found a", "lost a"]);
    setup.hear(&hello("a", 1)).expect("it is taken in");
    assert_eq!(setup.told(), ["found a"]);
}

#[test]
fn the_number_of_nodes_is_bounded() {
    let mut setup = Setup::linked();
    for number in 0..MAX_NODES {
        setup.hear(&hello(&format!("n{number}"), 1)).expect("there is room");
    }
    assert_eq!(setup.hear(&hello("one-too-many", 1)), Err(Refusal::Full));
    assert_eq!(setup.hear(&hello("n7", 1)), Ok(()), "those who are known stay so");
    assert_eq!(setup.membership.len(), MAX_NODES);
}

#[test]
fn another_process_of_the_own_name_is_told() {
    let mut setup = Setup::linked();
    assert_eq!(setup.hear(&hello("self", 2)), Err(Refusal::OwnName));
    assert_eq!(setup.names(), Vec::<String>::new());
}

#[test]
fn notices_that_are_none_are_refused() {
    for (payload, expected) in [
        ("", "not a JSON message"),
        ("[]", "not a JSON message"),
        ("{}", "not a JSON message"),
        (r#"{"type":"else","node":"a"}"#, "not a JSON message"),
        (r#"{"type":"hello","node":"a","version":"1"}"#, "start"),
        (r#"{"type":"hello","node":"a","version":"1","start":-1}"#, "not a JSON message"),
        (r#"{"type":"hello","node":"a#b","version":"1","start":1}"#, "can't be a node"),
        (r#"{"type":"hello","node":"","version":"1","start":1}"#, "can't be a node"),
        (r#"{"type":"hello","node":"emitter","version":"1","start":1}"#, "can't be a node"),
        (r#"{"type":"hello","node":"a","version":"","start":1}"#, "version"),
        (r#"{"type":"hello","node":"a","version":"a\nb","start":1}"#, "version"),
        (r#"{"type":"goodbye","node":"a b","start":1}"#, "can't be a node"),
        (&format!("{:1$}", "", MAX_NOTICE_BYTES + 1), "larger than"),
    ] {
        let error: DecodeError = decode_notice(payload.as_bytes()).expect_err(payload);
        assert!(error.to_string().contains(expected), "{payload}: {error}");
    }
}

#[test]
fn later_versions_may_say_more() {
    let payload =
        r#"{"type":"hello","node":"a","version":"9","start":7,"id_key":"ab","asks":true,"zone":"eu"}"#;
    let hello =
        Hello { name: "a".into(), version: "9".into(), start: 7, id_key: 0xab, asks: true, number: 0 };
    assert_eq!(decode_notice(payload.as_bytes()).expect("it is read"), Notice::Hello(hello));
}

proptest! {
    #[test]
    fn a_notice_survives_the_wire(
        name in "[A-Za-z0-9_-]{1,32}",
        version in "[!-~]{1,64}",
        start in any::<u64>(),
        id_key in any::<u128>(),
        asks in any::<bool>(),
        number in any::<u64>(),
    ) {
        prop_assume!(!["emitter", "revocations"].contains(&name.as_str()));
        let name: Box<str> = name.into();
        for notice in [
            Notice::Hello(Hello {
                name: name.clone(),
                version: version.as_str().into(),
                start,
                id_key,
                asks,
                number,
            }),
            Notice::Goodbye { name: name.clone(), start },
        ] {
            let payload = encode_notice(&notice);
            prop_assert!(payload.len() <= MAX_NOTICE_BYTES);
            prop_assert_eq!(decode_notice(&payload).expect("it is a notice"), notice);
        }
    }

    #[test]
    fn nothing_that_arrives_panics(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_notice(&payload);
    }
}
