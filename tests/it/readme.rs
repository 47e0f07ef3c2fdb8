//! Checks the documents: the answers shown are real, the lists are complete, and the links work.
//!
//! In each fenced block marked `console`, lines that begin with `$ ` are commands, each followed by its output. The
//! blocks of a document run in order against a sandbox of their own, the real binary on free ports. Ids, times and
//! ports are masked on both sides. An unsupported command fails, so every command shown has been run. To support a
//! new kind of command, add an arm in [`Sandbox::run`]. To write changed output into the documents: `BLESS=1 cargo
//! test readme`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use idgate::app::config::DEFAULT;
use idgate::server::http::code::Code;
use serde_json::{Deserializer, Value};

use crate::contract::metrics::{ALERTS, SERIES, SHARED};
use crate::contract::read;
use crate::support::{client, process};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The documents for people, as paths relative to the repository.
fn documents() -> Vec<String> {
    let below = |folder: &str, prefix: &str| -> Vec<String> {
        let files = std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".md")).map(|name| format!("{prefix}{name}")).collect()
    };
    let mut all = [below("", ""), below("docs", "docs/")].concat();
    all.sort();
    all
}

/// The lines of every fenced block of this kind.
fn blocks(document: &str, kind: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let opening = format!("```{kind}");
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while lines.any(|line| line == opening) {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect());
    }
    blocks
}

/// Runs every `console` block. Returns the document with the current output, and the number of commands.
async fn answered(document: &str) -> (String, usize) {
    let sandbox = Sandbox::start();
    let text = read(document);
    let (mut out, mut commands) = (String::new(), 0);
    let mut lines = text.lines().peekable();
    let mut in_block = false;
    while let Some(line) = lines.next() {
        out += &format!("{line}\n");
        in_block = if in_block { line != "```" } else { line == "```console" };
        let Some(command) = line.strip_prefix("$ ").filter(|_| in_block) else {
            assert!(!in_block || line == "```console", "{document}: a block must begin with a command: {line}");
            continue;
        };
        let mut shown = String::new();
        while let Some(line) = lines.next_if(|line| *line != "```" && !line.starts_with("$ ")) {
            shown += &format!("{line}\n");
        }
        let really = sandbox.run(command).await;
        let is_same = masked(&shown) == masked(&really);
        out += if is_same || really.ends_with('\n') || really.is_empty() { "" } else { "\n" };
        out.insert_str(out.len(), if is_same { &shown } else { &really });
        commands += 1;
    }
    (out, commands)
}

/// `idgate sandbox` as a process.
struct Sandbox {
    process: Child,
    public: String,
    admin: String,
    http: reqwest::Client,
}

impl Sandbox {
    fn start() -> Self {
        let mut process = idgate(&["sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut authority_after = |beginning: &str| {
            let line = lines.find(|line| line.starts_with(beginning)).expect("the sandbox says where it is");
            line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned()
        };
        let (public, admin) = (authority_after("ask "), authority_after("break "));
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, public, admin, http: client() }
    }

    /// The output of a command.
    async fn run(&self, command: &str) -> String {
        if let Some(rest) = command.strip_prefix("for ") {
            let (variable, rest) = rest.split_once(" in ").expect("for NAME in VALUES");
            let (values, rest) = rest.split_once("; do ").expect("; do");
            let body = rest.strip_suffix("; done").expect("; done");
            let mut answers = String::new();
            for value in values.split(' ') {
                answers += &self.one(&body.replace(&format!("${variable}"), value)).await;
            }
            return answers;
        }
        self.one(command).await
    }

    async fn one(&self, command: &str) -> String {
        let mut stages = pipeline(command).into_iter();
        let first = stages.next().unwrap_or_default();
        let answer = match first.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["curl", ref arguments @ ..] => self.curl(arguments).await,
            ["cargo", "run", "-q", "--", ref arguments @ ..] => {
                let output = idgate(arguments).output().unwrap();
                [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
            }
            _ => panic!("this command is not understood, so it cannot be shown: {command}"),
        };
        stages.fold(answer, |answer, stage| match stage.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["jq"] | ["jq", "."] => jq(".", &answer),
            ["jq", "-c", filter] | ["jq", filter] => jq(filter, &answer),
            ["grep", pattern] => {
                answer.lines().filter(|line| is_like(line, pattern)).map(|line| format!("{line}\n")).collect()
            }
            _ => panic!("this filter is not understood, so it cannot be shown: {stage:?}"),
        })
    }

    async fn curl(&self, arguments: &[&str]) -> String {
        let (mut method, mut url, mut body, mut headers) = (None, None, None, Vec::new());
        let (mut with_head, mut silent) = (false, false);
        let mut arguments = arguments.iter().copied();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} has no value"));
            match argument {
                "-s" => {}
                "-si" => with_head = true,
                "-X" => method = Some(value()),
                "-H" => headers.push(value().split_once(": ").expect("a header")),
                "-d" => body = Some(value().to_owned()),
                "-o" => silent = value() == "/dev/null",
                _ if argument.starts_with("http://") => url = Some(argument),
                _ => panic!("this option of curl is not understood, so it cannot be shown: {argument}"),
            }
        }
        let url = url.expect("a URL");
        let here = url.replace("127.0.0.1:8080", &self.public).replace("127.0.0.1:9464", &self.admin);
        assert_ne!(url, here, "curl lines go to the sandbox: {url}");
        let method = method.unwrap_or(if body.is_some() { "POST" } else { "GET" });
        let mut request = self.http.request(method.parse().unwrap(), here);
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.body(body.unwrap_or_default()).send().await.expect("the sandbox answers");
        let head = if with_head { head_of(&response) } else { String::new() };
        let text = response.text().await.unwrap();
        if silent { String::new() } else { head + &text }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        process::end(&mut self.process);
    }
}

/// The binary under test, run in the repository with an empty environment.
fn idgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idgate"));
    command.args(arguments).env_clear().current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

fn head_of(response: &reqwest::Response) -> String {
    let (status, headers) = (response.status(), response.headers());
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("{:?} {} {reason}\n", response.version(), status.as_u16());
    for (name, value) in headers {
        head += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    head + "\n"
}

/// Splits a command into pipeline stages, and each stage into words. Only single quotes are supported.
fn pipeline(command: &str) -> Vec<Vec<String>> {
    let mut stages = vec![vec![String::new()]];
    let mut quoted = false;
    for letter in command.chars() {
        let stage = stages.last_mut().unwrap();
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => stage.push(String::new()),
            '|' if !quoted => stages.push(vec![String::new()]),
            _ => stage.last_mut().unwrap().push(letter),
        }
    }
    assert!(!quoted, "a quote is open: {command}");
    for stage in &mut stages {
        stage.retain(|word| !word.is_empty());
    }
    stages
}

/// Whether a line contains the parts between the `.*` of a pattern, in order.
fn is_like(line: &str, pattern: &str) -> bool {
    let mut rest = Some(line);
    for part in pattern.split(".*") {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, after)| after);
    }
    rest.is_some()
}

/// Evaluates paths like `.a.b[0].c[]`, separated by commas; each result on a line.
fn jq(filter: &str, text: &str) -> String {
    let whole: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"));
    let mut answers = String::new();
    for path in filter.split(", ") {
        let mut found = vec![whole.clone()];
        for step in path.replace('[', ".[").split('.').filter(|step| !step.is_empty()) {
            found = match step.strip_prefix('[').and_then(|step| step.strip_suffix(']')) {
                Some("") => found.iter().flat_map(|value| value.as_array().expect("an array").clone()).collect(),
                Some(index) => found.iter().map(|value| value[index.parse::<usize>().unwrap()].clone()).collect(),
                None => found.iter().map(|value| value[step].clone()).collect(),
            };
        }
        answers.extend(found.iter().map(|value| format!("{value}\n")));
    }
    answers
}

/// Masks ids, times and ports. The order of JSON values counts, that of other lines does not.
fn masked(text: &str) -> Vec<String> {
    let values: Result<Vec<Value>, _> = Deserializer::from_str(text).into_iter().collect();
    if let Ok(values) = values {
        return values.into_iter().map(|value| masked_value(value).to_string()).collect();
    }
    let line = |line: &str| match serde_json::from_str(line) {
        Ok(value) => masked_value(value).to_string(),
        Err(_) => masked_line(line),
    };
    let mut lines: Vec<_> = text.lines().map(line).filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines
}

fn masked_value(value: Value) -> Value {
    const IDS_AND_TIMES: [&str; 8] = [
        "verification_id",
        "request_id",
        "provider_request_id",
        "verified_at",
        "duration_ms",
        "since_seconds",
        "retry_after_seconds",
        "age",
    ];
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| {
                let masks = IDS_AND_TIMES.contains(&&*key);
                let value = match value {
                    Value::String(_) if masks => Value::from("masked"),
                    Value::Number(_) if masks => Value::from(0),
                    other => masked_value(other),
                };
                (key, value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(masked_value).collect(),
        Value::String(text) => Value::from(without_ports(&text)),
        other => other,
    }
}

fn masked_line(line: &str) -> String {
    let masks = ["x-request-id: ", "date: ", "age: ", "content-length: ", "cache-status: idgate; hit; ttl="];
    match masks.iter().find(|beginning| line.starts_with(**beginning)) {
        Some(beginning) => (*beginning).to_owned(),
        None => without_ports(line),
    }
}

fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        format!("{text}127.0.0.1:PORT{}", part.trim_start_matches(|digit: char| digit.is_ascii_digit()))
    })
}

#[tokio::test]
async fn what_the_documents_show_is_what_the_sandbox_answers() {
    let mut total = 0;
    for document in documents() {
        if blocks(&document, "console").is_empty() {
            continue;
        }
        let (now, commands) = answered(&document).await;
        total += commands;
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(Path::new(ROOT).join(&document), &now).unwrap();
        }
        let kept = read(&document);
        let differs = kept.lines().zip(now.lines()).position(|(kept, now)| kept != now);
        let line = differs.map_or(0, |line| line + 1);
        let really = now.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        assert!(kept == now, "{document}:{line} differs from what is answered: {really}");
    }
    assert!(total >= 20, "the console blocks are not recognised");
}

#[test]
fn events_that_go_to_a_file_have_no_colours() {
    let mut command = idgate(&["sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(process.stderr.take().unwrap()).read_line(&mut first).unwrap();
    process::end(&mut process);
    assert!(first.contains(" INFO ") && !first.contains('\u{1b}'), "{first:?}");
}

#[test]
fn a_wrong_answer_would_be_noticed() {
    let shown = r#"{"verdict": "match", "attempts": [{"endpoint": "127.0.0.1:1", "duration_ms": 3}]}"#;
    assert_eq!(masked(shown), masked(&shown.replace(":1\"", ":65000\"").replace('3', "40")));
    assert_ne!(masked(shown), masked(&shown.replace("match", "mismatch")));
    assert_ne!(masked(shown), masked(&shown.replace("\"endpoint\"", "\"end\"")));
    assert_ne!(masked("HTTP/1.1 200 OK\nage: 3"), masked("HTTP/1.1 503 OK\nage: 3"));
    assert_ne!(masked("age: 3"), masked(""));
    let quoted = pipeline(r#"curl -d '{"a":"|'$n'"}' http://x | jq -c '.a, .b[]'"#);
    assert_eq!(quoted, [vec!["curl", "-d", r#"{"a":"|$n"}"#, "http://x"], vec!["jq", "-c", ".a, .b[]"]]);
    assert_eq!(jq(".a[].b, .c", r#"{"a": [{"b": 1}, {"b": 2}], "c": "x"}"#), "1\n2\n\"x\"\n");
    assert!(is_like("state{provider=\"a\"} 2", "state.*\"a\"") && !is_like("state{} 2", "state.*\"a\""));
}

#[test]
fn the_commands_of_the_documents_are_those_of_ci() {
    let ci = read(".ci/run");
    let steps = ci.lines().filter_map(|line| line.trim().strip_prefix("step \"")?.split_once("\" "));
    let of_ci: BTreeSet<_> = steps.map(|(_, command)| command.trim_start_matches("env ").to_owned()).collect();
    let documented = blocks("CONTRIBUTING.md", "sh").concat();
    assert_eq!(of_ci, documented.into_iter().collect::<BTreeSet<_>>());
    assert!(of_ci.contains("cargo test"));
    for readme in ["README.md", "README.zh.md"] {
        let commands = blocks(readme, "sh");
        let first: Vec<_> = commands[0].iter().map(|line| line.split('#').next().unwrap().trim()).collect();
        assert_eq!(first, ["cargo run -- sandbox", "cargo test"], "{readme}");
    }
    // The sandbox is also what this test and schemathesis use.
    assert!(read("tests/schemathesis.sh").contains("\"$binary\" sandbox"));
}

#[test]
fn the_readme_is_short_and_says_what_it_is_in_its_first_line() {
    let readme = read("README.md");
    assert!(readme.len() <= 12_288, "README.md has {} bytes; details belong in docs/", readme.len());
    assert!(readme.lines().next().unwrap().contains("身份证二要素核验"));
}

#[test]
fn the_readme_says_for_every_answer_whether_to_pay() {
    let readme = read("README.md");
    let rows = readme.split("## Pay or not").nth(1).unwrap().split("\n## ").next().unwrap();
    let verdicts = ["match", "mismatch", "no_record"];
    for answer in Code::ALL.iter().map(|code| code.as_str()).chain(verdicts) {
        assert_eq!(rows.matches(&format!("`{answer}`")).count().min(1), 1, "README.md, \"Pay or not\": no `{answer}`");
    }
}

#[test]
fn the_api_page_lists_every_problem_with_its_status_and_no_other() {
    let page = read("docs/api.md");
    let rows: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split_once(" | `"))
        .filter_map(|(status, rest)| Some((status.parse().ok()?, rest.split_once('`')?.0.to_owned())))
        .collect();
    let codes: BTreeSet<(u16, String)> =
        Code::ALL.iter().map(|code| (code.status().as_u16(), code.as_str().to_owned())).collect();
    assert_eq!(rows, codes);
}

fn has(document: &str, text: &str) {
    assert!(read(document).contains(text), "{document} lacks {text}");
}

#[test]
fn the_operations_page_lists_every_series_and_alert() {
    for (name, labels) in SERIES.iter().filter(|(name, _)| name.starts_with("idgate_")) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        has("docs/operations.md", &format!("`{name}{labels}`"));
    }
    for (name, labels, _) in SHARED {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        has("docs/operations.md", &format!("`{name}{labels}`"));
    }
    let alerts = ALERTS.map(read).concat();
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        has("docs/operations.md", &format!("`{alert}`"));
    }
}

#[test]
fn the_configuration_page_lists_every_section_and_command() {
    for header in DEFAULT.lines().map(|line| line.trim_start_matches("# ")).filter(|line| line.starts_with('[')) {
        let section = header.split(']').next().unwrap().trim_start_matches('[');
        let (family, name) = section.split_once('.').unwrap_or((section, ""));
        let title = match family {
            "clients" | "operators" | "purposes" | "providers" => format!("`[{family}.NAME]`"),
            _ if name.is_empty() => format!("`[{family}]`"),
            _ => format!("`[{family}.{name}]`"),
        };
        has("docs/configuration.md", &title);
    }
    let help = String::from_utf8(idgate(&["--help"]).output().unwrap().stdout).unwrap();
    let commands = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    for command in commands.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "help") {
        has("docs/configuration.md", &format!("`idgate {command}"));
    }
}

/// The anchors of a document's headings, built like GitHub's.
fn anchors(document: &str) -> BTreeSet<String> {
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    let text = read(document);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(|title| title.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut sources: Vec<(String, String)> = documents().into_iter().map(|name| (read(&name), name)).collect();
    // Each alert names the page that describes the response to it.
    for alerts in ALERTS {
        sources.extend(
            read(alerts)
                .split_whitespace()
                .map(|word| word.trim_matches('"'))
                .filter(|word| word.starts_with("docs/"))
                .map(|word| (format!("]({})", word.trim_end_matches('.')), alerts.to_owned())),
        );
    }
    for (text, source) in sources {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = if source.starts_with("docs/") { "docs/" } else { "" };
            let target = match path {
                "" => source.clone(),
                _ => format!("{folder}{path}").replace("docs/../", ""),
            };
            assert!(Path::new(ROOT).join(&target).exists(), "{source}: {link} leads nowhere");
            assert!(anchor.is_empty() || anchors(&target).contains(anchor), "{source}: no heading for {link}");
        }
    }
}

#[test]
fn every_file_that_the_documents_name_exists() {
    for document in documents() {
        for quoted in read(&document).split('`').skip(1).step_by(2).filter(|quoted| !quoted.contains(['…', '*'])) {
            let is_path =
                ["src/", "tests/", "config/", "docs/", "benches/", ".ci/"].iter().any(|top| quoted.starts_with(top));
            let path = quoted.split(' ').next().unwrap_or_default();
            let is_example = path.contains("NAME");
            assert!(!is_path || is_example || Path::new(ROOT).join(path).exists(), "{document}: there is no {path}");
        }
    }
}
