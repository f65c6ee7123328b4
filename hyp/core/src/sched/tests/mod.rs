//! The rules, one by one.

use std::vec::Vec;

use super::*;

mod calls;
mod fair;
mod limits;
mod model;
mod others;

/// 1 MHz: ticks are microseconds.
const HZ: u64 = 1_000_000;
const TIMING: Timing = Timing { latency: 1000, window: 100_000 };
const GRANULARITY: u64 = TIMING.granularity();
const SLICE: u64 = TIMING.slice();

fn share(weight: u32) -> Share {
    Share { weight, cap: None, reserve: None }
}

/// A queue with blocked tasks of these shares, from number 0 on, each of another guest.
fn queue(shares: &[Share]) -> (RunQueue<()>, Vec<TaskId>) {
    let mut queue = RunQueue::new(TIMING);
    let ids: Vec<_> = (0..shares.len()).map(|vm| TaskId::new(VmId(vm as u8), VcpuId(0))).collect();
    for (&id, &share) in ids.iter().zip(shares) {
        queue.add(id, share, ());
    }
    (queue, ids)
}

fn pick(queue: &mut RunQueue<()>, now: u64) -> Decision {
    queue.pick(now, |_, _| ())
}

/// Runs `queue` from `now` to `end`, where nobody blocks; what each ran.
fn run(queue: &mut RunQueue<()>, mut now: u64, end: u64) -> [u64; TASKS] {
    let mut ran = [0; TASKS];
    while now < end {
        let (Decision::Run { until, .. } | Decision::Idle { until }) = pick(queue, now);
        let next = until.unwrap_or(end).min(end);
        assert!(next > now, "a decision that is over at once");
        if let Some(id) = queue.current() {
            ran[id.index()] += next - now;
        }
        now = next;
    }
    ran
}

/// Runs `queue` from its present time until `id` has just got the core from another; when.
fn run_until_it_is<T>(queue: &mut RunQueue<T>, id: TaskId) -> u64 {
    loop {
        let before = queue.current();
        let (Decision::Run { until, .. } | Decision::Idle { until }) =
            queue.pick(queue.now, |_, _| ());
        if queue.current() == Some(id) && before.is_some_and(|before| before != id) {
            return queue.now;
        }
        queue.charge(until.unwrap());
    }
}

#[test]
fn tasks_are_numbered_by_guest_and_vcpu() {
    let id = TaskId::new(VmId(31), VcpuId(7));
    assert_eq!((id, id.vm(), id.vcpu()), (TaskId(255), VmId(31), VcpuId(7)));
    assert_eq!(
        TaskId(9).siblings().map(|id| id.0).collect::<Vec<_>>(),
        [8, 9, 10, 11, 12, 13, 14, 15]
    );
    assert_eq!(Timing::new(HZ, 1000), TIMING);
}

#[test]
fn a_set_of_tasks_is_gone_through_in_order_and_round() {
    let mut set = TaskSet::EMPTY;
    let members = [0, 3, 63, 64, 200, 255].map(TaskId);
    members.into_iter().for_each(|id| set.insert(id));
    assert_eq!(set.iter().collect::<Vec<_>>(), members);
    for (index, &id) in members.iter().enumerate() {
        assert_eq!(set.after(id), Some(members[(index + 1) % members.len()]));
    }
    assert_eq!(set.after(TaskId(100)), Some(TaskId(200)));
    members[1..].iter().for_each(|&id| set.remove(id));
    assert_eq!((set.after(TaskId(0)), set.after(TaskId(9))), (Some(TaskId(0)), Some(TaskId(0))));
    assert!(set.contains(TaskId(0)) && !set.contains(TaskId(3)) && !set.is_empty());
    set.remove(TaskId(0));
    assert!(set.is_empty() && set.after(TaskId(7)).is_none());
}
