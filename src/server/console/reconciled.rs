//! What the comparison of a provider's bill with the ledger says, and who makes it: the console is handed that.

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;

/// What a comparison found.
#[derive(Debug)]
pub struct Reconciled {
    /// The time that the export covers (RFC 3339).
    pub period: (String, String),
    pub balances: bool,
    /// Whether all amounts in the export are zero, so that none were compared.
    pub has_no_prices: bool,
    /// What is counted, how many, and how much in millionths of a yuan.
    pub sums: Vec<(String, u64, i64)>,
    pub differences: Vec<Difference>,
}

/// A row or a call that differs between the two sides.
#[derive(Debug)]
pub struct Difference {
    pub class: &'static str,
    pub reason: String,
    /// The row's line in the export.
    pub line: Option<u64>,
    /// The time of the row, or the end of the call (RFC 3339).
    pub at: String,
    pub call: Option<String>,
    pub provider_request_id: Option<String>,
    /// In millionths of a yuan.
    pub there: Option<i64>,
    pub here: Option<i64>,
}

/// Compares exports with the ledger.
pub trait Reconcile: Debug + Send + Sync {
    /// Compares `export` with the calls to `provider`. It goes on if nobody waits for it any more, and keeps its `place`.
    ///
    /// # Errors
    /// A sentence for the operator, without anything that the export says.
    fn reconcile(
        &self,
        provider: String,
        export: Bytes,
        place: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, Result<Reconciled, String>>;
}
