//! Finds ID numbers and names in text that callers and providers wrote (request ids, trace ids, references), before it is
//! logged, stored or echoed.
//!
//! One check for all of them. It reads full-width forms, skips separators and allocates nothing. A number with a check
//! character is found wherever it stands; the two forms without one only where the text around them lets them end, since
//! one hexadecimal id in a few hundred has such digits by chance.

use super::id_number;
use super::script;

/// Length of first-generation numbers and of the 2017 card for foreigners.
const OLD: usize = 15;
/// Length of second-generation numbers.
const LENGTH: usize = 18;
/// Fewer letters of a name could be part of any word.
const LEAST_NAME: usize = 4;

/// Whether `text` contains an ID number with a valid check character, with or without separators. So does one in about
/// 100,000 UUIDs by chance.
pub fn holds_number(text: &str) -> bool {
    // The digits before, four bits each.
    let mut window: u128 = 0;
    let mut digits = 0;
    compact(text).any(|byte| {
        let is_behind_digits = digits >= LENGTH - 1;
        let before = window;
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        window = (window << 4) | u128::from(byte & 15);
        is_behind_digits && id_number::could_be_number(&number_of(before, byte))
    })
}

/// The last digits of `window`, and what follows them.
fn number_of(window: u128, last: u8) -> [u8; LENGTH] {
    let mut number = [last; LENGTH];
    let digits = (0..LENGTH - 1).rev().map(|at| b'0' | ((window >> (4 * at)) & 15) as u8);
    number.iter_mut().zip(digits).for_each(|(place, digit)| *place = digit);
    number
}

/// Whether `text` may contain an ID number of any kind: also a first-generation number or a card of 2017, which have no
/// check character, with a known province and a date, between ends of its groups. One in about 20,000 UUIDs looks like
/// that, so use it where a refused text costs its sender nothing.
pub fn may_hold_number(text: &str) -> bool {
    holds_number(text) || holds_unchecked_number(text)
}

/// Whether `text` contains the number or the Latin name of this person, in whatever form: with separators, full-width,
/// with 15 or 18 digits, surname first or last.
pub fn holds_person(text: &str, name: &str, id_number: &str) -> bool {
    holds_number_of(text, id_number) || holds_name(text, name)
}

fn holds_number_of(text: &str, number: &str) -> bool {
    match compact(number).count() {
        0..OLD => false,
        // The same person's other form: the century and the check character are left out, or put in.
        LENGTH => {
            contains(text, || compact(number))
                || contains(text, || compact(number).take(6).chain(compact(number).skip(8).take(9)))
        }
        OLD => {
            contains(text, || compact(number))
                || contains(text, || compact(number).take(6).chain(*b"19").chain(compact(number).skip(6)))
        }
        _ => contains(text, || compact(number)),
    }
}

fn holds_name(text: &str, name: &str) -> bool {
    if name.chars().any(|c| c.is_alphabetic() && !script::narrow(c).is_ascii()) {
        // A Han name; these texts are ASCII.
        return false;
    }
    let letters = || compact(name).filter(u8::is_ascii_alphabetic);
    if letters().count() < LEAST_NAME {
        return false;
    }
    // The words in their order, then with each word in turn as the first.
    let words = name.split(|c: char| narrow(c).is_none());
    let mut starts = words.scan(0, |start, word| Some(std::mem::replace(start, *start + compact(word).count())));
    starts.any(|start| contains(text, || letters().skip(start).chain(letters().take(start))))
}

/// Whether the letters and digits of `text` contain the bytes of `needle`, which is not empty.
fn contains<I: Iterator<Item = u8>>(text: &str, needle: impl Fn() -> I) -> bool {
    let first = needle().next();
    let starts = text.char_indices().filter(|(_, c)| narrow(*c) == first);
    starts.filter_map(|(at, _)| text.get(at..)).any(|rest| {
        let mut rest = compact(rest);
        needle().all(|wanted| rest.next() == Some(wanted))
    })
}

fn holds_unchecked_number(text: &str) -> bool {
    // Of 16 characters, of which the last count.
    let mut window: u128 = 0;
    // One bit for each character of the window: whether a group begins there.
    let mut begins: u16 = 0;
    let mut before = Class::Separator;
    let mut only_zeros = true;
    let mut classes =
        text.chars().map(|c| narrow(c).map_or((Class::Separator, 0), |byte| (Class::of(byte), byte))).peekable();
    while let Some((class, byte)) = classes.next() {
        let is_begin = class != before || (class == Class::Digit && only_zeros);
        only_zeros = if class == Class::Digit { (class != before || only_zeros) && byte == b'0' } else { true };
        before = class;
        if class == Class::Separator {
            continue;
        }
        window = (window << 8) | u128::from(byte);
        begins = (begins << 1) | u16::from(is_begin);
        let is_end = class == Class::Digit && classes.peek().is_none_or(|(next, _)| *next != Class::Digit);
        if is_end && (begins >> (OLD - 1)) & 1 == 1 {
            let [_, window @ ..] = window.to_be_bytes();
            if is_old_number(&window) || is_card_of_2017(&window) {
                return true;
            }
        }
    }
    false
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Separator,
}

impl Class {
    fn of(byte: u8) -> Self {
        if byte.is_ascii_digit() { Class::Digit } else { Class::Letter }
    }
}

/// Province, county, year, month, day, three digits.
fn is_old_number(text: &[u8; OLD]) -> bool {
    let &[p, q, _, _, _, _, _, _, m1, m2, d1, d2, ..] = text;
    text.iter().all(u8::is_ascii_digit) && is_province(p, q) && is_date(m1, m2, d1, d2)
}

/// Three letters of the nationality, four digits of the place, the date of birth with a year of two digits (then two more)
/// or of four.
fn is_card_of_2017(text: &[u8; OLD]) -> bool {
    let &[a, b, c, digits @ ..] = text;
    let [p, q, _, _, y1, y2, m1, m2, d1, d2, d3, d4] = digits;
    let is_century = matches!((y1, y2), (b'1', b'9') | (b'2', b'0'));
    [a, b, c].iter().all(u8::is_ascii_uppercase)
        && digits.iter().all(u8::is_ascii_digit)
        && is_province(p, q)
        && (is_date(m1, m2, d1, d2) || (is_century && is_date(d1, d2, d3, d4)))
}

/// Whether a region code may begin with these digits (GB/T 2260, mainland).
fn is_province(tens: u8, ones: u8) -> bool {
    matches!(
        (tens, ones),
        (b'1', b'1'..=b'5')
            | (b'2', b'1'..=b'3')
            | (b'3', b'1'..=b'7')
            | (b'4', b'1'..=b'6')
            | (b'5', b'0'..=b'4')
            | (b'6', b'1'..=b'5')
    )
}

fn is_date(m1: u8, m2: u8, d1: u8, d2: u8) -> bool {
    let two = |tens: u8, ones: u8| tens.wrapping_sub(b'0').wrapping_mul(10).wrapping_add(ones.wrapping_sub(b'0'));
    (1..=12).contains(&two(m1, m2)) && (1..=31).contains(&two(d1, d2))
}

/// The letters and digits of `text`, narrowed to ASCII and in upper case.
fn compact(text: &str) -> impl Iterator<Item = u8> + Clone {
    text.chars().filter_map(narrow)
}

fn narrow(c: char) -> Option<u8> {
    let c = if c.is_ascii() { c } else { script::narrow(c) };
    u8::try_from(c).ok().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s40_a_number_is_found_in_a_text_however_it_is_set_apart() {
        for text in [
            "11010519491231002X",
            "110105-19491231-002x",
            "pay:1.1.0.1.0.5.1.9.4.9.1.2.3.1.0.0.2.X",
            "7110105194912310 02X",
            "１１０１０５１９４９１２３１００２Ｘ",
        ] {
            assert!(holds_number(text) && may_hold_number(text), "{text}");
        }
        for text in [
            "",
            "110105194912310021",
            "110105-19491331-002X",
            "1101051949123100",
            "130A2C10-B9EE-4D84-88E3-5384FF039795",
        ] {
            assert!(!holds_number(text), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_check_character_is_found_in_a_text() {
        for text in [
            "110105491231002",
            "110105-491231-002",
            "pay-110105491231002-1",
            "00000000000000000110105491231002",
            "a110105491231002bcdef0123456789a",
            "ABC110119850101",
            "usa-1101-580830-11",
            "pay:USA310119850101",
            "１１０１０５４９１２３１００２",
        ] {
            assert!(may_hold_number(text), "{text}");
        }
        for text in [
            "",
            "payout-4711",
            "110105491331002",
            "990105491231002",
            "1110105491231002",
            "1101054912310021",
            "XUSA310119850101",
            "INV202611280001",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "130A2C10-B9EE-4D84-88E3-5384FF039795",
        ] {
            assert!(!may_hold_number(text), "{text}");
        }
    }

    #[test]
    fn random_ids_rarely_look_like_a_number() {
        let mut seed: u64 = 7;
        let mut hex = || -> String {
            (0..32)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    char::from_digit((seed >> 60) as u32, 16).unwrap()
                })
                .collect()
        };
        let found = (0..200_000).filter(|_| may_hold_number(&hex())).count();
        assert!(found <= 20, "{found} of 200,000");
    }

    #[test]
    fn a_person_is_found_in_every_form() {
        for (text, name, number) in [
            ("pay-11010519491231002X", "张三", "11010519491231002X"),
            ("pay-110105-491231-002", "张三", "11010519491231002X"),
            ("pay-11010519491231002", "张三", "110105491231002"),
            ("pay-11010519491231002x", "张三", "１１０１０５４９１２３１００２"),
            ("ABC 110119850101", "SMITH JOHN", "ABC110119850101"),
            ("smith.john", "SMITH JOHN", "ABC110119850101"),
            ("order-johnsmith-1", "SMITH JOHN", "ABC110119850101"),
            ("van-der-berg-anna", "ANNA VAN DER BERG", "ABC110119850101"),
            ("ｓｍｉｔｈｊｏｈｎ", "SMITH JOHN", "ABC110119850101"),
        ] {
            assert!(holds_person(text, name, number), "{text} {name} {number}");
        }
        for (text, name, number) in [
            ("pay-4711", "张三", "11010519491231002X"),
            ("pay-11010519491231003X", "张三", "11010519491231002X"),
            ("alibaba", "LI", "ABC110119850101"),
            ("smith", "SMITH JOHN", "ABC110119850101"),
            ("anything", "", ""),
        ] {
            assert!(!holds_person(text, name, number), "{text} {name} {number}");
        }
    }
}
