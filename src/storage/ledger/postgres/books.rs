//! Books: the entries of one replica in one month, each with a hash chain of its own. One chain for all replicas would
//! make them wait for each other, or fork.
//!
//! The month is that of the id (UTC), so an entry that comes late goes into its own month, and a book lies in one
//! partition. The first seal of a book covers the last entry that the replica had written when it opened the book.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::chain_hash::Seal;
#[cfg(test)]
use super::super::id_times::first_id;

/// A month: the year times twelve, and the months before it in that year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Book(pub(super) i32);

/// The last entry of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) book: Book,
    pub(super) seq: i64,
    pub(super) seal: Seal,
}

impl Book {
    /// `None` if the id does not begin with its time.
    pub(super) fn of(id: Uuid) -> Option<Self> {
        if id.get_version_num() != 7 {
            return None;
        }
        let (seconds, _) = id.get_timestamp()?.to_unix();
        let at = jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        Some(Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1))
    }

    #[cfg(test)]
    fn at(ms: i64) -> Option<Self> {
        Self::of(first_id(ms))
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// `202611`, the name of the month.
    pub(super) fn name(self) -> i32 {
        self.0.div_euclid(12) * 100 + self.0.rem_euclid(12) + 1
    }

    pub(super) fn from_name(name: i32) -> Option<Self> {
        let month = name.rem_euclid(100);
        (1..=12).contains(&month).then(|| Self(name.div_euclid(100) * 12 + month - 1))
    }

    /// The first moment of the month, in milliseconds since 1970.
    pub(super) fn start_ms(self) -> i64 {
        let year = i16::try_from(self.0.div_euclid(12)).unwrap_or(1970);
        let month = i8::try_from(self.0.rem_euclid(12) + 1).unwrap_or(1);
        let start = jiff::civil::Date::new(year, month, 1).and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC));
        start.map_or(0, |start| start.timestamp().as_millisecond())
    }

    /// The seal before the first entry of this book of `replica`, which had written up to `after` when it opened it.
    pub(super) fn genesis(self, replica: &str, after: Option<&Head>) -> Seal {
        let mut hash = Sha256::new_with_prefix("idgate/book/v1");
        hash.update((replica.len() as u64).to_be_bytes());
        hash.update(replica);
        hash.update(self.name().to_be_bytes());
        if let Some(Head { book, seq, seal }) = after {
            hash.update(book.name().to_be_bytes());
            hash.update(seq.to_be_bytes());
            hash.update(seal.0);
        }
        Seal(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_is_the_month_of_the_id() {
        let november = 1_764_288_000_000;
        let book = Book::at(november).unwrap();
        assert_eq!((book.name(), book.next().name(), book.next().next().name()), (202_511, 202_512, 202_601));
        assert_eq!(Book::from_name(202_511), Some(book));
        assert_eq!(Book::from_name(202_513), None);
        assert_eq!(Book::at(book.start_ms()), Some(book));
        assert_eq!(Book::at(book.start_ms() - 1).unwrap().next(), book);
        assert_eq!(Book::of(Uuid::nil()), None);
        assert!(first_id(november) < first_id(november + 1));
    }

    #[test]
    fn the_first_seal_says_whose_book_it_is_and_what_came_before() {
        let book = Book(24_000);
        let head = Head { book, seq: 7, seal: Seal::NONE };
        let all = [
            book.genesis("a", None),
            book.genesis("b", None),
            book.next().genesis("a", None),
            book.next().genesis("a", Some(&head)),
            book.next().genesis("a", Some(&Head { seq: 8, ..head })),
        ];
        let different: std::collections::HashSet<_> = all.iter().map(|seal| seal.0).collect();
        assert_eq!(different.len(), all.len());
    }
}
