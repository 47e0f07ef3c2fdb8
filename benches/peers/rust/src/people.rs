//! Invented people: the n-th name and resident ID number, all numbers distinct and with a valid check character.

use std::fmt::Write;

const REGIONS: u64 = 64;
const YEARS: u64 = 55;
const SEQUENCE: u64 = 999;
const PEOPLE: u64 = REGIONS * YEARS * 12 * 28 * SEQUENCE;
/// A prime that does not divide `PEOPLE`, so that neighbours differ everywhere and nobody comes twice.
const STRIDE: u64 = 982_451_653;
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const SURNAMES: [char; 32] = [
    '王', '李', '张', '刘', '陈', '杨', '黄', '赵', '吴', '周', '徐', '孙', '马', '朱', '胡', '郭', '何', '高', '林',
    '罗', '郑', '梁', '谢', '宋', '唐', '许', '韩', '冯', '邓', '曹', '彭', '曾',
];
const GIVEN: [char; 32] = [
    '伟', '芳', '娜', '秀', '英', '敏', '静', '丽', '强', '磊', '军', '洋', '勇', '艳', '杰', '娟', '涛', '明', '超',
    '兰', '霞', '平', '刚', '桂', '文', '华', '建', '国', '玉', '梅', '春', '生',
];

/// Appends `{"name":"…","id_number":"…"}` of the `n`-th person.
pub fn write_question(n: u64, out: &mut String) {
    let pick = |from: &[char; 32], shift: u64| from[((n.wrapping_mul(STRIDE) >> shift) % 32) as usize];
    let at = n % PEOPLE * STRIDE % PEOPLE;
    let (region, at) = (at % REGIONS, at / REGIONS);
    let (year, at) = (at % YEARS, at / YEARS);
    let (month, at) = (at % 12, at / 12);
    let (day, sequence) = (at % 28, at / 28);
    let _ = write!(out, r#"{{"name":"{}{}{}","id_number":""#, pick(&SURNAMES, 3), pick(&GIVEN, 9), pick(&GIVEN, 17));
    let start = out.len();
    let _ = write!(out, "{}{}{:02}{:02}{:03}", 110_101 + region, 1950 + year, month + 1, day + 1, sequence + 1);
    let sum: u32 =
        out.as_bytes()[start..].iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    out.push(char::from(b"10X98765432"[(sum % 11) as usize]));
    out.push_str("\"}");
}
