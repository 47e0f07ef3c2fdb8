//! Unit tests of the parent module.

use jiff::civil::date;

use super::*;
use crate::domain::id_number::Calendar;

const ON: PairRules = PairRules { name_script: true };
const OFF: PairRules = PairRules { name_script: false };

fn subject(name: &str, number: &str, rules: PairRules) -> Result<Subject, InvalidName> {
    let number = IdNumber::parse(number, date(2026, 6, 30), Calendar::Strict).unwrap();
    Subject::new(Name::parse(name).unwrap(), number, rules)
}

#[test]
fn a_citizen_of_the_mainland_has_a_han_name() {
    for number in ["11010519491231002X", "610104620927985"] {
        assert_eq!(subject("John Smith", number, ON).unwrap_err(), InvalidName::NameScript);
        assert!(subject("John Smith", number, OFF).is_ok());
        for name in ["张三", "赵C", "\u{E863}", "○"] {
            assert!(subject(name, number, ON).is_ok(), "{name}");
        }
    }
}

#[test]
fn everybody_else_may_have_a_latin_name() {
    for number in ["810000199408230021", "932682198501010017", "ABC110119850101"] {
        assert!(subject("John Smith", number, ON).is_ok(), "{number}");
    }
}

#[test]
fn a_digest_comes_back_from_its_digits_and_nothing_else_does() {
    let digest = DigestKey::new([7; 32]).digest("c", &[b"ab"]);
    let text = digest.to_hex();
    assert_eq!(Digest::from_hex(&text), Some(digest));
    for wrong in ["", &text[2..], &text[1..], &format!("{text}00"), &text.replace(&text[..1], "g"), &"é".repeat(32)] {
        assert_eq!(Digest::from_hex(wrong), None, "{wrong}");
    }
}

#[test]
fn the_digest_is_hmac_over_length_prefixed_parts() {
    let key = DigestKey::new(*b"0123456789abcdef0123456789abcdef");
    let mut expected = Hmac::<Sha256>::new_from_slice(b"0123456789abcdef0123456789abcdef").unwrap();
    expected.update(b"\0\0\0\x01c\0\0\0\x02ab\0\0\0\0");
    assert_eq!(key.digest("c", &[b"ab", b""]).as_bytes()[..], expected.finalize().into_bytes()[..]);
}

#[test]
fn no_two_lists_of_parts_look_alike() {
    let key = DigestKey::new([1; 32]);
    let digests = [
        key.digest("a", &[b"b"]),
        key.digest("ab", &[]),
        key.digest("", &[b"ab"]),
        key.digest("a", &[b"b", b""]),
        key.digest("a", &[b"", b"b"]),
        DigestKey::new([2; 32]).digest("a", &[b"b"]),
    ];
    let distinct: std::collections::HashSet<_> = digests.into();
    assert_eq!(distinct.len(), digests.len());
}

#[test]
fn one_person_has_one_digest_however_typed() {
    let key = DigestKey::new([1; 32]);
    let digest = |name, number| key.person(&subject(name, number, ON).unwrap());
    let plain = digest("张三", "11010519491231002X");
    assert_eq!(digest("张 三", "110105 19491231 002x"), plain);
    assert_eq!(digest("张三", "110105491231002"), plain);
    assert_ne!(digest("张三丰", "11010519491231002X"), plain);
    assert_ne!(digest("张三", "610104196209279981"), plain);
    assert_eq!(key.clone().person(&subject("张三", "11010519491231002X", OFF).unwrap()), plain);
}

#[test]
fn a_subject_has_the_digest_of_each_key_it_is_asked_about() {
    let (one, other) = (DigestKey::new([1; 32]), DigestKey::new([2; 32]));
    let asked = subject("张三", "11010519491231002X", ON).unwrap();
    for key in [&one, &other, &one.clone(), &DigestKey::new([2; 32])] {
        let expected = key.digest("person/v1", &[b"11010519491231002X", "张三".as_bytes()]);
        assert_eq!(key.person(&asked), expected);
        assert_eq!(key.person(&asked.clone()), expected);
    }
}

#[test]
fn the_state_that_a_key_leaves_behind_is_wiped() {
    fn wiped_on_drop<T: zeroize::ZeroizeOnDrop>() {}
    wiped_on_drop::<sha2::block_api::Sha256VarCore>();
}
