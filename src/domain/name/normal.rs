//! The normal form of a name, for the names that are not in it already.
//!
//! Invariant: linear in the input, which is bounded; every buffer is wiped. The functions are the rules of the data README
//! in their order, and their order decides which reason a name with several faults gets.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};
use zeroize::{Zeroize, Zeroizing};

use super::invalid::{InvalidName, MAX_CODE_POINTS};
use super::warning::{Warning, Warnings};
use crate::domain::personal::Personal;
use crate::domain::script::{
    is_compatibility_ideograph, is_han, is_invisible, is_latin, is_letter, is_noncharacter, is_private_use, narrow,
};

/// No name has so many bytes, whatever invisible characters are strewn into it: refused before any work.
const MAX_BYTES: usize = 4096;
/// The separator that the notice of 2016 prescribes.
const SEPARATOR: char = '·';

/// A visible character, and whether white space stands before it.
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

/// The normal form of `input`, and what to warn about.
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

/// Rules 1 and 2: what nobody sees is left out, what a keyboard or a copy spelt otherwise is put right.
fn read(input: &str) -> Result<Glyphs, InvalidName> {
    let mut glyphs = Zeroizing::new(Vec::with_capacity(input.len()));
    let mut spaced = false;
    for char in input.chars().filter(|&c| !is_invisible(c)) {
        if char.is_whitespace() {
            spaced = true;
        } else if char.is_control() || char == char::REPLACEMENT_CHARACTER || is_noncharacter(char) {
            return Err(InvalidName::BadEncoding);
        } else {
            glyphs.push(Glyph { char: respelt(char), spaced });
            spaced = false;
        }
    }
    Ok(glyphs)
}

/// The usual spelling of one character.
fn respelt(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{2BC}' | '＇' => '\'',
        '\u{2010}' | '\u{2011}' | '－' => '-',
        '，' => ',',
        // Radicals come from PDF copies; no registry uses them in names.
        '\u{2F00}'..='\u{2FD5}' | '\u{2E9F}' | '\u{2EF3}' => {
            let mut ideograph = c;
            decompose_compatible(c, |mapped| ideograph = mapped);
            ideograph
        }
        other => narrow(other),
    }
}

/// Rule 3: signs that stand for a lost character, and descriptions of one.
const fn is_placeholder(c: char) -> bool {
    matches!(c, '*' | '?' | '_' | '＊' | '？' | '＿' | '□' | '■' | '〓' | '\u{2FF0}'..='\u{2FFF}' | '\u{31EF}')
}

/// Rule 6, here already so that the rules about neighbours see letters and no loose accents: each Latin letter with the
/// marks on it in its composed form. Never over ideographs: composing would change a thousand of them.
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

/// Rule 4: the many dots to the one separator; a full stop is one between Han characters only.
fn place_separators(glyphs: &mut [Glyph]) -> Result<(), InvalidName> {
    let mut before = None;
    for at in 0..glyphs.len() {
        let after = glyphs.get(at + 1).map(|glyph| glyph.char);
        let Some(glyph) = glyphs.get_mut(at) else { break };
        glyph.char = match glyph.char {
            '·' | '\u{387}' | '\u{2022}' | '\u{2024}' | '\u{2027}' | '\u{2219}' | '\u{22C5}' | '\u{25CF}'
            | '\u{2E31}' | '\u{2E33}' | '\u{30FB}' | '\u{FF65}' | '\u{16EB}' | '\u{1427}' | '\u{318D}' => SEPARATOR,
            '.' | '．' | '。' if before.is_some_and(is_han) && after.is_some_and(is_han) => SEPARATOR,
            '.' | '．' | '。' if before.is_some_and(is_latin) => '.',
            '.' | '．' | '。' => return Err(InvalidName::BadSeparator),
            other => other,
        };
        before = Some(glyph.char);
    }
    Ok(())
}

/// Rule 7: Han, Latin, and the signs that follow a Latin letter.
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

/// Rule 8: a separator has a part of the name on each side.
fn check_separators(glyphs: &[Glyph]) -> Result<(), InvalidName> {
    // The edges of the name count as separators, so that a separator there is a doubled one.
    let edge = || std::iter::once(SEPARATOR);
    let inner = || glyphs.iter().map(|glyph| glyph.char);
    let doubled = edge().chain(inner()).zip(inner().chain(edge())).any(|pair| pair == (SEPARATOR, SEPARATOR));
    if doubled { Err(InvalidName::BadSeparator) } else { Ok(()) }
}

/// Rules 5 and 9, and the warnings: white space stays, as one space, only between Latin parts.
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
