//! What is told of the board: memory, interrupts, disk.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tessera_abi::layout;

use crate::addr::{PAGE_SIZE, VcpuId};
use crate::config::ConsoleKind;
use crate::counters::{Cause, Counter, DiskCounters};
use crate::disk::SECTOR_SIZE;
use crate::disk::partitions::Partition;
use crate::group::Group;
use crate::guest::Guest;
use crate::monitor::groups;
use crate::monitor::record::{Record, Value};
use crate::monitor::world::{LineFacts, World};

/// Row `n` of where the memory is: the board's, then each guest's, then what groups share, then what is left and the sum.
#[inline(never)]
pub(super) fn memory(world: &impl World, n: usize) -> Option<Record> {
    let memory = world.memory();
    let own = [
        ("image", memory.image),
        ("heap, used", memory.heap_used),
        ("heap, free", memory.heap_free),
        ("stacks", memory.stacks),
        ("own tables", memory.tables),
        ("bundle", memory.bundle),
        ("firmware", memory.firmware),
    ];
    let row = |what: Value, guest: Option<&Guest>, size: u64| {
        let name = guest.map(|guest| String::from(guest.name()));
        Record::row("memory")
            .with("what", what)
            .with("guest", name)
            .with("size", Value::Bytes(size))
    };
    if let Some(&(what, size)) = own.get(n) {
        return Some(row(what.into(), None, size));
    }
    let n = n - own.len();
    let guests = world.guests();
    if let Some(guest) = guests.get(n / 2) {
        let (ram, tables) = taken(guest);
        return Some(match n % 2 {
            0 => row("RAM".into(), Some(guest), ram),
            _ => row("stage-2 tables".into(), Some(guest), tables),
        });
    }
    let n = n - 2 * guests.len();
    let groups = groups(world);
    let shared = |group: &Group| group.size() + PAGE_SIZE;
    if let Some(group) = groups.get(n) {
        return Some(row(format!("{}: shared", group.name).into(), None, shared(group)));
    }
    let known = own.iter().map(|(_, size)| size).sum::<u64>()
        + guests.iter().map(|guest| taken(guest).0 + taken(guest).1).sum::<u64>()
        + groups.iter().map(|group| shared(group)).sum::<u64>()
        + memory.free;
    match n - groups.len() {
        // Pages of drivers, and of what is being built or torn down.
        0 => Some(row("other".into(), None, memory.total.saturating_sub(known))),
        1 => Some(row("free".into(), None, memory.free)),
        2 => Some(row("total".into(), None, memory.total)),
        _ => None,
    }
}

/// Bytes of RAM and of tables that a guest has.
fn taken(guest: &Guest) -> (u64, u64) {
    let Some(vm) = guest.vm() else { return (0, 0) };
    (vm.ram.size(), u64::from(vm.stage2.table_frames()) * PAGE_SIZE)
}

/// Interrupt number `n`: of the board's devices, then of those that guests have, with its state.
#[inline(never)]
pub(super) fn interrupts(world: &impl World, n: usize) -> Option<Record> {
    if let Some(line) = world.line(n) {
        return Some(line_record(&line));
    }
    let mut n = n - (0..).map_while(|n| world.line(n)).count();
    for guest in world.guests() {
        let all = interrupts_of(guest);
        if let Some(interrupt) = all.get(n) {
            return Some(interrupt.record());
        }
        n -= all.len();
    }
    None
}

fn line_record(line: &LineFacts) -> Record {
    Record::row("line")
        .with("interrupt", u64::from(line.intid.0))
        .with("of", line.device)
        .with("count", line.count)
        .with("for_nothing", line.for_nothing)
        .with("off", Value::Flag(line.off))
}

/// An interrupt of a guest.
struct Interrupt<'a> {
    guest: &'a Guest,
    vcpu: Option<VcpuId>,
    intid: u32,
    what: &'a str,
    /// How often the guest got it, where that is counted.
    count: Option<u64>,
}

/// Timers of each vCPU, then the devices.
fn interrupts_of(guest: &Guest) -> Vec<Interrupt<'_>> {
    use layout::*;
    let (config, counters) = (&guest.config, &guest.counters);
    let mut all = Vec::new();
    let mut add = |vcpu, intid, what, count| {
        all.push(Interrupt { guest, vcpu, intid, what, count });
    };
    for (vcpu, observed) in (0..).map(|vcpu| Some(VcpuId(vcpu))).zip(&counters.vcpus) {
        let exits = |cause| Some(observed.exits.get(cause));
        add(vcpu, VTIMER_INTID, "virtual timer", exits(Cause::VirtualTimer));
        // It comes by the timer that Tessera's own deadlines come by.
        add(vcpu, PTIMER_INTID, "physical timer", None);
        add(vcpu, PMU_INTID, "performance monitors", exits(Cause::Pmu));
    }
    if config.console == ConsoleKind::Pl011 {
        add(None, UART_INTID, "UART", Some(counters.console_interrupts.get()));
    }
    if config.watchdog.is_some() {
        add(None, WATCHDOG_INTID, "watchdog", None);
    }
    if !guest.groups.is_empty() {
        add(None, GPIO_INTID, "GPIO", None);
    }
    for (intid, share) in (GROUP_INTID..).zip(&guest.groups) {
        add(None, intid, &share.group.name, None);
    }
    for ((intid, disk), counted) in (VIRTIO_INTID..).zip(&config.disks).zip(&counters.disks) {
        add(None, intid, &disk.name, Some(counted.interrupts.get()));
    }
    let virtio = |slot: u64| VIRTIO_INTID + slot as u32;
    add(None, virtio(POWER_BUTTON_SLOT), "power button", None);
    if config.control {
        add(None, virtio(CONTROL_SLOT), "control port", None);
    }
    all
}

impl Interrupt<'_> {
    fn record(&self) -> Record {
        let vm = self.guest.vm();
        let states = vm.as_ref().map(|vm| vm.vgic.states(self.vcpu));
        let bit = 1 << (self.intid % 32);
        let flag = |word: fn(&crate::vgic::States) -> u32| match &states {
            Some(states) => Value::Flag(word(states) & bit != 0),
            None => Value::None,
        };
        Record::row("interrupt")
            .with("guest", String::from(self.guest.name()))
            .with("vcpu", self.vcpu.map(|vcpu| u64::from(vcpu.0)))
            .with("interrupt", u64::from(self.intid))
            .with("of", String::from(self.what))
            .with("enabled", flag(|states| states.enabled))
            .with("pending", flag(|states| states.pending))
            .with("active", flag(|states| states.active))
            .with("count", self.count)
    }
}

/// The disk, then its partitions, then the guests' disks.
#[inline(never)]
pub(super) fn disk(world: &impl World, n: usize) -> Option<Record> {
    let disk = world.disk()?;
    let partitions = world.partitions();
    match n.checked_sub(1) {
        None => Some(
            Record::sheet("disk")
                .with("driver", disk.driver)
                .with("state", if disk.lost { "lost" } else { "works" })
                .with("read_only", Value::Flag(disk.read_only))
                .with("size", Value::Bytes(disk.size))
                .with("requests", total(world, |disk| &disk.requests))
                .with("read", Value::Bytes(total(world, |disk| &disk.bytes_read)))
                .with("written", Value::Bytes(total(world, |disk| &disk.bytes_written)))
                .with("errors", total(world, |disk| &disk.errors)),
        ),
        Some(n) if n < partitions.len() => Some(partition(world, partitions.get(n)?)),
        Some(n) => {
            let mut n = n - partitions.len();
            for guest in world.guests() {
                if n < guest.disks.len() {
                    return Some(guest_disk(guest, n));
                }
                n -= guest.disks.len();
            }
            None
        }
    }
}

/// What was counted of all guests' disks.
fn total(world: &impl World, of: impl Fn(&DiskCounters) -> &Counter) -> u64 {
    let disks = world.guests().iter().flat_map(|guest| &guest.counters.disks);
    disks.map(|disk| of(disk).get()).sum()
}

fn partition(world: &impl World, partition: &Partition) -> Record {
    let has = |guest: &&Guest| guest.disks.iter().any(|seat| seat.window.first == partition.first);
    let guests = world.guests().iter().filter(has).map(|guest| guest.name().into());
    Record::row("partition")
        .with("number", u64::from(partition.number))
        .with("label", partition.label.clone())
        .with("partuuid", partition.partuuid.to_string())
        .with("size", Value::Bytes(partition.sectors * SECTOR_SIZE))
        .with("guests", Value::List(guests.collect()))
}

fn guest_disk(guest: &Guest, slot: usize) -> Record {
    let config = guest.config.disks.get(slot);
    let vm = guest.vm();
    let device = vm.as_ref().and_then(|vm| vm.disks.get(slot));
    let count = |of: fn(&DiskCounters) -> &Counter| {
        guest.counters.disks.get(slot).map_or(0, |disk| of(disk).get())
    };
    Record::row("guest_disk")
        .with("guest", String::from(guest.name()))
        .with("disk", config.map(|disk| disk.name.clone()))
        .with("partition", config.map(|disk| disk.partition.clone()))
        .with("read_only", Value::Flag(config.is_some_and(|disk| disk.read_only)))
        .with("in_flight", device.map(|disk| u64::from(disk.lock().in_flight())))
        .with("requests", count(|disk| &disk.requests))
        .with("read", Value::Bytes(count(|disk| &disk.bytes_read)))
        .with("written", Value::Bytes(count(|disk| &disk.bytes_written)))
        .with("errors", count(|disk| &disk.errors))
}
