//! How times, amounts and words are written on the pages.

use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, html};

/// How good or bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warn,
    Bad,
    Plain,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "badge good",
            Self::Warn => "badge warn",
            Self::Bad => "badge bad",
            Self::Plain => "badge",
        }
    }
}

/// A word with a colour, which says nothing that the word does not.
pub(super) fn badge(tone: Tone, word: &str) -> Markup {
    html! { span class=(tone.class()) { (word) } }
}

/// A verdict, or the code of a problem.
pub(super) fn outcome(word: &str) -> Markup {
    let tone = match word {
        "match" | "verdict" => Tone::Good,
        "mismatch" | "no_record" => Tone::Plain,
        skipped if skipped.starts_with("skipped") => Tone::Warn,
        _ => Tone::Bad,
    };
    badge(tone, &words(word))
}

/// `no_record` as people write it.
pub(super) fn words(word: &str) -> String {
    word.replace('_', " ")
}

/// A duration in its two largest units.
pub(super) fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A moment in UTC, to the second. The script adds the reader's own time.
pub(super) fn moment(at: Timestamp) -> Markup {
    let text = format!("{at:.0}");
    html! { time datetime=(text) { (text.trim_end_matches('Z').replace('T', " ")) " UTC" } }
}

/// The same, of milliseconds since 1970.
pub(super) fn moment_ms(ms: i64) -> Markup {
    Timestamp::from_millisecond(ms).map_or_else(|_| html! {}, moment)
}

/// Millionths of a yuan, as yuan with three digits.
pub(super) fn yuan(micro: u64) -> String {
    let thousandths = micro.saturating_add(500) / 1000;
    format!("¥{}.{:03}", grouped(thousandths / 1000), thousandths % 1000)
}

/// A count with a space between its groups of three.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}\u{202f}%", share * 100.0)
}

/// A number that stands for itself, with what it is.
pub(super) fn tile(name: &str, value: &str, note: &str) -> Markup {
    html! { div.tile { dt { (name) } dd { strong { (value) } @if !note.is_empty() { span.quiet { (note) } } } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((grouped(0), grouped(999), yuan(33_499)), ("0".to_owned(), "999".to_owned(), "¥0.033".to_owned()));
        assert_eq!(lasting(Duration::from_secs(90_061)), "1 d 1 h");
        assert_eq!(lasting(Duration::from_secs(59)), "59 s");
    }
}
