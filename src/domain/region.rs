//! Region of first registration: maps a code and a year to province, city and county.
//!
//! Invariant: this only describes a number. An unknown or abolished code, or one outside its years, gets a
//! [`RegionStatus`] and is never a reason to refuse the number. The table is compiled into the binary. It can be
//! replaced by a file with the same columns, without a release, and is updated by hand once a year (`data/README.md`).

use std::fmt;

use crate::domain::id_number::{IdNumber, Kind};

#[cfg(test)]
mod tests;

/// The table of administrative divisions and their history.
pub struct Regions {
    /// Sorted by code, then by year.
    rows: Vec<Row>,
    /// All names concatenated; a name repeated in consecutive rows is stored once.
    names: String,
}

/// The region where a number was first registered, with the names of that time. Neither birthplace nor residence.
#[derive(Clone, PartialEq, Eq)]
pub struct Region {
    /// Six digits; `None` for the 2017 card for foreigners.
    pub code: Option<String>,
    /// Province, municipality or autonomous region.
    pub province: Option<String>,
    /// Prefecture level; `None` for counties directly under a province.
    pub city: Option<String>,
    /// County or district.
    pub county: Option<String>,
    /// How much of the code the table covers.
    pub status: RegionStatus,
}

/// How much the table knows about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RegionStatus {
    /// The code itself is listed.
    Exact,
    /// Only levels above it are listed: the province, the city or both.
    Partial,
    Unknown,
}

/// An error in a table, with its line in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RegionError {
    /// Counted from 1, which is the header.
    pub line: u64,
    pub problem: &'static str,
}

/// ID numbers were first issued in this year, so earlier meanings of a code never apply.
const FIRST_ISSUED: i16 = 1984;
/// The columns read, by their names in the header.
const COLUMNS: [&str; 6] = ["code", "from_year", "until_year", "province", "city", "county"];

/// The meaning of a code during a span of years.
struct Row {
    code: u32,
    /// The first year in force, and the first year no longer in force.
    years: (i16, i16),
    /// Province, city, county.
    units: [Span; 3],
}

/// The position of a name in [`Regions::names`].
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl RegionStatus {
    /// The name used in the API and the test vectors.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Regions {
    /// The table compiled into the binary.
    pub fn embedded() -> Result<Self, RegionError> {
        Self::parse(include_str!("data/regions.csv"))
    }

    /// Parses a file with the columns described in `data/README.md`. The first error rejects the whole file.
    pub fn parse(csv: &str) -> Result<Self, RegionError> {
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let header = reader.headers().map_err(|_| RegionError { line: 1, problem: "the header is unreadable" })?;
        let mut columns = [0; COLUMNS.len()];
        for (column, name) in columns.iter_mut().zip(COLUMNS) {
            *column = header.iter().position(|title| title == name).ok_or(RegionError {
                line: 1,
                problem: "a column is missing: code, from_year, until_year, province, city and county are needed",
            })?;
        }
        let mut regions = Self { rows: Vec::new(), names: String::new() };
        let mut record = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return Err(RegionError { line, problem: "the row has not as many fields as the header" }),
            }
            let fields = columns.map(|column| record.get(column).unwrap_or_default());
            regions.push(fields).map_err(|problem| RegionError { line, problem })?;
        }
        if regions.rows.is_empty() {
            return Err(RegionError { line: 1, problem: "there are no rows below the header" });
        }
        regions.rows.sort_by_key(|row| (row.code, row.years));
        regions.rows.shrink_to_fit();
        regions.names.shrink_to_fit();
        Ok(regions)
    }

    /// The region where `number` was first registered, by its code and year of birth.
    pub fn of(&self, number: &IdNumber) -> Region {
        let code = number.region_code();
        let year = number.birth_year().unwrap_or_default().max(FIRST_ISSUED);
        let units_of = |code: Option<u32>| code.and_then(|code| self.row(code, year)).map(|row| row.units);
        let digits = code.and_then(|code| code.parse().ok());
        // A foreigner's number only tells the province.
        let exact = if number.kind() == Kind::ForeignerPr { None } else { units_of(digits) };
        let (units, status) = match exact {
            Some(units) => (units, RegionStatus::Exact),
            None => {
                let province = units_of(digits.map(|code| code / 10_000 * 10_000)).map(|[province, ..]| province);
                let city = units_of(digits.map(|code| code / 100 * 100)).map(|[_, city, _]| city);
                let found = province.is_some() || city.is_some();
                let units = [province.unwrap_or_default(), city.unwrap_or_default(), Span::default()];
                (units, if found { RegionStatus::Partial } else { RegionStatus::Unknown })
            }
        };
        let [province, city, county] = units.map(|unit| self.name(unit));
        Region { code: code.map(str::to_owned), province, city, county, status }
    }

    /// The meaning of `code` in `year`: the row whose years contain it, otherwise the nearest row, the later one on a
    /// tie.
    fn row(&self, code: u32, year: i16) -> Option<&Row> {
        let start = self.rows.partition_point(|row| row.code < code);
        let rows = self.rows.iter().skip(start).take_while(|row| row.code == code);
        rows.min_by_key(|row| (row.years_from(year), std::cmp::Reverse(row.years)))
    }

    fn name(&self, unit: Span) -> Option<String> {
        let name = self.names.get(unit.start as usize..unit.end as usize)?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn push(&mut self, [code, from, until, units @ ..]: [&str; COLUMNS.len()]) -> Result<(), &'static str> {
        if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_digit()) {
            return Err("the code is not six digits");
        }
        let code = code.parse().map_err(|_| "the code is not six digits")?;
        let year = |text: &str, open: i16| match text {
            "" => Ok(open),
            _ => text.parse().ok().filter(|year| (1000..=9999).contains(year)).ok_or("a year is not four digits"),
        };
        let years = (year(from, i16::MIN)?, year(until, i16::MAX)?);
        if years.0 >= years.1 {
            return Err("until_year is not after from_year");
        }
        // Neighbouring rows share the province and mostly the city. Reusing their names keeps the table small.
        let above = self.rows.last().map(|row| row.units).unwrap_or_default();
        let mut spans = above;
        for (span, name) in spans.iter_mut().zip(units) {
            if self.names.get(span.start as usize..span.end as usize) != Some(name) {
                let start = self.names.len();
                self.names.push_str(name);
                let offset = |at: usize| u32::try_from(at).map_err(|_| "the file is too big");
                *span = Span { start: offset(start)?, end: offset(self.names.len())? };
            }
        }
        self.rows.push(Row { code, years, units: spans });
        Ok(())
    }
}

impl Row {
    /// How many years `year` is outside the row's years; 0 if inside.
    fn years_from(&self, year: i16) -> i16 {
        let (from, until) = self.years;
        if year < from {
            from - year
        } else if year >= until {
            year - until + 1
        } else {
            0
        }
    }
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Regions").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

/// Shows only the status, because anything more specific about a person does not belong in logs.
impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("status", &self.status).finish_non_exhaustive()
    }
}
