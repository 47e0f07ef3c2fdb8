//! What a page in a browser can make of the listeners: nothing, unless it is a page of ours.

use std::io::read_to_string;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestGateway, anybody};

const JSON: &str = "content-type: application/json";
const CHROME: &str = "user-agent: Mozilla/5.0 (X11; Linux x86_64)";
const BY_NAME: &str = "evil.example:9464";

/// A request over a socket of its own, with exactly these headers. Returns the status, the head and the body.
async fn send(to: std::net::SocketAddr, line: &str, host: &str, headers: &[&str], body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let host = if host.is_empty() { to.to_string() } else { host.to_owned() };
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    let sent = &answer[end + 4..];
    let body = match head.contains("content-encoding: gzip") {
        true => read_to_string(GzDecoder::new(sent)),
        false => read_to_string(sent),
    };
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, body.unwrap())
}

fn operator() -> String {
    let hash = hex::encode(Sha256::digest("idg_synthetic-op"));
    format!("[operators.oncall]\nkeys = [{{ id = \"o\", sha256 = \"{hash}\" }}]\n")
}

#[tokio::test]
async fn a_foreign_page_can_neither_change_nor_read_anything_on_the_admin_listener() {
    let gateway = TestGateway::new().over("[server]\nhosts = [\"idgate.internal.example\"]").start().await;
    let own = format!("origin: http://{}", gateway.admin);
    let (isolate, status) = ("POST /v1/providers/aliyun/isolate", "GET /v1/status");
    let cross = "sec-fetch-site: cross-site";
    let same = "sec-fetch-site: same-origin";
    let (navigate, document) = ("sec-fetch-mode: navigate", "sec-fetch-dest: document");
    let evil = "origin: https://evil.example";
    for (line, host, headers, expected) in [
        // A form or `fetch` in mode no-cors.
        (isolate, "", &[cross, evil, CHROME][..], 403),
        (isolate, "", &["sec-fetch-site: same-site", evil], 403),
        (isolate, "", &[evil], 403),
        (isolate, "", &["origin: null"], 403),
        (isolate, "", &[CHROME], 403),
        (isolate, "", &[CHROME, "content-type: text/plain"], 403),
        (isolate, "", &["origin: http://127.0.0.1:1"], 403),
        ("POST /v1/providers/aliyun/restore", "", &[cross, evil], 403),
        ("POST /v1/reload", "", &[cross, evil], 403),
        ("POST /v1/subjects/forget", "", &[cross, evil], 403),
        ("POST /v1/verifications/search", "", &[evil, "content-type: text/plain"], 403),
        ("PUT /sandbox/aliyun/fault", "", &[cross, evil], 403),
        ("OPTIONS /v1/reload", "", &[cross, evil, "access-control-request-method: POST"], 403),
        // A link to data, a script, a frame.
        (status, "", &[cross, navigate, document], 403),
        (status, "", &[cross, "sec-fetch-mode: no-cors", "sec-fetch-dest: script"], 403),
        ("GET /docs/", "", &[cross, navigate, "sec-fetch-dest: iframe"], 403),
        ("GET /metrics", "", &[cross], 403),
        // A name that the page's owner points at this address.
        (status, BY_NAME, &[][..], 403),
        (status, BY_NAME, &[same, CHROME], 403),
        ("GET /metrics", BY_NAME, &[CHROME], 403),
        ("GET /docs/", BY_NAME, &[CHROME], 403),
        (isolate, BY_NAME, &["origin: http://evil.example:9464", JSON], 403),
        (status, "127.0.0.1.nip.io", &[], 403),
        // What is not a foreign page.
        ("GET /docs/", "", &[cross, navigate, document], 200),
        ("GET /", "", &[cross, navigate, document], 200),
        (status, "", &["sec-fetch-site: none", navigate, document], 200),
        (status, "", &[same, CHROME], 200),
        (status, "localhost:9464", &[], 200),
        (status, "idgate:9464", &["user-agent: Prometheus/3.0"], 200),
        (status, "idgate.internal.example:9464", &[CHROME], 200),
        ("GET /livez", BY_NAME, &[], 200),
        ("GET /readyz", "idgate.default.svc.cluster.local:9464", &["user-agent: kube-probe/1.31"], 200),
        (isolate, "", &[], 204),
        (isolate, "", &["user-agent: curl/8.10.1"], 204),
        (isolate, "", &[same, &own, CHROME], 204),
        (isolate, "", &[&own, CHROME, "x-requested-with: idgate"], 204),
        (isolate, "", &[&own, CHROME, JSON], 204),
        (isolate, "", &[&own, CHROME], 403),
    ] {
        let (got, head, body) = send(gateway.admin, line, host, headers, "").await;
        assert_eq!(got, expected, "{line} {host} {headers:?}: {head} {body}");
        if got == 403 {
            assert!(body.contains("\"code\":\"forbidden\""), "{body}");
        }
        assert!(!head.contains("access-control-"), "{head}");
    }
}

#[tokio::test]
async fn with_operators_any_name_may_ask_and_a_foreign_page_still_may_not() {
    let gateway = TestGateway::new().over(operator()).start().await;
    let key = "authorization: Bearer idg_synthetic-op";
    for (line, host, headers, expected) in [
        ("GET /metrics", "idgate.default.svc.cluster.local:9464", &[key][..], 200),
        ("GET /v1/status", BY_NAME, &[CHROME], 401),
        ("POST /v1/reload", "", &[key, "origin: https://evil.example"], 403),
        ("POST /v1/reload", "", &["sec-fetch-site: cross-site"], 403),
        ("POST /v1/providers/aliyun/restore", "", &[key, CHROME, "sec-fetch-site: same-origin"], 204),
        // Static, and without a secret.
        ("GET /docs/", "idgate.example", &[CHROME], 200),
        ("GET /docs/swagger-ui.css", "", &[CHROME], 200),
        ("GET /openapi.json", "", &[CHROME], 200),
        ("GET /", "", &[CHROME], 200),
        ("POST /docs/", "", &[], 401),
        ("GET /docs/../v1/status", "", &[], 404),
        ("GET /docsx", "", &[], 401),
    ] {
        let (got, head, body) = send(gateway.admin, line, host, headers, "").await;
        assert_eq!(got, expected, "{line} {host} {headers:?}: {head} {body}");
    }
}

#[tokio::test]
async fn a_foreign_page_asks_no_paid_question_where_no_client_is_configured() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let body = anybody().body().to_string();
    let own = format!("origin: http://{}", gateway.public);
    for (host, headers, expected) in [
        (BY_NAME, &[JSON][..], 403),
        (BY_NAME, &[JSON, CHROME, "origin: http://evil.example:9464"], 403),
        ("", &[JSON, "origin: https://evil.example"], 403),
        ("", &[JSON, "sec-fetch-site: cross-site"], 403),
        ("", &["content-type: text/plain", CHROME], 415),
        ("", &[JSON, CHROME, "sec-fetch-site: same-origin", &own], 200),
        ("localhost", &[JSON], 200),
        ("idgate:8080", &[JSON], 200),
    ] {
        let before = gateway.sandbox.calls("aliyun");
        let (got, head, text) = send(gateway.public, "POST /v1/verify", host, headers, &body).await;
        assert_eq!(got, expected, "{host} {headers:?}: {head} {text}");
        assert!(got == 200 || gateway.sandbox.calls("aliyun") == before, "{host} {headers:?} was paid for");
    }
    assert_eq!(send(gateway.public, "GET /v1/verifications", BY_NAME, &[], "").await.0, 403);
}

#[tokio::test]
async fn every_answer_of_the_admin_listener_tells_browsers_to_do_nothing_else_with_it() {
    let gateway = TestGateway::new().start().await;
    for line in
        ["GET /", "GET /docs/", "GET /v1/status", "GET /livez", "GET /nothing", "DELETE /metrics", "GET /openapi.json"]
    {
        let (_, head, _) = send(gateway.admin, line, "", &["accept: text/html"], "").await;
        for header in [
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "content-security-policy: default-src 'none';",
            "frame-ancestors 'none'",
        ] {
            assert!(head.contains(header), "{line}: {header} is not in {head}");
        }
        let runs_scripts = head.contains("script-src");
        assert_eq!(runs_scripts, line.contains("docs") || line.contains("openapi"), "{line}: {head}");
        assert!(!head.contains("script-src 'self' 'unsafe-inline'") && !head.contains("https:"), "{head}");
    }
    let (_, _, page) = send(gateway.admin, "GET /docs/", "", &[], "").await;
    assert!(!page.contains("//") || !page.contains("src=\"http"), "it loads what is embedded only: {page}");
    assert!(!page.contains("<script>") && !page.contains(" onload="), "no inline script: {page}");
}

#[tokio::test]
async fn the_documentation_beside_the_public_api_can_be_tried() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let (status, head, page) = send(gateway.public, "GET /docs/", "", &[CHROME], "").await;
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("connect-src 'self'") && page.contains("swagger"), "{head} {page}");
    for (address, has_verify) in [(gateway.public, true), (gateway.admin, false)] {
        let reply = gateway.http.get(format!("http://{address}/openapi.json")).send().await.unwrap();
        let document: serde_json::Value = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
        let servers = |path: &str| {
            let own = &document["paths"][path]["servers"];
            if own.is_null() { document["servers"].clone() } else { own.clone() }
        };
        let path = if has_verify { "/v1/verify" } else { "/v1/status" };
        assert_eq!(servers(path)[0]["url"], "/", "{path} is asked where the page is from");
        assert_eq!(document["paths"]["/v1/status"].is_null(), has_verify, "what the listener does not have");
    }
    let own = format!("origin: http://{}", gateway.public);
    let headers = [JSON, &own, "sec-fetch-site: same-origin"];
    let (status, _, body) = send(gateway.public, "POST /v1/verify", "", &headers, &anybody().body().to_string()).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn the_index_is_a_page_for_browsers() {
    let gateway = TestGateway::new().start().await;
    let browser = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (address, route) in [(gateway.public, "/v1/verify"), (gateway.admin, "<a href=\"/docs/\">")] {
        let (status, head, page) = send(address, "GET /", "", &[browser], "").await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/html; charset=utf-8") && head.contains("vary: accept"), "{head}");
        assert!(page.contains(route) && page.contains("<h1>"), "{page}");
        for other in ["accept: */*", "accept: application/json"] {
            let (_, head, _) = send(address, "GET /", "", &[other], "").await;
            assert!(head.contains("content-type: application/json"), "{head}");
        }
    }
}
