//! Alibaba Cloud `Id2MetaVerifyIntl` (2022-08-09), Hong Kong. Parameters are in the query, the only documented place,
//! and errors have their own HTTP status. The request URL contains personal data and must not be logged.

mod codes;

use super::Driver;
use super::alibaba::pop_error;
use super::alibaba::rpc::{self, Action, ObjectName, Placement};
use super::dialect::Dialect;
use crate::domain::id_number::Kind;
use crate::domain::money::{MicroYuan, Prices};

/// An assumption, 0.30 yuan: the documents available do not give the list price. The configuration overrides it.
const PRICE: MicroYuan = MicroYuan(300_000);

const ID: &str = "sandboxIntlAccessKeyId";
const SECRET: &str = "sandboxIntlAccessKeySecret";
const TOKEN: &str = "sandbox+Token/==";

pub static DRIVER: Driver = Driver {
    name: "aliyun_intl",
    title: "Alibaba Cloud Id2MetaVerifyIntl",
    schemes: rpc::SCHEMES,
    variables: rpc::VARIABLES,
    options: &["signature"],
    samples: &[
        &[("access_key_id", ID), ("access_key_secret", SECRET)],
        &[("access_key_id", ID), ("access_key_secret", SECRET), ("signature", "v1")],
        &[("access_key_id", ID), ("access_key_secret", SECRET), ("security_token", TOKEN)],
        &[("access_key_id", ID), ("access_key_secret", SECRET), ("security_token", TOKEN), ("signature", "v1")],
    ],
    // "Only ID cards of residents in the Chinese mainland are supported."
    kinds: &[Kind::Resident, Kind::Resident15],
    // Our own limit; none is documented.
    name_limit: 100,
    // Documented: 1 and 2 are billed, 3 is not.
    prices: Prices { on_match: PRICE, on_mismatch: PRICE, on_no_record: MicroYuan(0) },
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
    name: "Id2MetaVerifyIntl",
    version: "2022-08-09",
    place: Placement::Query,
    fixed: &[("ParamType", "normal"), ("ProductCode", "ID_2META")],
    success: "Success",
    object: ObjectName::Result,
    product: "Cloudauth-intl",
    help: "https://api.alibabacloud.com/troubleshoot",
    empty: &pop_error::PARAMETER_MISSING,
    invalid: &codes::INVALID,
    row: codes::row,
};
