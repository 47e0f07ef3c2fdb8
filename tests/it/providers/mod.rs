//! The codecs: properties of every driver, and bytes from outside, which reveal errors that encoder and decoder
//! share.

mod credentials;
mod laws;
mod market;
mod rpc;

use std::path::Path;
use std::sync::Arc;

use idgate::domain::id_number::{Calendar, IdNumber};
use idgate::domain::money::{MicroYuan, Prices};
use idgate::domain::name::Name;
use idgate::domain::subject::{PairRules, Subject};
use idgate::providers::{Configured, Credential, Driver, Protocol, Service, Settings, Stamp};
use idgate::server::sandbox::Simulated;

/// A synthetic person.
fn subject(name: &str, id_number: &str) -> Subject {
    let today = jiff::civil::date(2026, 11, 22);
    let id_number = IdNumber::parse(id_number, today, Calendar::Strict).expect("a sound number");
    Subject::new(Name::parse(name).expect("a sound name"), id_number, PairRules::default()).expect("a sound pair")
}

fn stamp(now: &str) -> Stamp {
    Stamp { now: now.parse().expect("a time stamp"), nonce: "0b6d5f5e-8c0e-4d0c-9a53-3b1e6d2f7a10".to_owned() }
}

/// A driver with the credential from its settings.
#[derive(Debug)]
struct Made {
    protocol: Arc<dyn Protocol>,
    service: &'static dyn Service,
    credential: Credential,
}

impl Made {
    /// `driver` with these settings, if it accepts them.
    fn of(driver: &Driver, settings: &Settings) -> Option<Self> {
        let Configured { protocol, access } = (driver.configure)(settings).ok()?;
        let credential = access.given().expect("the settings give a credential").clone();
        let service = driver.dialect.as_ref().expect("a driver with a server side").service;
        Some(Self { protocol, service, credential })
    }
}

/// The same for plain pairs, with secrets moved to where they belong.
fn configured(driver: &Driver, settings: &[(&str, &str)]) -> Option<Made> {
    Made::of(driver, &driver.settings(settings))
}

/// Reads a file of `tests/fixtures`.
fn fixture(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A driver without a server side.
static WITHOUT_SERVER: Driver = Driver {
    name: "one_way",
    title: "a provider without a simulator",
    schemes: &[],
    variables: &[],
    options: &[],
    samples: &[],
    kinds: &[],
    name_limit: 1,
    prices: Prices { on_match: MicroYuan(0), on_mismatch: MicroYuan(0), on_no_record: MicroYuan(0) },
    codes: &[],
    dialect: None,
    places: &[],
    configure: |_| Err(Vec::new()),
};

#[test]
fn a_driver_without_a_server_side_is_not_simulated() {
    let mistakes = Simulated::of("one_way", &WITHOUT_SERVER, 1).unwrap_err();
    assert_eq!(mistakes.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["driver"]);
}
