//! Unit tests of the parent module.

use jiff::civil::date;

use super::*;
use crate::domain::id_number::Calendar;

const HEADER: &str = "code,from_year,until_year,province,city,county";

fn table(rows: &str) -> Result<Regions, RegionError> {
    Regions::parse(&format!("{HEADER}\n{rows}"))
}

fn number(text: &str) -> IdNumber {
    IdNumber::parse(text, date(2026, 6, 30), Calendar::Strict).unwrap()
}

/// The county that the table gives for a synthetic number with code 110105 and this year of birth.
fn county(regions: &Regions, year: u16) -> Option<String> {
    let digits = format!("110105{year}0101002");
    let number = "0123456789X"
        .chars()
        .find_map(|check| IdNumber::parse(&format!("{digits}{check}"), date(2026, 6, 30), Calendar::Strict).ok());
    regions.of(&number.unwrap()).county
}

#[test]
fn the_embedded_table_is_sound() {
    let regions = Regions::embedded().unwrap();
    assert_eq!(regions.rows.len(), 7651);
    let mut codes: Vec<_> = regions.rows.iter().map(|row| row.code).collect();
    codes.dedup();
    assert_eq!(codes.len(), 7268);
}

#[test]
fn the_embedded_table_stays_below_a_megabyte() {
    let regions = Regions::embedded().unwrap();
    let bytes = regions.rows.capacity() * size_of::<Row>() + regions.names.capacity();
    assert!(bytes < 1 << 20, "{bytes}");
}

#[test]
fn the_nearest_years_win_and_the_later_on_a_tie() {
    let regions = table("110105,1996,2000,北京市,,乙\n110105,,1990,北京市,,甲\n").unwrap();
    let meanings = [(1950, "甲"), (1989, "甲"), (1992, "甲"), (1993, "乙"), (1996, "乙"), (2020, "乙")];
    for (year, expected) in meanings {
        assert_eq!(county(&regions, year).as_deref(), Some(expected), "{year}");
    }
}

#[test]
fn a_meaning_from_before_the_first_numbers_never_applies() {
    let regions = table("110105,1980,1982,北京市,,甲\n110105,1983,,北京市,,乙\n").unwrap();
    assert_eq!(county(&regions, 1981).as_deref(), Some("乙"));
}

#[test]
fn an_unknown_code_falls_back_to_the_units_above_it() {
    let regions = table("110000,,,北京市,,\n110100,,,北京市,某市,\n").unwrap();
    let region = regions.of(&number("11010519491231002X"));
    assert_eq!(region.status, RegionStatus::Partial);
    assert_eq!((region.province.as_deref(), region.city.as_deref()), (Some("北京市"), Some("某市")));
    assert_eq!(region.county, None);
}

#[test]
fn a_card_of_2017_has_no_region() {
    let region = Regions::embedded().unwrap().of(&number("ABC110119850101"));
    assert_eq!(region.status, RegionStatus::Unknown);
    assert_eq!((region.code, region.province, region.city, region.county), (None, None, None, None));
}

#[test]
fn a_mistake_is_named_with_its_line() {
    for (rows, line, words) in [
        ("", 1, "no rows"),
        ("11010,,,,,\n", 2, "six digits"),
        ("110105,,,,,\n+11010,,,,,\n", 3, "six digits"),
        ("110105,,,,,\n110106,19x0,,,,\n", 3, "four digits"),
        ("110105,1990,1990,,,\n", 2, "not after"),
        ("110105,,\n", 2, "as many fields"),
    ] {
        let error = table(rows).unwrap_err();
        assert_eq!(error.line, line, "{rows}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(Regions::parse("code,name\n110105,x\n").unwrap_err().line, 1);
}
