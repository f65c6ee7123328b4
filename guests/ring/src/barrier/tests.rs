use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;
use std::thread;

use tessera_abi::group::membership::State;

use super::*;
use crate::MAX_MEMBERS;
use crate::model::{Chance, Group, words};

const ALL: u32 = u32::MAX;

fn everyone(members: usize) -> u32 {
    ALL >> (MAX_MEMBERS - members)
}

#[test]
fn nobody_passes_before_all_have_come_and_all_get_the_least_value() {
    for members in [1, 2, 5, 6, 13, 32] {
        let (memory, group) = (words(members * LINE), Group::up(members));
        let arrived = AtomicU32::new(0);
        thread::scope(|scope| {
            for me in 0..members {
                let (memory, group, arrived) = (&memory, &group, &arrived);
                scope.spawn(move || {
                    let peers = group.member(me);
                    let mut barrier = Barrier::new(memory, &peers).unwrap();
                    assert_eq!(barrier.wait(0), Err(Broken::NotJoined));
                    let joined = barrier.join(everyone(members), 100 + me as u64).unwrap();
                    assert_eq!(joined, Joined { members: everyone(members), least: 100 });
                    for round in 1..50 {
                        arrived.fetch_add(1, SeqCst);
                        let value = round * 1000 + ((me as u64 + round) % members as u64);
                        assert_eq!(barrier.wait(value), Ok(round * 1000));
                        assert!(arrived.load(SeqCst) >= round as u32 * members as u32);
                    }
                });
            }
        });
    }
}

#[test]
fn who_waits_is_told_who_went_and_who_is_back_and_all_go_on_from_the_least() {
    const MEMBERS: usize = 7;
    const LAST: u64 = 40;
    for victim in 0..MEMBERS {
        let (memory, group) = (words(MEMBERS * LINE), Group::up(MEMBERS));
        let told = AtomicU32::new(0);
        // A life: goes on from the least, to the end or to where it dies.
        let life = |me: usize, begin: u64, dies: Option<u64>| {
            let peers = group.member(me);
            let mut barrier = Barrier::new(&memory, &peers).unwrap();
            let mut step = begin;
            'join: loop {
                step = barrier.join(everyone(MEMBERS), step).unwrap().least;
                while step < LAST {
                    if dies == Some(step) {
                        return;
                    }
                    match barrier.wait(step) {
                        Ok(least) => assert_eq!(least, step),
                        Err(Broken::Changed { gone, came }) => {
                            assert_eq!(gone, 1 << victim);
                            assert!(came == 0 || came == gone);
                            told.fetch_add(1, SeqCst);
                            continue 'join;
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                    step += 1;
                }
                return;
            }
        };
        thread::scope(|scope| {
            for me in (0..MEMBERS).filter(|me| *me != victim) {
                let life = &life;
                scope.spawn(move || life(me, 0, None));
            }
            let (life, group, told) = (&life, &group, &told);
            scope.spawn(move || {
                life(victim, 0, Some(20));
                group.set(victim, State::Restarting, 1);
                while told.load(SeqCst) == 0 {
                    thread::yield_now();
                }
                group.set(victim, State::Up, 2);
                // It kept nothing, and what it did is done: it says the most there is.
                life(victim, u64::MAX, None);
            });
        });
        assert_eq!(told.load(SeqCst) as usize, MEMBERS - 1);
    }
}

#[test]
fn survivors_can_go_on_without_who_went() {
    let (memory, group) = (words(3 * LINE), Group::up(3));
    let survivor = |me: usize| {
        let peers = group.member(me);
        let mut barrier = Barrier::new(&memory, &peers).unwrap();
        barrier.join(0b111, 0).unwrap();
        let broken = barrier.wait(0);
        assert_eq!(broken, Err(Broken::Changed { gone: 0b001, came: 0 }));
        assert_eq!(barrier.join(0, 5 + me as u64), Ok(Joined { members: 0b110, least: 6 }));
        assert_eq!(barrier.wait(9), Ok(9));
    };
    thread::scope(|scope| {
        for me in [1, 2] {
            let survivor = &survivor;
            scope.spawn(move || survivor(me));
        }
        // The root of the tree goes.
        let peers = group.member(0);
        Barrier::new(&memory, &peers).unwrap().join(0b111, 0).unwrap();
        group.set(0, State::Crashed, 1);
    });
}

#[test]
fn a_member_that_stands_still_is_waited_for() {
    let (memory, group) = (words(2 * LINE), Group::up(2));
    group.set(1, State::Paused, 1);
    let peers = group.hasty(0);
    let mut barrier = Barrier::new(&memory, &peers).unwrap();
    assert_eq!(barrier.join(0b11, 0), Err(Broken::GaveUp));
}

#[test]
fn whatever_others_write_is_an_early_pass_or_a_wait_at_most() {
    let (memory, group) = (words(32 * LINE), Group::up(32));
    let mut chance = Chance::new(3);
    let (mut passed, mut waited) = (0, 0);
    for _ in 0..5_000 {
        let peers = group.hasty(chance.below(32) as usize);
        let mut barrier = Barrier::new(&memory, &peers).unwrap();
        for word in &memory {
            // Near what is waited for: the first mark of the view in which all live for the first time.
            let mark = 64 << 32 | u64::from(chance.below(50) == 0);
            let value = if chance.below(50) == 0 { chance.next() } else { mark };
            word.store(value, SeqCst);
        }
        match barrier.join(ALL, 0) {
            Ok(_) => passed += 1,
            Err(broken) => {
                assert_eq!(broken, Broken::GaveUp);
                waited += 1;
            }
        }
    }
    assert!(passed > 100 && waited > 100, "{passed} {waited}");
}
