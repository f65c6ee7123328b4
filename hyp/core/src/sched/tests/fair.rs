//! Fair shares, turns and wake-ups.

use super::*;
use crate::fuzz::Random;

#[test]
fn one_task_alone_is_never_asked() {
    let (mut queue, ids) = queue(&[share(100); 2]);
    assert_eq!(pick(&mut queue, 0), Decision::Idle { until: None });
    assert!(queue.wake(ids[0], 10) && !queue.wake(ids[0], 11), "it is woken once");
    assert_eq!(pick(&mut queue, 11), Decision::Run { id: ids[0], until: None });
    assert_eq!((queue.waiting(), queue.is_contended()), (0, false));
    queue.wake(ids[1], HZ);
    assert_eq!((queue.waiting(), queue.is_contended()), (1, true));
    let Decision::Run { id, until } = pick(&mut queue, HZ) else { panic!() };
    assert_eq!((id, until), (ids[1], Some(HZ + 500)), "it has half the latency");
}

#[test]
fn hogs_share_as_their_weights_say() {
    for weights in [&[100, 300][..], &[1, 10_000], &[1; 32], &[1, 2, 3, 4, 10_000]] {
        let shares: Vec<_> = weights.iter().copied().map(share).collect();
        let (mut queue, ids) = queue(&shares);
        ids.iter().for_each(|&id| assert!(queue.wake(id, 5)));
        let time = 12 * HZ;
        let ran = run(&mut queue, 5, 5 + time);
        let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        for (&weight, id) in weights.iter().zip(&ids) {
            let due = time * u64::from(weight) / sum;
            let wrong = ran[id.index()].abs_diff(due);
            assert!(wrong <= SLICE, "{weights:?}: {weight} is wrong by {wrong}");
        }
    }
}

#[test]
fn whoever_wakes_runs_at_once_but_not_before_the_current_one_had_the_granularity() {
    let (mut queue, ids) = queue(&[share(100); 3]);
    queue.wake(ids[0], 0);
    queue.wake(ids[1], 0);
    run(&mut queue, 0, HZ);
    let now = run_until_it_is(&mut queue, ids[1]);
    queue.wake(ids[2], now + 10);
    let until = now + GRANULARITY;
    assert_eq!(pick(&mut queue, now + 10), Decision::Run { id: ids[1], until: Some(until) });
    assert!(matches!(pick(&mut queue, until), Decision::Run { id, .. } if id == ids[2]));
    queue.block(until + 10, None);
    // And the others go on where they were.
    let Decision::Run { id, until } = pick(&mut queue, until + 10) else { panic!() };
    queue.wake(ids[2], until.unwrap() - 100);
    assert!(
        matches!(pick(&mut queue, until.unwrap() - 100), Decision::Run { id: next, .. } if next != id)
    );
}

#[test]
fn a_timer_wakes_a_blocked_task_and_says_so() {
    let (mut queue, ids) = queue(&[share(100); 2]);
    queue.wake(ids[0], 0);
    queue.wake(ids[1], 0);
    pick(&mut queue, 0);
    let first = queue.current().unwrap();
    queue.block(40, Some(5000));
    let Decision::Run { id: second, until } = pick(&mut queue, 40) else { panic!() };
    assert_eq!(until, Some(5000));
    queue.block(50, None);
    assert_eq!(pick(&mut queue, 50), Decision::Idle { until: Some(5000) });
    queue.set_timer(second, Some(u64::MAX));
    queue.set_timer(first, Some(6000));
    assert_eq!(pick(&mut queue, 5999), Decision::Idle { until: Some(6000) });
    let mut woken = Vec::new();
    let decision = queue.pick(6001, |id, _| woken.push(id));
    assert!(matches!(decision, Decision::Run { id, .. } if id == first));
    assert_eq!(woken, [first], "and the other's is far away");
    queue.set_timer(first, Some(1));
    queue.block(6002, None);
    assert!(queue.wake(second, 6003) && !queue.wake(second, 6003));
    assert_eq!(
        pick(&mut queue, 6003),
        Decision::Run { id: second, until: None },
        "without its timer"
    );
}

#[test]
fn an_hour_alone_is_held_against_nobody() {
    let (mut queue, ids) = queue(&[share(1), share(10_000)]);
    queue.wake(ids[0], 0);
    queue.wake(ids[1], 0);
    // The light one has had more than its part when it goes to sleep.
    let now = run_until_it_is(&mut queue, ids[0]) + GRANULARITY;
    queue.block(now, None);
    assert!(matches!(pick(&mut queue, now), Decision::Run { until: None, .. }));
    // An hour, and longer than virtual time takes to go round at this weight.
    let mut now = now;
    for later in [3600 * HZ, 1 << 52] {
        now += later;
        assert!(queue.wake(ids[0], now));
        assert!(matches!(pick(&mut queue, now), Decision::Run { id, .. } if id == ids[0]));
        now += 10 * SLICE;
        queue.block(now, None);
        pick(&mut queue, now);
    }
}

#[test]
fn who_passes_the_core_on_leaves_it_to_whom_a_decision_would() {
    let mut random = Random(0x9a55_0001);
    let shares = [share(100), share(300), share(1), share(10_000), share(100)];
    let ((mut queue, ids), (mut other, _)) = (queue(&shares), super::queue(&shares));
    let (mut now, mut passed) = (0, 0);
    for _ in 0..20_000 {
        now += 1 + random.below(3 * SLICE);
        let id = ids[random.below(5) as usize];
        assert_eq!(queue.wake(id, now), other.wake(id, now));
        let timer = (random.below(4) == 0).then(|| now + random.below(SLICE));
        assert_eq!(pick(&mut queue, now), pick(&mut other, now));
        now += 1 + random.below(SLICE);
        if let Some((next, until)) = queue.pass_on(now) {
            other.block(now, None);
            assert_eq!(pick(&mut other, now), Decision::Run { id: next, until });
            passed += 1;
        } else {
            queue.block(now, timer);
            other.block(now, timer);
            assert_eq!(pick(&mut queue, now), pick(&mut other, now));
        }
    }
    assert!(passed > 1000, "{passed}");
}

#[test]
fn shares_are_exact_also_where_each_tick_is_charged() {
    let (mut queue, ids) = queue(&[share(10_000), share(100)]);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    let (time, mut light) = (HZ, 0);
    for now in 0..time {
        pick(&mut queue, now);
        light += u64::from(queue.current() == Some(ids[1]));
    }
    assert!(light.abs_diff(time / 101) <= SLICE, "{light} of {}", time / 101);
}

#[test]
fn who_sleeps_and_wakes_all_the_time_gets_no_more_than_its_share_beside_a_hog() {
    let (mut queue, ids) = queue(&[share(100), share(300)]);
    ids.iter().for_each(|&id| assert!(queue.wake(id, 0)));
    // The first works for 900 us at a time and sleeps for 100: it would have 90 %.
    let (mut now, mut work, mut ran) = (0, 900, 0);
    while now < 10 * HZ {
        let Decision::Run { id, until } = pick(&mut queue, now) else { panic!() };
        let end = if id == ids[0] { now + work } else { u64::MAX };
        let next = until.unwrap_or(u64::MAX).min(end);
        if id == ids[0] {
            work -= next - now;
            ran += next - now;
        }
        now = next;
        if work == 0 {
            work = 900;
            queue.block(now, Some(now + 100));
        }
    }
    assert!(ran.abs_diff(now / 4) <= 2 * SLICE, "{ran} of {now}");
}
