//! Builds the request snapshot from a configuration, and warns about certificates that expire soon.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::config::{Sections, Settings};
use crate::server::auth::browsers::Hosts;
use crate::server::auth::callers::Clients;
use crate::server::auth::operators::Operators;
use crate::server::listener::Tls;
use crate::server::snapshot::{Limits, Snapshot};
use crate::storage::shared::{Description, Shared};
use crate::verify::Runtime;

/// A certificate that expires within this time causes a warning.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The snapshot that requests work with. Clients keep their counters from `before`.
pub(super) fn snapshot(
    runtime: Arc<Runtime>,
    settings: Settings,
    shared: &Shared,
    before: Option<&Clients>,
) -> Snapshot {
    let hosts = Hosts::new(&settings.server.hosts);
    Snapshot {
        runtime,
        version: Arc::from(settings.sections.version()),
        clients: Clients::new(&settings.clients, &settings.purposes, settings.server.client_identity, before)
            .sharing(shared)
            .with_issued(settings.issued)
            .with_hosts(hosts.clone()),
        compat: settings.compat,
        operators: Operators::new(&settings.operators),
        hosts,
        rules: settings.rules,
        regions: Arc::new(settings.regions),
        receipts: settings.receipts,
        limits: Limits {
            request_timeout: settings.server.request_timeout,
            body_timeout: settings.server.body_timeout,
            max_body_bytes: settings.server.max_body_bytes,
        },
    }
}

/// What the other replicas are told about the configuration.
pub(super) fn description(sections: &Sections) -> Description {
    Description {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        configuration: sections.version(),
        sections: sections.in_common(),
    }
}

/// Logs an expired certificate as an error but does not prevent the start, so that a restart does not cause an outage.
pub(super) fn warn_of_expiry(section: &str, tls: &Tls, now: Timestamp) {
    let Some(end) = tls.expires() else { return };
    if end <= now {
        tracing::error!(section, %end, "THE CERTIFICATE HAS EXPIRED: clients will refuse it; replace it now");
    } else if end.duration_since(now) < EXPIRES_SOON {
        tracing::warn!(section, %end, "the certificate expires soon; replace it");
    }
}
