//! The list of drivers and lookups in it.

use bytes::Bytes;
use http::Request;

use super::credential::Scheme;
use super::dialect::Addressed;
use super::driver::Driver;
use super::temporary::Place;

/// Every driver, in the order in which a sandbox tries them.
pub static DRIVERS: &[&Driver] = &[
    &super::aliyun::DRIVER,
    &super::aliyun_intl::DRIVER,
    &super::muzhiyun::DRIVER,
    &super::yunyi::DRIVER,
    &super::tencent::DRIVER,
];

/// The driver named by `driver = "…"` in the configuration.
pub fn driver(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().copied().find(|driver| driver.name == name)
}

/// Every scheme of every driver, without duplicates.
pub fn schemes() -> Vec<&'static Scheme> {
    let mut all: Vec<&'static Scheme> = Vec::new();
    for &scheme in DRIVERS.iter().flat_map(|driver| driver.schemes) {
        if !all.contains(&scheme) {
            all.push(scheme);
        }
    }
    all
}

/// Every service that issues temporary credentials, without duplicates.
pub fn temporary_places() -> Vec<&'static Place> {
    let mut all: Vec<&'static Place> = Vec::new();
    for &place in DRIVERS.iter().flat_map(|driver| driver.places) {
        if !all.iter().any(|known| known.name == place.name) {
            all.push(place);
        }
    }
    all
}

/// The most likely driver for `request`, the first of equals; `None` if no driver recognizes it.
pub fn addressee(request: &Request<Bytes>) -> Option<&'static Driver> {
    let mut surest = (Addressed::No, None);
    for &driver in DRIVERS {
        let Some(dialect) = &driver.dialect else { continue };
        let sure = (dialect.addressed)(request);
        if sure > surest.0 {
            surest = (sure, Some(driver));
        }
    }
    surest.1
}
