//! Who is let in, and how much a client may send. [`gcra`] and [`addresses`] are pure; [`Admission`] is the node's one
//! place where new connections and handshakes are weighed, and owns the table of addresses. The way of a message only
//! touches [`Rate`] and [`Spent`].

mod addresses;
mod gcra;
mod memory;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

pub use addresses::{AddressBounds, AddressKey, AddressRefusal, AddressTable, Counted};
pub use gcra::{Rate, Spent};
pub use memory::{MemoryWatermark, default_max_memory_bytes, memory_limit_bytes};

use crate::net::Cidr;

/// The table of addresses is in as many parts with a lock each, so that none is held for long: what is idle is looked for
/// in one part at a time.
const PARTS: usize = 64;
/// Between two looks for what is idle, each in one part.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// Between two log lines about addresses.
const LOG_INTERVAL_MS: u64 = 1_000;

/// See the module. One for a node.
pub struct Admission {
    /// Above it there are no new sessions.
    pub memory: MemoryWatermark,
    started: Instant,
    /// Clients that are not counted by their address.
    exempt: Box<[Cidr]>,
    /// Peers whose connections are those of many clients.
    proxies: Box<[Cidr]>,
    parts: Box<[Mutex<AddressTable>]>,
    hasher: RandomState,
    log_after_ms: AtomicU64,
    refused_connections: AtomicU64,
}

/// No bounds, for parts of a node that stand alone.
impl Default for Admission {
    fn default() -> Self {
        let bounds = AddressBounds {
            max_connections: 0,
            handshakes: Rate::OFF,
            tls_handshakes: Rate::OFF,
            max_addresses: 0,
        };
        Self::new(
            bounds,
            ["0.0.0.0/0", "::/0"].map(|all| all.parse().expect("a network")).into(),
            MemoryWatermark::default(),
        )
    }
}

/// An open connection or session, counted by its address for as long as this lives.
#[must_use]
pub struct AddressGuard {
    admission: Arc<Admission>,
    counted: Counted,
    /// `None`: it is not counted.
    key: Option<AddressKey>,
}

impl AddressGuard {
    /// A connection from another address, counted where this one is.
    ///
    /// # Errors
    /// As of [`Admission::connection`].
    pub fn connection_of(&self, client: IpAddr) -> Result<Self, AddressRefusal> {
        self.admission.connection(client)
    }

    /// The connection is to begin with a TLS handshake, for which its address pays. False: it makes too many, which is
    /// logged at a bounded rate. Who is not counted may always.
    pub fn admits_tls_handshake(&self) -> bool {
        self.key.is_none_or(|key| self.admission.admits_tls_handshake(key))
    }

    /// Hands the duty to say that it is gone over to whoever takes the key: [`Admission::session_closed`].
    pub fn into_key(mut self) -> Option<AddressKey> {
        self.key.take()
    }
}

impl Drop for AddressGuard {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.admission.close(key, self.counted);
        }
    }
}

impl Admission {
    /// Lets in what these bounds allow; `bounds.max_addresses` is of the whole table.
    pub fn new(bounds: AddressBounds, exempt: Vec<Cidr>, memory: MemoryWatermark) -> Self {
        // Addresses do not fall evenly into the parts.
        let part = AddressBounds { max_addresses: bounds.max_addresses.div_ceil(PARTS) * 2, ..bounds };
        Self {
            memory,
            started: Instant::now(),
            exempt: exempt.into(),
            proxies: Box::default(),
            parts: (0..PARTS).map(|_| Mutex::new(AddressTable::new(part))).collect(),
            hasher: RandomState::new(),
            log_after_ms: AtomicU64::new(0),
            refused_connections: AtomicU64::new(0),
        }
    }

    /// Connections of these peers are not counted, since those are of many clients; the sessions of the clients are.
    pub fn with_trusted_proxies(self, proxies: &[Cidr]) -> Self {
        Self { proxies: proxies.into(), ..self }
    }

    /// A TCP connection from this address was accepted.
    ///
    /// # Errors
    /// The address has as many as it may; counted, and logged at a bounded rate.
    pub fn connection(self: &Arc<Self>, peer: IpAddr) -> Result<AddressGuard, AddressRefusal> {
        let counted = Counted::Http;
        if self.proxies.iter().any(|network| network.contains(peer)) {
            return Ok(self.guard(peer, counted, false));
        }
        let opened = self.with_entry(peer, |table, key, now_ms| table.open(key, counted, now_ms));
        let is_counted = opened.inspect_err(|refusal| {
            self.refused_connections.fetch_add(1, Ordering::Relaxed);
            self.log(peer, refusal.limit());
        })?;
        Ok(self.guard(peer, counted, is_counted))
    }

    /// A client at this address asks for a session.
    ///
    /// # Errors
    /// The address has as many as it may, or asks too often; logged at a bounded rate.
    pub fn handshake(self: &Arc<Self>, client: IpAddr) -> Result<AddressGuard, AddressRefusal> {
        let counted = Counted::Session;
        let opened = self.with_entry(client, |table, key, now_ms| {
            table.charge(key, now_ms)?;
            table.open(key, counted, now_ms)
        });
        let is_counted = opened.inspect_err(|refusal| self.log(client, refusal.limit()))?;
        Ok(self.guard(client, counted, is_counted))
    }

    /// A client at this address asked in vain: that costs as much as a handshake.
    ///
    /// # Errors
    /// It asks too often; logged at a bounded rate.
    pub fn bad_handshake(&self, client: IpAddr) -> Result<(), AddressRefusal> {
        let charged = self.with_entry(client, |table, key, now_ms| table.charge(key, now_ms).map(|()| true));
        charged.inspect_err(|refusal| self.log(client, refusal.limit())).map(drop)
    }

    /// A session of a client at this address comes from another node. It counts, and is not refused: the client is served
    /// there already.
    pub fn arrival(self: &Arc<Self>, client: IpAddr) -> AddressGuard {
        let counted = Counted::Session;
        let adopted = self.with_entry(client, |table, key, now_ms| Ok(table.adopt(key, counted, now_ms)));
        self.guard(client, counted, adopted.unwrap_or(false))
    }

    /// A session whose guard was turned into a key is gone.
    pub fn session_closed(&self, key: AddressKey) {
        self.close(key, Counted::Session);
    }

    /// Forgets the addresses of one part of the table that are idle; to be called again and again.
    pub fn sweep(&self, turn: usize) {
        let now_ms = self.now_ms();
        self.parts[turn % PARTS].lock().sweep(now_ms);
    }

    /// Looks after the memory, and after addresses that are idle; for ever.
    pub async fn watch(&self) {
        let sweep = async {
            for turn in 0.. {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                self.sweep(turn);
            }
        };
        tokio::join!(self.memory.watch(), sweep);
    }

    /// Addresses of which something is kept.
    pub fn addresses(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }

    /// How often an address was served uncounted because the table was full.
    pub fn untracked_total(&self) -> u64 {
        self.parts.iter().map(|part| part.lock().untracked_total()).sum()
    }

    /// TCP connections that were closed because their address had as many as it may.
    pub fn refused_connections_total(&self) -> u64 {
        self.refused_connections.load(Ordering::Relaxed)
    }

    fn guard(self: &Arc<Self>, address: IpAddr, counted: Counted, is_counted: bool) -> AddressGuard {
        let key = AddressKey::of(address).filter(|_| is_counted);
        AddressGuard { admission: Arc::clone(self), counted, key }
    }

    /// `Ok(false)` for addresses that are exempt.
    fn with_entry(
        &self,
        address: IpAddr,
        call: impl FnOnce(&mut AddressTable, AddressKey, u64) -> Result<bool, AddressRefusal>,
    ) -> Result<bool, AddressRefusal> {
        match AddressKey::of(address) {
            Some(key) if !self.exempt.iter().any(|network| network.contains(address)) => {
                call(&mut self.part(key).lock(), key, self.now_ms())
            }
            _ => Ok(false),
        }
    }

    fn admits_tls_handshake(&self, key: AddressKey) -> bool {
        let is_admitted = self.part(key).lock().admits_tls_handshake(key, self.now_ms());
        if !is_admitted {
            self.log(key, "limits.max_tls_handshakes_per_second_per_address");
        }
        is_admitted
    }

    fn close(&self, key: AddressKey, counted: Counted) {
        self.part(key).lock().close(key, counted, self.now_ms());
    }

    fn part(&self, key: AddressKey) -> &Mutex<AddressTable> {
        &self.parts[self.hasher.hash_one(key) as usize % PARTS]
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn log(&self, address: impl fmt::Display, limit: &'static str) {
        let (now_ms, after_ms) = (self.now_ms(), self.log_after_ms.load(Ordering::Relaxed));
        let next_ms = now_ms + LOG_INTERVAL_MS;
        let mine = now_ms >= after_ms
            && self
                .log_after_ms
                .compare_exchange(after_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !mine {
            return;
        }
        tracing::warn!(
            %address,
            limit,
            "an address has reached its limit; if it is a balancer's, name it in server.trusted_proxies"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(exempt: &[&str]) -> Arc<Admission> {
        let handshakes = Rate::new(1_000, 0, Duration::from_secs(1));
        let tls_handshakes = Rate::new(1, 0, Duration::from_secs(3));
        let bounds = AddressBounds { max_connections: 2, handshakes, tls_handshakes, max_addresses: 1000 };
        let exempt = exempt.iter().map(|network| network.parse().unwrap()).collect();
        Arc::new(Admission::new(bounds, exempt, MemoryWatermark::default()))
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_guard_counts_for_as_long_as_it_lives_and_a_key_until_it_is_given_back() {
        let admission = admission(&[]);
        let client = ip("192.0.2.1");
        let first = admission.handshake(client).unwrap();
        let key = admission.handshake(client).unwrap().into_key();
        assert!(admission.handshake(client).is_err());
        drop(first);
        let third = admission.handshake(client).unwrap();
        assert!(admission.handshake(client).is_err());
        admission.session_closed(key.unwrap());
        drop((admission.handshake(client).unwrap(), third, admission.connection(client).unwrap()));
        let _moved = [admission.arrival(client), admission.arrival(client), admission.arrival(client)];
        assert!(admission.handshake(client).is_err());
    }

    #[test]
    fn who_is_exempt_is_not_in_the_table() {
        let admission = admission(&["10.0.0.0/8", "fd00::/8"]);
        for client in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "::1"] {
            let guards: Vec<_> = (0..10).map(|_| admission.handshake(ip(client))).collect();
            assert!(guards.iter().all(Result::is_ok), "{client}");
            assert_eq!(admission.addresses(), 0, "{client}");
        }
        assert_eq!(Arc::new(Admission::default()).handshake(ip("192.0.2.1")).unwrap().into_key(), None);
    }

    #[test]
    fn a_trusted_proxy_opens_connections_for_many_clients() {
        let admission = Arc::into_inner(admission(&[])).unwrap();
        let admission = Arc::new(admission.with_trusted_proxies(&["203.0.113.0/24".parse().unwrap()]));
        let balancer = ip("203.0.113.7");
        let connections: Vec<_> = (0..10).map(|_| admission.connection(balancer).unwrap()).collect();
        assert_eq!((connections.len(), admission.addresses()), (10, 0));
        let _client = admission.handshake(ip("192.0.2.1")).unwrap();
        assert_eq!(admission.addresses(), 1);
    }

    /// Three at once, of whoever the connections are.
    #[test]
    fn tls_handshakes_are_paid_by_whoever_is_connected() {
        let admission = Arc::into_inner(admission(&["10.0.0.0/8"])).unwrap();
        let admission = Arc::new(admission.with_trusted_proxies(&["203.0.113.0/24".parse().unwrap()]));
        let admitted = |guard: &AddressGuard| (0..10).filter(|_| guard.admits_tls_handshake()).count();
        for (peer, client, expected) in [
            ("192.0.2.1", None, 3),
            ("192.0.2.2", None, 3),
            ("10.1.2.3", None, 10),
            // A trusted proxy, and those whom its PROXY headers name.
            ("203.0.113.7", None, 10),
            ("203.0.113.7", Some("192.0.2.3"), 3),
            ("203.0.113.7", Some("10.1.2.3"), 10),
        ] {
            let peers = admission.connection(ip(peer)).unwrap();
            let guard = match client {
                Some(client) => peers.connection_of(ip(client)).unwrap(),
                None => peers,
            };
            assert_eq!(admitted(&guard), expected, "{peer} {client:?}");
        }
        let again = admission.connection(ip("192.0.2.1")).unwrap();
        assert_eq!(admitted(&again), 0, "another connection of the same address");
    }

    #[test]
    fn threads_leave_nothing_behind() {
        let admission = admission(&[]);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let admission = &admission;
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for turn in 0..20_000_usize {
                        let client = ip(&format!("198.51.100.{}", (turn * 7 + thread) % 200));
                        match turn % 4 {
                            0 => held.extend(admission.connection(client).ok()),
                            1 => held.extend(admission.handshake(client).ok()),
                            2 => held.push(admission.arrival(client)),
                            _ => held.truncate(held.len() / 2),
                        }
                    }
                    for guard in held {
                        let (is_session, key) = (guard.counted == Counted::Session, guard.key);
                        if is_session && key.is_some() {
                            guard.into_key().into_iter().for_each(|key| admission.session_closed(key));
                        }
                    }
                });
            }
        });
        let later_ms = admission.now_ms() + 20_000;
        admission.parts.iter().for_each(|part| part.lock().sweep(later_ms));
        assert_eq!(admission.addresses(), 0);
    }
}
