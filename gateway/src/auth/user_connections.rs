//! How many connections each user has on this node, and whether there is room for one more in the cluster
//! (`limits.max_connections_per_user`).
//!
//! Owns this node's numbers, for all shards. Who takes a place holds it as a [`UserPlace`], and gives it back by dropping
//! it. A new connection writes the number and asks for the sum of all nodes in one go; that one is gone is told soon after,
//! many in one go, by a task. Two nodes that ask for the last place at one time may both be refused, never both admitted.

use std::{
    collections::{HashMap, VecDeque},
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use broadgate_adapter::{Engine, PublishError, USER_COUNT_LIFETIME};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long numbers that became smaller are collected before they are told.
const TELL_AFTER: Duration = Duration::from_millis(100);
/// Between two attempts to tell what could not be told.
const RETRY: Duration = Duration::from_secs(1);
/// Users without a connection here who are kept until the others know that; beyond it, others count them for up to
/// [`USER_COUNT_LIFETIME`].
const MAX_UNTOLD: usize = 100_000;

/// A user has as many connections as one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has too many connections")]
pub struct TooManyConnections;

/// A place that was taken, or why not. `None`: places are not counted.
pub type Admission = Pin<Box<dyn Future<Output = Result<Option<UserPlace>, TooManyConnections>> + Send>>;

/// See the module.
pub struct UserConnections {
    engine: Arc<dyn Engine>,
    /// 0: not counted.
    max: usize,
    state: Mutex<State>,
    /// A number became smaller.
    changed: Notify,
    /// After an outage Redis may have lost all numbers.
    outage_is_over: Arc<Notify>,
    refused: AtomicU64,
    counted_alone: AtomicU64,
}

#[derive(Default)]
struct State {
    users: HashMap<Arc<str>, User>,
    /// Those whose number the others are to be told, each once.
    untold: VecDeque<Arc<str>>,
}

#[derive(Default)]
struct User {
    connections: u32,
    /// It is among the untold.
    is_untold: bool,
}

/// One connection of a user.
pub struct UserPlace {
    user: Arc<str>,
    connections: Arc<UserConnections>,
}

impl UserPlace {
    /// Whose it is.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        self.connections.give_back(&self.user);
    }
}

impl UserConnections {
    /// Nobody has a connection. `outage_is_over` is notified when the link to the other nodes is back.
    pub fn new(engine: Arc<dyn Engine>, max: usize, outage_is_over: Arc<Notify>) -> Self {
        Self {
            engine,
            max,
            state: Mutex::default(),
            changed: Notify::new(),
            outage_is_over,
            refused: AtomicU64::new(0),
            counted_alone: AtomicU64::new(0),
        }
    }

    /// Takes a place for a user, if there is one. Without the other nodes' numbers this node's decide.
    pub fn admit(self: &Arc<Self>, user: &str) -> Admission {
        if self.max == 0 {
            return Box::pin(ready(Ok(None)));
        }
        let (place, sum) = {
            let mut state = self.state.lock();
            let user: Arc<str> = match state.users.get_key_value(user) {
                Some((user, _)) => Arc::clone(user),
                None => user.into(),
            };
            let of_user = state.users.entry(Arc::clone(&user)).or_default();
            if of_user.connections as usize >= self.max {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Box::pin(ready(Err(TooManyConnections)));
            }
            of_user.connections += 1;
            // With the lock held: numbers are told in the order in which they were.
            let sum = self.engine.count_user(&user, of_user.connections);
            (UserPlace { user, connections: Arc::clone(self) }, sum)
        };
        Box::pin(async move {
            match sum.await {
                Ok(sum) if sum > place.connections.max as u64 => {
                    place.connections.refused.fetch_add(1, Ordering::Relaxed);
                    Err(TooManyConnections)
                }
                Ok(_) => Ok(Some(place)),
                Err(_) => {
                    place.connections.counted_alone.fetch_add(1, Ordering::Relaxed);
                    Ok(Some(place))
                }
            }
        })
    }

    /// Takes a place whether there is one or not, for a connection that was admitted elsewhere. `None`: places are not
    /// counted.
    pub fn take(self: &Arc<Self>, user: &str) -> Option<UserPlace> {
        if self.max == 0 {
            return None;
        }
        let mut state = self.state.lock();
        let user: Arc<str> = match state.users.get_key_value(user) {
            Some((user, _)) => Arc::clone(user),
            None => user.into(),
        };
        let of_user = state.users.entry(Arc::clone(&user)).or_default();
        of_user.connections += 1;
        if !std::mem::replace(&mut of_user.is_untold, true) {
            state.untold.push_back(Arc::clone(&user));
            self.changed.notify_one();
        }
        Some(UserPlace { user, connections: Arc::clone(self) })
    }

    fn give_back(&self, user: &Arc<str>) {
        let mut state = self.state.lock();
        let State { users, untold } = &mut *state;
        let Some(of_user) = users.get_mut(user) else { return };
        of_user.connections = of_user.connections.saturating_sub(1);
        if of_user.is_untold {
            return;
        }
        if untold.len() >= MAX_UNTOLD {
            if of_user.connections == 0 {
                users.remove(user);
            }
            return;
        }
        of_user.is_untold = true;
        untold.push_back(Arc::clone(user));
        drop(state);
        self.changed.notify_one();
    }

    /// Users with a connection here, or of whom the others are still to be told.
    pub fn users(&self) -> usize {
        self.state.lock().users.len()
    }

    /// Connections refused since the start.
    pub fn refused_total(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connections admitted by this node's numbers alone, as the others' could not be had.
    pub fn counted_alone_total(&self) -> u64 {
        self.counted_alone.load(Ordering::Relaxed)
    }

    /// Tells the other nodes, for as long as it is polled: numbers that became smaller soon, and all of them after an
    /// outage and before they would end by themselves.
    pub async fn run(&self) {
        let mut refresh = tokio::time::interval(USER_COUNT_LIFETIME / 3);
        loop {
            let waits = !self.state.lock().untold.is_empty();
            tokio::select! {
                () = self.changed.notified() => tokio::time::sleep(TELL_AFTER).await,
                () = self.outage_is_over.notified() => self.all_untold(),
                _ = refresh.tick() => self.all_untold(),
                () = tokio::time::sleep(RETRY), if waits => {}
            }
            while self.tell_next() {
                tokio::task::yield_now().await;
            }
        }
    }

    fn all_untold(&self) {
        let mut state = self.state.lock();
        let State { users, untold } = &mut *state;
        for (name, user) in users.iter_mut().filter(|(_, user)| !user.is_untold) {
            user.is_untold = true;
            untold.push_back(Arc::clone(name));
        }
    }

    /// Tells the number of one user; false where there is none to tell, or it can't be now.
    fn tell_next(&self) -> bool {
        let mut state = self.state.lock();
        let Some(name) = state.untold.front().cloned() else { return false };
        let connections = state.users.get(&name).map_or(0, |user| user.connections);
        match self.engine.tell_user_count(&name, connections) {
            // Where keys are not allowed there is nobody to tell.
            Ok(()) | Err(PublishError::Refused(_) | PublishError::Invalid(_)) => {}
            Err(PublishError::LinkDown | PublishError::QueueFull) => return false,
        }
        state.untold.pop_front();
        if connections == 0 {
            state.users.remove(&name);
        } else if let Some(user) = state.users.get_mut(&name) {
            user.is_untold = false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use broadgate_adapter::{Event, EventSink, MemoryBus, MemoryEngine};

    use super::*;

    struct Nothing;

    impl EventSink for Nothing {
        fn deliver(&self, _: Event) {}
    }

    fn node(bus: &MemoryBus, name: &str, max: usize) -> (Arc<MemoryEngine>, Arc<UserConnections>) {
        let engine = MemoryEngine::start(bus, name, Arc::new(Nothing));
        let users = UserConnections::new(Arc::clone(&engine) as _, max, Arc::default());
        (engine, Arc::new(users))
    }

    /// Tells all that is to be told.
    fn tell(users: &UserConnections) {
        while users.tell_next() {}
    }

    #[tokio::test]
    async fn no_user_has_more_connections_than_allowed_over_all_nodes() {
        let bus = MemoryBus::new();
        let (_a, a) = node(&bus, "a", 3);
        let (_b, b) = node(&bus, "b", 3);
        let first = a.admit("alice").await.unwrap().unwrap();
        let _second = b.admit("alice").await.unwrap().unwrap();
        let _third = a.admit("alice").await.unwrap().unwrap();
        for node in [&a, &b] {
            assert_eq!(node.admit("alice").await.err(), Some(TooManyConnections));
            tell(node);
        }
        assert!(b.admit("bob").await.is_ok(), "each user has a number of his own");
        assert_eq!((first.user(), a.refused_total()), ("alice", 1));

        drop(first);
        tell(&a);
        let _again = b.admit("alice").await.unwrap().unwrap();
        assert_eq!(a.admit("alice").await.err(), Some(TooManyConnections));
    }

    #[tokio::test]
    async fn what_is_given_back_leaves_nothing() {
        let bus = MemoryBus::new();
        let (_engine, users) = node(&bus, "a", 1);
        for _ in 0..3 {
            let place = users.admit("alice").await.unwrap();
            assert_eq!(users.admit("alice").await.err(), Some(TooManyConnections));
            assert_eq!(users.users(), 1);
            drop(place);
            tell(&users);
            assert_eq!(users.users(), 0);
        }
        // Nobody waited for it.
        drop(users.admit("alice"));
        tell(&users);
        assert_eq!(users.users(), 0);
    }

    #[tokio::test]
    async fn without_the_others_this_node_counts_alone_and_tells_its_number_later() {
        let bus = MemoryBus::new();
        let (engine, users) = node(&bus, "a", 2);
        engine.shutdown().await;
        let first = users.admit("alice").await.unwrap();
        let _second = users.admit("alice").await.unwrap();
        assert_eq!(users.admit("alice").await.err(), Some(TooManyConnections));
        assert_eq!(users.counted_alone_total(), 2);
        drop(first);
        tell(&users);
        assert_eq!(users.state.lock().untold.len(), 1, "it is kept for later");
    }

    #[tokio::test]
    async fn all_numbers_are_told_again_after_an_outage() {
        let bus = MemoryBus::new();
        let (engine, users) = node(&bus, "a", 5);
        let _places = [users.admit("alice").await, users.admit("alice").await];
        // As if it were lost.
        engine.tell_user_count(&Arc::from("alice"), 0).unwrap();
        let (_b, b) = node(&bus, "b", 5);
        users.outage_is_over.notify_one();
        let running = tokio::spawn({
            let users = Arc::clone(&users);
            async move { users.run().await }
        });
        let _place = loop {
            let place = b.admit("alice").await.unwrap();
            let sum = b.engine.count_user(&Arc::from("alice"), 1).await.unwrap();
            if sum == 3 {
                break place;
            }
            drop(place);
            tokio::task::yield_now().await;
        };
        running.abort();
    }

    #[tokio::test]
    async fn a_connection_that_moves_here_has_a_place_in_any_case() {
        let bus = MemoryBus::new();
        let (_a, a) = node(&bus, "a", 1);
        let (_b, b) = node(&bus, "b", 1);
        let place = a.admit("alice").await.unwrap();
        let moved = b.take("alice");
        drop(place);
        tell(&a);
        tell(&b);
        assert_eq!(a.admit("alice").await.err(), Some(TooManyConnections));
        tell(&a);
        drop(moved);
        tell(&b);
        assert!(a.admit("alice").await.is_ok());
    }

    #[tokio::test]
    async fn zero_counts_nothing() {
        let (_engine, users) = node(&MemoryBus::new(), "a", 0);
        assert!(users.admit("alice").await.unwrap().is_none());
        assert_eq!(users.users(), 0);
    }
}
