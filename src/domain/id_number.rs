//! ID numbers, parsed and checked as far as arithmetic allows.
//!
//! Invariant: an [`IdNumber`] holds its normal form, which parses to itself; it is what we send to providers and use in
//! keys. A number is valid unless it is provably wrong: an unknown region is no reason to refuse one, because real
//! people hold such numbers. Parsing is on the hot path: one pass, no allocation. To add a rule, put it into
//! [`IdNumber::parse`] and add rows to `tests/fixtures/data/id_numbers.csv`. The order matters: the first rule that
//! fails determines the reason.

use std::fmt;

use jiff::civil::Date;
use zeroize::Zeroizing;

use crate::domain::script;

#[cfg(test)]
mod tests;

/// The kind of document a number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// Second-generation resident ID card.
    Resident,
    /// First-generation number of 15 digits, converted to 18.
    #[strum(serialize = "resident_15")]
    Resident15,
    /// Residence permit of Hong Kong, Macao or Taiwan residents (81, 82, 83).
    HmtResidence,
    /// Foreign permanent residence card of 2023 (leading 9).
    ForeignerPr,
    /// The 2017 card for foreigners: three letters and twelve digits.
    #[strum(serialize = "foreigner_pr_2017")]
    ForeignerPr2017,
}

/// How to treat a birth date that does not exist in the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Calendar {
    /// Refuse it, as the standard requires.
    #[default]
    Strict,
    /// Assume a clerical error in the registry: accept the number without a birth date.
    Lenient,
}

/// The sex encoded in the 17th digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Sex {
    /// The 17th digit is odd.
    Male,
    /// The 17th digit is even.
    Female,
}

/// Why a text is not a valid ID number. Never contains the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.detail())]
pub enum InvalidIdNumber {
    /// Nothing but white space and invisible characters.
    Empty,
    /// An asterisk: a masked value.
    Masked,
    /// Anything but digits, and an `X` in the last place.
    BadCharacter,
    /// Neither 15 nor 18 characters.
    BadLength,
    /// The first digit is 0; no region code starts with it.
    BadRegion,
    /// Digits 7 to 14 are not a date.
    BadBirthDate,
    /// Born before 1850.
    BirthDateTooEarly,
    /// Born after today.
    BirthDateFuture,
    /// The check character does not match the digits.
    BadChecksum,
}

/// A valid ID number in its normal form; wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct IdNumber {
    text: Zeroizing<[u8; LENGTH]>,
    region: Zeroizing<[u8; 6]>,
    kind: Kind,
}

/// Length of second-generation numbers.
const LENGTH: usize = 18;
/// Length of first-generation numbers and of the 2017 card.
const OLD_LENGTH: usize = 15;
/// The oldest people on record were born in the 1880s, so this leaves a margin.
const EARLIEST_YEAR: i16 = 1850;
/// ISO 7064 MOD 11-2: the weights of the first 17 digits, and the check character for each remainder.
const WEIGHTS: [u32; LENGTH - 1] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECK: [u8; 11] = *b"10X98765432";

impl Kind {
    pub const ALL: &'static [Kind] = <Self as strum::VariantArray>::VARIANTS;

    /// The name used in the API, the configuration and the test vectors.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Sex {
    /// The name used in the API.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl InvalidIdNumber {
    /// The name used in the API and the test vectors.
    pub const fn reason(self) -> &'static str {
        match self {
            InvalidIdNumber::Empty => "empty",
            InvalidIdNumber::Masked => "masked",
            InvalidIdNumber::BadCharacter => "bad_character",
            InvalidIdNumber::BadLength => "bad_length",
            InvalidIdNumber::BadRegion => "bad_region",
            InvalidIdNumber::BadBirthDate => "bad_birth_date",
            InvalidIdNumber::BirthDateTooEarly => "birth_date_too_early",
            InvalidIdNumber::BirthDateFuture => "birth_date_future",
            InvalidIdNumber::BadChecksum => "bad_checksum",
        }
    }

    /// One sentence that tells the user what to do.
    pub const fn detail(self) -> &'static str {
        match self {
            InvalidIdNumber::Empty => "Give the ID number.",
            InvalidIdNumber::Masked => "Give the whole ID number, without asterisks in place of digits.",
            InvalidIdNumber::BadCharacter => {
                "Give digits only; the last of 18 characters may be the letter X. Leave out hyphens and other signs."
            }
            InvalidIdNumber::BadLength => "Give all 18 characters of the number (15 for a first-generation card).",
            InvalidIdNumber::BadRegion => "Check the first digit of the number: no ID number begins with 0.",
            InvalidIdNumber::BadBirthDate => "Check digits 7 to 14 of the number: they are not a date of the calendar.",
            InvalidIdNumber::BirthDateTooEarly => "Check digits 7 to 14 of the number: the birth date is before 1850.",
            InvalidIdNumber::BirthDateFuture => "Check digits 7 to 14 of the number: the birth date is in the future.",
            InvalidIdNumber::BadChecksum => {
                "Compare the number with the card: one or more digits are wrong, as its check character does not fit."
            }
        }
    }
}

impl IdNumber {
    /// Normalises `input` and validates it. The first rule that fails gives the error. `today` is the date in China
    /// ([`today_in_china`](crate::domain::clock::Clock::today_in_china)).
    pub fn parse(input: &str, today: Date, calendar: Calendar) -> Result<Self, InvalidIdNumber> {
        let typed = Typed::read(input);
        if typed.count == 0 {
            return Err(InvalidIdNumber::Empty);
        }
        if typed.masked {
            return Err(InvalidIdNumber::Masked);
        }
        if typed.is_card_of_2017() {
            return Ok(Self { text: typed.kept, region: Zeroizing::default(), kind: Kind::ForeignerPr2017 });
        }
        if !typed.is_digits_with_check() {
            return Err(InvalidIdNumber::BadCharacter);
        }
        let (text, converted) = match typed.count {
            LENGTH => (typed.kept, false),
            OLD_LENGTH => (widened(&typed.kept), true),
            _ => return Err(InvalidIdNumber::BadLength),
        };
        let kind = match *text {
            [b'0', ..] => return Err(InvalidIdNumber::BadRegion),
            _ if converted => Kind::Resident15,
            [b'8', b'1'..=b'3', ..] => Kind::HmtResidence,
            [b'9', ..] => Kind::ForeignerPr,
            _ => Kind::Resident,
        };
        let [a, b, c, d, e, f, ..] = *text;
        // The 2023 card: a nine, the province where it was applied for, the nationality.
        let region = if kind == Kind::ForeignerPr { [b, c, b'0', b'0', b'0', b'0'] } else { [a, b, c, d, e, f] };
        let number = Self { text, region: Zeroizing::new(region), kind };
        number.check_birth_date(today, calendar)?;
        let [.., check] = *number.text;
        if check != check_character(&number.text) {
            return Err(InvalidIdNumber::BadChecksum);
        }
        Ok(number)
    }

    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The normal form, for providers and keys: 18 characters (15 for the 2017 card).
    pub fn expose(&self) -> &str {
        let length = if self.kind == Kind::ForeignerPr2017 { OLD_LENGTH } else { LENGTH };
        // Only ASCII is ever stored, so the default is unreachable.
        self.text.get(..length).and_then(|kept| std::str::from_utf8(kept).ok()).unwrap_or_default()
    }

    /// The birth date; `None` for the 2017 card, and for an impossible date accepted under [`Calendar::Lenient`].
    pub fn birth_date(&self) -> Option<Date> {
        let (year, month, day) = self.birth_digits()?;
        Date::new(year, month, day).ok()
    }

    /// The sex; `None` for the 2017 card.
    pub fn sex(&self) -> Option<Sex> {
        let [.., sequence, _] = *self.text;
        (self.kind != Kind::ForeignerPr2017).then_some(if sequence % 2 == 1 { Sex::Male } else { Sex::Female })
    }

    /// Completed years on `today`, the date in China. Someone born on 29 February turns a year older on 1 March in a
    /// common year.
    pub fn age_on(&self, today: Date) -> Option<u16> {
        let born = self.birth_date()?;
        let birthday_to_come = (today.month(), today.day()) < (born.month(), born.day());
        u16::try_from(today.year() - born.year() - i16::from(birthday_to_come)).ok()
    }

    /// The six-digit code of the region of first registration. For the 2023 card for foreigners it is the province
    /// where the card was applied for (`xx0000`); `None` for the 2017 card.
    pub fn region_code(&self) -> Option<&str> {
        if self.kind == Kind::ForeignerPr2017 { None } else { std::str::from_utf8(&*self.region).ok() }
    }

    /// Whether the number was given with 15 digits. A few people got a number that differs from the regular conversion,
    /// so a mismatch is weaker evidence.
    pub fn was_converted(&self) -> bool {
        self.kind == Kind::Resident15
    }

    /// Whether the number belongs to a citizen of mainland China: their numbers start with 1 to 7, residence permits
    /// with 8, and cards for foreigners with 9.
    pub(super) fn is_of_mainland_citizen(&self) -> bool {
        matches!(self.kind, Kind::Resident | Kind::Resident15) && matches!(*self.text, [b'1'..=b'7', ..])
    }

    /// The year of birth, even if the date does not exist in the calendar.
    pub(super) fn birth_year(&self) -> Option<i16> {
        self.birth_digits().map(|(year, ..)| year)
    }

    fn check_birth_date(&self, today: Date, calendar: Calendar) -> Result<(), InvalidIdNumber> {
        // Year 0 is a valid date in jiff, but not in the Gregorian calendar.
        let born = self.birth_digits().unwrap_or_default();
        if calendar == Calendar::Strict && (born.0 == 0 || self.birth_date().is_none()) {
            Err(InvalidIdNumber::BadBirthDate)
        } else if born.0 < EARLIEST_YEAR {
            Err(InvalidIdNumber::BirthDateTooEarly)
        } else if born > (today.year(), today.month(), today.day()) {
            Err(InvalidIdNumber::BirthDateFuture)
        } else {
            Ok(())
        }
    }

    fn birth_digits(&self) -> Option<(i16, i8, i8)> {
        if self.kind == Kind::ForeignerPr2017 {
            return None;
        }
        let [_, _, _, _, _, _, y1, y2, y3, y4, m1, m2, d1, d2, ..] = *self.text;
        let two = |tens: u8, ones: u8| (tens.wrapping_sub(b'0') * 10 + ones.wrapping_sub(b'0')) as i8;
        Some((i16::from(two(y1, y2)) * 100 + i16::from(two(y3, y4)), two(m1, m2), two(d1, d2)))
    }
}

impl fmt::Debug for IdNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdNumber(…)")
    }
}

/// The result of one pass over the input: white space and invisible characters dropped, full-width forms
/// narrowed to ASCII, ASCII letters in upper case.
#[derive(Default)]
struct Typed {
    /// The first 18 characters.
    kept: Zeroizing<[u8; LENGTH]>,
    /// Number of characters, including those beyond the first 18.
    count: usize,
    letters: usize,
    masked: bool,
    /// Contains something that is neither a letter nor a digit.
    strange: bool,
    ends_in_x: bool,
}

impl Typed {
    fn read(input: &str) -> Self {
        if let Some(plain) = Self::plain(input) {
            return plain;
        }
        let mut typed = Self::default();
        for c in input.chars().filter(|&c| !c.is_whitespace() && !script::is_invisible(c)) {
            let c = script::narrow(c).to_ascii_uppercase();
            typed.letters += usize::from(c.is_ascii_uppercase());
            typed.masked |= matches!(c, '*' | '＊');
            typed.strange |= !c.is_ascii_alphanumeric();
            typed.ends_in_x = c == 'X';
            if let (Some(place), Ok(byte)) = (typed.kept.get_mut(typed.count), u8::try_from(c)) {
                *place = byte;
            }
            typed.count += 1;
        }
        typed
    }

    /// 18 digits, or 17 and an `X`, as nearly every number is written.
    fn plain(input: &str) -> Option<Self> {
        let kept = Zeroizing::new(<[u8; LENGTH]>::try_from(input.as_bytes()).ok()?);
        let [digits @ .., last] = &*kept;
        let ends_in_x = *last == b'X';
        let is_plain = digits.iter().all(u8::is_ascii_digit) && (ends_in_x || last.is_ascii_digit());
        is_plain.then_some(Self {
            kept,
            count: LENGTH,
            letters: ends_in_x.into(),
            masked: false,
            strange: false,
            ends_in_x,
        })
    }

    fn is_card_of_2017(&self) -> bool {
        let [a, b, c, ..] = *self.kept;
        !self.strange && self.count == OLD_LENGTH && self.letters == 3 && [a, b, c].iter().all(u8::is_ascii_uppercase)
    }

    /// Only digits, except that the last character may be `X` unless the length is 15.
    fn is_digits_with_check(&self) -> bool {
        !self.strange && self.letters == usize::from(self.ends_in_x && self.count != OLD_LENGTH)
    }
}

/// Converts a first-generation number to 18 characters. Its two-digit years always mean 19yy.
fn widened(old: &[u8; LENGTH]) -> Zeroizing<[u8; LENGTH]> {
    let [r1, r2, r3, r4, r5, r6, y1, y2, m1, m2, d1, d2, s1, s2, s3, ..] = *old;
    let mut new = Zeroizing::new([r1, r2, r3, r4, r5, r6, b'1', b'9', y1, y2, m1, m2, d1, d2, s1, s2, s3, b'0']);
    let check = check_character(&new);
    let [.., last] = &mut *new;
    *last = check;
    new
}

/// Whether 17 digits and a character could be an ID number: a region, a year of birth, and the right check character. The
/// day may be one that does not exist ([`Calendar::Lenient`]).
pub(super) fn could_be_number(text: &[u8; LENGTH]) -> bool {
    let &[region, _, _, _, _, _, c1, c2, decade, _, .., check] = text;
    let is_year = matches!((c1, c2, decade), (b'1', b'8', b'5'..=b'9') | (b'1', b'9', _) | (b'2', b'0', _));
    region != b'0' && is_year && check == check_character(text)
}

/// The check character for the first 17 digits.
fn check_character(text: &[u8; LENGTH]) -> u8 {
    let sum: u32 = text.iter().zip(WEIGHTS).map(|(&digit, weight)| u32::from(digit.wrapping_sub(b'0')) * weight).sum();
    CHECK.get((sum % 11) as usize).copied().unwrap_or_default()
}
