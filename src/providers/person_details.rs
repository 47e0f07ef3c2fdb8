//! What an ID number says about its holder.

use std::fmt;

use jiff::civil::Date;

use crate::domain::id_number::Sex;
use crate::domain::region::Region;

/// What an ID number says about its holder, for protocols that return it with a verdict. What is absent is left out of
/// the answer.
#[derive(Clone, Default)]
pub struct PersonDetails {
    /// The day of birth.
    pub birth_date: Option<Date>,
    /// The sex.
    pub sex: Option<Sex>,
    /// Completed years.
    pub age: Option<u16>,
    /// Where the number was first registered.
    pub region: Option<Region>,
}

impl PersonDetails {
    /// What follows from the number without a table of regions and without a clock.
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
