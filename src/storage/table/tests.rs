use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct One {
    hash: u32,
    value: u32,
}

impl Record for One {
    fn hash(&self) -> u32 {
        self.hash
    }
}

/// What a table with two orders of two lists each should hold: for each list its records, from front to back.
#[derive(Debug, Default)]
struct Model([[Vec<One>; 2]; 2]);

#[derive(Debug, Clone)]
enum Step {
    Insert { hash: u32, lists: [usize; 2] },
    Remove(usize),
    ToBack(usize, usize, usize),
    ToFront(usize, usize, usize),
    Change(usize),
    RemoveFront(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (list, order) = (|| 0..2_usize, || 0..2_usize);
    let which = || any::<usize>();
    // Few hashes, so that many records share a bucket, and large ones, so that it is not only the low bits.
    let hash = prop_oneof![0..6_u32, any::<u32>()];
    let step = prop_oneof![
        6 => (hash, list(), list()).prop_map(|(hash, a, b)| Step::Insert { hash, lists: [a, b] }),
        3 => which().prop_map(Step::Remove),
        1 => (which(), order(), list()).prop_map(|(at, order, list)| Step::ToBack(at, order, list)),
        1 => (which(), order(), list()).prop_map(|(at, order, list)| Step::ToFront(at, order, list)),
        1 => which().prop_map(Step::Change),
        2 => (order(), list()).prop_map(|(order, list)| Step::RemoveFront(order, list)),
    ];
    prop::collection::vec(step, 0..300)
}

impl Model {
    fn all(&self) -> Vec<One> {
        self.0[0].iter().flatten().copied().collect()
    }

    fn take_out(&mut self, order: usize, one: One) {
        self.0[order].iter_mut().for_each(|list| list.retain(|other| *other != one));
    }
}

/// The records of a list, from front to back.
fn listed(table: &Table<One, 2>, order: usize, list: usize) -> Vec<One> {
    let mut found = Vec::new();
    let mut next = table.front(order, list).map(|At(at)| at);
    while let Some(slot) = next.and_then(|at| table.slot(at)) {
        found.push(slot.record);
        next = Some(slot.links[order].after);
    }
    found
}

proptest! {
    #[test]
    fn a_table_does_what_plain_lists_do(steps in steps()) {
        let (mut table, mut model, mut made) = (Table::<One, 2>::new(), Model::default(), 0);
        for step in steps {
            let all = model.all();
            let find = |table: &Table<One, 2>, one: One| table.find(one.hash, |other| *other == one).unwrap();
            let pick = |n: usize| all.get(n % all.len().max(1)).copied();
            match step {
                Step::Insert { hash, lists } => {
                    made += 1;
                    let one = One { hash, value: made };
                    let at = table.insert(one, lists);
                    prop_assert_eq!(table.get(at), Some(&one));
                    model.0.iter_mut().zip(lists).for_each(|(order, list)| order[list].push(one));
                }
                Step::Remove(n) => if let Some(one) = pick(n) {
                    prop_assert_eq!(table.remove(find(&table, one)), Some(one));
                    (0..2).for_each(|order| model.take_out(order, one));
                },
                Step::ToBack(n, order, list) => if let Some(one) = pick(n) {
                    table.to_back(order, list, find(&table, one));
                    model.take_out(order, one);
                    model.0[order][list].push(one);
                },
                Step::ToFront(n, order, list) => if let Some(one) = pick(n) {
                    table.to_front(order, list, find(&table, one));
                    model.take_out(order, one);
                    model.0[order][list].insert(0, one);
                },
                Step::Change(n) => if let Some(one) = pick(n) {
                    made += 1;
                    let (at, new) = (find(&table, one), One { value: made, ..one });
                    *table.get_mut(at).unwrap() = new;
                    model.0.iter_mut().flatten().flatten().filter(|other| **other == one).for_each(|other| *other = new);
                },
                Step::RemoveFront(order, list) => {
                    let front = table.front(order, list).and_then(|at| table.remove(at));
                    prop_assert_eq!(front, model.0[order][list].first().copied());
                    if let Some(one) = front {
                        (0..2).for_each(|order| model.take_out(order, one));
                    }
                }
            }
            for order in 0..2 {
                for list in 0..2 {
                    prop_assert_eq!(&listed(&table, order, list), &model.0[order][list]);
                }
            }
            prop_assert_eq!(table.len(), model.all().len());
            prop_assert!(table.buckets.len() <= 2 * table.len() + 2 && table.buckets.len() >= table.len().max(1));
        }
        let hashes: std::collections::HashSet<u32> = model.all().iter().map(|one| one.hash).collect();
        for hash in hashes {
            let mut found: Vec<u32> =
                table.bucket(hash).filter(|(_, one)| one.hash == hash).map(|(_, one)| one.value).collect();
            let mut expected: Vec<u32> =
                model.all().into_iter().filter(|one| one.hash == hash).map(|one| one.value).collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_number_comes_back_and_what_is_beyond_is_its_limit(number in -(1_i64 << 47) + 1..1 << 47) {
        prop_assert_eq!(Packed::new(number).get(), number);
        prop_assert_eq!((Packed::new(i64::MAX).get(), Packed::new(i64::MIN).get()), ((1 << 47) - 1, 1 - (1 << 47)));
    }
}

/// Uniform hashes, as those of keyed digests.
fn hashes(seed: u64) -> impl FnMut() -> u32 {
    let mut random = fastrand::Rng::with_seed(seed);
    move || random.u32(..)
}

#[test]
fn memory_follows_the_records_up_and_down() {
    let (mut table, mut hash) = (Table::<One, 1>::new(), hashes(3));
    let most = 100_000;
    for value in 0..most {
        table.insert(One { hash: hash(), value }, [0]);
    }
    // Eight bytes, one list, and the two places in the index.
    let each = table.bytes() / most as usize;
    assert!((24..=26).contains(&each), "{each} bytes");
    let longest = (0..table.buckets.len()).map(|n| table.bucket(u32::try_from(n).unwrap()).count()).max();
    assert!(longest < Some(16), "{longest:?} in one bucket");
    while table.len() > 100 {
        table.remove(table.front(0, 0).unwrap());
    }
    assert!(table.bytes() < 80_000, "{} bytes", table.bytes());
}

#[test]
fn whoever_is_at_the_border_of_a_chunk_does_not_allocate_each_time() {
    let mut table = Table::<One, 0>::new();
    for value in 0..2048 {
        table.insert(One { hash: value, value }, []);
    }
    table.insert(One::default(), []);
    let bytes = table.bytes();
    for _ in 0..10 {
        table.remove(At(0));
        assert_eq!(table.bytes(), bytes);
        table.insert(One::default(), []);
    }
}

#[test]
fn instants_keep_their_order_also_before_the_epoch() {
    let (start, nano, milli) = (Instant::now(), Duration::from_nanos(1), Duration::from_millis(1));
    let epoch = Epoch::at(start);
    let at = |at| epoch.millis(at);
    assert_eq!((at(start), at(start + milli - nano), at(start + milli)), (0, 0, 1));
    assert_eq!((at(start - nano), at(start - milli), at(start - milli - nano)), (-1, -1, -2));
}
