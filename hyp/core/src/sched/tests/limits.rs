//! Caps and reserves.

use super::*;

fn capped(weight: u32, percent: u8) -> Share {
    Share { weight, cap: Some(percent), reserve: None }
}

fn reserved(weight: u32, percent: u8) -> Share {
    Share { weight, cap: None, reserve: Some(percent) }
}

#[test]
fn a_capped_task_has_its_cap_in_each_window_and_no_tick_more() {
    let others: [&[Share]; 3] = [&[], &[share(100)], &[share(1), capped(100, 30)]];
    for others in others {
        let mut shares = Vec::from([capped(1000, 40)]);
        shares.extend(others);
        let (mut queue, ids) = queue(&shares);
        ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
        for window in 0..50 {
            let start = window * TIMING.window;
            let ran = run(&mut queue, start, start + TIMING.window);
            assert_eq!(ran[0], TIMING.window * 40 / 100, "window {window} beside {others:?}");
        }
    }
}

#[test]
fn a_cap_that_is_used_up_ends_with_the_window_also_for_who_sleeps_and_wakes() {
    let (mut queue, ids) = queue(&[capped(100, 10)]);
    queue.wake(ids[0], 0);
    let budget = TIMING.window / 10;
    assert_eq!(pick(&mut queue, 0), Decision::Run { id: ids[0], until: Some(budget) });
    queue.block(budget, Some(budget + 50));
    let mut woken = 0;
    let decision = queue.pick(budget + 50, |_, ()| woken += 1);
    assert_eq!((decision, woken), (Decision::Idle { until: Some(TIMING.window) }, 1));
    assert!(!queue.wake(ids[0], budget + 60), "it is not blocked");
    assert_eq!((queue.waiting(), queue.is_contended()), (0, false));
    // It did without the core before, and that is gone: what is left of this window, and all of the next.
    let late = 2 * TIMING.window - 1000;
    let end = 2 * TIMING.window + budget;
    assert_eq!(pick(&mut queue, late), Decision::Run { id: ids[0], until: Some(end) });
    assert_eq!(pick(&mut queue, end), Decision::Idle { until: Some(3 * TIMING.window) });
}

#[test]
fn what_ran_beyond_a_cap_as_nobody_asked_in_time_counts_in_the_next_windows() {
    let (mut queue, ids) = queue(&[capped(100, 50)]);
    queue.wake(ids[0], 0);
    pick(&mut queue, 0);
    // Two windows whole, and a tenth of the third: twice half a window too much.
    let window = TIMING.window;
    let now = 2 * window + window / 10;
    assert_eq!(pick(&mut queue, now), Decision::Idle { until: Some(3 * window) });
    assert_eq!(pick(&mut queue, 3 * window), Decision::Idle { until: Some(4 * window) });
    let left = window / 2 - window / 10;
    assert_eq!(
        pick(&mut queue, 4 * window),
        Decision::Run { id: ids[0], until: Some(4 * window + left) }
    );
}

#[test]
fn a_reserve_is_kept_whatever_the_others_weigh() {
    let others: [&[Share]; 3] = [&[share(100); 7], &[share(10_000); 31], &[reserved(10_000, 80)]];
    for others in others {
        let mut shares = Vec::from([reserved(1, 20)]);
        shares.extend(others);
        let (mut queue, ids) = queue(&shares);
        ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
        let time = 10 * HZ;
        let ran = run(&mut queue, 0, time);
        // A little more, for what switching takes of it.
        let due = time / 5 - 2 * TIMING.latency..time / 5 * 104 / 100;
        assert!(due.contains(&ran[0]), "{} beside {others:?}", ran[0]);
        // And at no time was it far behind.
        for tenth in 0..10 {
            let start = time + tenth * TIMING.window / 10;
            let ran = run(&mut queue, start, start + TIMING.window / 10);
            let due = TIMING.window / 10 / 5;
            assert!(ran[0] + TIMING.latency >= due, "{} of {due} beside {others:?}", ran[0]);
        }
    }
}

#[test]
fn a_reserve_is_what_a_task_can_use_of_the_core_also_where_switching_takes_a_part() {
    let mut shares = Vec::from([reserved(100, 20)]);
    shares.extend([share(100); 7]);
    let (mut queue, ids) = queue(&shares);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    // What is not the task's own of each stretch in which it has the core.
    const SWITCH: u64 = 4;
    let (time, mut now, mut used, mut before) = (10 * HZ, 0, 0, None);
    while now < time {
        let Decision::Run { id, until } = pick(&mut queue, now) else { panic!() };
        let next = until.unwrap();
        let switch = if before == Some(id) { 0 } else { SWITCH };
        used += if id == ids[0] { next - now - switch } else { 0 };
        (now, before) = (next, Some(id));
    }
    assert!(used >= now / 5, "{used} of {now}");
}

#[test]
fn a_reserve_below_the_fair_share_adds_nothing_to_it() {
    let (mut queue, ids) = queue(&[reserved(100, 20), share(100)]);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    let time = 10 * HZ;
    let ran = run(&mut queue, 0, time);
    assert!(ran[0].abs_diff(time / 2) <= SLICE, "{}", ran[0]);
}

#[test]
fn a_reserve_is_kept_at_once_also_after_an_hour_alone() {
    let (mut queue, ids) = queue(&[reserved(100, 50), share(10_000)]);
    queue.wake(ids[0], 0);
    run(&mut queue, 0, 3600 * HZ);
    queue.wake(ids[1], 3600 * HZ);
    let ran = run(&mut queue, 3600 * HZ, 3600 * HZ + 10 * TIMING.latency);
    assert!(ran[0] >= 3 * TIMING.latency, "{}", ran[0]);
}

#[test]
fn a_reserve_is_not_saved_up() {
    let (mut queue, ids) = queue(&[reserved(1, 50), share(10_000)]);
    queue.wake(ids[1], 0);
    run(&mut queue, 0, 3600 * HZ);
    queue.wake(ids[0], 3600 * HZ);
    let ran = run(&mut queue, 3600 * HZ, 3600 * HZ + 20 * TIMING.latency);
    assert!(ran[0].abs_diff(10 * TIMING.latency) <= TIMING.latency, "{}", ran[0]);
}

#[test]
fn a_whole_core_can_be_promised() {
    let (mut queue, ids) = queue(&[reserved(1, 100), share(10_000)]);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    let ran = run(&mut queue, 0, HZ);
    assert!(ran[0] >= HZ - TIMING.latency, "{}", ran[0]);
}

#[test]
fn a_reserve_comes_in_small_pieces_however_long_the_turns_of_the_others_are() {
    let (mut queue, ids) = queue(&[reserved(1, 20), share(10_000)]);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    run(&mut queue, 0, HZ);
    for _ in 0..100 {
        let ends = run_until_it_is(&mut queue, ids[1]);
        let begins = run_until_it_is(&mut queue, ids[0]);
        assert!(begins - ends <= 9 * GRANULARITY, "from {ends} to {begins}");
    }
}

#[test]
fn what_a_reserve_gave_beyond_a_fair_share_is_not_held_against_it_for_long() {
    let (mut queue, ids) = queue(&[reserved(1, 20), share(10_000), share(1)]);
    ids[..2].iter().for_each(|&id| assert!(queue.wake(id, 0)));
    run(&mut queue, 0, 100 * HZ);
    let now = run_until_it_is(&mut queue, ids[1]) + 10;
    queue.block(now, None);
    queue.wake(ids[2], now);
    let time = 100 * TIMING.latency;
    let ran = run(&mut queue, now, now + time);
    assert!(ran[0] >= time * 4 / 10, "{} of {time}", ran[0]);
}
