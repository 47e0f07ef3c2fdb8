//! What is measured: the age of answers, idempotency keys, nonces.

use super::*;

#[tokio::test]
async fn the_age_of_an_answer_is_never_less_than_the_real_one_and_its_life_no_shorter() {
    let (folder, (hands, clock)) = (Folder::new(), Hands::new(MORNING.parse().unwrap()));
    let running = gateway(&folder, &clock).start().await;
    let pair = anybody();
    assert_eq!(running.ask(&pair).await.source(), "provider");
    hands.pass(100);
    for wrong in [0, -HOUR, -40 * DAY, HOUR, 40 * DAY] {
        hands.set(wrong);
        let reply = running.ask(&pair).await;
        assert_eq!((reply.source(), reply.header("age")), ("cache", "100"), "{wrong}");
        let fresh = running.ask_with(&pair, &[("cache-control", "max-age=99, only-if-cached")]).await;
        assert_eq!(fresh.code(), "not_cached", "{wrong}");
    }
    // Also once another time is believed.
    hands.set(-HOUR);
    clock.now();
    hands.pass(HOUR);
    clock.now();
    assert_eq!(clock.turns(), 1);
    let old = running.ask_with(&pair, &[("cache-control", "max-age=3699, only-if-cached")]).await;
    assert_eq!(old.code(), "not_cached");
    assert!(running.stop().await);
}

#[tokio::test]
async fn an_idempotency_key_lasts_its_day_through_steps_and_is_not_paid_for_again() {
    let (folder, (hands, clock)) = (Folder::new(), Hands::new(MORNING.parse().unwrap()));
    let forgetful = "[cache]\nmatch_ttl = \"0s\"\n";
    let running = gateway(&folder, &clock).over(forgetful).start().await;
    let pair = anybody();
    let ask = async |gateway: &TestGateway| gateway.ask_with(&pair, &[("idempotency-key", "k-1")]).await;
    let first = ask(&running).await;
    for wrong in [40 * DAY, -40 * DAY, 0] {
        hands.set(wrong);
        hands.pass(HOUR);
        clock.now();
        hands.pass(HOUR);
        let again = ask(&running).await;
        assert_eq!(again.header("idempotency-replayed"), "true", "{wrong}");
        assert_eq!(again.body["verification_id"], first.body["verification_id"]);
    }
    assert_eq!(running.sandbox.calls(TIMELESS), 1);
    hands.pass(18 * HOUR + 1);
    assert_eq!(ask(&running).await.header("idempotency-replayed"), "", "the day is over");
    assert!(running.stop().await);
}
