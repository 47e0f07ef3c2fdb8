//! Unit tests of the parent module.

use jiff::civil::date;

use super::*;

const TODAY: Date = date(2026, 6, 30);

/// Appends the check character to 17 `digits`.
fn with_check(digits: &str) -> String {
    let mut text = [b'0'; LENGTH];
    text[..LENGTH - 1].copy_from_slice(digits.as_bytes());
    format!("{digits}{}", char::from(check_character(&text)))
}

fn reason(input: &str, calendar: Calendar) -> Result<(), &'static str> {
    IdNumber::parse(input, TODAY, calendar).map(|_| ()).map_err(InvalidIdNumber::reason)
}

#[test]
fn a_lenient_calendar_takes_an_impossible_date_for_a_clerical_error() {
    let number = with_check("31010119850431999");
    assert_eq!(reason(&number, Calendar::Strict), Err("bad_birth_date"));
    let number = IdNumber::parse(&number, TODAY, Calendar::Lenient).unwrap();
    assert_eq!((number.birth_date(), number.age_on(TODAY)), (None, None));
    assert_eq!(number.sex(), Some(Sex::Male));
    assert_eq!(number.birth_year(), Some(1985));
}

#[test]
fn a_lenient_calendar_knows_the_past_from_the_future() {
    assert_eq!(reason(&with_check("31010118490230001"), Calendar::Lenient), Err("birth_date_too_early"));
    assert_eq!(reason(&with_check("31010120270230001"), Calendar::Lenient), Err("birth_date_future"));
    assert_eq!(reason(&with_check("31010120260230001"), Calendar::Lenient), Ok(()));
}

#[test]
fn a_lenient_calendar_keeps_the_check_character() {
    assert_eq!(reason("110105194912310021", Calendar::Lenient), Err("bad_checksum"));
}

#[test]
fn the_first_rule_that_fails_gives_the_reason() {
    for (input, expected) in [
        ("*-", "masked"),
        ("＊", "masked"),
        ("1*1234567890123456789012", "masked"),
        ("12-", "bad_character"),
        ("ABC11011985010X", "bad_character"),
        ("AB1110119850101", "bad_character"),
        ("1234567890123456789012X", "bad_length"),
        ("12345678901234567X89012", "bad_character"),
        ("X", "bad_length"),
        ("0X", "bad_length"),
        ("010101198513010000", "bad_region"),
        ("310101209913010000", "bad_birth_date"),
        ("ſ", "bad_character"),
    ] {
        assert_eq!(reason(input, Calendar::Strict), Err(expected), "{input}");
    }
}

#[test]
fn an_absurdly_long_input_is_refused_like_any_other() {
    assert_eq!(reason(&"1".repeat(1 << 20), Calendar::Strict), Err("bad_length"));
    assert_eq!(reason(&"一".repeat(1 << 20), Calendar::Strict), Err("bad_character"));
    assert_eq!(reason(&" \u{200B}".repeat(1 << 20), Calendar::Strict), Err("empty"));
}

#[test]
fn the_year_turns_in_china_decides_about_the_newborn() {
    let born_today = with_check("31010120260630999");
    assert!(IdNumber::parse(&born_today, date(2026, 6, 30), Calendar::Strict).is_ok());
    assert!(IdNumber::parse(&born_today, date(2026, 6, 29), Calendar::Strict).is_err());
}

#[test]
fn only_mainland_citizens_are_such() {
    let parse = |input: &str| IdNumber::parse(input, TODAY, Calendar::Strict).unwrap();
    assert!(parse("11010519491231002X").is_of_mainland_citizen());
    assert!(parse("610104620927985").is_of_mainland_citizen());
    assert!(!parse("810000199408230021").is_of_mainland_citizen());
    assert!(!parse(&with_check("84000019940823002")).is_of_mainland_citizen());
    assert!(!parse("932682198501010017").is_of_mainland_citizen());
    assert!(!parse("ABC110119850101").is_of_mainland_citizen());
}

#[test]
fn kinds_have_distinct_words() {
    let words: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(words.len(), Kind::ALL.len());
}
