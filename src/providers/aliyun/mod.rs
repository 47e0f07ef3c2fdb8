//! Alibaba Cloud `Id2MetaVerify` (2019-03-07), the mainland action. Parameters are in the form body; the verdict and
//! the service's own errors are in a 200 body.

mod codes;

use super::Driver;
use super::alibaba::pop_error;
use super::alibaba::rpc::{self, Action, ObjectName, Placement};
use super::dialect::Dialect;
use crate::domain::id_number::Kind;
use crate::domain::money::{MicroYuan, Prices};

/// An assumption, 0.30 yuan for any verdict: the documents available give neither the list price nor the billed
/// verdicts. The configuration overrides it.
const PRICE: MicroYuan = MicroYuan(300_000);

const ID: &str = "sandboxAccessKeyId";
const SECRET: &str = "sandboxAccessKeySecret";
const TOKEN: &str = "sandbox+Token/==";

pub static DRIVER: Driver = Driver {
    name: "aliyun",
    title: "Alibaba Cloud Id2MetaVerify",
    schemes: rpc::SCHEMES,
    variables: rpc::VARIABLES,
    options: &["signature"],
    samples: &[
        &[("access_key_id", ID), ("access_key_secret", SECRET)],
        &[("access_key_id", ID), ("access_key_secret", SECRET), ("signature", "v1")],
        &[("access_key_id", ID), ("access_key_secret", SECRET), ("security_token", TOKEN)],
        &[("access_key_id", ID), ("access_key_secret", SECRET), ("security_token", TOKEN), ("signature", "v1")],
    ],
    kinds: &[Kind::Resident, Kind::Resident15, Kind::HmtResidence],
    // Our own limit; none is documented.
    name_limit: 100,
    prices: Prices { on_match: PRICE, on_mismatch: PRICE, on_no_record: PRICE },
    codes: &[codes::CODES, pop_error::CODES],
    dialect: Some(Dialect {
        path: "/",
        addressed: |request| rpc::addressed(&ACTION, request),
        tells_person: false,
        word: codes::word,
        clock_window: rpc::CLOCK_WINDOW,
        media_types: &[rpc::XML],
        service: &rpc::Server(&ACTION),
    }),
    places: rpc::PLACES,
    configure: |settings| rpc::configure(&ACTION, settings),
};

static ACTION: Action = Action {
    name: "Id2MetaVerify",
    version: "2019-03-07",
    place: Placement::Form,
    fixed: &[("ParamType", "normal")],
    success: "200",
    object: ObjectName::ResultObject,
    product: "Cloudauth",
    help: "https://api.aliyun.com/troubleshoot",
    empty: &codes::EMPTY,
    invalid: &codes::INVALID,
    row: codes::row,
};
