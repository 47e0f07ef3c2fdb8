//! Tencent Cloud `IdCardVerification` (2018-03-01) of the product 慧眼人脸核身. It is independent of the other drivers'
//! cloud, with its own accounts, gateways and clients.
//!
//! Every response has status 200. A verdict is a documented `Result`, and only match and mismatch are billed.
//! To add an error code: a row of `codes`. To add a credential source: see `credentials`.

mod client;
mod codes;
mod credentials;
mod gate;
mod reply;
mod scheme;
mod server;
mod settings;
mod tc3;
#[cfg(test)]
mod tests;
mod v1;
mod wire;

use super::Driver;
use super::dialect::Dialect;
use crate::domain::id_number::Kind;
use crate::domain::money::{MicroYuan, Prices};

/// The post-paid price of accounts since 2023, 0.30 yuan; older accounts and packages pay less.
const PRICE: MicroYuan = MicroYuan(300_000);

const ID: &str = "sandboxSecretId";
const KEY: &str = "sandboxSecretKey";

pub static DRIVER: Driver = Driver {
    name: "tencent",
    title: "Tencent Cloud IdCardVerification",
    schemes: &[&scheme::SECRET_KEY],
    variables: credentials::VARIABLES,
    options: &["region", "encryption"],
    samples: &[
        &[("secret_id", ID), ("secret_key", KEY)],
        &[("secret_id", ID), ("secret_key", KEY), ("region", "ap-guangzhou")],
        &[("secret_id", ID), ("secret_key", KEY), ("security_token", "sandbox+Token/==")],
    ],
    // No document says whether residence permits (81, 82, 83) are accepted; the service decides, unbilled.
    kinds: &[Kind::Resident, Kind::Resident15, Kind::HmtResidence],
    // Our own limit; none is documented.
    name_limit: 100,
    // Documented: Results 0 and -1 are billed, no other.
    prices: Prices { on_match: PRICE, on_mismatch: PRICE, on_no_record: MicroYuan(0) },
    codes: &[codes::RESULTS, codes::ERRORS],
    dialect: Some(Dialect {
        path: "/",
        addressed: gate::addressed,
        tells_person: false,
        word: codes::word,
        clock_window: tc3::WINDOW,
        media_types: &[],
        service: &server::Server,
    }),
    places: credentials::PLACES,
    configure: settings::configure,
};
