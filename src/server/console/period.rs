//! The day or the month in China that an address names.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::domain::clock::start_in_china;

const BAD_DAY: &str = "The parameter day is not a date. It looks like day=2026-11-22.";
const BAD_MONTH: &str = "The parameter month is not a month. It looks like month=2026-11.";

/// The day or the month in China that an address names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Period {
    /// `day` or `month`.
    pub(super) kind: &'static str,
    /// As in the address.
    pub(super) name: String,
    pub(super) from: Timestamp,
    /// The start of the next one.
    pub(super) until: Timestamp,
    /// Whether it is wanted as a file.
    pub(super) is_for_file: bool,
}

impl Period {
    /// Reads the query of an address; `None` if it names no period.
    ///
    /// # Errors
    /// What is wrong, by the name of the parameter: its value may be anything.
    pub(super) fn of(query: Option<&str>) -> Result<Option<Self>, &'static str> {
        let (mut found, mut is_for_file) = (None, false);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let period = match &*name {
                "day" => Self::day(&value).ok_or(BAD_DAY)?,
                "month" => Self::month(&value).ok_or(BAD_MONTH)?,
                "as" if value == "csv" => {
                    is_for_file = true;
                    continue;
                }
                "as" => return Err("The parameter as is not known. It may be as=csv."),
                _ => continue,
            };
            if found.replace(period).is_some() {
                return Err("Only one of the parameters day and month can be given, and once.");
            }
        }
        Ok(found.map(|period| Self { is_for_file, ..period }))
    }

    fn day(text: &str) -> Option<Self> {
        let day: Date = text.parse().ok()?;
        let is_usual = day.to_string() == text;
        Self::new("day", text, day, day.tomorrow().ok()?).filter(|_| is_usual)
    }

    fn month(text: &str) -> Option<Self> {
        let first: Date = format!("{text}-01").parse().ok()?;
        let is_usual = first.strftime("%Y-%m").to_string() == text;
        Self::new("month", text, first, first.last_of_month().tomorrow().ok()?).filter(|_| is_usual)
    }

    fn new(kind: &'static str, name: &str, first: Date, next: Date) -> Option<Self> {
        let (from, until) = (start_in_china(first)?, start_in_china(next)?);
        Some(Self { kind, name: name.to_owned(), from, until, is_for_file: false })
    }

    /// The address of the same as a file.
    pub(super) fn file_address(&self) -> String {
        format!("/console/money?{}={}&as=csv", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_are_those_of_china() {
        let read = |query: &str| {
            let period = Period::of(Some(query)).unwrap().unwrap();
            (period.kind, format!("{} {}", period.from, period.until), period.is_for_file)
        };
        assert_eq!(read("day=2026-11-30"), ("day", "2026-11-29T16:00:00Z 2026-11-30T16:00:00Z".to_owned(), false));
        let november = "2026-10-31T16:00:00Z 2026-11-30T16:00:00Z".to_owned();
        assert_eq!(read("as=csv&month=2026-11"), ("month", november, true));
        for none in [None, Some(""), Some("other=1"), Some("as=csv")] {
            assert_eq!(Period::of(none), Ok(None));
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_not_repeated() {
        let number = "11010519491231002X";
        for (name, bad) in [
            ("day", vec!["", number, "2026-11-31", "20261122", "2026-11", "2026-11-22T00:00"]),
            ("month", vec!["", number, "2026-13", "202611", "2026-11-22", "2026", "11"]),
            ("as", vec!["", number, "CSV"]),
        ] {
            for bad in bad {
                let why = Period::of(Some(&format!("{name}={bad}"))).unwrap_err();
                assert!(why.contains(&format!("parameter {name} ")) && !why.contains(number), "{name}={bad}: {why}");
            }
        }
        for twice in ["day=2026-11-22&month=2026-11", "day=2026-11-22&day=2026-11-22", "day=9999-12-31"] {
            assert!(Period::of(Some(twice)).is_err(), "{twice}");
        }
    }
}
