//! (stub)
use super::Driver;
use crate::domain::money::{MicroYuan, Prices};
pub static DRIVER: Driver = Driver {
    name: "muzhiyun",
    title: "",
    secrets: &[],
    sandbox_settings: &[],
    kinds: &[],
    name_limit: 50,
    prices: Prices { on_match: MicroYuan(0), on_mismatch: MicroYuan(0), on_no_record: MicroYuan(0) },
    codes: &[],
    configure: |_| Err(Vec::new()),
};
