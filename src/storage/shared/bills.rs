//! The last bill about each person, whichever replica paid it.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::open::Shared;
use super::patience::{Away, Patience, millis};
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
    /// Puts the bill in place of the last one about `person`, for as long as it counts. Returns that one if another
    /// replica paid it.
    ///
    /// # Errors
    /// Redis is away: each replica compares its own.
    pub async fn bill(&self, person: Digest, bill: &Bill, keep: Duration) -> Result<Option<Bill>, Away> {
        let open = self.0.as_ref().ok_or(Away)?;
        let mut cmd = Command::Bill.on(&open.key_of(&person));
        cmd.arg(write(bill, open.incarnation)).arg(millis(keep).max(1));
        let patience = Patience::of(open.config.patience);
        let before: Option<Vec<u8>> =
            open.link.send(Command::Bill, &patience, async move |mut to| cmd.query_async(&mut to).await).await?;
        let before = before.as_deref().and_then(read);
        Ok(before.filter(|(by, _)| *by != open.incarnation).map(|(_, bill)| bill))
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
