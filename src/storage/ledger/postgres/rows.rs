//! Reads the columns of rows.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::super::chain_hash::Seal;
use super::super::entry::Entry;
use super::books::{Book, Head};

/// How many digits of a person's digest are kept in a column, to find entries by.
pub(super) const SUBJECT_DIGITS: usize = 16;

/// The columns `book`, `seq` and `seal`.
pub(super) fn head(row: &PgRow) -> Result<Head, sqlx::Error> {
    let wrong = |what: &str| sqlx::Error::Decode(what.into());
    let book = Book::from_name(row.try_get("book")?).ok_or_else(|| wrong("a book is no month"))?;
    Ok(Head { book, seq: row.try_get("seq")?, seal: seal(row, "seal")? })
}

pub(super) fn seal(row: &PgRow, column: &str) -> Result<Seal, sqlx::Error> {
    let seal: Vec<u8> = row.try_get(column)?;
    Ok(Seal(seal.try_into().map_err(|_| sqlx::Error::Decode("a seal is not 32 bytes long".into()))?))
}

/// The row of a statement that has one.
pub(super) fn only(mut rows: Vec<PgRow>) -> Result<PgRow, sqlx::Error> {
    rows.pop().ok_or(sqlx::Error::RowNotFound)
}

pub(super) fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    serde_json::from_str(row.try_get("body")?).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
