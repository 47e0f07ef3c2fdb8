//! `GET /` of both listeners, and what a 404 says.

use http::StatusCode;
use serde_json::Value;

use crate::support::{Reply, TestGateway};

async fn ask(gateway: &TestGateway, method: &str, listener: &str, path: &str) -> Reply {
    let address = if listener == "public" { gateway.public } else { gateway.admin };
    let request = gateway.http.request(method.parse().unwrap(), format!("http://{address}{path}"));
    Reply::of(request.send().await.unwrap()).await
}

/// The routes in an index, as `METHOD PATH`.
fn routes(index: &Value) -> Vec<String> {
    let text = |route: &Value, key: &str| route[key].as_str().unwrap().to_owned();
    let routes = index["routes"].as_array().unwrap().iter();
    routes.map(|route| format!("{} {}", text(route, "method"), text(route, "path"))).collect()
}

#[tokio::test]
async fn each_listener_lists_what_it_serves_and_serves_what_it_lists() {
    let gateway = TestGateway::new().over("[compat]\nenabled = false").start().await;
    let mut listed = Vec::new();
    for listener in ["public", "admin"] {
        let index = ask(&gateway, "GET", listener, "/").await;
        assert_eq!((index.status, &index.body["listener"]), (StatusCode::OK, &Value::from(listener)));
        for route in routes(&index.body) {
            let (method, path) = route.split_once(' ').unwrap();
            let reply = ask(&gateway, method, listener, &path.replace(['{', '}'], "")).await;
            let is_unknown = reply.code() == "not_found" && reply.body["errors"].is_null();
            assert!(!is_unknown && reply.status != StatusCode::METHOD_NOT_ALLOWED, "{listener} {route}: {reply:?}");
            listed.push(route);
        }
    }
    let mut path = "";
    let document = idgate::server::openapi::yaml().unwrap();
    for line in document.lines() {
        match line.trim_end_matches(':') {
            found if found.starts_with("  /") => path = found.trim(),
            method @ ("    get" | "    post") => {
                let route = format!("{} {path}", method.trim().to_uppercase());
                assert!(listed.contains(&route), "{route} is in no index");
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_post_to_the_wrong_listener_is_not_sent_in_a_circle() {
    let gateway = TestGateway::new().start().await;
    for (method, listener, path) in [
        ("POST", "admin", "/v1/verify"),
        ("POST", "admin", "/"),
        ("GET", "admin", "/?Action=Id2MetaVerify"),
        ("POST", "public", "/v1/reload"),
        ("POST", "public", "/"),
        ("GET", "public", "/?Action=Id2MetaVerify"),
    ] {
        let reply = ask(&gateway, method, listener, path).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (404, "not_found"), "{listener} {path}");
        let detail = reply.body["detail"].as_str().unwrap();
        for word in ["GET /", "`server.listen`", "`server.admin_listen`"] {
            assert!(detail.contains(word), "{listener} {path}: {detail}");
        }
    }
}

#[tokio::test]
async fn an_unknown_parameter_is_answered_with_the_known_ones() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("index-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ledger = format!(
        "[ledger]\nfile = {:?}\n[cache]\ndigest_key = {{ value = \"0123456789abcdef0123456789abcdef\" }}",
        folder.join("ledger.db")
    );
    let gateway = TestGateway::new().over(ledger).start().await;
    let reply = ask(&gateway, "GET", "public", "/v1/verifications?limit=1").await;
    assert_eq!((reply.status.as_u16(), &reply.body["errors"][0]["reason"]), (400, &"unknown_parameter".into()));
    let detail = reply.body["errors"][0]["detail"].as_str().unwrap();
    for known in ["cursor", "from", "to", "provider", "reference", "verdict"] {
        assert!(detail.contains(known), "{detail}");
    }
    gateway.stop().await;
    let _ = std::fs::remove_dir_all(folder);
}
