//! What the clients of each address have open and have spent. Pure: time is an argument. Owned, a part in each lock, by
//! [`super::Admission`].

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU64,
};

use super::gcra::{Rate, Spent};

/// Stands before an IPv4 address where an IPv6 client has its network: no client's address begins so (RFC 4291
/// section 2.7: it is that of a multicast group).
const IPV4_MARK: u64 = 0xffff_ffff_0000_0000;

/// Whom a bound counts as one client: an IPv4 address, or the /64 network of an IPv6 address, since a host may take
/// any address of its network (RFC 4291 section 2.5.1, RFC 8981).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressKey(NonZeroU64);

impl AddressKey {
    /// `None` for `::/64`, in which only the host itself is.
    pub fn of(address: IpAddr) -> Option<Self> {
        let key = match address.to_canonical() {
            IpAddr::V4(address) => IPV4_MARK | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        NonZeroU64::new(key).map(Self)
    }
}

/// The address, or the network of one of IPv6.
impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.get();
        match u32::try_from(key ^ IPV4_MARK) {
            Ok(address) => Ipv4Addr::from_bits(address).fmt(f),
            Err(_) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(key) << 64)),
        }
    }
}

/// What is counted of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Connections that speak HTTP.
    Http,
    /// Engine.IO sessions.
    Session,
}

/// The bounds of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBounds {
    /// Of each kind; 0 is no bound.
    pub max_connections: usize,
    /// Of handshakes.
    pub handshakes: Rate,
    /// Of TLS handshakes.
    pub tls_handshakes: Rate,
    /// Addresses that a table keeps.
    pub max_addresses: usize,
}

/// Which bound an address has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRefusal {
    /// Of what is open.
    Connections,
    /// Of handshakes; there is room for the next one in so many milliseconds.
    Handshakes {
        /// At least 1.
        wait_ms: u64,
    },
}

impl AddressRefusal {
    /// The bound's key in the configuration.
    pub fn limit(self) -> &'static str {
        match self {
            Self::Connections => "limits.max_connections_per_address",
            Self::Handshakes { .. } => "limits.max_handshakes_per_second_per_address",
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    http: u32,
    sessions: u32,
    handshakes: Spent,
    tls_handshakes: Spent,
}

impl Entry {
    fn count(&mut self, counted: Counted) -> &mut u32 {
        match counted {
            Counted::Http => &mut self.http,
            Counted::Session => &mut self.sessions,
        }
    }

    /// Does it say no more than a new one?
    fn is_idle(&self, now_ms: u64) -> bool {
        let is_paid_off = self.handshakes.is_nothing(now_ms) && self.tls_handshakes.is_nothing(now_ms);
        self.http == 0 && self.sessions == 0 && is_paid_off
    }
}

/// See the module. An address that is not in it has nothing open and has spent nothing.
#[derive(Debug)]
pub struct AddressTable {
    bounds: AddressBounds,
    entries: HashMap<AddressKey, Entry>,
    /// When idle entries were last looked for.
    swept_ms: u64,
    untracked: u64,
}

impl AddressTable {
    /// An empty table.
    pub fn new(bounds: AddressBounds) -> Self {
        Self { bounds, entries: HashMap::new(), swept_ms: 0, untracked: 0 }
    }

    /// Counts one more. `Ok(false)`: the table has no place for the address, and it is served uncounted.
    ///
    /// # Errors
    /// It has as many as it may.
    pub fn open(&mut self, key: AddressKey, counted: Counted, now_ms: u64) -> Result<bool, AddressRefusal> {
        let max_connections = self.bounds.max_connections;
        let Some(entry) = self.entry(key, now_ms) else { return Ok(false) };
        let count = entry.count(counted);
        if max_connections > 0 && *count as usize >= max_connections {
            return Err(AddressRefusal::Connections);
        }
        *count += 1;
        Ok(true)
    }

    /// Counts one more that is not to be refused.
    pub fn adopt(&mut self, key: AddressKey, counted: Counted, now_ms: u64) -> bool {
        let Some(entry) = self.entry(key, now_ms) else { return false };
        *entry.count(counted) += 1;
        true
    }

    /// Lets the address pay for a handshake.
    ///
    /// # Errors
    /// It has made too many.
    pub fn charge(&mut self, key: AddressKey, now_ms: u64) -> Result<(), AddressRefusal> {
        let rate = self.bounds.handshakes;
        let Some(entry) = self.entry(key, now_ms) else { return Ok(()) };
        if rate.admits(&mut entry.handshakes, now_ms, 1, 0) {
            return Ok(());
        }
        Err(AddressRefusal::Handshakes { wait_ms: rate.wait_ms(entry.handshakes, now_ms).max(1) })
    }

    /// Lets the address pay for a TLS handshake. False: it has made too many.
    pub fn admits_tls_handshake(&mut self, key: AddressKey, now_ms: u64) -> bool {
        let rate = self.bounds.tls_handshakes;
        self.entry(key, now_ms).is_none_or(|entry| rate.admits(&mut entry.tls_handshakes, now_ms, 1, 0))
    }

    /// One that was counted is gone.
    pub fn close(&mut self, key: AddressKey, counted: Counted, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let count = entry.count(counted);
        *count = count.saturating_sub(1);
        if entry.is_idle(now_ms) {
            self.entries.remove(&key);
        }
    }

    /// Forgets the addresses of which there is nothing to say.
    pub fn sweep(&mut self, now_ms: u64) {
        self.swept_ms = now_ms;
        self.entries.retain(|_, entry| !entry.is_idle(now_ms));
        if self.entries.is_empty() {
            self.entries = HashMap::new();
        }
    }

    /// Addresses of which something is kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is nothing kept?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How often there was no place for an address.
    pub fn untracked_total(&self) -> u64 {
        self.untracked
    }

    fn entry(&mut self, key: AddressKey, now_ms: u64) -> Option<&mut Entry> {
        if self.entries.len() >= self.bounds.max_addresses && !self.entries.contains_key(&key) {
            // Once in each millisecond is often enough, or a flood of new addresses would look through the table for each.
            if self.swept_ms != now_ms {
                self.sweep(now_ms);
            }
            if self.entries.len() >= self.bounds.max_addresses {
                self.untracked += 1;
                return None;
            }
        }
        Some(self.entries.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn table(max_connections: usize, handshakes_per_second: usize, max_addresses: usize) -> AddressTable {
        let handshakes = Rate::new(handshakes_per_second, 0, Duration::from_secs(1));
        let tls_handshakes = Rate::new(4 * handshakes_per_second, 0, Duration::from_secs(1));
        AddressTable::new(AddressBounds { max_connections, handshakes, tls_handshakes, max_addresses })
    }

    fn key(address: &str) -> AddressKey {
        AddressKey::of(address.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_client_is_shown_by_its_address_or_network() {
        for (address, shown) in
            [("192.0.2.1", "192.0.2.1"), ("0.0.0.0", "0.0.0.0"), ("2001:db8:0:1::1", "2001:db8:0:1::/64")]
        {
            assert_eq!(key(address).to_string(), shown);
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_each_address_of_ipv4_is() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("0.0.0.0", "2001:db8::", false),
        ] {
            assert_eq!(key(one) == key(other), same, "{one} {other}");
        }
        assert_eq!(AddressKey::of("::1".parse().unwrap()), None);
    }

    #[test]
    fn what_is_open_is_bounded_for_each_address_and_kind() {
        let (mut table, a, b) = (table(2, 0, 10), key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(table.open(a, Counted::Session, 0), Ok(true));
        assert_eq!(table.open(a, Counted::Session, 0), Ok(true));
        assert_eq!(table.open(a, Counted::Session, 0), Err(AddressRefusal::Connections));
        assert_eq!(table.open(a, Counted::Http, 0), Ok(true));
        assert_eq!(table.open(b, Counted::Session, 0), Ok(true));
        assert!(table.adopt(a, Counted::Session, 0), "a session that moves is counted, not refused");
        table.close(a, Counted::Session, 0);
        assert_eq!(table.open(a, Counted::Session, 0), Err(AddressRefusal::Connections));
        table.close(a, Counted::Session, 0);
        assert_eq!(table.open(a, Counted::Session, 0), Ok(true));
    }

    #[test]
    fn handshakes_have_a_rate_and_say_when_to_come_back() {
        let (mut table, a, b) = (table(0, 2, 10), key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!((table.charge(a, 0), table.charge(a, 0)), (Ok(()), Ok(())));
        assert_eq!(table.charge(a, 100), Err(AddressRefusal::Handshakes { wait_ms: 400 }));
        assert_eq!(table.charge(b, 100), Ok(()));
        assert_eq!(table.charge(a, 500), Ok(()));
    }

    /// Four a second here, and four at once.
    #[test]
    fn tls_handshakes_have_a_rate_of_their_own() {
        let (mut table, a, b) = (table(0, 1, 10), key("192.0.2.1"), key("2001:db8:0:1::1"));
        assert_eq!(table.charge(a, 0), Ok(()));
        assert!(table.charge(a, 0).is_err());
        for (key, now_ms, asked, admitted) in [
            (a, 0, 10, 4),
            (b, 0, 3, 3),
            (a, 249, 1, 0),
            (a, 250, 2, 1),
            // Another host of b's network.
            (self::key("2001:db8:0:1::2"), 250, 3, 2),
            (a, 1000, 10, 3),
            (a, 60_000, 10, 4),
        ] {
            let found = (0..asked).filter(|_| table.admits_tls_handshake(key, now_ms)).count();
            assert_eq!(found, admitted, "{key} at {now_ms} ms");
        }
        assert_eq!(table.charge(a, 60_000), Ok(()), "sessions are paid from another account");
    }

    #[test]
    fn an_address_is_kept_until_its_tls_handshakes_are_paid_off() {
        let (mut table, a, b) = (table(0, 1, 1), key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(table.open(a, Counted::Http, 0), Ok(true));
        assert!((0..4).all(|_| table.admits_tls_handshake(a, 0)));
        table.close(a, Counted::Http, 0);
        assert_eq!(table.len(), 1, "or a client that hangs up would begin anew");
        assert!(!table.admits_tls_handshake(a, 0));
        assert!((0..10).all(|_| table.admits_tls_handshake(b, 999)), "there is no place for it");
        table.sweep(1000);
        assert!(table.is_empty());
    }

    #[test]
    fn idle_addresses_make_room_and_busy_ones_do_not() {
        let mut table = table(5, 1, 2);
        let (a, b, c) = (key("192.0.2.1"), key("192.0.2.2"), key("192.0.2.3"));
        assert_eq!((table.open(a, Counted::Session, 1), table.charge(b, 1)), (Ok(true), Ok(())));
        assert_eq!(table.open(c, Counted::Session, 2), Ok(false), "both say something");
        assert_eq!((table.len(), table.untracked_total()), (2, 1));
        assert_eq!(table.open(c, Counted::Session, 1002), Ok(true), "b's handshake is paid off");
        assert_eq!(table.len(), 2);
        // What was not counted is not counted down, either: the caller was told.
        table.close(a, Counted::Session, 1002);
        table.close(c, Counted::Session, 1002);
        assert!(table.is_empty());
    }

    /// Against plain maps, over random opens, closes, handshakes and sweeps.
    #[test]
    fn nothing_is_lost_and_nothing_leaks() {
        let (mut table, mut seed, mut now_ms) = (table(3, 5, 64), 7_u64, 0_u64);
        let mut open: Vec<(AddressKey, Counted)> = Vec::new();
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dice = seed >> 33;
            now_ms += dice & 3;
            let key = key(&format!("192.0.2.{}", dice >> 2 & 15));
            let counted = if dice & 64 == 0 { Counted::Http } else { Counted::Session };
            match dice >> 7 & 3 {
                0 => {
                    let before = open.iter().filter(|one| **one == (key, counted)).count();
                    let opened = table.open(key, counted, now_ms);
                    assert_eq!(opened, if before < 3 { Ok(true) } else { Err(AddressRefusal::Connections) });
                    if opened.is_ok() {
                        open.push((key, counted));
                    }
                }
                1 if !open.is_empty() => {
                    let (key, counted) = open.swap_remove((dice >> 9) as usize % open.len());
                    table.close(key, counted, now_ms);
                }
                2 if dice & 64 == 0 => drop(table.admits_tls_handshake(key, now_ms)),
                2 => drop(table.charge(key, now_ms)),
                _ if dice >> 9 & 63 == 0 => table.sweep(now_ms),
                _ => {}
            }
        }
        for (key, counted) in open {
            table.close(key, counted, now_ms);
        }
        table.sweep(now_ms + 10_000);
        assert!(table.is_empty());
    }
}
