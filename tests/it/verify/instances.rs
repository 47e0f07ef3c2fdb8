//! Two gateways in one process share no global state.

use super::{SERVER_ERROR, breaker_of, in_short, unhurried};
use crate::support::{TestGateway, anybody};

#[tokio::test]
async fn two_gateways_in_one_process_share_nothing() {
    let strict = "[breaker]\nconsecutive_failures = 1\nopen_for = \"1h\"\nopen_max = \"1h\"";
    let one = unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"]).over(strict).start().await;
    let two = unhurried(TestGateway::new()).chain(&["muzhiyun"]).over("[cache]\nmatch_ttl = \"0s\"").start().await;
    let pair = anybody();

    // Each has its own chain, cache and cache settings.
    assert_eq!(in_short(&one.ask(&pair).await), "aliyun match (provider)");
    assert_eq!(in_short(&two.ask(&pair).await), "muzhiyun match (provider)");
    assert_eq!(in_short(&one.ask(&pair).await), "aliyun match (cache)");
    assert_eq!(in_short(&two.ask(&pair).await), "muzhiyun match (provider)");

    // Neither knows what the other has learned about a provider.
    one.fault("aliyun", SERVER_ERROR);
    assert_eq!(in_short(&one.ask(&anybody()).await), "yunyi match (provider)");
    assert_eq!(breaker_of(&one, "aliyun", 0).await, "open");
    assert_eq!(breaker_of(&two, "aliyun", 0).await, "closed");
    assert_eq!(two.admin_post("/v1/providers/muzhiyun/isolate").await, 204);
    assert_eq!(in_short(&two.ask(&anybody()).await), "503 no_provider_available");
    assert_eq!(one.status_of("muzhiyun").await["isolated"], false);

    // Separate metrics.
    for (gateway, verdicts, questions) in [(&one, 2.0, 3.0), (&two, 2.0, 3.0)] {
        assert_eq!(gateway.metric("idgate_verdicts_total", &[]).await, verdicts);
        assert_eq!(gateway.metric("idgate_requests_total", &[]).await, questions);
    }
    assert_eq!(one.metric("idgate_verdicts_total", &[("provider", "muzhiyun")]).await, 0.0);

    // One stops, the other continues.
    assert!(one.stop().await);
    assert_eq!(two.admin_post("/v1/providers/muzhiyun/restore").await, 204);
    assert_eq!(in_short(&two.ask(&anybody()).await), "muzhiyun match (provider)");
}
