//! The answer to a question, as its page shows it.

use maud::{Markup, html};

use super::answers::attempts;
use super::question::{Answered, Asked};
use super::shown::{moment, outcome, yuan};
use super::state::Console;
use crate::server::audit;
use crate::server::http::problem::Problem;
use crate::server::pipeline::{self, Verified};

/// What came of a question, and the same question for a program.
pub(super) async fn section(console: &Console, answered: &Answered) -> Markup {
    let asked = answered.asked.as_ref();
    let told = match &answered.result {
        Ok(verified) => verdict(console, verified, asked).await,
        Err(problem) => refusal(problem),
    };
    html! {
        section.card aria-labelledby="answer" {
            h2 #answer { "The answer" }
            (told)
            @if let Some(asked) = asked { (curl(asked)) }
        }
    }
}

async fn verdict(console: &Console, verified: &Verified, asked: Option<&Asked>) -> Markup {
    let tried: Vec<_> = verified.attempts.iter().map(audit::on_record).collect();
    let cost = cost(console, verified.id).await;
    html! {
        p.verdict role="status" { (outcome(verified.verdict.as_str())) }
        dl.facts {
            dt { "Provider" } dd { (verified.provider) }
            dt { "Source" } dd { (verified.source.as_str()) }
            dt { "Verified" } dd { (moment(verified.verified_at.at)) }
            @if let Some((billed, possible)) = cost {
                dt { "Cost" } dd { (yuan(billed)) @if possible > 0 { ", and possibly " (yuan(possible)) } }
            }
            dt { "Verification" } dd { code { (verified.id) } }
            @if let Some(asked) = asked.filter(|asked| asked.wants_person) { (person(console, asked)) }
        }
        (attempts(&tried))
    }
}

/// What the calls of this answer's flight cost, if there is a ledger: billed, and possibly billed.
async fn cost(console: &Console, id: uuid::Uuid) -> Option<(u64, u64)> {
    let ledger = &console.pipeline.ledger;
    let answer = ledger.answer(id).await.ok()??;
    if answer.source.as_deref() == Some("cache") {
        return Some((0, 0));
    }
    let calls = ledger.calls(answer.flight?).await.ok()?;
    let sum = |billed: &str| {
        calls.iter().filter(|call| call.end.billed == billed).map(|call| call.end.price_micro_yuan).sum()
    };
    Some((sum("yes"), sum("unknown")))
}

/// Read from the number again, so that nothing more of the person is kept.
fn person(console: &Console, asked: &Asked) -> Markup {
    let (now, today) = (console.pipeline.current.load(), console.pipeline.clock.today_in_china());
    let (Some(name), Some(number)) = (&asked.name, &asked.id_number) else { return html! {} };
    let Ok(subject) = pipeline::subject(now.rules, today, name, number) else { return html! {} };
    let number = subject.number();
    let region = now.regions.of(number);
    let region: Vec<_> = [region.province, region.city, region.county].into_iter().flatten().collect();
    html! {
        @if let Some(birth) = number.birth_date() { dt { "Born" } dd { (birth) } }
        @if let Some(age) = number.age_on(today) { dt { "Age" } dd { (age) } }
        @if let Some(sex) = number.sex() { dt { "Sex" } dd { (sex.as_str()) } }
        @if !region.is_empty() { dt { "First registered in" } dd lang="zh" { (region.join(" ")) } }
    }
}

fn refusal(problem: &Problem) -> Markup {
    let tried: Vec<_> = problem.attempts().iter().map(audit::on_record).collect();
    html! {
        p.verdict role="alert" { (outcome(problem.code().as_str())) }
        p { (problem.in_words()) }
        @if let Some(after) = problem.retry_after() { p.quiet { "Try again in " (super::shown::lasting(after)) "." } }
        @if !tried.is_empty() { (attempts(&tried)) }
    }
}

/// The same question for a program. The key is for the reader to fill in.
fn curl(asked: &Asked) -> Markup {
    let json = asked.json();
    let body = str::from_utf8(&json).unwrap_or_default().replace('\'', "'\\''");
    let fresh = if asked.no_cache { " -H 'Cache-Control: no-cache'" } else { "" };
    let line = format!(
        "curl -s http://ADDRESS/v1/verify -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json'{fresh} -d '{body}'"
    );
    html! {
        h3 #curl { "The same with curl" }
        pre tabindex="0" role="group" aria-labelledby="curl" { code #line { (line) } }
        button type="button" hidden data-copy="line" { "Copy" }
    }
}
