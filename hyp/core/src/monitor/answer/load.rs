//! What guests do: shares of cores and rates, each from two readings and the time between them.

use alloc::string::String;
use alloc::vec::Vec;

use super::guests::sharing;
use crate::counters::Cause;
use crate::guest::Guest;
use crate::monitor::record::{Record, Value};
use crate::monitor::world::World;
use crate::usage::Reading;

/// What is counted of a guest, at one moment.
#[derive(Debug, Default)]
pub(super) struct Sample {
    vcpus: Vec<Reading>,
    /// Of each vCPU, ticks that its core worked for others.
    stolen: Vec<u64>,
    exits: [u64; GROUPS.len()],
    injected: u64,
    disk_requests: u64,
    read: u64,
    written: u64,
}

/// Exits as people want them told apart.
const GROUPS: [(&str, &[Cause]); 11] = [
    ("calls", &[Cause::Hvc, Cause::Smc]),
    ("sysreg", &[Cause::SysReg]),
    ("sgi", &[Cause::Sgi]),
    ("gic", &[Cause::Gicd, Cause::Gicr, Cause::Gicc, Cause::Maintenance]),
    ("uart", &[Cause::Uart]),
    ("virtio", &[Cause::Virtio]),
    (
        "faults",
        &[Cause::NoDevice, Cause::Abort, Cause::Undefined, Cause::SError, Cause::Unexpected],
    ),
    ("wfi", &[Cause::Wfi]),
    ("timer", &[Cause::VirtualTimer, Cause::HypTimer]),
    ("kick", &[Cause::Kick]),
    ("device", &[Cause::Board, Cause::Pmu, Cause::Spurious]),
];

/// A sample of each guest.
#[inline(never)]
pub(super) fn sample(world: &impl World) -> Vec<Sample> {
    world.guests().iter().map(|guest| Sample::of(guest, world.now())).collect()
}

impl Sample {
    fn of(guest: &Guest, now: u64) -> Self {
        let counters = &guest.counters;
        let disks = |count: fn(&crate::counters::DiskCounters) -> u64| {
            counters.disks.iter().map(count).sum()
        };
        Self {
            vcpus: counters.vcpus.iter().map(|vcpu| vcpu.usage.read(now)).collect(),
            stolen: counters.vcpus.iter().map(|vcpu| vcpu.stolen.get()).collect(),
            exits: GROUPS
                .map(|(_, causes)| causes.iter().map(|&cause| counters.exits(cause)).sum()),
            injected: counters.vcpus.iter().map(|vcpu| vcpu.injected.get()).sum(),
            disk_requests: disks(|disk| disk.requests.get()),
            read: disks(|disk| disk.bytes_read.get()),
            written: disks(|disk| disk.bytes_written.get()),
        }
    }

    fn at(&self) -> u64 {
        self.vcpus.first().map_or(0, |reading| reading.at)
    }

    /// Ticks that each vCPU lost to others: it waited for a core, or its core worked for them.
    fn lost(&self) -> impl Iterator<Item = u64> {
        let waited = self.vcpus.iter().map(|reading| reading.waited);
        waited.zip(&self.stolen).map(|(waited, stolen)| waited.saturating_add(*stolen))
    }
}

/// The share of one core that a guest was busy between two samples, in thousandths: of two vCPUs at most 2000.
pub(super) fn share(first: &Sample, second: &Sample) -> Value {
    let shares = second.vcpus.iter().zip(&first.vcpus).map(|(now, before)| now.share_since(before));
    // One that is not known makes the sum unknown.
    let sum: Option<u64> = shares.map(|share| share.map(u64::from)).sum();
    Value::Permille(sum)
}

/// The share of one core that others took of a guest between two samples, in thousandths, over its vCPUs.
pub(super) fn steal(first: &Sample, second: &Sample) -> Value {
    let passed = second.at().saturating_sub(first.at());
    Value::Permille(Some(permille(first.lost().sum(), second.lost().sum(), passed)))
}

/// Thousandths of `passed` ticks by which a number of ticks grew.
fn permille(before: u64, now: u64, passed: u64) -> u64 {
    let ticks = u128::from(now.saturating_sub(before)) * 1000;
    u64::try_from(ticks / u128::from(passed.max(1))).unwrap_or(u64::MAX)
}

/// How much of something there was a second.
struct Rate<'w, W> {
    world: &'w W,
    ticks: u64,
}

impl<W: World> Rate<'_, W> {
    fn of(&self, before: u64, now: u64) -> u64 {
        let count = u128::from(now.saturating_sub(before)) * u128::from(self.world.counter_hz());
        u64::try_from(count / u128::from(self.ticks.max(1))).unwrap_or(u64::MAX)
    }
}

/// Record `n` of what guests did between two samples: a row each, then a row each of exits by cause, then a row for each
/// vCPU.
#[inline(never)]
pub(super) fn load(
    world: &impl World,
    first: &[Sample],
    second: &[Sample],
    n: usize,
) -> Option<Record> {
    let guests = world.guests().len();
    if let Some(n) = n.checked_sub(2 * guests) {
        return vcpu(world, first, second, n);
    }
    let place = if n < guests { n } else { n - guests };
    let (guest, first, second) =
        (world.guests().get(place)?, first.get(place)?, second.get(place)?);
    let rate = Rate { world, ticks: second.at().saturating_sub(first.at()) };
    let name = String::from(guest.name());
    let exits = first.exits.iter().zip(&second.exits);
    let exits = exits.map(|(&before, &now)| rate.of(before, now));
    if n < guests {
        return Some(
            Record::row("load")
                .with("name", name)
                .with("state", guest.life.state().word())
                .with("cpu", share(first, second))
                .with("steal", steal(first, second))
                .with("exits", exits.sum::<u64>())
                .with("interrupts", rate.of(first.injected, second.injected))
                .with("requests", rate.of(first.disk_requests, second.disk_requests))
                .with("read", Value::Bytes(rate.of(first.read, second.read)))
                .with("written", Value::Bytes(rate.of(first.written, second.written))),
        );
    }
    let record = Record::row("exits").with("name", name);
    let groups = GROUPS.iter().map(|(group, _)| *group);
    Some(groups.zip(exits).fold(record, |record, (group, count)| record.with(group, count)))
}

/// What the `n`th of all vCPUs got of a core between two samples, and what it is to get.
fn vcpu(world: &impl World, first: &[Sample], second: &[Sample], n: usize) -> Option<Record> {
    let guests = world.guests().iter().zip(first.iter().zip(second));
    let mut vcpus = guests.flat_map(|(guest, samples)| {
        (0..guest.config.vcpus()).map(move |vcpu| (guest, samples, vcpu))
    });
    let (guest, (first, second), vcpu) = vcpus.nth(n)?;
    let (before, now) = (first.vcpus.get(vcpu)?, second.vcpus.get(vcpu)?);
    let lost = (first.lost().nth(vcpu)?, second.lost().nth(vcpu)?);
    let passed = now.at.saturating_sub(before.at);
    let row = Record::row("vcpu")
        .with("name", String::from(guest.name()))
        .with("vcpu", vcpu as u64)
        .with("home", guest.config.homes.get(vcpu).map(|core| u64::from(core.0)))
        .with("cpu", Value::Permille(now.share_since(before).map(u64::from)))
        .with("steal", Value::Permille(Some(permille(lost.0, lost.1, passed))));
    Some(sharing(row, guest))
}
