//! Normalises names that are not in normal form already.
//!
//! Invariants: linear in the input, whose length is bounded; every buffer is wiped. The order of the rules decides
//! which reason a name with several faults gets.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};
use zeroize::{Zeroize, Zeroizing};

use super::invalid::{InvalidName, MAX_CODE_POINTS};
use super::warning::{Warning, Warnings};
use crate::domain::personal::Personal;
use crate::domain::script::{
    is_compatibility_ideograph, is_han, is_invisible, is_latin, is_letter, is_noncharacter, is_private_use, narrow,
};

/// No valid name is longer, however many invisible characters it contains. Longer input is refused before any other
/// work.
const MAX_BYTES: usize = 4096;
/// The separator prescribed by the notice of 2016.
const SEPARATOR: char = '·';

/// A visible character, and whether white space precedes it.
#[derive(Clone, Copy, Default)]
struct Glyph {
    char: char,
    spaced: bool,
}

impl Zeroize for Glyph {
    fn zeroize(&mut self) {
        self.char.zeroize();
    }
}

type Glyphs = Zeroizing<Vec<Glyph>>;

/// The normal form of `input`, and its warnings.
pub(super) fn form(input: &str) -> Result<(Personal, Warnings), InvalidName> {
    if input.len() > MAX_BYTES {
        return Err(InvalidName::TooLong);
    }
    let mut glyphs = read(input)?;
    if glyphs.is_empty() {
        return Err(InvalidName::Empty);
    }
    if glyphs.iter().any(|glyph| is_placeholder(glyph.char)) {
        return Err(InvalidName::Placeholder);
    }
    if glyphs.iter().any(|glyph| is_latin(glyph.char)) {
        glyphs = compose_latin(&glyphs);
    }
    place_separators(&mut glyphs)?;
    check_characters(&glyphs)?;
    check_separators(&glyphs)?;
    write(&glyphs)
}

/// Drops invisible characters, and replaces variants that keyboards and copying produce.
fn read(input: &str) -> Result<Glyphs, InvalidName> {
    let mut glyphs = Zeroizing::new(Vec::with_capacity(input.len()));
    let mut spaced = false;
    for char in input.chars().filter(|&c| !is_invisible(c)) {
        if char.is_whitespace() {
            spaced = true;
        } else if char.is_control() || char == char::REPLACEMENT_CHARACTER || is_noncharacter(char) {
            return Err(InvalidName::BadEncoding);
        } else {
            // A ligature becomes several letters.
            respell(char, |char| glyphs.push(Glyph { char, spaced: std::mem::take(&mut spaced) }));
        }
    }
    Ok(glyphs)
}

/// Passes on what `c` stands for.
fn respell(c: char, mut push: impl FnMut(char)) {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{2BC}' | '＇' => push('\''),
        '\u{2010}' | '\u{2011}' | '－' => push('-'),
        '，' => push(','),
        // Radicals and Latin ligatures come from text copied out of PDFs; no registry uses them in names.
        '\u{2F00}'..='\u{2FD5}' | '\u{FB00}'..='\u{FB06}' => decompose_compatible(c, push),
        '\u{2E80}'..='\u{2EF3}' => push(ideograph_of(c).unwrap_or(c)),
        other => push(narrow(other)),
    }
}

/// The ideograph that a radical of the supplement stands for. The radicals that registries hold are not in the table.
fn ideograph_of(radical: char) -> Option<char> {
    const TABLE: &str = include_str!("../data/radicals.csv");
    let mut cells = TABLE.lines().map(|line| line.split(','));
    cells.find_map(|mut cells| cells.nth(1)?.starts_with(radical).then(|| cells.nth(1)?.chars().next())).flatten()
}

/// Signs for a missing character, and ideographic description characters.
const fn is_placeholder(c: char) -> bool {
    matches!(c, '*' | '?' | '_' | '＊' | '？' | '＿' | '□' | '■' | '〓' | '\u{2FF0}'..='\u{2FFF}' | '\u{31EF}')
}

/// Composes each Latin letter with its combining marks. Runs before the rules about neighbouring characters, so that
/// they see letters instead of separate accents. Never applied to ideographs: NFC would change a thousand of them.
fn compose_latin(glyphs: &[Glyph]) -> Glyphs {
    let mut composed = Zeroizing::new(Vec::with_capacity(glyphs.len()));
    for cluster in glyphs.chunk_by(|_, next| is_combining_mark(next.char) && !next.spaced) {
        match cluster {
            [first, ..] if is_latin(first.char) => {
                let letters = cluster.iter().map(|glyph| glyph.char).nfc();
                composed.extend(
                    letters
                        .zip(std::iter::once(first.spaced).chain(std::iter::repeat(false)))
                        .map(|(char, spaced)| Glyph { char, spaced }),
                );
            }
            other => composed.extend_from_slice(other),
        }
    }
    composed
}

/// Maps the many kinds of dots to the one separator. A full stop becomes the separator only between Han characters.
fn place_separators(glyphs: &mut [Glyph]) -> Result<(), InvalidName> {
    let mut before = None;
    for at in 0..glyphs.len() {
        let after = glyphs.get(at + 1).map(|glyph| glyph.char);
        let Some(glyph) = glyphs.get_mut(at) else { break };
        glyph.char = match glyph.char {
            '·' | '\u{387}' | '\u{2022}' | '\u{2024}' | '\u{2027}' | '\u{2219}' | '\u{22C5}' | '\u{25CF}'
            | '\u{2E31}' | '\u{2E33}' | '\u{A78F}' | '\u{30FB}' | '\u{FF65}' | '\u{16EB}' | '\u{1427}' | '\u{318D}' => {
                SEPARATOR
            }
            '.' | '．' | '。' if before.is_some_and(is_han) && after.is_some_and(is_han) => SEPARATOR,
            '.' | '．' | '。' if before.is_some_and(is_latin) => '.',
            '.' | '．' | '。' => return Err(InvalidName::BadSeparator),
            other => other,
        };
        before = Some(glyph.char);
    }
    Ok(())
}

/// Allows Han and Latin characters, the separator, and the signs that may follow a Latin letter.
fn check_characters(glyphs: &[Glyph]) -> Result<(), InvalidName> {
    let mut after_latin = false;
    for &Glyph { char, .. } in glyphs {
        let latin = is_latin(char);
        match char {
            _ if latin || is_han(char) => {}
            SEPARATOR => {}
            '\'' | '-' | '.' | ',' if after_latin => {}
            other if is_letter(other) => return Err(InvalidName::UnsupportedScript),
            _ => return Err(InvalidName::BadCharacter),
        }
        after_latin = latin;
    }
    Ok(())
}

/// Requires a part of the name on each side of a separator.
fn check_separators(glyphs: &[Glyph]) -> Result<(), InvalidName> {
    // The start and the end of the name count as separators, so a separator there is doubled.
    let edge = || std::iter::once(SEPARATOR);
    let inner = || glyphs.iter().map(|glyph| glyph.char);
    let doubled = edge().chain(inner()).zip(inner().chain(edge())).any(|pair| pair == (SEPARATOR, SEPARATOR));
    if doubled { Err(InvalidName::BadSeparator) } else { Ok(()) }
}

/// Joins the characters, checks the length and collects the warnings. White space is kept only between Latin parts, as
/// one space.
fn write(glyphs: &[Glyph]) -> Result<(Personal, Warnings), InvalidName> {
    let mut text = Zeroizing::new(String::with_capacity(glyphs.len() * 5));
    let mut code_points = 0;
    let mut warnings = Warnings::default();
    let (mut han, mut latin) = (false, false);
    let mut before = SEPARATOR;
    for &Glyph { char, spaced } in glyphs {
        let space_stays = spaced && [before, char].into_iter().all(|c| !is_han(c) && c != SEPARATOR);
        if space_stays {
            text.push(' ');
        }
        text.push(char);
        code_points += 1 + usize::from(space_stays);
        han |= is_han(char);
        latin |= is_latin(char);
        warnings.raise(Warning::SpaceRemoved, spaced && is_han(before) && is_han(char));
        warnings.raise(Warning::Pua, is_private_use(char));
        warnings.raise(Warning::CompatIdeograph, is_compatibility_ideograph(char));
        warnings.raise(Warning::SymbolZero, char == '○');
        before = char;
    }
    if code_points > MAX_CODE_POINTS {
        return Err(InvalidName::TooLong);
    }
    warnings.raise(Warning::MixedScript, han && latin);
    warnings.raise(Warning::SingleCharacter, code_points == 1);
    Ok((Personal::new(text.as_str()), warnings))
}
