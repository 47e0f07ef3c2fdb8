//! The clients: rights, keys and their ends, rate and cap, refusals.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};
use prometheus::proto::MetricFamily;

use super::attention::series;
use super::layout;
use super::shown::{Tone, badge, grouped, moment};
use super::state::Console;
use super::visitor::Visitor;
use crate::domain::clock::Clock;
use crate::server::auth::client::Client;

/// What a refusal of a client has as its status.
const REFUSED: [&str; 3] = ["401", "403", "429"];

pub(super) async fn page(State(console): State<Arc<Console>>, visitor: Visitor) -> Response {
    let pipeline = &console.pipeline;
    let now = pipeline.current.load();
    let (families, all) = (console.registry.gather(), now.clients.described());
    let content = html! {
        p.quiet { "Counts are of this process, since its start." }
        @if all.is_empty() {
            p.notice.warn { "No client is configured: everybody who reaches the public address may ask." }
        }
        @for (client, keys) in &all { (one(client, keys, &pipeline.clock, &families)) }
        @let unknown = refusals(&families, "unknown");
        @if unknown > 0 { p { "Requests of nobody we know that were refused: " strong { (grouped(unknown)) } } }
    };
    layout::page(&visitor, StatusCode::OK, "Clients", &content)
}

fn one(client: &Client, keys: &[(&str, Option<Timestamp>)], clock: &Clock, families: &[MetricFamily]) -> Markup {
    let name = &*client.name;
    let heading = format!("client-{name}");
    let (used, cap) = client.day(clock);
    let requests = count(families, "idgate_requests_total", name, |_| true);
    let suspected = count(families, "idgate_enumeration_suspected_total", name, |_| true);
    let rights = client.rights.words();
    html! {
        section.card aria-labelledby=(heading) {
            h2 id=(heading) { (name) @if suspected > 0 { " " (badge(Tone::Bad, "enumeration suspected")) } }
            dl.facts {
                dt { "Purposes" } dd { (client.purposes().join(", ")) }
                dt { "Rights" } dd { @if rights.is_empty() { "none beyond asking" } @else { (rights.join(", ")) } }
                @if let Some((second, burst)) = client.limits() {
                    dt { "Rate" } dd { (grouped(second.into())) " a second, " (grouped(burst.into())) " at once" }
                }
                dt { "Today" } dd { @match cap {
                    Some(cap) => { (grouped(used.into())) " of " (grouped(cap.into())) " questions" },
                    None => "no cap",
                } }
                dt { "Requests" } dd { (grouped(requests)) ", refused " (grouped(refusals(families, name)))
                    @if suspected > 0 { ", suspected of trying out " (grouped(suspected)) } }
            }
            div.scroll tabindex="0" role="group" aria-label=(format!("Keys of {name}")) { table {
                thead { tr { th scope="col" { "Key" } th scope="col" { "Ends" } } }
                tbody { @for (id, end) in keys { tr { th scope="row" { (id) } td { @match end {
                    Some(end) if *end <= clock.now() => { (badge(Tone::Bad, "has ended")) " " (moment(*end)) },
                    Some(end) => (moment(*end)),
                    None => span.quiet { "never" },
                } } } } }
            } }
        }
    }
}

fn refusals(families: &[MetricFamily], client: &str) -> u64 {
    count(families, "idgate_requests_total", client, |status| REFUSED.contains(&status))
}

fn count(families: &[MetricFamily], name: &'static str, client: &str, is_meant: impl Fn(&str) -> bool) -> u64 {
    let of_client = series(families, name).filter(|one| one.label("client") == client && is_meant(one.label("status")));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
    of_client.map(|one| one.value as u64).sum()
}
