//! The state machine of subscriptions: its rules one by one, and against a naive model.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use broadgate_adapter::{
    SubscriberId,
    interest::{
        Action, Command, CommandId, Interest, InterestConfig, MAX_TARGETS_PER_COMMAND, Subscription, Target,
        Verb,
    },
};
use proptest::prelude::*;

const DELAY_MS: u64 = 10_000;
const TIMEOUT_MS: u64 = 5_000;
const MAX_IDLE: usize = 3;
const SHARD: SubscriberId = SubscriberId(0);
const OTHER: SubscriberId = SubscriberId(63);

/// An [`Interest`], and a Redis that confirms when it is told to.
struct Setup {
    interest: Interest,
    now_ms: u64,
}

impl Setup {
    fn new(node_prefix: &str) -> Self {
        let interest = Interest::new(InterestConfig {
            namespaces: vec!["/".into()],
            node_prefix: node_prefix.into(),
            requests: false,
            always: Vec::new(),
            unsubscribe_delay_ms: DELAY_MS,
            max_idle: MAX_IDLE,
            command_timeout_ms: TIMEOUT_MS,
        });
        Self { interest, now_ms: 0 }
    }

    /// With a link, on which the namespace is confirmed.
    fn connected() -> Self {
        let mut setup = Self::new("");
        setup.interest.connected();
        setup.settle();
        setup
    }

    fn subscribe(&mut self, subscriber: SubscriberId, room: &str) -> Subscription {
        self.interest.subscribe(subscriber, &"/".into(), &room.into())
    }

    fn unsubscribe(&mut self, subscriber: SubscriberId, room: &str) {
        self.interest.unsubscribe(self.now_ms, subscriber, &"/".into(), &room.into());
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.interest.poll(self.now_ms)).collect()
    }

    fn commands(&mut self) -> Vec<Command> {
        self.actions().into_iter().filter_map(command).collect()
    }

    fn confirm(&mut self, id: CommandId) {
        self.interest.confirmed(self.now_ms, id);
    }

    /// Confirms everything until nothing is left to do, and gives all that was asked for.
    fn settle(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        loop {
            let actions = self.actions();
            if actions.is_empty() {
                return all;
            }
            for action in actions {
                if let Action::Send(command) = &action {
                    self.confirm(command.id);
                }
                all.push(action);
            }
        }
    }
}

fn command(action: Action) -> Option<Command> {
    match action {
        Action::Send(command) => Some(command),
        _ => None,
    }
}

fn room(name: &str) -> Target {
    Target::Room { namespace: "/".into(), room: name.into() }
}

fn subscribed(subscriber: SubscriberId, room: &str) -> Action {
    Action::Subscribed { subscriber, namespace: "/".into(), room: room.into() }
}

fn verbs_and_targets(commands: &[Command]) -> Vec<(Verb, Vec<Target>)> {
    commands.iter().map(|command| (command.verb, command.targets.to_vec())).collect()
}

#[test]
fn a_room_is_confirmed_to_each_subscriber_once() {
    let mut setup = Setup::connected();
    assert_eq!(setup.subscribe(SHARD, "news"), Subscription::Pending);
    assert_eq!(setup.subscribe(OTHER, "news"), Subscription::Pending);
    assert_eq!(setup.subscribe(SHARD, "news"), Subscription::Pending);
    let commands = setup.commands();
    assert_eq!(verbs_and_targets(&commands), [(Verb::Subscribe, vec![room("news")])]);
    setup.confirm(commands[0].id);
    assert_eq!(setup.actions(), [subscribed(SHARD, "news"), subscribed(OTHER, "news")]);
    assert_eq!(setup.subscribe(OTHER, "news"), Subscription::Confirmed);
    assert_eq!(setup.actions(), []);
    assert_eq!((setup.interest.desired(), setup.interest.confirmed_count()), (2, 2));
}

#[test]
fn a_node_takes_part_in_requests_once_it_is_subscribed_to_them() {
    let mut interest = Interest::new(InterestConfig {
        namespaces: vec!["/".into()],
        node_prefix: "".into(),
        requests: true,
        always: Vec::new(),
        unsubscribe_delay_ms: DELAY_MS,
        max_idle: 10,
        command_timeout_ms: TIMEOUT_MS,
    });
    assert_eq!(interest.desired(), 4);
    interest.connected();
    let Some(Action::Send(command)) = interest.poll(0) else { panic!("a command") };
    assert!(!interest.takes_part(&"/".into()));
    interest.confirmed(0, command.id);
    assert!(interest.takes_part(&"/".into()));
    assert!(!interest.takes_part(&"/other".into()));
    interest.disconnected(0);
    assert!(!interest.takes_part(&"/".into()));
}

#[test]
fn who_left_before_the_confirmation_is_not_told() {
    let mut setup = Setup::connected();
    setup.subscribe(SHARD, "news");
    setup.subscribe(OTHER, "news");
    setup.unsubscribe(SHARD, "news");
    assert!(setup.settle().contains(&subscribed(OTHER, "news")));
    setup.unsubscribe(SHARD, "news");
    assert_eq!(setup.interest.desired(), 2, "who is no subscriber can't leave");
}

#[test]
fn a_room_is_unsubscribed_after_the_delay() {
    let mut setup = Setup::connected();
    setup.subscribe(SHARD, "news");
    setup.settle();
    setup.unsubscribe(SHARD, "news");
    assert_eq!(setup.interest.desired(), 1);
    setup.now_ms = DELAY_MS - 1;
    assert_eq!(setup.actions(), []);
    assert_eq!(setup.interest.next_deadline_ms(), Some(DELAY_MS));
    setup.now_ms = DELAY_MS;
    let commands = setup.commands();
    assert_eq!(verbs_and_targets(&commands), [(Verb::Unsubscribe, vec![room("news")])]);
    // Wanted again while the command is under way: subscribed again after it.
    assert_eq!(setup.subscribe(SHARD, "news"), Subscription::Pending);
    assert_eq!(setup.actions(), []);
    setup.confirm(commands[0].id);
    assert_eq!(setup.settle().last(), Some(&subscribed(SHARD, "news")));
}

#[test]
fn a_room_that_is_wanted_again_before_its_command_was_sent_stays() {
    let mut setup = Setup::connected();
    setup.subscribe(SHARD, "news");
    setup.settle();
    setup.unsubscribe(SHARD, "news");
    setup.now_ms = DELAY_MS - 1;
    for number in 0..8 * MAX_TARGETS_PER_COMMAND {
        setup.subscribe(SHARD, &format!("room{number}"));
    }
    let under_way = setup.commands();
    assert_eq!(under_way.len(), 8, "no more may be sent");
    setup.now_ms = DELAY_MS;
    assert_eq!(setup.actions(), []);
    assert_eq!(setup.subscribe(SHARD, "news"), Subscription::Confirmed);
    for command in under_way {
        setup.confirm(command.id);
    }
    assert!(setup.settle().iter().all(|action| matches!(action, Action::Subscribed { .. })));
}

#[test]
fn a_room_that_flaps_causes_no_traffic_and_no_memory() {
    let mut setup = Setup::connected();
    setup.subscribe(SHARD, "news");
    setup.settle();
    for _ in 0..1000 {
        setup.now_ms += DELAY_MS / 3;
        setup.unsubscribe(SHARD, "news");
        setup.now_ms += DELAY_MS / 3;
        assert_eq!(setup.subscribe(SHARD, "news"), Subscription::Confirmed);
        assert_eq!(setup.actions(), []);
    }
}

#[test]
fn commands_are_bounded_in_size_and_number() {
    let mut setup = Setup::connected();
    for number in 0..10_000 {
        setup.subscribe(SHARD, &format!("room{number}"));
    }
    let first = setup.commands();
    assert_eq!(first.len(), 8);
    assert!(first.iter().all(|command| command.targets.len() == MAX_TARGETS_PER_COMMAND));
    for command in &first {
        setup.confirm(command.id);
    }
    setup.settle();
    assert_eq!(setup.interest.confirmed_count(), 10_001);
}

#[test]
fn a_command_that_is_not_confirmed_in_time_ends_the_link() {
    let mut setup = Setup::connected();
    setup.subscribe(SHARD, "news");
    let id = setup.commands()[0].id;
    assert_eq!(setup.interest.next_deadline_ms(), Some(TIMEOUT_MS));
    setup.now_ms = TIMEOUT_MS;
    assert_eq!(setup.actions(), [Action::AbandonLink]);
    setup.interest.disconnected(setup.now_ms);
    setup.interest.connected();
    // A late confirmation of the old link says nothing about the new one.
    setup.confirm(id);
    assert_eq!(setup.interest.confirmed_count(), 0);
    assert!(setup.settle().contains(&subscribed(SHARD, "news")));
}

#[test]
fn the_gap_is_told_when_the_last_subscription_is_back() {
    let mut setup = Setup::connected();
    for number in 0..600 {
        setup.subscribe(SHARD, &format!("room{number}"));
    }
    setup.settle();
    setup.now_ms = 1_000;
    setup.interest.disconnected(1_000);
    assert_eq!(setup.interest.confirmed_count(), 0);
    // A first attempt fails half-way; the outage goes on.
    setup.now_ms = 2_000;
    setup.interest.connected();
    let commands = setup.commands();
    assert_eq!(commands.len(), 2);
    assert_eq!(commands[0].targets[0], Target::Everyone { namespace: "/".into() });
    setup.confirm(commands[0].id);
    assert!(!setup.actions().iter().any(|action| matches!(action, Action::Gap { .. })));
    setup.interest.disconnected(3_000);
    setup.interest.connected();
    setup.now_ms = 4_500;
    let actions = setup.settle();
    assert_eq!(actions.last(), Some(&Action::Gap { duration_ms: 3_500 }));
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Gap { .. })).count(), 1);
    let told = |action: &&Action| matches!(action, Action::Subscribed { .. });
    assert_eq!(actions.iter().filter(told).count(), 600, "each is told again on the new link");
}

#[test]
fn each_subscriber_is_told_again_on_a_new_link() {
    let mut setup = Setup::new("node");
    setup.interest.connected();
    setup.settle();
    setup.subscribe(SHARD, "news");
    setup.subscribe(OTHER, "news");
    assert_eq!(setup.subscribe(SHARD, "nodeSocket"), Subscription::Confirmed);
    assert_eq!(setup.subscribe(SHARD, "nodeGone"), Subscription::Confirmed);
    setup.settle();
    setup.interest.disconnected(0);
    setup.unsubscribe(OTHER, "news");
    setup.unsubscribe(SHARD, "nodeGone");
    setup.interest.connected();
    let mut told = setup.settle();
    told.retain(|action| matches!(action, Action::Subscribed { .. }));
    told.sort_by_key(|action| format!("{action:?}"));
    assert_eq!(told, [subscribed(SHARD, "news"), subscribed(SHARD, "nodeSocket")]);
}

#[test]
fn what_was_not_told_before_the_loss_is_told_after_it() {
    let mut setup = Setup::connected();
    setup.subscribe(SHARD, "news");
    let commands = setup.commands();
    setup.confirm(commands[0].id);
    setup.interest.disconnected(0);
    assert_eq!(setup.actions(), []);
    setup.interest.connected();
    assert!(setup.settle().contains(&subscribed(SHARD, "news")));
}

#[test]
fn the_base_is_confirmed_when_every_namespace_is() {
    let mut setup = Setup::new("node");
    let base = |setup: &Setup| (setup.interest.is_base_confirmed(), setup.interest.was_base_confirmed());
    setup.interest.connected();
    let commands = setup.commands();
    assert_eq!(commands.len(), 2, "the channel and the pattern");
    setup.confirm(commands[0].id);
    assert_eq!(base(&setup), (false, false));
    setup.confirm(commands[1].id);
    assert_eq!(base(&setup), (true, true));
    setup.interest.disconnected(0);
    assert_eq!(base(&setup), (false, true));
    setup.interest.connected();
    assert_eq!(base(&setup), (false, true));
    setup.settle();
    assert_eq!(base(&setup), (true, true));
}

#[test]
fn idle_rooms_are_bounded_and_the_oldest_go_first() {
    let mut setup = Setup::connected();
    for number in 0..=MAX_IDLE {
        setup.subscribe(SHARD, &format!("room{number}"));
        setup.settle();
        setup.unsubscribe(SHARD, &format!("room{number}"));
    }
    let commands = setup.commands();
    assert_eq!(verbs_and_targets(&commands), [(Verb::Unsubscribe, vec![room("room0")])]);
    setup.confirm(commands[0].id);
    assert_eq!(setup.interest.idle_count(), MAX_IDLE);
    assert_eq!(setup.subscribe(SHARD, "room1"), Subscription::Confirmed);
    assert_eq!(setup.interest.idle_count(), MAX_IDLE - 1);
    setup.now_ms = 2 * DELAY_MS;
    setup.settle();
    assert_eq!((setup.interest.idle_count(), setup.interest.confirmed_count()), (0, 2));
}

#[test]
fn a_flood_of_joins_and_leaves_leaves_little_behind() {
    let mut setup = Setup::connected();
    let mut under_way = Vec::new();
    for number in 0..100_000 {
        setup.subscribe(SHARD, &format!("room{number}"));
        under_way.extend(setup.commands());
        setup.unsubscribe(SHARD, &format!("room{number}"));
        // Redis answers once in a while; most of the time, nothing may be sent.
        if number % 2_000 == 0 {
            under_way.drain(..).for_each(|command| setup.confirm(command.id));
        }
    }
    under_way.drain(..).for_each(|command| setup.confirm(command.id));
    setup.settle();
    assert!(setup.interest.confirmed_count() <= 1 + MAX_IDLE, "{}", setup.interest.confirmed_count());
    assert!(setup.interest.idle_count() <= MAX_IDLE);
}

#[test]
fn a_queued_room_that_nobody_wants_any_more_is_not_subscribed() {
    let mut setup = Setup::connected();
    for name in ["a", "b", "c"] {
        setup.subscribe(SHARD, name);
    }
    setup.unsubscribe(SHARD, "b");
    setup.unsubscribe(SHARD, "c");
    setup.subscribe(OTHER, "c");
    assert_eq!(verbs_and_targets(&setup.commands()), [(Verb::Subscribe, vec![room("a"), room("c")])]);
    assert_eq!(setup.interest.idle_count(), 0);
}

#[test]
fn the_gap_ends_where_the_last_room_that_it_waits_for_is_left() {
    let mut setup = Setup::connected();
    setup.subscribe(SHARD, "news");
    setup.settle();
    setup.interest.disconnected(0);
    setup.interest.connected();
    setup.unsubscribe(SHARD, "news");
    setup.now_ms = 5;
    let actions = setup.settle();
    assert_eq!(actions.last(), Some(&Action::Gap { duration_ms: 5 }));
    assert_eq!(setup.interest.confirmed_count(), 1);
}

#[test]
fn the_first_link_is_no_gap() {
    let mut setup = Setup::new("");
    setup.interest.disconnected(0);
    setup.interest.connected();
    assert!(setup.settle().iter().all(|action| matches!(action, Action::Send(_))));
}

#[test]
fn what_is_not_wanted_any_more_does_not_come_back() {
    let mut setup = Setup::connected();
    setup.subscribe(SHARD, "left before");
    setup.subscribe(SHARD, "left meanwhile");
    setup.settle();
    setup.unsubscribe(SHARD, "left before");
    setup.interest.disconnected(0);
    setup.unsubscribe(SHARD, "left meanwhile");
    setup.interest.connected();
    let targets: Vec<_> = setup.commands().iter().flat_map(|command| command.targets.to_vec()).collect();
    assert_eq!(targets, [Target::Everyone { namespace: "/".into() }]);
}

#[test]
fn rooms_of_the_node_are_covered_by_the_pattern() {
    let mut setup = Setup::new("node");
    assert_eq!(setup.subscribe(SHARD, "nodeSocket"), Subscription::Pending);
    assert_eq!(setup.subscribe(SHARD, "nodeGone"), Subscription::Pending);
    setup.unsubscribe(SHARD, "nodeGone");
    setup.interest.connected();
    let commands = setup.commands();
    let pattern = Target::OwnRooms { namespace: "/".into() };
    assert_eq!(commands.len(), 2);
    assert!(verbs_and_targets(&commands).contains(&(Verb::SubscribePatterns, vec![pattern])));
    for command in commands {
        setup.confirm(command.id);
    }
    assert_eq!(setup.actions(), [subscribed(SHARD, "nodeSocket")]);
    assert_eq!(setup.subscribe(SHARD, "nodeOther"), Subscription::Confirmed);
    setup.unsubscribe(SHARD, "nodeOther");
    assert_eq!(setup.interest.desired(), 2);
    // A namespace without a pattern has nothing that covers its rooms.
    assert_eq!(
        setup.interest.subscribe(SHARD, &"/other".into(), &"nodeSocket".into()),
        Subscription::Pending
    );
}

/// What may happen to a node.
#[derive(Debug, Clone)]
enum Step {
    Subscribe(u8, u8),
    Unsubscribe(u8, u8),
    Wait(u64),
    /// Redis confirms the command under way with this index.
    Confirm(prop::sample::Index),
    Disconnect,
    Connect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8, 0..6_u8).prop_map(|(subscriber, room)| Step::Subscribe(subscriber, room)),
        6 => (0..4_u8, 0..6_u8).prop_map(|(subscriber, room)| Step::Unsubscribe(subscriber, room)),
        2 => (0..2 * DELAY_MS).prop_map(Step::Wait),
        6 => any::<prop::sample::Index>().prop_map(Step::Confirm),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Connect),
    ]
}

/// Who wants what, and what a Redis that does as it is told has subscribed.
#[derive(Default)]
struct Model {
    wanted: BTreeMap<String, BTreeSet<u8>>,
    waiting: BTreeSet<(u8, String)>,
    server: BTreeSet<String>,
    in_flight: Vec<Command>,
    link_up: bool,
    gaps: usize,
    outages: usize,
}

impl Model {
    fn name(target: &Target) -> String {
        match target {
            Target::Everyone { .. } => "everyone".to_owned(),
            Target::OwnRooms { .. } => "pattern".to_owned(),
            Target::Requests { .. } => "requests".to_owned(),
            Target::Responses { .. } => "responses".to_owned(),
            Target::OwnResponses { .. } => "own responses".to_owned(),
            Target::Notices => "notices".to_owned(),
            Target::Python => "python".to_owned(),
            Target::NodeMessages => "node messages".to_owned(),
            Target::Revocations => "revocations".to_owned(),
            Target::Room { room, .. } => room.to_string(),
        }
    }

    fn take(&mut self, actions: Vec<Action>) -> Result<bool, TestCaseError> {
        let mut abandon = false;
        for action in actions {
            match action {
                Action::Send(command) => {
                    prop_assert!(self.link_up, "a command without a link");
                    for target in command.targets.iter() {
                        let name = Self::name(target);
                        let unwanted = self.wanted.get(&name).is_none_or(BTreeSet::is_empty);
                        let is_room = matches!(target, Target::Room { .. });
                        prop_assert!(
                            command.verb == Verb::Unsubscribe || !is_room || !unwanted,
                            "nobody wants {name}"
                        );
                        let elsewhere =
                            |other: &Command| other.targets.iter().any(|other| Self::name(other) == name);
                        prop_assert!(!self.in_flight.iter().any(elsewhere), "{name} is under way twice");
                        let subscribes = command.verb != Verb::Unsubscribe;
                        prop_assert_ne!(subscribes, self.server.contains(&name), "{} again", name);
                    }
                    self.in_flight.push(command);
                }
                Action::Subscribed { subscriber, room, .. } => {
                    prop_assert!(
                        self.waiting.remove(&(subscriber.0, room.to_string())),
                        "told without being asked"
                    );
                    prop_assert!(self.covers(&room), "told before Redis has it");
                }
                Action::Gap { .. } => self.gaps += 1,
                Action::AbandonLink => abandon = true,
            }
        }
        Ok(abandon)
    }

    fn covers(&self, room: &str) -> bool {
        self.server.contains(room) || (room.starts_with("node") && self.server.contains("pattern"))
    }

    fn confirm(&mut self, index: usize) -> CommandId {
        let command = self.in_flight.remove(index);
        for target in command.targets.iter() {
            if command.verb == Verb::Unsubscribe {
                self.server.remove(&Self::name(target));
            } else {
                self.server.insert(Self::name(target));
            }
        }
        command.id
    }

    fn lose_link(&mut self, interest: &mut Interest, now_ms: u64) {
        if std::mem::replace(&mut self.link_up, false) {
            self.outages += 1;
            self.in_flight.clear();
            self.server.clear();
            let wanted = self.wanted.iter().flat_map(|(room, by)| by.iter().map(|who| (*who, room.clone())));
            self.waiting = wanted.collect();
            interest.disconnected(now_ms);
        }
    }

    fn connect(&mut self, interest: &mut Interest) {
        if !std::mem::replace(&mut self.link_up, true) {
            interest.connected();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_redis_has_is_what_is_wanted(steps in prop::collection::vec(step(), 0..120)) {
        let Setup { mut interest, mut now_ms } = Setup::new("node");
        let mut model = Model::default();
        let namespace: Arc<str> = "/".into();
        // Two rooms of six are covered by the pattern.
        let name = |room: u8| if room < 2 { format!("node{room}") } else { format!("room{room}") };
        for step in steps {
            match step {
                Step::Subscribe(subscriber, room) => {
                    let room = name(room);
                    let answer = interest.subscribe(SubscriberId(subscriber), &namespace, &room.as_str().into());
                    match answer {
                        Subscription::Confirmed => prop_assert!(model.covers(&room), "confirmed too early"),
                        Subscription::Pending => { model.waiting.insert((subscriber, room.clone())); }
                    }
                    model.wanted.entry(room).or_default().insert(subscriber);
                }
                Step::Unsubscribe(subscriber, room) => {
                    let room = name(room);
                    interest.unsubscribe(now_ms, SubscriberId(subscriber), &namespace, &room.as_str().into());
                    model.waiting.remove(&(subscriber, room.clone()));
                    if let Some(subscribers) = model.wanted.get_mut(&room) {
                        subscribers.remove(&subscriber);
                    }
                }
                Step::Wait(time_ms) => now_ms += time_ms,
                Step::Confirm(index) if !model.in_flight.is_empty() => {
                    let id = model.confirm(index.index(model.in_flight.len()));
                    interest.confirmed(now_ms, id);
                }
                Step::Confirm(_) => {}
                Step::Disconnect => model.lose_link(&mut interest, now_ms),
                Step::Connect => model.connect(&mut interest),
            }
            if model.take(std::iter::from_fn(|| interest.poll(now_ms)).collect())? {
                model.lose_link(&mut interest, now_ms);
            }
            prop_assert!(interest.idle_count() <= MAX_IDLE + 4, "not even with all commands under way");
        }

        // Left alone with a Redis that answers, everything comes to rest where it should.
        model.connect(&mut interest);
        for _ in 0..10 {
            now_ms += DELAY_MS / 4;
            loop {
                let abandon = model.take(std::iter::from_fn(|| interest.poll(now_ms)).collect())?;
                if abandon {
                    model.lose_link(&mut interest, now_ms);
                    model.connect(&mut interest);
                } else if model.in_flight.is_empty() {
                    break;
                } else {
                    let id = model.confirm(0);
                    interest.confirmed(now_ms, id);
                }
            }
        }
        let mut expected: BTreeSet<String> = ["everyone".to_owned(), "pattern".to_owned()].into();
        let wanted = model.wanted.iter().filter(|(room, by)| !by.is_empty() && !room.starts_with("node"));
        expected.extend(wanted.map(|(room, _)| room.clone()));
        prop_assert_eq!(&model.server, &expected);
        prop_assert_eq!(interest.desired(), expected.len());
        prop_assert_eq!(interest.confirmed_count(), expected.len());
        prop_assert!(model.waiting.is_empty(), "never told: {:?}", model.waiting);
        prop_assert!(model.gaps <= model.outages);
        prop_assert_eq!(model.gaps > 0, model.outages > 0);
        prop_assert_eq!(interest.next_deadline_ms(), None);
        prop_assert_eq!(interest.idle_count(), 0);
        prop_assert!(interest.is_base_confirmed());
    }
}
