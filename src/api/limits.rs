//! How often the doors may be tried: by one source, and for one address. Whoever comes more often is told when to come again.
//!
//! Memory is bounded whatever comes: sources and addresses are told apart by a keyed hash into so many cells, and cells that are full again
//! are forgotten. Counted in each process by itself. Must not know: what a door does, whether an address is known.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use betagate_core::cohort::{AddressRules, normalise};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;

use super::{ApiState, Problem};
use crate::clock::Clock;

/// Sources, and addresses, are told apart into so many cells.
const CELLS: u64 = 1 << 17;
/// After so many tries, cells that are full again are forgotten.
const TIDY_AFTER: u32 = 1 << 14;
/// In an IPv6 network of this length, one person has all addresses.
const SOURCE_V6: u8 = 64;

/// So many at once, and one more after each pause.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// The pause after which there is one more.
    pub each: Duration,
}

/// The rates of the doors.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Of one source, at all doors together: a hall full of people may share one.
    pub source: Rate,
    /// Of one address, at registering, signing in and joining.
    pub address: Rate,
    /// Of one address, asking for a new link.
    pub link: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            source: Rate { burst: 120, each: Duration::from_millis(500) },
            address: Rate { burst: 10, each: Duration::from_secs(30) },
            link: Rate { burst: 3, each: Duration::from_secs(1200) },
        }
    }
}

/// The process's time, as governor reads it.
#[derive(Clone)]
struct Ticks(Clock);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(u64::try_from(self.0.now().as_nanosecond()).unwrap_or(0))
    }
}

type Keyed = RateLimiter<u32, DashMapStateStore<u32>, Ticks, NoOpMiddleware<Nanos>>;

/// The limits of one process.
pub struct Limits {
    source: Keyed,
    address: Keyed,
    link: Keyed,
    ticks: Ticks,
    cells: RandomState,
    tries: AtomicU32,
    proxies: Vec<IpNet>,
}

impl Limits {
    /// Limits at these rates. What a proxy of one of these networks says about who asks is believed.
    pub fn new(rates: Rates, clock: &Clock, proxies: Vec<IpNet>) -> Self {
        let ticks = Ticks(clock.clone());
        let keyed = |rate: Rate| {
            let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
            // A pause of none is no limit that governor knows: the shortest is one.
            let pause = rate.each.max(Duration::from_nanos(1));
            let quota = Quota::with_period(pause).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst);
            Keyed::new(quota, DashMapStateStore::default(), ticks.clone())
        };
        Self {
            source: keyed(rates.source),
            address: keyed(rates.address),
            link: keyed(rates.link),
            ticks: ticks.clone(),
            cells: RandomState::new(),
            tries: AtomicU32::new(0),
            proxies,
        }
    }

    /// A source tries a door.
    ///
    /// # Errors
    /// 429 with the time after which it may try again.
    pub fn source(&self, source: IpAddr) -> Result<(), Problem> {
        self.try_one(&self.source, &network(source).to_bits())
    }

    /// Someone registers, signs in or joins with this address.
    ///
    /// # Errors
    /// 429 with the time after which they may try again.
    pub fn address(&self, email: &str) -> Result<(), Problem> {
        self.try_one(&self.address, &one_spelling(email))
    }

    /// Someone asks for a new link for this address.
    ///
    /// # Errors
    /// 429 with the time after which they may ask again.
    pub fn link(&self, email: &str) -> Result<(), Problem> {
        self.try_one(&self.link, &one_spelling(email))
    }

    fn try_one(&self, limiter: &Keyed, key: &impl std::hash::Hash) -> Result<(), Problem> {
        if self.tries.fetch_add(1, Ordering::Relaxed) % TIDY_AFTER == TIDY_AFTER - 1 {
            for limiter in [&self.source, &self.address, &self.link] {
                limiter.retain_recent();
            }
        }
        let cell = u32::try_from(self.cells.hash_one(key) % CELLS).unwrap_or(0);
        limiter.check_key(&cell).map_err(|until| {
            let wait = until.wait_time_from(governor::clock::Clock::now(&self.ticks));
            Problem::too_many(wait)
        })
    }

    /// Who asks: the peer, or whom a trusted proxy names.
    fn source_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| self.proxies.iter().any(|net| net.contains(&address));
        let mut source = peer.to_canonical();
        // Each proxy adds whom it heard it from at the end: backwards, as far as there are proxies of ours.
        let said: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for named in said.iter().rev() {
            if !trusted(source) {
                break;
            }
            let Ok(named) = named.trim().parse::<IpAddr>() else { break };
            source = named.to_canonical();
        }
        source
    }
}

/// The network that is counted as one source.
fn network(source: IpAddr) -> Ipv6Addr {
    match source {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => ipnet::Ipv6Net::new(v6, SOURCE_V6).map_or(v6, |net| net.network()),
    }
}

/// Every spelling that some cohort takes for one person's is counted as one.
fn one_spelling(email: &str) -> String {
    let rules = AddressRules { ignore_dots: true, ignore_plus: true };
    normalise(email, rules).unwrap_or_else(|_| email.trim().to_lowercase())
}

/// Who asks; a request over the limit of its source goes no further.
pub struct Source;

impl FromRequestParts<ApiState> for Source {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(peer)| peer.ip());
        state.limits.source(state.limits.source_of(peer, &parts.headers))?;
        Ok(Self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn limits(proxies: &[&str]) -> (Limits, Clock) {
        let clock = Clock::manual("2026-03-02T12:00:00Z".parse().unwrap());
        let proxies = proxies.iter().map(|net| net.parse().unwrap()).collect();
        (Limits::new(Rates::default(), &clock, proxies), clock)
    }

    #[test]
    fn an_address_may_be_tried_so_often_and_again_after_a_pause() {
        let (limits, clock) = limits(&[]);
        for _ in 0..10 {
            limits.address("Ada+x@example.com").unwrap();
        }
        let refused = limits.address("ada@example.com").unwrap_err();
        assert_eq!((refused.code(), refused.retry_after()), ("too-many", Some(30)));
        limits.address("bob@example.com").unwrap();
        limits.link("ada@example.com").unwrap();
        clock.set("2026-03-02T12:00:30Z".parse().unwrap());
        limits.address("ada@example.com").unwrap();
        assert!(limits.address("ada@example.com").is_err());
    }

    #[test]
    fn a_network_that_one_person_has_is_one_source() {
        let (limits, _) = limits(&[]);
        for n in 0..120_u16 {
            limits.source(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n).into()).unwrap();
        }
        assert!(limits.source("2001:db8:0:1::ffff".parse().unwrap()).is_err());
        limits.source("2001:db8:0:2::1".parse().unwrap()).unwrap();
        limits.source("192.0.2.1".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_forwarded_source_counts_only_from_a_trusted_proxy() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "198.51.100.7, 203.0.113.9".parse().unwrap());
        headers.append("x-forwarded-for", "10.0.0.2".parse().unwrap());
        let (nobody, _) = limits(&[]);
        assert_eq!(nobody.source_of(ip("10.0.0.1"), &headers), ip("10.0.0.1"));
        let (ours, _) = limits(&["10.0.0.0/8"]);
        assert_eq!(ours.source_of(ip("10.0.0.1"), &headers), ip("203.0.113.9"), "what it names itself is not believed");
        assert_eq!(ours.source_of(ip("::ffff:10.0.0.1"), &headers), ip("203.0.113.9"));
        assert_eq!(ours.source_of(ip("192.0.2.1"), &headers), ip("192.0.2.1"));
        headers.insert("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(ours.source_of(ip("10.0.0.1"), &headers), ip("10.0.0.1"));
    }

    #[test]
    fn whatever_comes_takes_no_more_than_so_many_cells() {
        let (limits, clock) = limits(&[]);
        for n in 0..300_000_u32 {
            let _ = limits.source(Ipv4Addr::from_bits(n).into());
        }
        assert!(limits.source.len() as u64 <= CELLS);
        clock.set("2026-03-02T13:00:00Z".parse().unwrap());
        for _ in 0..TIDY_AFTER {
            let _ = limits.source("192.0.2.1".parse().unwrap());
        }
        assert!(limits.source.len() <= 2, "what is full again is forgotten");
    }
}
