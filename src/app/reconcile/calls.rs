//! The calls of a ledger, whichever engine keeps it.

use crate::storage::ledger::postgres::Record;
use crate::storage::ledger::{Call, ReadError, Reader};

/// The calls of a ledger.
#[derive(Debug)]
pub(in crate::app) enum Calls {
    Own(Box<Reader>),
    Common(Record),
}

impl Calls {
    pub(in crate::app) async fn providers(&self) -> Result<Vec<String>, ReadError> {
        match self {
            Self::Own(reader) => reader.providers().await,
            Self::Common(record) => record.providers().await,
        }
    }

    pub(in crate::app) async fn count(
        &self,
        provider: &str,
        (from_ms, until_ms): (i64, i64),
    ) -> Result<u64, ReadError> {
        match self {
            Self::Own(reader) => reader.count_calls(provider, from_ms, until_ms).await,
            Self::Common(record) => record.count_calls(provider, from_ms, until_ms).await,
        }
    }

    /// Those to a provider that ended in this period, in the order in which they ended.
    pub(in crate::app) async fn each(
        &self,
        provider: &str,
        (from_ms, until_ms): (i64, i64),
        each: impl FnMut(Call),
    ) -> Result<(), ReadError> {
        match self {
            Self::Own(reader) => reader.each_call(provider, from_ms, until_ms, each).await,
            Self::Common(record) => record.each_call(provider, (from_ms, until_ms), each).await,
        }
    }
}
