//! The console: who gets in, what a forged form cannot do, and what stays nowhere.

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use idgate::server::http::access_log::AccessLog;
use idgate::storage::ledger::{Expected, Reader};
use sha2::{Digest, Sha256};

use crate::ledger::Folder;
use crate::support::pki::{Authority, asks};
use crate::support::{Pair, Reply, TestGateway, client};

pub const ON: &str = "[console]\nenabled = true\n";
const FORM: &str = "application/x-www-form-urlencoded";

pub fn key(name: &str) -> String {
    format!("idg_synthetic-{name}")
}

pub fn operator(name: &str, role: &str) -> String {
    let hash = hex::encode(Sha256::digest(key(name)));
    format!("[operators.{name}]\nkeys = [{{ id = \"{name}\", sha256 = \"{hash}\" }}]\nroles = [\"{role}\"]\n")
}

/// A browser: its cookies, and the token of the last form that it was shown.
#[derive(Default, Clone)]
pub struct Browser {
    pub cookies: Vec<(String, String)>,
    pub token: String,
    /// How it connects; without it, plainly and without a certificate.
    http: Option<reqwest::Client>,
}

/// An answer, with its text and where it leads.
pub struct Shown {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Browser {
    pub async fn send(
        &mut self,
        gateway: &TestGateway,
        method: &str,
        path: &str,
        form: Option<String>,
        more: &[(&str, &str)],
    ) -> Shown {
        let url = format!("{}://{}{path}", gateway.schemes[1], gateway.admin);
        let plain =
            || reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let http = self.http.get_or_insert_with(plain).clone();
        let mut request = http.request(method.parse().unwrap(), url);
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        if let Some(form) = form {
            request = request.body(form);
            if !more.iter().any(|(name, _)| *name == "content-type") {
                request = request.header("content-type", FORM);
            }
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(one, _)| one != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let text = response.text().await.unwrap();
        if let Some((_, rest)) = text.split_once("name=\"token\" value=\"") {
            self.token = rest.split('"').next().unwrap().to_owned();
        }
        Shown { status, headers, text }
    }

    pub async fn get(&mut self, gateway: &TestGateway, path: &str) -> Shown {
        self.send(gateway, "GET", path, None, &[]).await
    }

    /// Sends a form with the token.
    pub async fn post(&mut self, gateway: &TestGateway, path: &str, fields: &[(&str, &str)]) -> Shown {
        let form = form_of(&self.token, fields);
        self.send(gateway, "POST", path, Some(form), &[]).await
    }

    /// Sends a form, and goes where it leads.
    pub async fn follow(&mut self, gateway: &TestGateway, path: &str, fields: &[(&str, &str)]) -> Shown {
        let led = self.post(gateway, path, fields).await;
        assert_eq!(led.status, StatusCode::SEE_OTHER, "{path}: {}", led.text);
        assert!(led.text.is_empty(), "{path}: {}", led.text);
        self.get(gateway, led.location()).await
    }

    pub async fn signed_in(gateway: &TestGateway, key: &str) -> Self {
        let mut browser = Self::default();
        browser.get(gateway, "/console/sign-in").await;
        let done = browser.post(gateway, "/console/sign-in", &[("key", key)]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
        assert_eq!(browser.get(gateway, "/console/").await.status, StatusCode::OK);
        browser
    }
}

impl Shown {
    pub fn location(&self) -> &str {
        self.headers["location"].to_str().unwrap()
    }
}

fn form_of(token: &str, fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token).extend_pairs(fields);
    form.finish()
}

async fn is_isolated(gateway: &TestGateway, key: &str) -> bool {
    let url = format!("http://{}/v1/status", gateway.admin);
    let reply = client().get(url).header("authorization", format!("Bearer {key}")).send().await.unwrap();
    Reply::of(reply).await.body["providers"].as_array().unwrap().iter().any(|one| one["isolated"] == true)
}

#[tokio::test]
async fn without_its_section_no_path_is_different() {
    let gateway = TestGateway::new().start().await;
    let mut browser = Browser::default();
    for path in ["/console", "/console/", "/console/sign-in", "/console/console.css"] {
        let shown = browser.get(&gateway, path).await;
        assert_eq!(shown.status, StatusCode::NOT_FOUND, "{path}");
        assert!(shown.text.contains("\"not_found\""), "{path}: {}", shown.text);
    }
    let gateway = TestGateway::new().over(operator("otto", "operator")).start().await;
    assert_eq!(browser.get(&gateway, "/console/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_signs_in_and_every_page_has_its_headers() {
    let gateway = TestGateway::new().over(ON).over(operator("otto", "operator")).start().await;
    let mut browser = Browser::default();
    let away = browser.get(&gateway, "/console/").await;
    assert_eq!((away.status, &away.headers["location"]), (StatusCode::SEE_OTHER, &"/console/sign-in".parse().unwrap()));
    browser.get(&gateway, "/console/sign-in").await;
    let wrong = browser.post(&gateway, "/console/sign-in", &[("key", "idg_wrong")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let mut browser = Browser::signed_in(&gateway, &key("otto")).await;
    for path in [
        "/console/",
        "/console/providers",
        "/console/answers",
        "/console/money",
        "/console/clients",
        "/console/changes",
        "/console/nothing",
    ] {
        let shown = browser.get(&gateway, path).await;
        let header =
            |name: &str| shown.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(header("cache-control"), "no-store", "{path}");
        let types: Vec<_> = shown.headers.get_all("content-type").into_iter().collect();
        assert!(types.len() == 1 && (types[0] == "text/html; charset=utf-8" || path == "/console/nothing"), "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert!(!header("content-security-policy").contains("unsafe"), "{path}");
        assert!(!shown.text.contains(" style=") && !shown.text.contains("onclick"), "{path}");
    }
    let cookie = browser.cookies.clone();
    let out = browser.post(&gateway, "/console/sign-out", &[]).await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let mut kept = Browser { cookies: cookie, ..browser };
    assert_eq!(
        kept.get(&gateway, "/console/").await.status,
        StatusCode::SEE_OTHER,
        "the session has ended, not only the cookie"
    );
}

#[tokio::test]
async fn a_cookie_is_for_this_site_and_for_tls_if_there_is_any() {
    let gateway = TestGateway::new().over(ON).start().await;
    let mut browser = Browser::default();
    let shown = browser.get(&gateway, "/console/sign-in").await;
    let cookie = shown.headers["set-cookie"].to_str().unwrap().to_owned();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/console", "; Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"));
}

#[tokio::test]
async fn a_certificate_signs_in_and_cookies_are_then_for_tls_only() {
    let authority = Authority::new("console");
    let (oncall, stranger) = (authority.client("spiffe://test/oncall"), authority.client("spiffe://test/other"));
    let tls = authority.server().section("admin_tls", &asks(&authority, "optional"));
    let by = "[operators.oncall]\ncertificates = [{ id = \"c\", uri = \"spiffe://test/oncall\" }]\n";
    let gateway = TestGateway::new().over(format!("{ON}{tls}{by}")).http(authority.http(Some(&oncall))).start().await;
    for (who, signs_in) in [(Some(&oncall), true), (Some(&stranger), false), (None, false)] {
        let http = authority.builder(who).redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut browser = Browser { http: Some(http), ..Browser::default() };
        let shown = browser.get(&gateway, "/console/sign-in").await;
        assert_eq!(shown.text.contains("leave the key empty"), who.is_some(), "{}", shown.text);
        assert!(shown.headers["set-cookie"].to_str().unwrap().contains("; Secure"));
        let done = browser.post(&gateway, "/console/sign-in", &[("key", "")]).await;
        assert_eq!(done.status == StatusCode::SEE_OTHER, signs_in, "{}", done.text);
        let overview = browser.get(&gateway, "/console/").await;
        assert_eq!(overview.status == StatusCode::OK, signs_in, "{}", overview.text);
        if signs_in {
            assert!(done.headers["set-cookie"].to_str().unwrap().contains("; Secure"));
            assert!(overview.text.contains("oncall"));
            // Without the certificate its session is of no use.
            let bare = authority.builder(None).redirect(reqwest::redirect::Policy::none()).build().unwrap();
            let mut thief = Browser { http: Some(bare), ..browser.clone() };
            assert_eq!(thief.get(&gateway, "/console/").await.status, StatusCode::SEE_OTHER);
        }
    }
}

#[tokio::test]
async fn a_forged_form_changes_nothing() {
    let gateway =
        TestGateway::new().over(ON).over(operator("otto", "operator")).over(operator("olga", "operator")).start().await;
    let mut otto = Browser::signed_in(&gateway, &key("otto")).await;
    let olga = Browser::signed_in(&gateway, &key("olga")).await;
    let path = "/console/providers/aliyun/isolate";
    let fields = [("reason", "forged")];
    let own = form_of(&otto.token, &fields);
    let browser_says: &[(&str, &str)] = &[("user-agent", "Mozilla/5.0"), ("sec-fetch-site", "same-origin")];
    let forgeries = [
        ("no token", "reason=forged".to_owned(), browser_says.to_vec()),
        ("an empty token", form_of("", &fields), browser_says.to_vec()),
        ("the token of another session", form_of(&olga.token, &fields), browser_says.to_vec()),
        ("another origin", own.clone(), vec![("origin", "https://evil.example")]),
        ("no origin, and no word of the browser", own.clone(), vec![("origin", "null")]),
        ("another site", own.clone(), vec![("sec-fetch-site", "cross-site"), ("origin", "null")]),
        ("a sibling", own.clone(), vec![("sec-fetch-site", "same-site")]),
        ("another name, by rebinding", own.clone(), vec![("host", "evil.example"), ("sec-fetch-site", "same-origin")]),
    ];
    for (what, form, headers) in forgeries {
        let shown = otto.clone().send(&gateway, "POST", path, Some(form), &headers).await;
        assert_eq!(shown.status, StatusCode::FORBIDDEN, "{what}: {}", shown.text);
        assert!(!is_isolated(&gateway, &key("otto")).await, "{what}");
    }
    let mut stranger = Browser { token: otto.token.clone(), ..Browser::default() };
    assert_eq!(stranger.post(&gateway, path, &fields).await.status, StatusCode::UNAUTHORIZED);
    let json = otto.clone().send(&gateway, "POST", path, None, &[("content-type", "application/json")]).await;
    assert_eq!(json.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(!is_isolated(&gateway, &key("otto")).await);

    // The same from its own page, as browsers send it.
    let real = [("origin", "null"), ("sec-fetch-site", "same-origin"), ("user-agent", "Mozilla/5.0")];
    let shown = otto.send(&gateway, "POST", path, Some(own), &real).await;
    assert_eq!(shown.status, StatusCode::SEE_OTHER, "{}", shown.text);
    assert!(is_isolated(&gateway, &key("otto")).await);
}

#[tokio::test]
async fn a_page_of_another_name_sees_nothing_not_even_the_form_to_sign_in() {
    let gateway = TestGateway::new().over(ON).over(operator("otto", "operator")).start().await;
    for host in ["evil.example", "127.0.0.1.nip.io"] {
        let shown = Browser::default().send(&gateway, "GET", "/console/sign-in", None, &[("host", host)]).await;
        assert_eq!(shown.status, StatusCode::FORBIDDEN, "{host}");
    }
    let mut browser = Browser::default();
    browser.get(&gateway, "/console/sign-in").await;
    let form = form_of(&browser.token, &[("key", &key("otto"))]);
    let mut other = Browser::default();
    let shown = other.send(&gateway, "POST", "/console/sign-in", Some(form), &[]).await;
    assert_eq!(shown.status, StatusCode::FORBIDDEN, "the form of another browser");
    assert!(!other.cookies.iter().any(|(name, _)| name == "idgate_console"));
}

#[tokio::test]
async fn each_role_does_what_is_its_own_in_pages_and_by_program() {
    let roles = ["viewer", "support", "operator", "auditor"];
    let all: String = roles.map(|role| operator(role, role)).concat();
    let gateway = TestGateway::new().over(ON).over(all).start().await;
    let expected = [
        ("/console/answers", [403, 200, 200, 200]),
        ("/console/ask", [403, 200, 403, 403]),
        ("/console/providers", [200, 200, 200, 200]),
        ("/console/money", [200, 200, 200, 200]),
    ];
    for (place, role) in roles.into_iter().enumerate() {
        let mut browser = Browser::signed_in(&gateway, &key(role)).await;
        for (path, statuses) in expected {
            assert_eq!(browser.get(&gateway, path).await.status, statuses[place], "{role} {path}");
        }
        let may = role == "operator";
        let done = browser.post(&gateway, "/console/providers/yunyi/isolate", &[("reason", "ticket 1")]).await;
        assert_eq!(done.status, if may { 303 } else { 403 }, "{role}");
        let find = browser.post(&gateway, "/console/answers", &[("reference", "x")]).await;
        let is_found = find.location().starts_with("/console/answers/found/");
        assert_eq!(is_found, role != "viewer", "{role}: {}", find.location());
        for (method, path, allowed) in [
            ("GET", "/v1/status", true),
            ("GET", "/metrics", true),
            ("POST", "/v1/providers/yunyi/restore", may),
            ("POST", "/v1/subjects/forget", may),
            ("GET", "/v1/verifications", role != "viewer"),
        ] {
            let url = format!("http://{}{path}", gateway.admin);
            let request =
                client().request(method.parse().unwrap(), url).header("authorization", format!("Bearer {}", key(role)));
            let reply = Reply::of(request.send().await.unwrap()).await;
            let is_refused = reply.status == StatusCode::FORBIDDEN;
            assert_eq!(is_refused, !allowed, "{role} {method} {path}: {}", reply.status);
            assert!(!is_refused || reply.body["errors"][0]["reason"] == "role", "{role} {path}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_taken_away_ends_its_sessions() {
    let folder = Folder::new();
    let path = folder.path().join("idgate.toml");
    let both = operator("otto", "operator") + &operator("olga", "operator");
    let gateway = TestGateway::new().over(ON).over(both).in_file(&path).start().await;
    let (mut otto, mut olga) =
        (Browser::signed_in(&gateway, &key("otto")).await, Browser::signed_in(&gateway, &key("olga")).await);
    gateway.rewrite(|toml| {
        let mut toml: toml::Table = toml.parse().unwrap();
        toml["operators"].as_table_mut().unwrap().remove("otto");
        toml.to_string()
    });
    let url = format!("http://{}/v1/reload", gateway.admin);
    let reload = client().post(url).header("authorization", format!("Bearer {}", key("olga")));
    assert_eq!(reload.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(otto.get(&gateway, "/console/").await.status, StatusCode::SEE_OTHER);
    assert_eq!(olga.get(&gateway, "/console/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn ten_thousand_sign_ins_are_refused() {
    let gateway = TestGateway::new().over(ON).over(operator("otto", "operator")).start().await;
    let mut browser = Browser::default();
    browser.get(&gateway, "/console/sign-in").await;
    let mut refused = Vec::new();
    for n in 0..15 {
        let shown = browser.post(&gateway, "/console/sign-in", &[("key", &format!("idg_guess-{n}"))]).await;
        refused.push(shown.status);
    }
    // A slow machine may have earned another try meanwhile.
    let limited = refused.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert!((1..=5).contains(&limited), "{refused:?}");
    assert!(refused[..10].iter().all(|status| *status == StatusCode::UNAUTHORIZED), "{refused:?}");
}

#[tokio::test]
async fn nothing_about_a_person_is_where_it_would_stay() {
    let folder = Folder::new();
    let path: PathBuf = folder.path().join("requests.log");
    let log = AccessLog::file(&path).unwrap();
    let gateway = folder.gateway().over(ON).access_log(log.clone()).start().await;
    let (name, number) = ("张测试", "110101199003079972");
    let mut browser = Browser::signed_in(&gateway, "").await;
    browser.get(&gateway, "/console/ask").await;
    let led = browser.post(&gateway, "/console/ask", &[("name", name), ("id_number", number)]).await;
    assert!(led.status == StatusCode::SEE_OTHER && led.text.is_empty(), "{}", led.text);
    let shown = browser.get(&gateway, led.location()).await;
    assert!(shown.status == StatusCode::OK && shown.text.contains("match"), "{}", shown.text);
    let search = browser.post(&gateway, "/console/answers", &[("name", name), ("id_number", number)]).await;
    let found = browser.get(&gateway, search.location()).await;
    assert!(found.text.contains("1 answer"), "{}", found.text);
    assert!(!found.text.contains(number) && !found.text.contains(name), "the page does not repeat the person");
    let search_id = search.location().rsplit('/').next().unwrap();
    let csv = browser.post(&gateway, "/console/answers/export", &[("found", search_id)]).await;
    assert_eq!(csv.text.lines().count(), 2, "{}", csv.text);
    let id = csv.text.lines().nth(1).unwrap().split(',').next().unwrap();
    let one = browser.get(&gateway, &format!("/console/answers/{id}")).await.text;
    let seal = one.split_once("ledger verify --expect ").unwrap().1.split('<').next().unwrap();
    let (entry, seal) = seal.split_once('=').unwrap();
    let expected = Expected { seal: Some((entry.parse().unwrap(), seal.to_owned())), keep: None, accepts_gap: false };
    let ledger = Reader::open(&folder.path().join("ledger.db")).await.unwrap();
    assert!(ledger.check(&expected, |_| {}).await.unwrap().is_ok(), "{entry}={seal}");
    let by_id = browser.post(&gateway, "/console/answers", &[("id", number)]).await;
    let why = browser.get(&gateway, by_id.location()).await.text;
    assert!(why.contains("is not one") && !why.contains(number), "{why}");
    assert!(log.flush(Duration::from_secs(60)));
    let addresses = [&led, &search, &by_id].map(Shown::location).concat();
    let told = std::fs::read_to_string(&path).unwrap() + &format!("{:?}", browser.cookies) + &csv.text + &addresses;
    for word in [name, number, &number[..17], "%E5%BC%A0"] {
        assert!(!told.contains(word), "{word}");
    }
    assert!(told.contains("\"operator\":\"local\""));
    let ask = Pair::new(name, number);
    assert_eq!(gateway.ask(&ask).await.source(), "cache", "the same question as a program asks");
}
