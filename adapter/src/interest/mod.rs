//! Which channels the node wants, and which of them Redis has confirmed: a pure state machine.
//!
//! Owns the desired and the confirmed subscriptions of one node. Time is an argument (milliseconds of any steady clock),
//! and the link is somebody else's: the caller says when it is up or down and when a command was confirmed, and takes
//! from [`Interest::poll`] what is to be done.
//!
//! - A room that nobody wants any more stays subscribed for a while, so that a flapping room causes no traffic. The
//!   number of such rooms is bounded. One that was not even sent to Redis is forgotten.
//! - Commands hold at most [`MAX_TARGETS_PER_COMMAND`] channels and have a deadline each; one that is missed means that
//!   the link is to be given up, because what is subscribed is not known any more.
//! - On a new link everything desired is subscribed again, and each subscriber is told again when its room is confirmed;
//!   when the last of it is confirmed, the gap is told.
//! - Rooms that start with the node's prefix (the ids of its own sockets) are covered by one pattern for each namespace.
//!   They are never subscribed on their own, as their messages would arrive twice.

mod idle;
mod targets;

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

pub use targets::{Command, CommandId, Target, Verb};
use targets::{Covered, Entry, LinkState};

use crate::SubscriberId;

/// Channels of one (un)subscribe command at most: keeps a command small beside the messages on the same link.
pub const MAX_TARGETS_PER_COMMAND: usize = 512;

/// Commands that wait for their confirmation at most.
const MAX_COMMANDS_IN_FLIGHT: usize = 8;

/// What an [`Interest`] is made with.
#[derive(Debug, Clone)]
pub struct InterestConfig {
    /// Namespaces whose broadcasts to everyone, and to the node's own sockets, are always wanted.
    pub namespaces: Vec<Arc<str>>,
    /// What the ids of this node's sockets start with. Empty: there is no pattern, every room is subscribed alone.
    pub node_prefix: Box<str>,
    /// Does the node take part in requests? It is counted as a node by others from then on, and must answer.
    pub requests: bool,
    /// What else is wanted as long as the node runs.
    pub always: Vec<Target>,
    /// How long a room stays subscribed after the last one left. It may be up to twice that where it flaps.
    pub unsubscribe_delay_ms: u64,
    /// Rooms that may stay subscribed so; beyond it, those that were left first are unsubscribed at once.
    pub max_idle: usize,
    /// How long Redis may take to confirm a command.
    pub command_timeout_ms: u64,
}

/// Answer to [`Interest::subscribe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// In force already.
    Confirmed,
    /// [`Action::Subscribed`] will say when.
    Pending,
}

/// What [`Interest::poll`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this, and call [`Interest::confirmed`] when every target is confirmed.
    Send(Command),
    /// Tell the subscriber.
    Subscribed {
        /// Who asked.
        subscriber: SubscriberId,
        /// The room's namespace.
        namespace: Arc<str>,
        /// The room.
        room: Arc<str>,
    },
    /// After an outage, everything is confirmed again.
    Gap {
        /// From the loss of the link to the last confirmation.
        duration_ms: u64,
    },
    /// A command was not confirmed in time: close the link and call [`Interest::disconnected`].
    AbandonLink,
}

/// See the module.
#[derive(Debug)]
pub struct Interest {
    config: InterestConfig,
    entries: HashMap<Target, Entry>,
    /// Rooms that the pattern covers.
    covered: HashMap<Target, Covered>,
    to_subscribe: VecDeque<Target>,
    to_unsubscribe: VecDeque<Target>,
    /// Rooms that became idle, with the time when to look at them.
    idle: VecDeque<(u64, Target)>,
    /// Those of them that are idle still.
    idle_count: usize,
    /// Targets in `to_subscribe` that nobody wants any more.
    unwanted_queued: usize,
    in_flight: VecDeque<(Command, u64)>,
    next_command: u64,
    told: VecDeque<Action>,
    link_up: bool,
    abandoned: bool,
    was_connected: bool,
    outage_since_ms: Option<u64>,
    /// Targets that were desired when the link came back and are not confirmed yet.
    unconfirmed_after_outage: usize,
    desired: usize,
    confirmed: usize,
    /// Targets that are wanted as long as the node runs, and how many of them are confirmed.
    base: usize,
    base_confirmed: usize,
    was_base_confirmed: bool,
}

impl Interest {
    /// Nothing but the namespaces of `config` is wanted, and the link is down.
    #[must_use]
    pub fn new(config: InterestConfig) -> Self {
        let mut entries: HashMap<_, _> =
            config.always.iter().map(|target| (target.clone(), Entry::always())).collect();
        for namespace in &config.namespaces {
            let mut always = |target| entries.insert(target, Entry::always());
            always(Target::Everyone { namespace: Arc::clone(namespace) });
            if config.requests {
                always(Target::Requests { namespace: Arc::clone(namespace) });
                always(Target::Responses { namespace: Arc::clone(namespace) });
                always(Target::OwnResponses { namespace: Arc::clone(namespace) });
            }
            if !config.node_prefix.is_empty() {
                always(Target::OwnRooms { namespace: Arc::clone(namespace) });
            }
        }
        Self {
            desired: entries.len(),
            base: entries.len(),
            base_confirmed: 0,
            was_base_confirmed: false,
            config,
            entries,
            covered: HashMap::new(),
            to_subscribe: VecDeque::new(),
            to_unsubscribe: VecDeque::new(),
            idle: VecDeque::new(),
            idle_count: 0,
            unwanted_queued: 0,
            in_flight: VecDeque::new(),
            next_command: 0,
            told: VecDeque::new(),
            link_up: false,
            abandoned: false,
            was_connected: false,
            outage_since_ms: None,
            unconfirmed_after_outage: 0,
            confirmed: 0,
        }
    }

    /// Rooms and patterns that are wanted.
    #[must_use]
    pub fn desired(&self) -> usize {
        self.desired
    }

    /// Rooms and patterns that Redis has confirmed.
    #[must_use]
    pub fn confirmed_count(&self) -> usize {
        self.confirmed
    }

    /// Rooms that nobody wants and that are subscribed, or about to be.
    #[must_use]
    pub fn idle_count(&self) -> usize {
        self.idle_count
    }

    /// Whether all that the namespaces need always is confirmed on the present link.
    #[must_use]
    pub fn is_base_confirmed(&self) -> bool {
        self.link_up && self.base_confirmed == self.base
    }

    /// Whether [`Interest::is_base_confirmed`] was true at any time.
    #[must_use]
    pub fn was_base_confirmed(&self) -> bool {
        self.was_base_confirmed
    }

    /// Is this node counted by the others of a namespace, and do their answers arrive?
    #[must_use]
    pub fn takes_part(&self, namespace: &Arc<str>) -> bool {
        let namespace = || Arc::clone(namespace);
        let needed =
            [Target::Requests { namespace: namespace() }, Target::Responses { namespace: namespace() }];
        needed.iter().all(|target| self.entries.get(target).is_some_and(|entry| entry.link.is_confirmed()))
    }

    /// Adds an interest.
    pub fn subscribe(
        &mut self,
        subscriber: SubscriberId,
        namespace: &Arc<str>,
        room: &Arc<str>,
    ) -> Subscription {
        let bit = bit(subscriber);
        let target = Target::Room { namespace: Arc::clone(namespace), room: Arc::clone(room) };
        if let Some(pattern) = self.covering(namespace, room) {
            let covered = self.covered.entry(target).or_default();
            covered.wanted_by |= bit;
            if self.entries[&pattern].link.is_confirmed() {
                return Subscription::Confirmed;
            }
            covered.waiting |= bit;
            return Subscription::Pending;
        }
        let entry = self.entries.entry(target.clone()).or_default();
        if entry.wanted_by == 0 {
            self.desired += 1;
            self.unwanted_queued -= usize::from(entry.link == LinkState::Queued);
            self.idle_count -= usize::from(entry.idle_since_ms.take().is_some());
        }
        entry.wanted_by |= bit;
        match entry.link {
            LinkState::Confirmed => return Subscription::Confirmed,
            LinkState::Leaving => {
                entry.link = LinkState::Confirmed;
                return Subscription::Confirmed;
            }
            LinkState::Absent if self.link_up => {
                entry.link = LinkState::Queued;
                self.to_subscribe.push_back(target);
            }
            LinkState::Absent | LinkState::Queued | LinkState::Subscribing | LinkState::Unsubscribing => {}
        }
        entry.waiting |= bit;
        Subscription::Pending
    }

    /// Ends an interest.
    pub fn unsubscribe(
        &mut self,
        now_ms: u64,
        subscriber: SubscriberId,
        namespace: &Arc<str>,
        room: &Arc<str>,
    ) {
        let bit = bit(subscriber);
        let target = Target::Room { namespace: Arc::clone(namespace), room: Arc::clone(room) };
        if let Some(covered) = self.covered.get_mut(&target) {
            covered.wanted_by &= !bit;
            covered.waiting &= !bit;
            if covered.wanted_by == 0 {
                self.covered.remove(&target);
            }
        }
        let Some(entry) = self.entries.get_mut(&target) else { return };
        if entry.wanted_by & bit == 0 {
            return;
        }
        entry.wanted_by &= !bit;
        entry.waiting &= !bit;
        if entry.wanted_by != 0 {
            return;
        }
        self.desired -= 1;
        match entry.link {
            LinkState::Absent => {
                self.entries.remove(&target);
            }
            LinkState::Queued => {
                self.unwanted_queued += 1;
                self.forget_unwanted_queued(now_ms);
            }
            // Its confirmation decides.
            LinkState::Unsubscribing => {}
            LinkState::Subscribing | LinkState::Confirmed | LinkState::Leaving => {
                entry.idle_since_ms = Some(now_ms);
                self.idle_count += 1;
                if !std::mem::replace(&mut entry.in_idle_queue, true) {
                    self.idle.push_back((now_ms + self.config.unsubscribe_delay_ms, target));
                }
            }
        }
    }

    /// A new link is up: nothing is subscribed on it yet.
    pub fn connected(&mut self) {
        self.link_up = true;
        self.was_connected = true;
        let after_outage = self.outage_since_ms.is_some();
        // What serves everyone comes first.
        let (rooms, always): (Vec<_>, Vec<_>) =
            self.entries.iter_mut().partition(|(target, _)| matches!(target, Target::Room { .. }));
        for (target, entry) in always.into_iter().chain(rooms) {
            entry.link = LinkState::Queued;
            entry.after_outage = after_outage;
            self.to_subscribe.push_back(target.clone());
        }
        self.unconfirmed_after_outage = if after_outage { self.to_subscribe.len() } else { 0 };
        self.was_base_confirmed |= self.is_base_confirmed();
    }

    /// The link is gone, and all subscriptions with it.
    pub fn disconnected(&mut self, now_ms: u64) {
        self.link_up = false;
        self.abandoned = false;
        if self.was_connected {
            self.outage_since_ms.get_or_insert(now_ms);
        }
        self.to_subscribe.clear();
        self.to_unsubscribe.clear();
        self.idle.clear();
        self.in_flight.clear();
        // They are told again when they are in force again.
        self.told.retain(|action| !matches!(action, Action::Subscribed { .. }));
        (self.idle_count, self.unwanted_queued, self.confirmed, self.base_confirmed) = (0, 0, 0, 0);
        self.covered.values_mut().for_each(|covered| covered.waiting = covered.wanted_by);
        self.entries.retain(|_, entry| {
            *entry = Entry {
                wanted_by: entry.wanted_by,
                waiting: entry.wanted_by,
                always: entry.always,
                ..Entry::default()
            };
            entry.is_wanted()
        });
    }

    /// Redis has confirmed a command. One of an earlier link is ignored.
    pub fn confirmed(&mut self, now_ms: u64, id: CommandId) {
        let Some(index) = self.in_flight.iter().position(|(command, _)| command.id == id) else { return };
        let Some((command, _)) = self.in_flight.remove(index) else { return };
        for target in command.targets.iter() {
            match command.verb {
                Verb::Subscribe | Verb::SubscribePatterns => self.target_subscribed(now_ms, target),
                Verb::Unsubscribe => self.target_unsubscribed(target),
            }
        }
    }

    /// What is to be done now; call again until `None`.
    pub fn poll(&mut self, now_ms: u64) -> Option<Action> {
        if let Some(action) = self.told.pop_front() {
            return Some(action);
        }
        if !self.link_up || self.abandoned {
            return None;
        }
        if self.in_flight.iter().any(|(_, deadline_ms)| *deadline_ms <= now_ms) {
            self.abandoned = true;
            return Some(Action::AbandonLink);
        }
        self.collect_idle(now_ms);
        self.evict_idle();
        if self.in_flight.len() >= MAX_COMMANDS_IN_FLIGHT {
            return None;
        }
        // The longer queue first, so that no flood of joins keeps what was left subscribed.
        let next = if self.to_unsubscribe.len() > self.to_subscribe.len() {
            self.next_unsubscribe().or_else(|| self.next_subscribe(now_ms))
        } else {
            self.next_subscribe(now_ms).or_else(|| self.next_unsubscribe())
        };
        // The gap ends, too, where the last that it waited for is not wanted any more.
        let Some((verb, targets)) = next else { return self.told.pop_front() };
        let command = Command { id: CommandId(self.next_command), verb, targets: targets.into() };
        self.next_command += 1;
        self.in_flight.push_back((command.clone(), now_ms + self.config.command_timeout_ms));
        Some(Action::Send(command))
    }

    /// When [`Interest::poll`] wants to be called next, if nothing else happens.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let commands = self.in_flight.iter().map(|(_, deadline_ms)| *deadline_ms);
        commands.chain(self.idle.front().map(|(due_ms, _)| *due_ms)).min()
    }

    /// The pattern that a room's messages arrive by.
    fn covering(&self, namespace: &Arc<str>, room: &str) -> Option<Target> {
        let prefix = &*self.config.node_prefix;
        if prefix.is_empty() || !room.starts_with(prefix) {
            return None;
        }
        let pattern = Target::OwnRooms { namespace: Arc::clone(namespace) };
        self.entries.contains_key(&pattern).then_some(pattern)
    }

    fn target_subscribed(&mut self, now_ms: u64, target: &Target) {
        let Some(entry) = self.entries.get_mut(target) else { return };
        entry.link = LinkState::Confirmed;
        self.confirmed += 1;
        self.base_confirmed += usize::from(entry.always);
        let waiting = std::mem::take(&mut entry.waiting);
        let after_outage = std::mem::take(&mut entry.after_outage);
        match target {
            Target::Room { namespace, room } => tell(&mut self.told, waiting, namespace, room),
            Target::OwnRooms { namespace } => {
                for (target, covered) in &mut self.covered {
                    if let Target::Room { namespace: of_room, room } = target
                        && of_room == namespace
                    {
                        tell(&mut self.told, std::mem::take(&mut covered.waiting), namespace, room);
                    }
                }
            }
            Target::Everyone { .. }
            | Target::Requests { .. }
            | Target::Responses { .. }
            | Target::OwnResponses { .. }
            | Target::Notices
            | Target::NodeMessages
            | Target::Revocations
            | Target::Python => {}
        }
        self.was_base_confirmed |= self.is_base_confirmed();
        if after_outage {
            self.one_less_after_outage(now_ms);
        }
    }

    fn one_less_after_outage(&mut self, now_ms: u64) {
        self.unconfirmed_after_outage -= 1;
        if self.unconfirmed_after_outage == 0
            && let Some(since_ms) = self.outage_since_ms.take()
        {
            self.told.push_back(Action::Gap { duration_ms: now_ms.saturating_sub(since_ms) });
        }
    }

    fn target_unsubscribed(&mut self, target: &Target) {
        let Some(entry) = self.entries.get_mut(target) else { return };
        if entry.is_wanted() {
            entry.link = LinkState::Queued;
            self.to_subscribe.push_back(target.clone());
        } else {
            self.entries.remove(target);
        }
    }

    fn next_subscribe(&mut self, now_ms: u64) -> Option<(Verb, Vec<Target>)> {
        let mut targets = Vec::new();
        // Channels and patterns take different commands.
        let mut verb = None;
        while targets.len() < MAX_TARGETS_PER_COMMAND {
            let same_verb = |target: &mut Target| verb.is_none_or(|verb| target.subscribe_verb() == verb);
            let Some(target) = self.to_subscribe.pop_front_if(same_verb) else { break };
            if self.forget_if_unwanted(now_ms, &target) {
                continue;
            }
            if let Some(entry) = self.entries.get_mut(&target)
                && entry.link == LinkState::Queued
            {
                entry.link = LinkState::Subscribing;
                verb = Some(target.subscribe_verb());
                targets.push(target);
            }
        }
        verb.map(|verb| (verb, targets))
    }

    fn next_unsubscribe(&mut self) -> Option<(Verb, Vec<Target>)> {
        let mut targets = Vec::new();
        while targets.len() < MAX_TARGETS_PER_COMMAND {
            let Some(target) = self.to_unsubscribe.pop_front() else { break };
            // It may be wanted again since.
            if let Some(entry) = self.entries.get_mut(&target)
                && entry.link == LinkState::Leaving
            {
                entry.link = LinkState::Unsubscribing;
                self.confirmed -= 1;
                targets.push(target);
            }
        }
        (!targets.is_empty()).then_some((Verb::Unsubscribe, targets))
    }
}

fn bit(subscriber: SubscriberId) -> u64 {
    debug_assert!(subscriber.0 < 64, "a subscriber's number is below 64");
    1 << (subscriber.0 & 63)
}

fn tell(told: &mut VecDeque<Action>, waiting: u64, namespace: &Arc<str>, room: &Arc<str>) {
    for number in (0..64).filter(|number| waiting & (1 << number) != 0) {
        told.push_back(Action::Subscribed {
            subscriber: SubscriberId(number),
            namespace: Arc::clone(namespace),
            room: Arc::clone(room),
        });
    }
}
