//! The sandbox's people: invented names with well-formed ID numbers.
//!
//! Invariant: none of them is real. The ID numbers have sequence codes that look made up, or are printed in the
//! standard. To add a person, add a line to [`INVENTED`]; a test checks that the number is well formed and new.

use crate::domain::personal::Personal;
use crate::domain::verdict::Verdict;
use crate::providers::Asked;

/// Name, ID number, why this person is in the list.
const INVENTED: [(&str, &str, &str); 24] = [
    ("张三", "11010519491231002X", "the worked example of GB 11643, check character X"),
    ("张测试", "110101199003079972", "plain"),
    ("李样例", "310104198512019988", "plain"),
    ("王示范", "440106197806159916", "plain"),
    ("赵小样", "510104200002299921", "born on 29 February"),
    ("欧阳测试", "320102199211119938", "compound surname"),
    ("司马示例", "330102196407049941", "compound surname"),
    ("陈一", "420102198808089953", "two characters"),
    ("阿依努尔·测试", "650102199504239964", "separator U+00B7"),
    ("买买提·样例·江", "653101198309109971", "two separators"),
    ("古丽巴哈尔·阿不都克里木·吐尔逊江", "650104199112319984", "17 code points"),
    ("扎西·样例", "540102197501019996", "separator U+00B7"),
    ("王𠮷", "21010219800229991X", "U+20BB7 of Extension B, four bytes in UTF-8"),
    ("张䶮", "370102199906189923", "U+4DAE of Extension A"),
    ("孙〇", "610104197010109939", "U+3007"),
    ("周老样", "11010519300101994X", "born 1930"),
    ("吴幼样", "500157202401019958", "a child"),
    ("郑河源", "441900198701019969", "a prefecture without counties"),
    ("钱兵团", "660000197105059979", "prefix 66, outside the list of provinces"),
    ("陈香江", "810000199407019988", "residence permit, Hong Kong"),
    ("何濠江", "820000198612209999", "residence permit, Macao"),
    ("林台岛", "830000200108159912", "residence permit, Taiwan"),
    ("SAMPLE, TEST ANN", "911840199001019987", "foreign permanent resident, card of 2023"),
    ("TESTOV IVAN", "XYZ110119990099", "foreign permanent resident, card of 2017: three letters and twelve digits"),
];

/// A person that the simulators know.
#[derive(Debug, Clone)]
pub struct Person {
    /// As printed on the card.
    pub name: Personal,
    /// In normal form.
    pub id_number: Personal,
    /// Why this person is in the list.
    pub note: &'static str,
}

/// The population register that the simulators answer from.
#[derive(Debug, Clone)]
pub struct People(Vec<Person>);

impl People {
    /// The built-in list.
    pub fn invented() -> Self {
        Self(INVENTED.iter().map(|&(name, id_number, note)| Person::new(name, id_number, note)).collect())
    }

    pub fn new(people: Vec<Person>) -> Self {
        Self(people)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Person> {
        self.0.iter()
    }

    /// The register's verdict; `None` if it does not have the ID number.
    pub fn verdict(&self, asked: &Asked) -> Option<Verdict> {
        let person = self.0.iter().find(|person| person.id_number == asked.id_number)?;
        Some(if person.name == asked.name { Verdict::Match } else { Verdict::Mismatch })
    }

    /// A person with a different ID number, for the `wrong_echo` fault.
    pub(super) fn other_than(&self, asked: &Asked) -> Option<Asked> {
        let other = self.0.iter().find(|person| person.id_number != asked.id_number)?;
        Some(Asked { name: other.name.clone(), id_number: other.id_number.clone() })
    }
}

impl Person {
    pub fn new(name: &str, id_number: &str, note: &'static str) -> Self {
        Self { name: Personal::new(name), id_number: Personal::new(id_number), note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ISO 7064 MOD 11-2 over the first 17 digits, as GB 11643 prescribes.
    fn check_character(digits: &str) -> u8 {
        let sum = digits.bytes().fold(0, |sum, digit| (sum + usize::from(digit - b'0')) * 2 % 11);
        b"10X98765432"[sum]
    }

    #[test]
    fn every_number_is_well_formed_and_new() {
        let mut seen = std::collections::BTreeSet::new();
        for (_, number, note) in INVENTED {
            assert!(seen.insert(number), "{note}: twice");
            match number.len() {
                18 => assert_eq!(number.as_bytes()[17], check_character(&number[..17]), "{note}"),
                15 => assert!(number[..3].bytes().all(|b| b.is_ascii_uppercase()), "{note}"),
                other => panic!("{note}: {other} characters"),
            }
        }
    }

    #[test]
    fn the_register_tells_a_match_from_a_mismatch_from_no_record() {
        let people = People::invented();
        let ask = |name: &str, id_number: &str| {
            people.verdict(&Asked { name: Personal::new(name), id_number: Personal::new(id_number) })
        };
        assert_eq!(ask("张三", "11010519491231002X"), Some(Verdict::Match));
        assert_eq!(ask("李四", "11010519491231002X"), Some(Verdict::Mismatch));
        assert_eq!(ask("张三", "440524188001010014"), None);
    }
}
