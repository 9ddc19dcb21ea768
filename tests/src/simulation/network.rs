//! What the network does to what is sent.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use rand::Rng;
use rand::rngs::StdRng;

/// How often the same datagram is lost at most. With eleven copies of a 2xx and four hops to its ACK no call dies of bad luck alone.
const LOSSES: u8 = 2;

/// The network of one run. Times are in microseconds.
#[derive(Debug)]
pub(crate) struct Network {
    /// The share of datagrams that is lost.
    loss: f64,
    /// The share that comes twice.
    doubling: f64,
    /// The longest delay; what is delayed differently is reordered.
    delay: u64,
    /// The share of packets on a connection at which it breaks.
    breaking: f64,
    /// On a connection nothing overtakes: the last arrival by direction and agent.
    last_arrival: BTreeMap<(bool, SocketAddr), u64>,
    losses: BTreeMap<u64, u8>,
}

impl Network {
    pub(crate) fn draw(random: &mut StdRng) -> Network {
        let calm = random.random_bool(0.3);
        let share = |random: &mut StdRng, most: f64| {
            if calm {
                0.0
            } else {
                random.random_range(0.0..most)
            }
        };
        Network {
            loss: share(random, 0.15),
            doubling: share(random, 0.1),
            delay: if calm {
                1_000
            } else {
                random.random_range(1_000..400_000)
            },
            breaking: if random.random_bool(0.2) { 0.02 } else { 0.0 },
            last_arrival: BTreeMap::new(),
            losses: BTreeMap::new(),
        }
    }

    /// Whether the connection breaks under this packet.
    pub(crate) fn breaks(&self, random: &mut StdRng) -> bool {
        self.breaking > 0.0 && random.random_bool(self.breaking)
    }

    /// When a packet on a connection arrives.
    pub(crate) fn on_connection(
        &mut self,
        now: u64,
        outward: bool,
        agent: SocketAddr,
        random: &mut StdRng,
    ) -> u64 {
        let delay = self.delay(random);
        let last = self.last_arrival.entry((outward, agent)).or_default();
        *last = (now + delay).max(*last + 1);
        *last
    }

    /// After how long the copies of a datagram arrive.
    pub(crate) fn on_datagram(&mut self, bytes: &[u8], random: &mut StdRng) -> Vec<u64> {
        let mut delays = Vec::new();
        if random.random_bool(self.doubling) {
            delays.push(self.delay(random));
        }
        if !self.loses(bytes, random) {
            delays.push(self.delay(random));
        }
        delays
    }

    fn loses(&mut self, bytes: &[u8], random: &mut StdRng) -> bool {
        if !random.random_bool(self.loss) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let lost = self.losses.entry(hasher.finish()).or_default();
        *lost += 1;
        *lost <= LOSSES
    }

    fn delay(&self, random: &mut StdRng) -> u64 {
        random.random_range(100..=self.delay.max(101))
    }
}
