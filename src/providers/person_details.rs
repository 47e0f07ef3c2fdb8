use std::fmt;

use jiff::civil::Date;

use crate::domain::id_number::Sex;
use crate::domain::region::Region;

/// Details about a person derived from the ID number, for protocols that return them with a verdict. Missing details
/// are omitted from the response.
#[derive(Clone, Default)]
pub struct PersonDetails {
    pub birth_date: Option<Date>,
    pub sex: Option<Sex>,
    /// Age in completed years.
    pub age: Option<u16>,
    /// The place of first registration.
    pub region: Option<Region>,
}

impl PersonDetails {
    /// The details that need neither a table of regions nor a clock.
    pub fn of_number(number: &str) -> Self {
        let sequence = number.get(16..17).and_then(|digit| digit.parse::<u8>().ok());
        let sex = sequence.map(|sequence| if sequence % 2 == 1 { Sex::Male } else { Sex::Female });
        let birth_date = number.get(6..14).and_then(|digits| Date::strptime("%Y%m%d", digits).ok());
        Self { birth_date, sex, ..Self::default() }
    }
}

impl fmt::Debug for PersonDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonDetails(…)")
    }
}
