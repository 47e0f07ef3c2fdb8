//! Simulators for all providers, and the configuration that points to them.

use std::fmt::Write;

use crate::providers::{DRIVERS, Driver};
use crate::server::sandbox::{SandboxHandle, Simulated};

/// Two endpoints each, to demonstrate fallback.
pub const ENDPOINTS: usize = 2;

/// The drivers that have a server side.
fn simulated() -> impl Iterator<Item = &'static Driver> {
    DRIVERS.iter().copied().filter(|driver| driver.dialect.is_some())
}

/// A simulator for every driver that has a server side.
///
/// # Errors
/// When a driver rejects its own sandbox settings, which is a bug in the driver.
pub fn providers(endpoints: usize) -> anyhow::Result<Vec<Simulated>> {
    let of = |driver: &'static Driver| {
        Simulated::of(driver.name, driver, endpoints).map_err(|mistakes| {
            anyhow::anyhow!("driver {} rejects its own sandbox settings: {mistakes:?}", driver.name)
        })
    };
    simulated().map(of).collect()
}

/// The sections `[providers.…]` and `[chain]` for every simulated driver.
pub fn configuration(sandbox: &SandboxHandle) -> String {
    let mut toml = String::new();
    for driver in simulated() {
        let endpoints: Vec<_> =
            sandbox.addresses(driver.name).iter().map(|address| format!("\"http://{address}\"")).collect();
        // Writing to a String cannot fail.
        let _ = write!(
            toml,
            "\n[providers.{}]\ndriver = \"{}\"\nendpoints = [{}]\n",
            driver.name,
            driver.name,
            endpoints.join(", ")
        );
        for (key, value) in driver.sample() {
            let _ = match driver.is_secret(key) {
                true => writeln!(toml, "{key} = {{ value = \"{value}\" }}"),
                false => writeln!(toml, "{key} = \"{value}\""),
            };
        }
    }
    let order: Vec<_> = simulated().map(|driver| format!("\"{}\"", driver.name)).collect();
    let _ = write!(toml, "\n[chain]\norder = [{}]\n", order.join(", "));
    toml
}
