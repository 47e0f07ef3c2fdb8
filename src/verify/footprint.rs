//! What stays in memory about a person. Tested here, because the tables of several files take part.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::date;
use tokio::time::Instant;
use uuid::Uuid;

use super::billing::{Bill, Bills};
use super::enumeration::{self, Tries};
use super::holds::{self, Holds};
use crate::domain::clock::{Moment, Monotonic};
use crate::domain::id_number::{Calendar, IdNumber};
use crate::domain::name::Name;
use crate::domain::subject::{DigestKey, PairRules, Subject};
use crate::domain::verdict::{RequestId, Verdict};
use crate::storage::{Cache, CacheKey, Config, Remembered, Scope, Sharing};

const PEOPLE: u32 = 30_000;
const DAY: Duration = Duration::from_hours(24);

fn subject(n: u32) -> Subject {
    let digits = format!(
        "{}{}{:02}{:02}{:03}",
        110_101 + n / 600_000,
        1950 + n % 50,
        1 + n / 50 % 12,
        1 + n / 600 % 28,
        n / 16_800 % 1000
    );
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: usize = digits.bytes().zip(weights).map(|(digit, weight)| usize::from(digit - b'0') * weight).sum();
    let text = format!("{digits}{}", char::from(b"10X98765432"[sum % 11]));
    let number = IdNumber::parse(&text, date(2026, 11, 28), Calendar::Strict).unwrap();
    Subject::new(Name::parse("张三").unwrap(), number, PairRules::default()).unwrap()
}

/// Fails when an entry grows. config/default.toml and docs/operations.md name these figures.
#[test]
fn a_person_takes_at_most_300_bytes_of_memory() {
    let key = DigestKey::new([7; 32]);
    let cache = Cache::memory(Config {
        match_ttl: DAY,
        mismatch_ttl: DAY,
        no_record_ttl: DAY,
        unknown_ttl: DAY,
        max_entries: u64::MAX,
        sharing: Sharing::Shared,
    });
    let guard = enumeration::Config { names_per_number: 5, numbers_per_client: 100_000, window: DAY };
    let holds = Holds::new(holds::Config { first: DAY, longest: DAY, calls: 5, window: DAY });
    let (tries, bills, provider, now) = (Tries::default(), Bills::default(), Arc::from("p"), Instant::now());
    for n in 0..PEOPLE {
        let subject = subject(n);
        let person = key.person(&subject);
        assert!(tries.admit(&guard, &key, "client", &subject, now).is_ok());
        assert!(holds.record_call(person, now).is_ok());
        let verification = Uuid::from_u128(u128::from(n));
        bills.put(person, Bill::new(&provider, verification, Some(Verdict::Match), DAY));
        let verdict = Remembered {
            verdict: Verdict::Match,
            provider: Arc::clone(&provider),
            request_id: RequestId::parse(&verification.to_string()),
            verified_at: Moment { at: Timestamp::UNIX_EPOCH, monotonic: Monotonic(0) },
        };
        cache.put(&CacheKey { person, scope: Scope::DEFAULT }, verdict);
    }
    assert_eq!(cache.entries(Monotonic(0)), PEOPLE as usize, "all are different people");
    let each = |bytes: usize| bytes / PEOPLE as usize;
    let (names, numbers) = tries.bytes();
    let table = [cache.bytes(), names, numbers, holds.bytes(), bills.bytes()].map(each);
    // The verdict, the name tried, the number asked about, the call and the bill: up to 2 bytes are chunks in use.
    for (bytes, expected) in table.into_iter().zip([76, 40, 36, 40, 64]) {
        assert!((expected..=expected + 3).contains(&bytes), "{table:?}");
    }
    assert!(table.iter().sum::<usize>() <= 300, "{table:?}");
    // Holds after a refusal are rare.
    let before = holds.bytes();
    for n in 0..PEOPLE {
        holds.hold(key.person(&subject(n)), now);
    }
    let held = each(holds.bytes() - before);
    assert!((48..=50).contains(&held), "{held} bytes");
}
