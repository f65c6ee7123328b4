//! Calls, yields and moves.

use super::*;

#[test]
fn a_called_task_is_next_and_only_once() {
    let (mut queue, ids) = queue(&[share(10_000), share(10_000), share(1)]);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    let now = run_until_it_is(&mut queue, ids[1]);
    assert!(queue.call(ids[2], now));
    let soon = now + GRANULARITY;
    assert_eq!(pick(&mut queue, now), Decision::Run { id: ids[1], until: Some(soon) });
    let end = soon + GRANULARITY;
    assert_eq!(pick(&mut queue, soon), Decision::Run { id: ids[2], until: Some(end) });
    assert!(queue.call(ids[2], soon + 5), "it has the core: nothing");
    assert!(matches!(pick(&mut queue, end), Decision::Run { id, .. } if id != ids[2]));
    assert!(!queue.call(TaskId(200), end), "it is not here");
}

#[test]
fn a_called_task_runs_also_beyond_its_cap_and_is_throttled_again() {
    let shares = [Share { weight: 100, cap: Some(10), reserve: None }, share(100)];
    let (mut queue, ids) = queue(&shares);
    queue.wake(ids[0], 0);
    let budget = TIMING.window / 10;
    run(&mut queue, 0, budget);
    assert_eq!(pick(&mut queue, budget), Decision::Idle { until: Some(TIMING.window) });
    assert!(queue.call(ids[0], budget));
    let end = budget + GRANULARITY;
    assert_eq!(pick(&mut queue, budget), Decision::Run { id: ids[0], until: Some(end) });
    assert_eq!(pick(&mut queue, end), Decision::Idle { until: Some(TIMING.window) });
    // It pays in the next window.
    let ran = run(&mut queue, TIMING.window, 2 * TIMING.window);
    assert_eq!(ran[0], budget - GRANULARITY);
    // A blocked one is woken by that, and may block again at once.
    queue.wake(ids[1], 2 * TIMING.window);
    run(&mut queue, 2 * TIMING.window, 3 * TIMING.window - 10);
    let now = 3 * TIMING.window - 10;
    assert_eq!(queue.current(), Some(ids[1]));
    queue.block(now, None);
    pick(&mut queue, now);
    assert!(queue.call(ids[1], now));
    assert!(matches!(pick(&mut queue, now), Decision::Run { id, .. } if id == ids[1]));
    queue.block(now + 1, None);
    assert!(matches!(pick(&mut queue, now + 1), Decision::Idle { .. }));
}

#[test]
fn whoever_has_itself_called_all_the_time_gets_no_more_than_a_ninth_by_it() {
    let (mut queue, ids) = queue(&[share(1), share(1), share(10_000), share(10_000)]);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    let (mut now, mut ran) = (0, [0; 4]);
    while now < 10 * HZ {
        queue.call(ids[0], now);
        queue.call(ids[1], now);
        let Decision::Run { id, until } = pick(&mut queue, now) else { panic!() };
        let next = until.unwrap().min(now + 50);
        ran[usize::from(id.vm().0)] += next - now;
        now = next;
    }
    assert!(ran[0] + ran[1] <= now / 9 + TIMING.latency, "{ran:?}");
    assert!(ran[0].abs_diff(ran[1]) <= TIMING.latency, "they take turns: {ran:?}");
    assert!(ran[2].abs_diff(ran[3]) <= TIMING.latency, "the others share the rest: {ran:?}");
}

#[test]
fn calls_do_not_add_to_a_fair_share() {
    let (mut queue, ids) = queue(&[share(100), share(100), share(100)]);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    let (mut now, mut ran) = (0, [0; 3]);
    while now < 10 * HZ {
        queue.call(ids[0], now);
        let Decision::Run { id, until } = pick(&mut queue, now) else { panic!() };
        let next = until.unwrap().min(now + 100);
        ran[usize::from(id.vm().0)] += next - now;
        now = next;
    }
    assert!(ran[0] <= now / 3 + SLICE, "{ran:?}");
}

/// Two guests, of two and one vCPUs, all of them ready; the first vCPU has the core.
fn siblings() -> RunQueue<()> {
    let mut queue = RunQueue::new(TIMING);
    for id in [8, 9, 10, 16].map(TaskId) {
        queue.add(id, share(100), ());
        queue.wake(id, 0);
        queue.pick(0, |_, ()| ());
    }
    assert_eq!(queue.current(), Some(TaskId(8)));
    queue
}

#[test]
fn a_task_that_spins_lets_a_sibling_go_first_and_the_preferred_one_before_all() {
    let mut queue = siblings();
    queue.yields(10);
    assert!(matches!(pick(&mut queue, 10), Decision::Run { id: TaskId(9), .. }));
    queue.prefer(TaskId(8));
    queue.yields(20);
    assert!(matches!(pick(&mut queue, 20), Decision::Run { id: TaskId(8), .. }), "not vCPU 2");
    queue.yields(30);
    assert!(matches!(pick(&mut queue, 30), Decision::Run { id: TaskId(10), .. }));
}

#[test]
fn a_task_that_spins_alone_keeps_the_core() {
    let (mut queue, ids) = queue(&[share(100), share(100)]);
    queue.wake(ids[0], 0);
    pick(&mut queue, 0);
    queue.yields(10);
    assert_eq!(pick(&mut queue, 10), Decision::Run { id: ids[0], until: None });
    // Nobody wanted it then, and so it is not held against it later.
    queue.wake(ids[1], 20);
    assert_eq!(pick(&mut queue, 20), Decision::Run { id: ids[0], until: Some(GRANULARITY) });
    assert!(matches!(pick(&mut queue, GRANULARITY), Decision::Run { id, .. } if id == ids[1]));
}

#[test]
fn siblings_that_yield_to_each_other_keep_nobody_waiting_who_woke() {
    let mut queue = RunQueue::new(TIMING);
    (0..8).chain([16]).map(TaskId).for_each(|id| queue.add(id, share(100), ()));
    (0..8).map(TaskId).for_each(|id| assert!(queue.wake(id, 0)));
    let sleeper = TaskId(16);
    let (mut now, mut woken, mut turns) = (0, None, 0);
    while now < 10 * HZ {
        if woken.is_none() && now >= 20_000 && now % 20_000 < 10 {
            assert!(queue.wake(sleeper, now));
            woken = Some(now);
        }
        let Decision::Run { id, .. } = pick(&mut queue, now) else { panic!() };
        now += 10;
        if id != sleeper {
            queue.yields(now);
        } else if let Some(at) = woken.take() {
            assert!(now - at <= TIMING.latency, "it waited for {}", now - at);
            turns += 1;
            queue.block(now, None);
        }
    }
    assert!(turns > 400, "{turns}");
}

#[test]
fn siblings_that_yield_to_each_other_keep_nobody_waiting() {
    let mut queue = siblings();
    let (mut now, mut ran, mut since) = (0, 0, 0);
    while now < 10 * HZ {
        let Decision::Run { id, until } = pick(&mut queue, now) else { panic!() };
        let other = id == TaskId(16);
        if other {
            assert!(now - since <= 4 * SLICE, "it waited for {}", now - since);
        }
        let next = if other { until.unwrap() } else { now + 10 };
        ran += if other { next - now } else { 0 };
        since = if other { next } else { since };
        now = next;
        if !other {
            queue.yields(now);
        }
    }
    assert!(ran >= now / 4 - SLICE, "{ran} of {now}");
}

#[test]
fn who_would_wait_longest_is_handed_over_and_waits_as_long_there() {
    let mut from = RunQueue::new(TIMING);
    let shares = [share(100), share(100), share(100), Share { reserve: Some(10), ..share(100) }];
    for (vm, &share) in shares.iter().enumerate() {
        from.add(TaskId(8 * vm as u8), share, vm);
        from.wake(TaskId(8 * vm as u8), 0);
    }
    let now = run_until_it_is(&mut from, TaskId(0));
    assert_eq!(from.waiting(), 2, "the one with a reserve stays, and the current one");
    from.call(TaskId(8), now);
    assert!(from.hand_over(now, |id, _| id == TaskId(8)).is_none(), "it was called");
    assert!(from.hand_over(now, |_, &vm| vm == 3 || vm == 0).is_none());
    let parcel = from.hand_over(now, |_, _| true).unwrap();
    assert_eq!((parcel.id(), from.len(), from.contains(TaskId(16))), (TaskId(16), 3, false));
    assert_eq!(from.iter().map(|(_, &vm)| vm).collect::<Vec<_>>(), [0, 1, 3]);

    let mut to = RunQueue::new(TIMING);
    to.add(TaskId(80), share(100), 10);
    to.wake(TaskId(80), now);
    to.pick(now, |_, _| ());
    assert_eq!(to.adopt(parcel, now + 5), TaskId(16));
    assert!(!to.wake(TaskId(16), now + 5), "it is not blocked");
    assert_eq!((to.len(), to.waiting(), to.task_mut(TaskId(16)).copied()), (2, 1, Some(2)));
    let back = to.hand_over(now + 5, |_, _| true).unwrap();
    from.adopt(back, now + 5);
    assert_eq!((from.len(), to.len(), to.waiting()), (4, 1, 0));
    assert!(!from.is_empty() && to.hand_over(now + 5, |_, _| true).is_none());
}

#[test]
fn a_call_is_over_also_where_nobody_else_wants_the_core() {
    let shares = [Share { weight: 100, cap: Some(10), reserve: None }, share(100)];
    let (mut queue, ids) = queue(&shares);
    for (index, &id) in ids.iter().enumerate() {
        let now = HZ * index as u64 + 10;
        queue.call(id, now);
        pick(&mut queue, now);
        let end = (index == 0).then_some(now + TIMING.window / 10);
        let soon = now + GRANULARITY;
        assert_eq!(pick(&mut queue, soon), Decision::Run { id, until: end });
        queue.block(soon, None);
        pick(&mut queue, soon);
    }
}
