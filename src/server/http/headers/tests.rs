use super::*;

fn with(name: HeaderName, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name, value.parse().unwrap())])
}

#[test]
fn cache_control_is_read_as_its_rfc_says() {
    let of = |text: &str| freshness(&with(header::CACHE_CONTROL, text)).unwrap();
    assert_eq!(of("no-store, foo=1"), Freshness::default());
    assert!(of("No-Cache").no_cache);
    assert!(of("only-if-cached").only_if_cached);
    assert_eq!(of("max-age=60").max_age, Some(Duration::from_secs(60)));
    assert_eq!(of("max-age=60, max-age=5").max_age, Some(Duration::from_secs(5)));
    for bad in ["max-age=soon", "max-age=-1", "max-age=", "max-age", "no-cache, max-age=1.5", "max-age=5, max-age=x"] {
        assert!(freshness(&with(header::CACHE_CONTROL, bad)).is_err(), "{bad}");
    }
    assert!(of("max-age=99999999999999999999").accepts(Duration::from_secs(86_400)), "any age, and not none");
}

#[test]
fn an_idempotency_key_is_a_string_with_or_without_its_quotation_marks() {
    let of = |text: &str| idempotency_key(&with(IDEMPOTENCY_KEY, text)).map_err(drop);
    assert_eq!(of("k-1"), Ok(Some("k-1".to_owned())));
    assert_eq!(of("\"k-1\""), Ok(Some("k-1".to_owned())));
    for broken in ["\"\"", "\"k", "a b", "\"a b\"", "\"a\" b"] {
        assert_eq!(of(broken), Err(()), "{broken}");
    }
    assert_eq!(idempotency_key(&HeaderMap::new()).map_err(drop), Ok(None));
}

#[test]
fn a_cache_status_says_how_memory_took_part() {
    let of = |source| cache_status(source, Duration::from_secs(60), false);
    assert_eq!(of(Source::Cache), "idgate; hit; ttl=60");
    assert_eq!(of(Source::Shared), "idgate; fwd=miss; collapsed");
    assert_eq!(of(Source::Provider), "idgate; fwd=miss");
    let by_replica = cache_status(Source::Shared, Duration::ZERO, true);
    assert_eq!(by_replica, "idgate; fwd=miss; collapsed; detail=replica");
    assert_eq!(cache_status(Source::Cache, Duration::MAX, false), "idgate; hit; ttl=999999999999999");
}

#[test]
fn a_host_counts_alike_in_both_protocols() {
    let host = with(header::HOST, "idgate.example");
    let plain = size(&Method::POST, &Uri::from_static("/v1/verify"), &host);
    let absolute = Uri::from_static("https://idgate.example/v1/verify");
    assert_eq!(size(&Method::POST, &absolute, &HeaderMap::new()), plain);
}

#[test]
fn the_most_specific_range_decides_what_a_caller_accepts() {
    let of = |text: &str| accepts(&with(header::ACCEPT, text), "application/json");
    for yes in ["*/*", "application/*;q=0.1", "application/JSON", "application/json, */*;q=0", "text/html, */*"] {
        assert!(of(yes), "{yes}");
    }
    for no in ["text/html", "application/json;q=0, */*", "*/*, application/*; Q=0.000", "application/json; q = 0."] {
        assert!(!of(no), "{no}");
    }
    assert!(accepts(&HeaderMap::new(), "application/json"));
}

#[test]
fn prefer_wait_is_found_among_others() {
    let of = |text: &str| patience(&with(PREFER, text));
    assert_eq!(of("respond-async, wait=3"), Some(Duration::from_secs(3)));
    assert_eq!(of("respond-async; wait=10"), Some(Duration::from_secs(10)));
    assert_eq!(of("wait=soon"), None);
    assert!(of("wait=18446744073709551616") > Some(Duration::from_secs(86_400)), "as long as it may");
}

#[test]
fn a_request_id_cannot_carry_a_number_into_logs() {
    assert!(request_id(&with(X_REQUEST_ID, "a1b2-c3.d4:e5")).is_some());
    assert!(request_id(&with(X_REQUEST_ID, "11010519491231002X")).is_none());
    for apart in [
        "110105-19491231-002X",
        "110105.1949.1231.002x",
        "pay:11010519491231-002X:1",
        "1-1-0105-19491231-002-X",
        "110105-491231-002",
        "pay-USA310119850101",
    ] {
        assert!(request_id(&with(X_REQUEST_ID, apart)).is_none(), "{apart}");
    }
    // Looks like a birth date, but is no ID number: the check character is wrong.
    assert!(request_id(&with(X_REQUEST_ID, "110105-19491231-0021")).is_some());
    assert!(request_id(&with(X_REQUEST_ID, "a b")).is_none());
    assert!(request_id(&with(X_REQUEST_ID, "idg_c3ludGhldGlj")).is_none(), "a key sent in the wrong header");
}

#[test]
fn a_trace_id_cannot_carry_a_number_into_logs() {
    let of = |trace: &str| trace_id(&with(TRACEPARENT, &format!("00-{trace}-00f067aa0ba902b7-01"))).is_some();
    assert!(of("4bf92f3577b34da6a3ce929d0e0e4736"));
    for number in ["110105194912310038", "110105491231002", "350521199003071016abc"] {
        assert!(!of(&format!("{number:0>32}")), "{number}");
    }
}

#[test]
fn a_charset_other_than_utf8_is_found_however_it_is_written() {
    let of = |text: &str| require_json(&with(header::CONTENT_TYPE, text)).map_err(|problem| problem.code());
    for ours in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=UTF8",
        "application/json; charset=\"UTF-8\"; profile=x",
    ] {
        assert_eq!(of(ours), Ok(()), "{ours}");
    }
    for other in [
        "application/json; charset=GBK",
        "application/json;charset=\"gb18030\"",
        "application/json; x=1; CHARSET=latin1",
        "application/json; charset = GBK",
        "application/json; charset*=UTF-8''GBK",
        "application/json; charset=utf-8; charset=GBK",
        "application/json; charset=",
    ] {
        assert_eq!(of(other), Err(Code::UnsupportedMediaType), "{other}");
    }
    let mut two = with(header::CONTENT_TYPE, "application/json");
    two.append(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=GBK"));
    assert!(require_json(&two).is_err());
}

#[test]
fn json_is_accepted_unless_it_is_refused() {
    let of = |text: &str| accepts_json(&with(header::ACCEPT, text));
    assert!(accepts_json(&HeaderMap::new()));
    assert!(of("text/html, application/json;q=0.5"));
    assert!(of("*/*"));
    assert!(!of("text/html"));
    assert!(!of("application/json;q=0"));
}
