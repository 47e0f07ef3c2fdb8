//! Properties that hold for every input, valid or hostile.

use idgate::domain::id_number::{Calendar, IdNumber};
use idgate::domain::name::Name;
use idgate::domain::region::Regions;
use idgate::domain::subject::{DigestKey, PairRules, Subject};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::TODAY;

/// A fixed seed: every run has the same cases.
fn seeded() -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(2026), failure_persistence: None, ..ProptestConfig::with_cases(2000) }
}

/// A valid number of 18 characters: seventeen digits with a real date, and the matching check character.
fn sound_number() -> impl Strategy<Value = String> {
    (110000..840000_u32, 1850..2026_i16, 1..=12_i8, 1..=28_i8, 0..1000_u16).prop_map(
        |(region, year, month, day, turn)| {
            let digits = format!("{region}{year}{month:02}{day:02}{turn:03}");
            let sound = |check| IdNumber::parse(&format!("{digits}{check}"), TODAY, Calendar::Strict).is_ok();
            let checks: Vec<_> = "0123456789X".chars().filter(|&check| sound(check)).collect();
            assert_eq!(checks.len(), 1, "exactly one check character fits");
            format!("{digits}{}", checks[0])
        },
    )
}

/// Texts that resemble names: Han, rare, Latin and stray characters, mixed with white space, dots and marks.
fn near_a_name() -> impl Strategy<Value = String> {
    let common = "[张三李四阿䶮\u{E863}\u{F92C}\u{FA0E}○〇𠮷⾼A-Cz\u{FF21}é\u{301}\u{323}\u{212B}]";
    let between = "[ \u{3000}\t·•..。,'\u{2019}\u{FF0D}\u{200B}\u{FE00}-]{0,2}";
    let part = format!("{common}{between}");
    prop_oneof![
        4 => proptest::string::string_regex(&format!("({part}){{0,9}}")).unwrap(),
        1 => proptest::string::string_regex(&format!("({part}){{30,60}}")).unwrap(),
        2 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn no_text_makes_the_number_parser_panic(text in any::<String>()) {
        for calendar in [Calendar::Strict, Calendar::Lenient] {
            let _ = IdNumber::parse(&text, TODAY, calendar);
        }
    }

    #[test]
    fn near_numbers_do_not_make_the_number_parser_panic(text in "[0-9]{12,17}[0-9XxA ]{0,3}|[A-Z0-9]{15}|[0-9*０-９]{18}") {
        for calendar in [Calendar::Strict, Calendar::Lenient] {
            if let Ok(number) = IdNumber::parse(&text, TODAY, calendar) {
                let _ = (number.sex(), number.age_on(TODAY), number.region_code(), number.birth_date());
                let again = IdNumber::parse(number.expose(), TODAY, calendar).unwrap();
                prop_assert_eq!(again.expose(), number.expose());
            }
        }
    }

    #[test]
    fn the_normal_form_of_a_number_is_a_fixed_point(number in sound_number(), at in 0..18_usize, space in "[ \u{3000}\u{200B}]") {
        let mut typed = number.to_lowercase();
        typed.insert_str(at, &space);
        let parsed = IdNumber::parse(&typed, TODAY, Calendar::Strict).unwrap();
        prop_assert_eq!(parsed.expose(), &number);
        prop_assert_eq!(IdNumber::parse(parsed.expose(), TODAY, Calendar::Strict).unwrap(), parsed);
    }

    #[test]
    fn a_single_wrong_digit_never_passes(number in sound_number(), at in 0..18_usize, digit in 0..=9_u8) {
        let mut wrong = number.clone();
        wrong.replace_range(at..=at, &digit.to_string());
        prop_assume!(wrong != number);
        for calendar in [Calendar::Strict, Calendar::Lenient] {
            prop_assert!(IdNumber::parse(&wrong, TODAY, calendar).is_err());
        }
    }

    #[test]
    fn two_adjacent_digits_swapped_never_pass(number in sound_number(), at in 0..16_usize) {
        let mut wrong = number.clone().into_bytes();
        wrong.swap(at, at + 1);
        let wrong = String::from_utf8(wrong).unwrap();
        prop_assume!(wrong != number);
        prop_assert!(IdNumber::parse(&wrong, TODAY, Calendar::Lenient).is_err());
    }

    #[test]
    fn the_normal_form_of_a_name_is_a_fixed_point(text in near_a_name()) {
        if let Ok(name) = Name::parse(&text) {
            let again = Name::parse(name.expose());
            prop_assert_eq!(again.as_ref().map(Name::expose), Ok(name.expose()));
            prop_assert!((1..=100).contains(&name.code_points()));
            let _ = (name.has_alternate_spelling(), name.has_han_or_private_use());
        }
    }

    #[test]
    fn no_debug_output_holds_the_person(number in sound_number(), name in "[\u{4E00}-\u{9FFF}]{2,4}") {
        let regions = Regions::parse("code,province,city,county,from_year,until_year\n110000,北京市,,,,\n").unwrap();
        let parsed = IdNumber::parse(&number, TODAY, Calendar::Strict).unwrap();
        let subject = Subject::new(Name::parse(&name).unwrap(), parsed.clone(), PairRules { name_script: true }).unwrap();
        let key = DigestKey::new([7; 32]);
        let shown = format!(
            "{parsed:?} {:#?} {:?} {subject:#?} {key:?} {:?} {:?} {regions:?}",
            subject.number(), subject.parsed_name(), key.person(&subject), regions.of(&parsed),
        );
        prop_assert!(!shown.chars().any(|c| c.is_ascii_digit() && c != '1'), "{}", shown);
        prop_assert!(!shown.contains(&number[..6]) && !name.chars().any(|c| shown.contains(c)));
    }

    #[test]
    fn no_error_holds_the_input(text in near_a_name()) {
        let errors = [
            Name::parse(&text).err().map(|error| format!("{error:?}{error}")),
            IdNumber::parse(&text, TODAY, Calendar::Strict).err().map(|error| format!("{error:?}{error}")),
        ];
        for shown in errors.into_iter().flatten() {
            prop_assert!(shown.is_ascii());
        }
    }
}
