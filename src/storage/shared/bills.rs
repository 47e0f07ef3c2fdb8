//! The last bill about each person, whichever replica paid it.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::open::Shared;
use super::patience::millis;
use super::script::Command;
use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;

/// A bill as it lies in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    pub provider: Arc<str>,
    pub verification: Uuid,
    pub verdict: Option<Verdict>,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Within it nobody should have to pay again.
    pub window: Duration,
}

impl Shared {
    /// Puts the bill in place of the last one about `person`, for as long as it counts; nobody waits for it. If another
    /// replica paid that one, `then` gets it. While Redis is away each replica compares its own.
    pub fn bill(&self, person: Digest, bill: &Bill, keep: Duration, then: impl FnOnce(Bill) + Send + 'static) {
        let Some(open) = &self.0 else { return };
        let ours = open.incarnation;
        let mut cmd = Command::Bill.on(&open.key_of(&person));
        cmd.arg(write(bill, ours)).arg(millis(keep).max(1));
        open.link.behind_then(Command::Bill, cmd, move |answer| {
            let Some(Value::BulkString(before)) = answer else { return };
            if let Some((by, before)) = read(&before)
                && by != ours
            {
                then(before);
            }
        });
    }
}

/// `at`₈ window₈ verification₁₆ incarnation₈ verdict₁ provider.
fn write(bill: &Bill, by: [u8; 8]) -> Vec<u8> {
    let verdict = bill.verdict.map_or(0, |verdict| verdict as u8 + 1);
    let (at, window) = (bill.at_ms.to_be_bytes(), millis(bill.window).to_be_bytes());
    [&at[..], &window, bill.verification.as_bytes(), &by, &[verdict], bill.provider.as_bytes()].concat()
}

fn read(bytes: &[u8]) -> Option<([u8; 8], Bill)> {
    let (at, rest) = bytes.split_first_chunk::<8>()?;
    let (window, rest) = rest.split_first_chunk::<8>()?;
    let (verification, rest) = rest.split_first_chunk::<16>()?;
    let (by, rest) = rest.split_first_chunk::<8>()?;
    let (verdict, provider) = rest.split_first()?;
    let bill = Bill {
        provider: Arc::from(str::from_utf8(provider).ok()?),
        verification: Uuid::from_bytes(*verification),
        verdict: Verdict::ALL.into_iter().find(|one| *one as u8 + 1 == *verdict),
        at_ms: i64::from_be_bytes(*at),
        window: Duration::from_millis(u64::from_be_bytes(*window)),
    };
    Some((*by, bill))
}
