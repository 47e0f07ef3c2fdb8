//! Bars as SVG. A few dozen lines instead of a plotting library: its SVG writes styles on elements, which the pages'
//! policy forbids, and its colours know neither light nor dark.

use maud::{Markup, html};

/// One bar: what it stands for, and its parts from the bottom up.
pub(super) struct Bar<const N: usize> {
    pub(super) label: String,
    pub(super) parts: [u64; N],
}

const HEIGHT: u64 = 120;
const STEP: u64 = 10;

/// A chart of stacked bars, as wide as the page. `classes` colours the parts; `title` says all of it in words.
pub(super) fn bars<const N: usize>(title: &str, classes: [&'static str; N], bars: &[Bar<N>]) -> Markup {
    let most = bars.iter().map(|bar| bar.parts.iter().sum::<u64>()).max().unwrap_or_default();
    let scaled = |count: u64| (count * HEIGHT).checked_div(most).unwrap_or_default();
    let width = STEP * bars.len() as u64;
    let first = bars.first().map(|bar| &*bar.label).unwrap_or_default();
    html! {
        figure {
            svg.chart viewBox=(format!("0 0 {width} {}", HEIGHT + 2)) preserveAspectRatio="none" role="img" aria-label=(title) {
                line.axis x1="0" y1=(HEIGHT + 1) x2=(width) y2=(HEIGHT + 1) {}
                @for (place, bar) in bars.iter().enumerate() {
                    @let heights = bar.parts.map(scaled);
                    g {
                        title { (bar.label) ": " (bar.parts.iter().sum::<u64>()) }
                        @for (part, height) in heights.iter().enumerate() {
                            @let below: u64 = heights.iter().take(part).sum();
                            @if let (Some(class), true) = (classes.get(part), *height > 0) {
                                rect class=(class) x=(place as u64 * STEP + 1) width=(STEP - 2)
                                    y=(HEIGHT.saturating_sub(below + height)) height=(height) {}
                            }
                        }
                    }
                }
            }
            div.ends aria-hidden="true" {
                span { (first) }
                span { "most: " (super::shown::grouped(most)) }
                span { "now" }
            }
        }
    }
}
