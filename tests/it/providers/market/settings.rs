//! The settings of a market API.

use super::*;

fn mistakes(pairs: &[(&str, &str)]) -> Vec<&'static str> {
    let configure = providers::driver("yunyi").unwrap().configure;
    configure(&settings(pairs)).unwrap_err().into_iter().map(|(key, _)| key).collect()
}

#[test]
fn exactly_one_kind_of_credential_is_taken() {
    assert_eq!(mistakes(&[]), ["app_code"]);
    assert_eq!(mistakes(&[("app_code", "c"), ("app_key", "k"), ("app_secret", "s")]), ["app_code"]);
    assert_eq!(mistakes(&[("app_code", "c"), ("app_secret", "s")]), ["app_code"]);
    assert_eq!(mistakes(&[("app_key", "k")]), ["app_secret"]);
    assert_eq!(mistakes(&[("app_secret", "s")]), ["app_key"]);
    assert!(configured("yunyi", &[("app_code", "c")]).credential.scheme().is_bearer);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let pairs = [("app_key", "k\n"), ("app_secret", ""), ("signature_method", "HmacMD5"), ("colour", "red")];
    assert_eq!(mistakes(&pairs), ["driver", "signature_method", "app_key", "app_secret"]);
}

#[test]
fn no_mistake_quotes_a_secret() {
    let configure = providers::driver("muzhiyun").unwrap().configure;
    let shown = format!("{:?}", configure(&settings(&[("app_code", "se cret"), ("app_key", "k")])));
    assert!(!shown.contains("cret\""), "{shown}");
}

#[test]
fn sandbox_credentials_look_like_real_ones() {
    for driver in BOTH {
        let [("app_code", code)] = providers::driver(driver).unwrap().sample() else { panic!("{driver}") };
        assert_eq!(code.len(), 32);
    }
}

#[test]
fn a_call_costs_what_the_package_says() {
    for (driver, fen) in [("muzhiyun", 4), ("yunyi", 3)] {
        let prices = providers::driver(driver).unwrap().prices;
        for verdict in Verdict::ALL {
            assert_eq!(prices.of(verdict).0, fen * 10_000);
        }
    }
}
