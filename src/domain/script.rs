//! Character classes: invisible, full-width, Han, private use, Latin.
//!
//! Hand-written ranges instead of Unicode property tables, which lag behind and would refuse people whose character is
//! new. Names and ID numbers share these ranges. To add one, extend the function here and add the test vector that
//! needs it.

/// Characters that input methods and copied pages leave behind and nobody sees: soft hyphen, zero-width and bidi marks,
/// byte order mark, variation selectors.
pub(super) const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{AD}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{E0100}'..='\u{E01EF}'
    )
}

/// The ASCII form of a full-width digit or letter; other characters unchanged.
pub(super) fn narrow(c: char) -> char {
    /// The distance between a full-width character and its ASCII form.
    const SHIFT: u32 = 0xFEE0;
    match c {
        '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' => char::from_u32(u32::from(c) - SHIFT).unwrap_or(c),
        other => other,
    }
}

/// What counts as a Han character in a name: the ideograph blocks, planes 2 and 3 entirely, radicals, iteration marks,
/// both zeros, and private use (where older registries store rare characters).
pub(super) const fn is_han(c: char) -> bool {
    matches!(
        c,
        '\u{4E00}'..='\u{9FFF}'
            | '\u{3400}'..='\u{4DBF}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{2E80}'..='\u{2EFF}'
            | '\u{20000}'..='\u{3FFFD}'
            | '々' | '〇' | '〻' | '○'
    ) || is_private_use(c)
}

pub(super) const fn is_private_use(c: char) -> bool {
    matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{FFFFD}' | '\u{100000}'..='\u{10FFFD}')
}

/// A compatibility ideograph, which Unicode normalisation would change into another registered character. Excludes the
/// twelve unified ideographs located in that block.
pub(super) const fn is_compatibility_ideograph(c: char) -> bool {
    let unified = matches!(
        c,
        '\u{FA0E}'
            | '\u{FA0F}'
            | '\u{FA11}'
            | '\u{FA13}'
            | '\u{FA14}'
            | '\u{FA1F}'
            | '\u{FA21}'
            | '\u{FA23}'
            | '\u{FA24}'
            | '\u{FA27}'
            | '\u{FA28}'
            | '\u{FA29}'
    );
    matches!(c, '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}') && !unified
}

/// A Latin letter, with or without accents.
pub(super) const fn is_latin(c: char) -> bool {
    c.is_ascii_alphabetic()
        || matches!(
            c,
            'ª' | 'º'
                | 'À'..='Ö'
                | 'Ø'..='ö'
                | 'ø'..='\u{2AF}'
                | '\u{1E00}'..='\u{1EFF}'
                | '\u{212A}' | '\u{212B}'
                | '\u{2C60}'..='\u{2C7F}'
                | '\u{A722}'..='\u{A787}'
                | '\u{A78B}'..='\u{A7FF}'
                | '\u{AB30}'..='\u{AB5A}'
                | '\u{FB00}'..='\u{FB06}'
        )
}

/// A letter of any script. Numerals and enclosed letters are excluded, although Unicode calls them alphabetic.
pub(super) fn is_letter(c: char) -> bool {
    let enclosed = matches!(
        c,
        '\u{24B6}'..='\u{24E9}' | '\u{1F130}'..='\u{1F149}' | '\u{1F150}'..='\u{1F169}' | '\u{1F170}'..='\u{1F189}'
    );
    c.is_alphabetic() && !c.is_numeric() && !enclosed
}

/// One of the 66 code points that are never characters.
pub(super) const fn is_noncharacter(c: char) -> bool {
    let code = c as u32;
    matches!(code, 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
}
