use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::resilience::party::ACTIVE_FOR;

fn party(name: &str, weight: u32) -> Party {
    Party { owner: Arc::from(name), class: 0, weight: NonZeroU32::new(weight).unwrap(), has_rivals: true }
}

fn enter(bulkhead: &Bulkhead, party: &Party) -> Result<Slot, Full> {
    bulkhead.try_enter(party, Instant::now())
}

#[test]
fn the_caller_after_the_last_slot_is_refused_until_one_is_dropped() {
    let (bulkhead, one) = (Bulkhead::new(2), Party::alone("one"));
    let first = enter(&bulkhead, &one).unwrap();
    let _second = enter(&bulkhead.clone(), &one).unwrap();
    assert_eq!(enter(&bulkhead, &one).err(), Some(Full(Share::Above)));
    assert_eq!(bulkhead.in_use(), 2);
    drop(first);
    assert_eq!(bulkhead.in_use(), 1);
    assert!(enter(&bulkhead, &one).is_ok());
}

#[test]
fn a_panicking_call_gives_its_slot_back() {
    let bulkhead = Bulkhead::new(1);
    let shared = bulkhead.clone();
    let call = std::thread::spawn(move || {
        let _slot = enter(&shared, &Party::alone("one")).unwrap();
        panic!("synthetic");
    });
    assert!(call.join().is_err());
    assert_eq!(bulkhead.in_use(), 0);
}

#[test]
fn limits_of_nothing_and_of_everything_are_possible() {
    let one = Party::alone("one");
    assert!(enter(&Bulkhead::new(0), &one).is_err());
    assert!(enter(&Bulkhead::new(usize::MAX), &one).is_ok());
}

#[test]
fn a_tenth_is_lent_to_nobody_and_all_else_to_whoever_asks() {
    let (bulkhead, bulk, payout) = (Bulkhead::new(100), party("bulk", 1), party("payout", 1));
    let lent: Vec<_> = (0..200).filter_map(|_| enter(&bulkhead, &bulk).ok()).collect();
    assert_eq!(lent.len(), 90);
    let mut own: Vec<_> = (0..200).filter_map(|_| enter(&bulkhead, &payout).ok()).collect();
    assert_eq!(own.len(), 10, "the reserve, at once");
    assert_eq!(enter(&bulkhead, &payout).err(), Some(Full(Share::Within)));
    // As the lent slots return, they are not lent again before the payout client has its share.
    for slot in lent {
        drop(slot);
        assert_eq!(enter(&bulkhead, &bulk).err().filter(|_| own.len() < 45).is_some(), own.len() < 45);
        own.extend(enter(&bulkhead, &payout).ok().filter(|_| own.len() < 45));
    }
    assert_eq!(own.len(), 45);
}

#[test]
fn shares_follow_weights() {
    let (bulkhead, light, heavy) = (Bulkhead::new(100), party("light", 1), party("heavy", 8));
    let (mut slots, mut random) = (Vec::new(), fastrand::Rng::with_seed(13));
    for _ in 0..2_000 {
        slots.extend([&light, &heavy].into_iter().filter_map(|one| Some((one, enter(&bulkhead, one).ok()?))));
        drop(slots.swap_remove(random.usize(0..slots.len())));
    }
    slots.extend([&light, &heavy].into_iter().filter_map(|one| Some((one, enter(&bulkhead, one).ok()?))));
    let of = |one: &Party| slots.iter().filter(|(by, _)| **by == *one).count();
    assert!(of(&heavy) >= 80 && of(&light) >= 10, "{} and {}", of(&heavy), of(&light));
}

#[test]
fn who_has_left_has_no_share_any_more_and_who_holds_a_slot_has_not_left() {
    let (bulkhead, start) = (Bulkhead::new(100), Instant::now());
    let (one, other, third) = (party("one", 1), party("other", 1), party("third", 1));
    let held = bulkhead.try_enter(&other, start).unwrap();
    drop(bulkhead.try_enter(&third, start).unwrap());
    let later = start + ACTIVE_FOR;
    let slots: Vec<_> = (0..60).map(|_| bulkhead.try_enter(&one, later).unwrap()).collect();
    let share = |now| {
        drop(bulkhead.try_enter(&one, now));
        let mut state = bulkhead.0.lock();
        let seat = state.held.enter(&one, now, || 0, |held| *held == 0);
        state.held.share(seat, 90)
    };
    assert_eq!(share(later), 45, "the third is gone");
    drop((held, slots));
    assert_eq!(share(later + ACTIVE_FOR), 90);
}

/// Drives a pool and a model of it with the same random steps.
#[test]
fn whoever_is_below_its_share_is_refused_only_when_nothing_is_free_and_all_together_never_exceed_the_limit() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let limit = random.usize(1..40);
        let (bulkhead, mut now) = (Bulkhead::new(limit), Instant::now());
        let parties: Vec<_> = (0..random.u32(2..6)).map(|n| party(&n.to_string(), random.u32(1..9))).collect();
        let weights: u32 = parties.iter().map(|one| one.weight.get()).sum();
        let reserve = if limit > 1 { limit.div_ceil(10) } else { 0 };
        let mut slots: Vec<Vec<Slot>> = parties.iter().map(|_| Vec::new()).collect();
        for one in &parties {
            drop(bulkhead.try_enter(one, now));
        }
        for _ in 0..2_000 {
            // Everybody stays active.
            now += Duration::from_millis(random.u64(0..5));
            let n = random.usize(0..parties.len());
            let (one, in_use) = (&parties[n], slots.iter().map(Vec::len).sum::<usize>());
            assert_eq!(bulkhead.in_use(), in_use);
            if random.u8(0..3) == 0 {
                slots[n].pop();
                continue;
            }
            let share = ((limit - reserve) * one.weight.get() as usize / weights as usize).max(1);
            match bulkhead.try_enter(one, now) {
                Ok(slot) => {
                    assert!(slots[n].len() < share || in_use < limit - reserve, "seed {seed}: the reserve was lent");
                    slots[n].push(slot);
                }
                Err(Full(Share::Within)) => assert!(in_use == limit && slots[n].len() < share, "seed {seed}"),
                Err(Full(Share::Above)) => assert!(in_use >= limit - reserve && slots[n].len() >= share, "seed {seed}"),
            }
            assert!(slots.iter().map(Vec::len).sum::<usize>() <= limit);
        }
    }
}
