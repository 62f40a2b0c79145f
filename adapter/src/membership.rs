//! Which other nodes there are: a pure state machine.
//!
//! Owns the list of members. Nodes say hello on a shared channel, in turns; whoever is not heard for three turns is lost.
//! No clocks are compared and nothing is kept in Redis: a turn is over when the node's *own* hello has come back. So a
//! broken link, a stalled server or a stalled process makes nobody look dead, as then the own hello does not come back
//! either; and what the others said before it has been heard before it.
//!
//! The caller says what was heard and when the own subscription is in force, and takes from [`Membership::poll`] what is
//! to be done. Time is an argument (milliseconds of any steady clock), and so is randomness.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    sync::Arc,
};

use crate::NodeInfo;

/// Other nodes that are known at most; more are not taken in.
pub const MAX_NODES: usize = 1024;
/// Turns without a word after which a node is lost.
pub const MISSED_TURNS: u8 = 3;
/// How soon a node answers one that asks who is there, at most; spread over this time, since all of them answer.
pub const ANSWER_WITHIN_MS: u64 = 100;
/// No two hellos of a node are closer than this, however often others ask.
pub const MIN_SPACING_MS: u64 = 100;
/// A hello that must come back before the node may be ready is said again after this time.
const RETRY_MS: u64 = 250;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its name.
    pub name: Box<str>,
    /// The version of the software.
    pub version: Box<str>,
    /// Made anew by each process: who starts again is another one.
    pub start: u64,
    /// What the ids of its sessions are keyed with, so that other nodes know genuine ones; 0 where it does not say.
    pub id_key: u128,
    /// Are the others to say hello, too? Whoever is new asks.
    pub asks: bool,
    /// Counts the hellos of this process, so that it knows which of them came back; 0 where it does not say.
    pub number: u64,
}

/// Without the key.
impl fmt::Debug for Hello {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hello")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("asks", &self.asks)
            .finish_non_exhaustive()
    }
}

/// What [`Membership::poll`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Publish this on the shared channel.
    Say(Hello),
    /// A node is there that was not known.
    Found {
        /// Its name.
        node: Arc<str>,
    },
    /// A node is gone.
    Lost {
        /// Its name.
        node: Arc<str>,
    },
}

/// Why a hello is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// [`MAX_NODES`] are known.
    Full,
    /// Another process uses this node's name.
    OwnName,
}

/// See the module.
#[derive(Debug)]
pub struct Membership {
    own: Hello,
    interval_ms: u64,
    members: HashMap<Arc<str>, Member>,
    actions: VecDeque<Action>,
    /// While the own subscription is in force.
    linked: bool,
    /// Whether the own hello has come back on the present link, and ever.
    heard_own: bool,
    was_heard: bool,
    next_hello_ms: Option<u64>,
    last_hello_ms: Option<u64>,
    last_turn_ms: Option<u64>,
}

#[derive(Debug)]
struct Member {
    version: Box<str>,
    start: u64,
    id_key: u128,
    heard_ms: u64,
    /// Since when it could have been heard and was not: the last hello, or the present link.
    silent_since_ms: u64,
    missed: u8,
}

impl Membership {
    /// Knows nobody. `interval_ms` is the length of a turn. The hello's `asks` and `number` are set as needed.
    #[must_use]
    pub fn new(own: Hello, interval_ms: u64) -> Self {
        Self {
            own,
            interval_ms,
            members: HashMap::new(),
            actions: VecDeque::new(),
            linked: false,
            heard_own: false,
            was_heard: false,
            next_hello_ms: None,
            last_hello_ms: None,
            last_turn_ms: None,
        }
    }

    /// The node's subscriptions are in force on a new link: all who are there from now on are heard.
    pub fn linked(&mut self, now_ms: u64) {
        (self.linked, self.heard_own) = (true, false);
        self.next_hello_ms = Some(now_ms);
        self.last_turn_ms = None;
        // Nobody could be heard meanwhile, and the others may take a while longer to come back.
        for member in self.members.values_mut() {
            (member.missed, member.silent_since_ms) = (0, now_ms);
        }
    }

    /// The link is lost: nobody can be heard, so nobody is lost, until the next [`Membership::linked`].
    pub fn unlinked(&mut self) {
        (self.linked, self.heard_own, self.next_hello_ms) = (false, false, None);
    }

    /// Was the node's own hello heard by everyone who was there? From then on the others know it.
    #[must_use]
    pub fn was_heard(&self) -> bool {
        self.was_heard
    }

    /// A node said hello, this one included.
    ///
    /// # Errors
    /// It is not taken in.
    pub fn heard(&mut self, now_ms: u64, hello: &Hello, random: u32) -> Result<(), Refusal> {
        if hello.name == self.own.name {
            if hello.start != self.own.start {
                return Err(Refusal::OwnName);
            }
            self.heard_own(now_ms);
            return Ok(());
        }
        self.take_in(now_ms, hello)?;
        if hello.asks && self.linked {
            let earliest_ms = self.last_hello_ms.map_or(now_ms, |last_ms| last_ms + MIN_SPACING_MS);
            let answer_ms = earliest_ms.max(now_ms + share(ANSWER_WITHIN_MS, random));
            self.next_hello_ms = Some(self.next_hello_ms.map_or(answer_ms, |next_ms| next_ms.min(answer_ms)));
        }
        Ok(())
    }

    fn take_in(&mut self, now_ms: u64, hello: &Hello) -> Result<(), Refusal> {
        let member = Member {
            version: hello.version.clone(),
            start: hello.start,
            id_key: hello.id_key,
            heard_ms: now_ms,
            silent_since_ms: now_ms,
            missed: 0,
        };
        let is_full = self.members.len() >= MAX_NODES;
        match self.members.entry(Arc::from(&*hello.name)) {
            Entry::Vacant(_) if is_full => return Err(Refusal::Full),
            Entry::Vacant(place) => {
                self.actions.push_back(Action::Found { node: Arc::clone(place.key()) });
                place.insert(member);
            }
            Entry::Occupied(mut place) => {
                // Started again under its name: what it held is gone.
                if place.get().start != hello.start {
                    let node = Arc::clone(place.key());
                    self.actions.push_back(Action::Lost { node: Arc::clone(&node) });
                    self.actions.push_back(Action::Found { node });
                }
                place.insert(member);
            }
        }
        Ok(())
    }

    /// A turn is over, unless the one before was just now: hellos that waited while this process stood still come all at
    /// once, and so do those that answer many new nodes.
    fn heard_own(&mut self, now_ms: u64) {
        if !self.linked {
            return;
        }
        (self.heard_own, self.was_heard) = (true, true);
        if self.last_turn_ms.is_some_and(|last_ms| now_ms < last_ms + self.interval_ms / 2) {
            return;
        }
        self.last_turn_ms = Some(now_ms);
        let silent_ms = self.interval_ms * u64::from(MISSED_TURNS);
        for member in self.members.values_mut() {
            member.missed = member.missed.saturating_add(1);
        }
        let actions = &mut self.actions;
        self.members.retain(|node, member| {
            let is_lost =
                member.missed >= MISSED_TURNS && now_ms.saturating_sub(member.silent_since_ms) >= silent_ms;
            if is_lost {
                actions.push_back(Action::Lost { node: Arc::clone(node) });
            }
            !is_lost
        });
    }

    /// A node said goodbye; that of an earlier process of the same name is ignored.
    pub fn goodbye(&mut self, name: &str, start: u64) {
        if self.members.get(name).is_some_and(|member| member.start == start) {
            self.gone(name);
        }
    }

    /// Redis has no subscription of this node: it can't be reached now. It is found again when it says hello.
    pub fn gone(&mut self, name: &str) {
        if let Some((node, _)) = self.members.remove_entry(name) {
            self.actions.push_back(Action::Lost { node });
        }
    }

    /// What is to be done next; call until there is nothing.
    pub fn poll(&mut self, now_ms: u64, random: u32) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if self.next_hello_ms.is_none_or(|next_ms| next_ms > now_ms) {
            return None;
        }
        // Until it has come back once, it is said again soon, and asks.
        let wait_ms = if self.heard_own {
            self.interval_ms - share(self.interval_ms / 5, random)
        } else {
            RETRY_MS.min(self.interval_ms)
        };
        self.next_hello_ms = Some(now_ms + wait_ms);
        self.last_hello_ms = Some(now_ms);
        self.own.number += 1;
        Some(Action::Say(Hello { asks: !self.heard_own, ..self.own.clone() }))
    }

    /// When [`Membership::poll`] has something to do, unless something is heard before.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        if self.actions.is_empty() { self.next_hello_ms } else { Some(0) }
    }

    /// The other nodes, by name.
    #[must_use]
    pub fn nodes(&self, now_ms: u64) -> Vec<NodeInfo> {
        let info = |(name, member): (&Arc<str>, &Member)| NodeInfo {
            name: Arc::clone(name),
            version: member.version.clone(),
            age_ms: now_ms.saturating_sub(member.heard_ms),
        };
        let mut nodes: Vec<_> = self.members.iter().map(info).collect();
        nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// What another node keys the ids of its sessions with; `None`: it is not known.
    #[must_use]
    pub fn id_key(&self, name: &str) -> Option<u128> {
        self.members.get(name).map(|member| member.id_key)
    }

    /// How many other nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Is this node the only one?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// A part of `whole_ms`; `random` is spread evenly over its range.
fn share(whole_ms: u64, random: u32) -> u64 {
    (whole_ms * u64::from(random)) >> 32
}
