//! Any order of ask, answer, land, pause, death, flush and forget, over the real scripts.

use proptest::prelude::*;
use redis::{Commands, Connection, Script, Value};

use crate::support::services::RedisServer;

const SCOPE: &[u8] = b"scope---";
const PERSON: [u8; 32] = *b"person--person--person--person--";

#[derive(Debug, Clone)]
enum Step {
    /// Asks, with a lease that has ended already or lasts.
    Ask {
        replica: usize,
        lasts: bool,
        thinks_dead: bool,
        wants_news: bool,
    },
    /// The provider answers the replica.
    Answer {
        replica: usize,
    },
    Land {
        replica: usize,
        is_kept: bool,
    },
    Forget,
    Flush,
}

#[derive(Debug, Clone, Default)]
struct Flight {
    token: [u8; 24],
    began_ms: i64,
    lasts: bool,
    /// How many times the person had been forgotten.
    forgotten: u32,
    verified_at: Option<u64>,
}

struct World {
    connection: Connection,
    ask: Script,
    land: Script,
    forget: Script,
    flights: [Option<Flight>; 3],
    tokens: u8,
    clock: u64,
    forgotten: u32,
}

fn script(body: &str) -> Script {
    Script::new(&format!("{}{body}", include_str!("../../../src/storage/shared/lua/prelude.lua")))
}

impl World {
    fn ask(&mut self, replica: usize, lasts: bool, thinks_dead: bool, wants_news: bool) {
        self.tokens += 1;
        let mut token = [self.tokens; 24];
        token[0] = u8::try_from(replica).unwrap();
        let holder: Vec<u8> = self.connection.hget(&PERSON, [b"f", SCOPE].concat()).unwrap_or_default();
        let of = holder.get(9..33).unwrap_or_default().to_vec();
        let dead = if thinks_dead { of.clone() } else { Vec::new() };
        let oldest: i64 = if wants_news { 9_000_000_000_000_000 } else { 0 };
        let answer: Vec<Value> = (self.ask.key(&PERSON[..]).arg(SCOPE).arg(&token).arg(if lasts { 60_000 } else { 0 }))
            .arg(oldest)
            .arg(oldest)
            .arg(oldest)
            .arg(dead)
            .arg("")
            .invoke(&mut self.connection)
            .unwrap();
        if let [Value::BulkString(kind), Value::Int(began_ms)] = &*answer {
            assert_eq!(kind, b"M");
            let live = self.flights.iter().flatten().find(|one| one.lasts && one.token[..] == of[..]);
            assert!(live.is_none() || thinks_dead, "a second live lease: {live:?}");
            let flight = Flight { token, began_ms: *began_ms, lasts, forgotten: self.forgotten, verified_at: None };
            self.flights[replica] = Some(flight);
        }
    }

    fn stored(&mut self) -> Option<u64> {
        let value: Option<Vec<u8>> = self.connection.hget(&PERSON, [b"v", SCOPE].concat()).unwrap();
        value.map(|value| u64::from_be_bytes(*value.first_chunk().unwrap()))
    }

    fn land(&mut self, replica: usize, is_kept: bool) {
        let Some(flight) = self.flights[replica].take() else { return };
        let verdict = flight.verified_at.map(|at| [&at.to_be_bytes()[..], b"\x01rest"].concat()).unwrap_or_default();
        let before = self.stored();
        let (landed, _): (u8, Value) =
            (self.land.key(&PERSON[..]).arg(SCOPE).arg(&flight.token).arg(flight.began_ms).arg(verdict))
                .arg(if is_kept { 60_000 } else { 0 })
                .arg("told")
                .arg("bus")
                .invoke(&mut self.connection)
                .unwrap();
        let after = self.stored();
        if flight.forgotten < self.forgotten {
            assert_eq!(before, after, "it stores something about somebody who was forgotten meanwhile");
        }
        if let (Some(before), Some(after)) = (before, after) {
            assert!(after >= before, "an older verdict over a newer one: {before} {after}");
        }
        assert!(landed <= 2);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask { replica, lasts, thinks_dead, wants_news } => self.ask(replica, lasts, thinks_dead, wants_news),
            Step::Answer { replica } => {
                self.clock += 1;
                let clock = self.clock;
                self.flights[replica].iter_mut().for_each(|flight| flight.verified_at = Some(clock));
            }
            Step::Land { replica, is_kept } => self.land(replica, is_kept),
            Step::Forget => {
                let _: Value =
                    self.forget.key(&PERSON[..]).arg(60_000).arg("bus").arg("X").invoke(&mut self.connection).unwrap();
                self.forgotten += 1;
                assert_eq!(self.stored(), None);
            }
            // With the tombstones, which is why a replica also marks its own work.
            Step::Flush => {
                redis::cmd("FLUSHALL").query::<()>(&mut self.connection).unwrap();
                self.flights.iter_mut().flatten().for_each(|flight| flight.forgotten = self.forgotten);
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let replica = 0..3_usize;
    prop_oneof![
        6 => (replica.clone(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(replica, lasts, thinks_dead, wants_news)| Step::Ask { replica, lasts, thinks_dead, wants_news }
        ),
        5 => replica.clone().prop_map(|replica| Step::Answer { replica }),
        5 => (replica, prop::bool::weighted(0.8)).prop_map(|(replica, is_kept)| Step::Land { replica, is_kept }),
        1 => Just(Step::Forget),
        1 => Just(Step::Flush),
    ]
}

#[test]
#[ignore = "needs redis-server"]
fn no_order_of_steps_gives_two_leases_an_older_verdict_or_anything_about_the_forgotten() {
    let redis = RedisServer::start();
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..40))| {
        let mut world = World {
            connection: redis.client().get_connection().unwrap(),
            ask: script(include_str!("../../../src/storage/shared/lua/ask.lua")),
            land: script(include_str!("../../../src/storage/shared/lua/land.lua")),
            forget: script(include_str!("../../../src/storage/shared/lua/forget.lua")),
            flights: Default::default(),
            tokens: 0,
            clock: 0,
            forgotten: 0,
        };
        redis::cmd("FLUSHALL").query::<()>(&mut world.connection).unwrap();
        steps.iter().for_each(|step| world.step(step));
    });
}
