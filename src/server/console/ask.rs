//! Asking about a person: under the client that the configuration names, with its purposes, rights, rate and budget. In
//! the sandbox also the invented people, and a fault for each provider.

use std::pin::pin;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{Method, StatusCode};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::answered;
use super::form::Form;
use super::kept::NO_LONGER_KEPT;
use super::layout::{self, token};
use super::question::{Answered, Asked};
use super::shown::{Tone, badge, words};
use super::state::Console;
use super::visitor::Visitor;
use crate::server::audit;
use crate::server::auth::client::{Caller, Client};
use crate::server::auth::operators::Operator;
use crate::server::auth::roles::Right;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::server::http::recorder::Audience;
use crate::server::http::request_scope::{RequestScope, caught};
use crate::server::pipeline::{self, Delivered, RequestOptions, build_question};
use crate::storage::ledger;
use crate::verify::Freshness;

/// What can be tried in the sandbox, as a word and as the sandbox takes it.
const FAULTS: [(&str, &str); 8] = [
    ("refuses connections", r#"{"kind":"refuse_connections"}"#),
    ("answers 500", r#"{"kind":"status","status":500}"#),
    ("hangs", r#"{"kind":"hang"}"#),
    ("is slow", r#"{"kind":"slow","delay":"2s"}"#),
    ("resets connections", r#"{"kind":"reset"}"#),
    ("sends garbage", r#"{"kind":"garbage"}"#),
    ("tells of another person", r#"{"kind":"wrong_echo"}"#),
    ("account in arrears", r#"{"kind":"outcome","outcome":"account_fault","reason":"arrears"}"#),
];

/// The form.
pub(super) async fn page(State(console): State<Arc<Console>>, visitor: Visitor) -> Response {
    show(&console, &visitor, StatusCode::OK, &html! {}).await
}

/// Asks, and redirects to the page of the answer: what the browser keeps of it, and reloads, is only that page.
pub(super) async fn ask(State(console): State<Arc<Console>>, visitor: Visitor, form: Form) -> Response {
    let asked = Asked::of(&form);
    let Some(client) = client(&console) else {
        return Redirect::to("/console/ask").into_response();
    };
    let mut scope = RequestScope::unknown(&console.recorder, Audience::Services);
    scope.is_operated_by(&visitor.operator);
    let mut is_question = false;
    let result = caught(pin!(deliver(&console, &visitor.operator, client, &asked, &mut scope, &mut is_question))).await;
    scope.answer(&result, |_| Response::default());
    let (outcome_of, verification) = match &result {
        Ok(delivered) => (delivered.verified.verdict.as_str(), Some(delivered.verified.id)),
        Err(problem) => (problem.code().as_str(), None),
    };
    let about = ledger::Operation { verification, ..ledger::Operation::default() };
    audit::note(&console.pipeline.ledger, &visitor.operator, "question", outcome_of, about).await;
    let result = result.map(|delivered| delivered.verified);
    let answered = Answered { asked: is_question.then_some(asked), result };
    let id = console.answered.keep(&visitor.session, answered);
    Redirect::to(&format!("/console/ask/answer/{id}")).into_response()
}

/// The answer to a question of this session.
pub(super) async fn answer(State(console): State<Arc<Console>>, Path(id): Path<String>, visitor: Visitor) -> Response {
    let Some(answered) = console.answered.find(&visitor.session, &id) else {
        let content = html! { p.notice.warn role="alert" { (NO_LONGER_KEPT) } };
        return show(&console, &visitor, StatusCode::NOT_FOUND, &content).await;
    };
    let answer = answered::section(&console, &answered).await;
    show(&console, &visitor, StatusCode::OK, &answer).await
}

/// The client of the questions asked here.
fn client(console: &Console) -> Option<Arc<Client>> {
    console.pipeline.current.load().clients.named(console.config.client.as_deref())
}

async fn deliver(
    console: &Console,
    operator: &Operator,
    client: Arc<Client>,
    asked: &Asked,
    scope: &mut RequestScope,
    is_question: &mut bool,
) -> Result<Delivered, Refused> {
    let pipeline = &*console.pipeline;
    let now = pipeline.current.load();
    // In the ledger, the key of the question says who asked.
    let key_id = Arc::from(format!("console/{}", operator.name));
    let client = pipeline::admit(scope, Caller { client, key_id, certificate_id: None })?;
    let place = now.runtime.place_to_read(&client.name).map_err(|_| pipeline::overloaded())?;
    // The same checks as for a question of a program.
    let body = VerifyBody::parse(&asked.json())
        .map_err(|errors| Box::new(Problem::new(Code::MalformedRequest).with_errors(errors)))?;
    let freshness = Freshness { no_cache: asked.no_cache, ..Freshness::default() };
    let options = RequestOptions { freshness, patience: None };
    let question = build_question(pipeline, &now, &client, &body, options, scope)?;
    *is_question = true;
    client.count_question(&pipeline.clock)?;
    drop(place);
    pipeline::ask_and_write(pipeline, &now, &question, scope).await
}

async fn show(console: &Console, visitor: &Visitor, status: StatusCode, answer: &Markup) -> Response {
    let content = html! {
        (answer)
        @match client(console) {
            None => p.notice.warn { "Nobody can ask here: the configuration names no client for it (" code { "console.client" } ")." },
            Some(client) => (form(visitor, &client)),
        }
        (sandbox(console, visitor).await)
    };
    layout::page(visitor, status, "Ask", &content)
}

fn form(visitor: &Visitor, client: &Client) -> Markup {
    html! {
        form.fields method="post" action="/console/ask" aria-label="A question" autocomplete="off" {
            (token(visitor))
            fieldset { legend { "Do they belong together?" }
                div { label for="name" { "Name" } input #name name="name" required autocomplete="off" spellcheck="false"; }
                div { label for="id_number" { "ID number" } input #id_number name="id_number" required autocomplete="off" spellcheck="false"; }
                div { label for="purpose" { "Purpose" } select #purpose name="purpose" {
                    @for purpose in client.purposes() { option { (purpose) } } } }
                div { label for="reference" { "Reference (optional)" } input #reference name="reference" maxlength="128" autocomplete="off"; }
                div.check { input #include_person type="checkbox" name="include_person" value="yes"; label for="include_person" { "What the number says of the person" } }
                div.check { input #no_cache type="checkbox" name="no_cache" value="yes"; label for="no_cache" { "Ask a provider, whatever is cached" } }
            }
            p.quiet { "Asked as client " strong { (client.name) } ", with its rights and its budget. It is recorded with your name." }
            button.main type="submit" { "Ask" }
        }
    }
}

/// The invented people and the faults, if this is a sandbox.
async fn sandbox(console: &Console, visitor: &Visitor) -> Markup {
    let people = console.inner(&visitor.operator, Method::GET, "/sandbox/people", None).await.json();
    let Some(Value::Array(people)) = people else { return html! {} };
    let text = |person: &Value, name: &str| person.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let providers = console.pipeline.current.load().runtime.status();
    let mut faults = Vec::with_capacity(providers.len());
    for one in &providers {
        let path = format!("/sandbox/{}/fault", one.name);
        let set = console.inner(&visitor.operator, Method::GET, &path, None).await.json();
        faults.push(set.as_ref().and_then(|set| set.get("kind")?.as_str()).map(words));
    }
    html! {
        @if visitor.may(Right::Operate) {
            section aria-labelledby="faults" {
                h2 #faults { "Faults of the sandbox" }
                p.quiet { "All providers are simulated on this machine. Break one, ask, and see who answers." }
                ul.faults { @for (one, fault) in providers.iter().zip(&faults) { li { form.row method="post" action="/console/ask/fault" {
                    (token(visitor))
                    input type="hidden" name="provider" value=(one.name);
                    div { label for=(format!("fault-{}", one.name)) { (one.name)
                            @if let Some(fault) = fault { " " (badge(Tone::Bad, &format!("now: {fault}"))) } }
                        select id=(format!("fault-{}", one.name)) name="fault" { option value="" { "no fault" }
                            @for (word, _) in FAULTS { option { (word) } } } }
                    button type="submit" { "Set for " (one.name) }
                } } } }
            }
        }
        section aria-labelledby="people" {
            h2 #people { "People of the sandbox" }
            div.scroll tabindex="0" role="group" aria-labelledby="people" { table {
                thead { tr { th scope="col" { "Name" } th scope="col" { "ID number" } th scope="col" { "Why in the list" } th scope="col" { "Ask" } } }
                tbody { @for person in &people {
                    @let (name, number) = (text(person, "name"), text(person, "id_number"));
                    tr { th scope="row" lang="zh" { (name) } td { code { (number) } } td { (text(person, "note")) }
                        td { form method="post" action="/console/ask" { (token(visitor))
                            input type="hidden" name="name" value=(name);
                            input type="hidden" name="id_number" value=(number);
                            button type="submit" aria-label=(format!("Ask about {name}")) { "Ask" } } } }
                } }
            } }
        }
    }
}

/// Sets or ends the fault of a provider of the sandbox.
pub(super) async fn fault(State(console): State<Arc<Console>>, visitor: Visitor, form: Form) -> Response {
    let provider = form.text("provider").unwrap_or_default();
    let known = console.pipeline.current.load().runtime.status();
    let fault = FAULTS.iter().find(|(word, _)| form.text("fault") == Some(word));
    let is_known = known.iter().any(|one| *one.name == *provider) && (fault.is_some() || form.text("fault").is_none());
    if !visitor.may(Right::Operate) || !is_known {
        return super::frame::refused(
            StatusCode::FORBIDDEN,
            "Only an operator sets a fault, and only of a known provider.",
        );
    }
    let path = format!("/sandbox/{provider}/fault");
    let done = match fault {
        Some((_, json)) => {
            let body = serde_json::from_str(json).unwrap_or(json!({}));
            console.inner(&visitor.operator, Method::PUT, &path, Some(body)).await
        }
        None => console.inner(&visitor.operator, Method::DELETE, &path, None).await,
    };
    match done.problem {
        None => Redirect::to("/console/ask#faults").into_response(),
        Some(problem) => super::frame::refused(done.status, &problem),
    }
}
