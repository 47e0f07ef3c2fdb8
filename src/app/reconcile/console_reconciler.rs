//! The comparison for the console: an upload in memory, the ledger of this process, and a bound on both.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::tz::{self, Offset};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::calls::Calls;
use super::compare::{Export, Most, TOO_LARGE, check_provider};
use super::usage::Form;
use crate::domain::subject::DigestKey;
use crate::server::console::{Reconcile, Reconciled};
use crate::storage::ledger::postgres::Record;
use crate::storage::ledger::{Config, Reader};

/// How many calls are compared for a page, about 250 bytes each in memory.
const MOST_CALLS: u64 = 500_000;

/// How long the ledger may take, whoever still waits.
const LONGEST: Duration = Duration::from_secs(60);

const MOST: Most = Most { rows: 200_000, pairs: 2_000_000 };

/// As the default of `idgate reconcile --tolerance`.
const TOLERANCE_MS: i64 = 5_000;

/// The zone of times without an offset: the providers are in China.
const ZONE: Offset = tz::offset(8);

/// Compares uploads with the ledger of this process.
#[derive(Debug, Clone)]
pub(in crate::app) struct ConsoleReconciler {
    pub(in crate::app) ledger: Config,
    pub(in crate::app) key: DigestKey,
}

impl Reconcile for ConsoleReconciler {
    fn reconcile(
        &self,
        provider: String,
        export: Bytes,
        place: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, Result<Reconciled, String>> {
        let this = self.clone();
        // Parsing and matching take seconds of a processor.
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            Handle::current().block_on(async {
                // Whoever waited is told sooner; this gives the place back.
                let compared = timeout(LONGEST, this.compared(&provider, &export)).await;
                compared.unwrap_or_else(|_| Err(anyhow::anyhow!("the ledger took too long")))
            })
        });
        let failed = "The comparison failed; the log says more.";
        done.map(|done| done.map_err(|_| failed.to_owned()).and_then(|done| done.map_err(in_words))).boxed()
    }
}

impl ConsoleReconciler {
    async fn compared(&self, provider: &str, export: &[u8]) -> anyhow::Result<Reconciled> {
        let form = Form { id_column: None, time_column: None, zone: ZONE };
        let export = Export::read(export, &form, TOLERANCE_MS, (None, None), |_| {})?;
        let calls = match (&self.ledger.postgres, &self.ledger.file) {
            (Some(postgres), _) => Calls::Common(Record::open(postgres).await?),
            (None, Some(file)) => Calls::Own(Box::new(Reader::open(file).await?)),
            (None, None) => anyhow::bail!("this gateway keeps no ledger"),
        };
        check_provider(&calls, provider).await?;
        anyhow::ensure!(calls.count(provider, export.period()).await? <= MOST_CALLS, TOO_LARGE);
        Ok(export.compare(provider, &calls, Some(&self.key), MOST, || {}).await?.for_console())
    }
}

/// The error as a sentence.
fn in_words(error: anyhow::Error) -> String {
    format!("The export was not compared. {error:#}.")
}
