//! Reads Rust source just well enough to know what it names: comments and strings blanked, paths resolved.
//!
//! Invariant: a blanked text keeps every line break, so a line number here is a line number in the file.
//! Not a parser: it knows `mod`, `use` trees and paths that begin with `crate`, `idgate`, `self` or `super`.
//! A path that begins with a module's bare name is read in the crate's root only, where it can leave a module.

/// A path as written somewhere, resolved from the root: `crate::verify::chain` is `["verify", "chain"]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// Counted from 1.
    pub line: usize,
    /// The segments below the crate; empty for the root itself or everything in it.
    pub path: Vec<String>,
}

/// The code without comments; with `strings` false also without what stands between quotes.
pub fn blanked(source: &str, strings: bool) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while let Some(&here) = chars.get(at) {
        let (end, keep) = match (here, chars.get(at + 1)) {
            ('/', Some('/')) => (end_of_line(&chars, at), false),
            ('/', Some('*')) => (end_of_block(&chars, at), false),
            ('"', _) => (end_of_string(&chars, at, '"'), strings),
            ('r', Some('"' | '#')) if !continues_word(&chars, at) => match end_of_raw(&chars, at) {
                Some(end) => (end, strings),
                None => (at + 1, true),
            },
            ('\'', Some('\\')) => (end_of_string(&chars, at, '\''), strings),
            ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => (at + 3, strings),
            _ => (at + 1, true),
        };
        let piece = &chars[at..end.min(chars.len())];
        out.extend(piece.iter().map(|&c| if keep || c == '\n' { c } else { ' ' }));
        at = end;
    }
    out
}

fn continues_word(chars: &[char], at: usize) -> bool {
    // The `b` and `c` of `br"…"` and `cr"…"` are prefixes of their own, not a word that the `r` ends.
    let word: String = chars[..at].iter().rev().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
    !matches!(word.as_str(), "" | "b" | "c")
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length)
}

fn end_of_block(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize, quote: char) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of `r"…"` or `r#"…"#`; nothing for a raw identifier such as `r#use`.
fn end_of_raw(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    let open = at + 1 + hashes;
    (chars.get(open) == Some(&'"')).then_some(())?;
    let close =
        |&start: &usize| chars[start] == '"' && chars[start + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    Some((open + 1..chars.len()).find(close).map_or(chars.len(), |start| start + 1 + hashes))
}

/// Every module that the file declares, with or without a body.
pub fn declared(source: &str) -> Vec<(usize, String)> {
    let tokens = tokens(&blanked(source, false));
    let pairs = tokens.iter().zip(tokens.iter().skip(1));
    pairs.filter(|(first, _)| first.text == "mod").map(|(_, name)| (name.line, name.text.clone())).collect()
}

/// Every path in the file that can lead out of its module. `module` is the file's own place: `["verify", "chain"]`.
pub fn named(source: &str, module: &[&str]) -> Vec<Named> {
    let tokens = tokens(&blanked(source, false));
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    // The module that the token is in, and for each inline one the depth of braces outside it.
    let mut place: Vec<String> = module.iter().map(|&name| name.to_owned()).collect();
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        let before = if at == 0 { "" } else { text(at - 1) };
        let base = match token.text.as_str() {
            "{" => {
                if at >= 2 && text(at - 2) == "mod" {
                    place.push(before.to_owned());
                    inline.push(depth);
                }
                depth += 1;
                continue;
            }
            "}" => {
                depth -= 1;
                if inline.pop_if(|outside| *outside == depth).is_some() {
                    place.pop();
                }
                continue;
            }
            "crate" | "idgate" if text(at + 1) == "as" => {
                found.push(Named { line: token.line, path: Vec::new() });
                continue;
            }
            "crate" | "idgate" => Vec::new(),
            "self" if before != "::" => place.clone(),
            "super" if before != "::" => above(&place),
            name if before == "use" && place.is_empty() => vec![name.to_owned()],
            _ => continue,
        };
        if text(at + 1) == "::" {
            follow(&tokens, at + 2, base, &mut found);
        }
    }
    found
}

fn above(path: &[String]) -> Vec<String> {
    path.split_last().map_or_else(Vec::new, |(_, above)| above.to_vec())
}

/// Adds the path, or each branch of the `use` tree, that goes on from `path` at token `at`; the token after it.
fn follow(tokens: &[Token], mut at: usize, mut path: Vec<String>, found: &mut Vec<Named>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let line = tokens.get(at).map_or(0, |token| token.line);
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while !matches!(text(at), "}" | "") {
                    at = if text(at) == "," { at + 1 } else { follow(tokens, at, path.clone(), found).max(at + 1) };
                }
                return at + 1;
            }
            "super" => path = above(&path),
            "self" | "*" => {}
            word if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => path.push(word.to_owned()),
            // A turbofish, or what a macro puts here.
            _ => break,
        }
        at += 1;
        match text(at) {
            "::" => at += 1,
            "as" => {
                at += 2;
                break;
            }
            _ => break,
        }
    }
    found.push(Named { line, path });
    at
}

struct Token {
    line: usize,
    text: String,
}

/// Words, `::`, and every other sign by itself.
fn tokens(code: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    for (number, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            let (token, after) = rest.split_at(length);
            out.push(Token { line: number + 1, text: token.to_owned() });
            rest = after.trim_start();
        }
    }
    out
}
