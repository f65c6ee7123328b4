//! What is told of guests.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tessera_abi::layout;

use super::load::Sample;
use super::{ago, load, ticks};
use crate::addr::{CpuId, VcpuId};
use crate::config::{ConsoleKind, Sharing};
use crate::guest::Guest;
use crate::life::{Restart, State, StopReason};
use crate::monitor::record::{Record, Value};
use crate::monitor::world::World;
use crate::snapshot::Snapshot;
use crate::vgic::Model;

/// Guest number `n`, in a line, with how busy it was between two samples.
#[inline(never)]
pub(super) fn list(
    world: &impl World,
    n: usize,
    first: &Sample,
    second: &Sample,
) -> Option<Record> {
    let guest = world.guests().get(n)?;
    let facts = guest.life.facts();
    let lives = matches!(facts.state, State::Running | State::Paused | State::Stopping);
    let up = lives.then(|| ago(world, facts.began));
    let reason = facts.last_end.map(|(reason, _)| reason.to_string());
    Some(
        Record::row("vm")
            .with("name", String::from(guest.name()))
            .with("state", facts.state.word())
            .with("vcpus", guest.config.vcpus() as u64)
            .with("cpu", load::share(first, second))
            .with("steal", load::steal(first, second))
            .with("memory", Value::Bytes(guest.config.memory))
            .with("restarts", u64::from(facts.restarts))
            .with("up", up.unwrap_or(Value::Nanos(None)))
            .with("last_end", reason),
    )
}

/// The cores of guest number `n`, in a line.
#[inline(never)]
pub(super) fn cores(world: &impl World, n: usize) -> Option<Record> {
    let guest = world.guests().get(n)?;
    let row = Record::row("cores")
        .with("name", String::from(guest.name()))
        .with("policy", policy(guest))
        .with("cores", list_of(&guest.config.cpus));
    Some(sharing(row, guest))
}

/// `record` with what a guest is to get of cores that it shares.
pub(super) fn sharing(record: Record, guest: &Guest) -> Record {
    let sharing = guest.config.sharing;
    let percent = |of: fn(Sharing) -> Option<u8>| {
        Value::Permille(sharing.and_then(of).map(|percent| 10 * u64::from(percent)))
    };
    record
        .with("shares", sharing.map(|sharing| u64::from(sharing.shares)))
        .with("cap", percent(|sharing| sharing.cap))
        .with("reserve", percent(|sharing| sharing.reserve))
}

fn policy(guest: &Guest) -> &'static str {
    if guest.config.sharing.is_some() { "shared" } else { "dedicated" }
}

fn list_of(cores: &[CpuId]) -> Value {
    Value::List(cores.iter().map(|core| core.0.to_string()).collect())
}

/// A guest as configured, how its vCPUs spent their time, what it finds where, and how its last life ended.
#[inline(never)]
pub(super) fn show(world: &impl World, guest: &Guest, n: usize) -> Option<Record> {
    let mut n = n;
    match n {
        0 => return Some(configuration(guest)),
        1 => return Some(life(world, guest)),
        _ => n -= 2,
    }
    match n.checked_sub(guest.config.vcpus()) {
        None => return time(world, guest, n),
        Some(behind) => n = behind,
    }
    let ranges = ranges(guest);
    if let Some(range) = ranges.get(n) {
        return Some(range.record());
    }
    let failure = guest.last_failure()?;
    match n - ranges.len() {
        0 => Some(
            Record::sheet("failure")
                .with("reason", failure.reason.word())
                .with("means", failure.reason.to_string())
                .with("ago", ago(world, failure.at))
                .with("life", failure.life),
        ),
        n => {
            let (vcpu, snapshot) = failure.vcpus.get(n - 1)?;
            Some(registers_of(world, *vcpu, snapshot))
        }
    }
}

fn configuration(guest: &Guest) -> Record {
    let config = &guest.config;
    let policy = config.life.policy;
    let restart = match policy.restart {
        Restart::Never => "never",
        Restart::OnCrash => "on-crash",
        Restart::Always => "always",
    };
    let console = match config.console {
        ConsoleKind::Pl011 => "pl011",
        ConsoleKind::None => "none",
    };
    let watchdog = match config.watchdog {
        None => "none",
        Some(StopReason::WatchdogReset) => "reset",
        Some(_) => "stop",
    };
    let disk = |disk: &crate::config::DiskConfig| {
        let only = if disk.read_only { " (read-only)" } else { "" };
        format!("{}: {}{only}", disk.name, disk.partition)
    };
    let cores = Record::sheet("config")
        .with("name", config.name.clone())
        .with("vcpus", config.vcpus() as u64)
        .with("policy", self::policy(guest))
        .with("cores", list_of(&config.cpus))
        .with("homes", list_of(&config.homes));
    sharing(cores, guest)
        .with("memory", Value::Bytes(config.memory))
        .with("kernel", config.kernel.clone())
        .with("ramdisk", config.ramdisk.clone())
        .with("bootargs", config.bootargs.clone())
        .with("console", console)
        .with("disks", Value::List(config.disks.iter().map(disk).collect()))
        .with("watchdog", watchdog)
        .with("control", Value::Flag(config.control))
        .with("autostart", Value::Flag(config.life.autostart))
        .with("depends_on", Value::List(config.life.depends_on.clone()))
        .with("restart", restart)
        .with("restart_limit", u64::from(policy.limit))
        .with(
            "stop_timeout",
            Value::Nanos(Some(u64::from(config.life.stop_timeout) * 1_000_000_000)),
        )
}

fn life(world: &impl World, guest: &Guest) -> Record {
    let facts = guest.life.facts();
    let now = world.now();
    let (end, when) = match facts.last_end {
        Some((reason, at)) => (Value::from(reason.to_string()), ago(world, at)),
        None => (Value::None, Value::Nanos(None)),
    };
    let wakes = facts.wake_at.map(|at| ticks(world, at.saturating_sub(now)));
    Record::sheet("life")
        .with("state", facts.state.word())
        .with("state_since", ago(world, facts.since))
        .with("starts", facts.starts)
        .with("restarts", u64::from(facts.restarts))
        .with("restarts_in", wakes.unwrap_or(Value::Nanos(None)))
        .with("last_end", end)
        .with("last_end_ago", when)
}

/// How a vCPU spent its time since the board's start.
fn time(world: &impl World, guest: &Guest, vcpu: usize) -> Option<Record> {
    let observed = guest.counters.vcpus.get(vcpu)?;
    let reading = observed.usage.read(world.now());
    // Of one that owns its core nobody sees how long it sleeps.
    let idle = guest.config.sharing.is_some().then_some(reading.idle);
    let ran = reading.ran.saturating_sub(idle.unwrap_or(0)).saturating_sub(reading.waited);
    let stolen = reading.waited.saturating_add(observed.stolen.get());
    Some(
        Record::row("time")
            .with("vcpu", vcpu as u64)
            .with("ran", ticks(world, ran))
            .with("idle", idle.map_or(Value::Nanos(None), |idle| ticks(world, idle)))
            .with("stolen", ticks(world, stolen)),
    )
}

/// Where a guest finds something.
struct Range {
    what: String,
    at: u64,
    size: u64,
    interrupt: Option<u32>,
}

impl Range {
    fn new(what: impl Into<String>, at: u64, size: u64, interrupt: Option<u32>) -> Self {
        Self { what: what.into(), at, size, interrupt }
    }

    fn record(&self) -> Record {
        Record::row("range")
            .with("what", self.what.clone())
            .with("at", Value::Hex(self.at))
            .with("size", Value::Bytes(self.size))
            .with("interrupt", self.interrupt.map(u64::from))
    }
}

fn ranges(guest: &Guest) -> Vec<Range> {
    use layout::*;
    let mut all = Vec::from([Range::new("RAM", RAM_BASE, guest.config.memory, None)]);
    match guest.vm().map(|vm| vm.vgic.model()) {
        Some(Model::V2) => {
            all.push(Range::new("GICD", GICD_BASE, GICD_V2_SIZE, None));
            all.push(Range::new("GICC", GICC_BASE, GICC_SIZE, None));
        }
        Some(Model::V3) => {
            let redistributors = guest.config.vcpus() as u64 * GICR_STRIDE;
            all.push(Range::new("GICD", GICD_BASE, GICD_SIZE, None));
            all.push(Range::new("GICR", GICR_BASE, redistributors, None));
        }
        None => {}
    }
    if guest.config.console == ConsoleKind::Pl011 {
        all.push(Range::new("UART", UART_BASE, UART_SIZE, Some(UART_INTID)));
    }
    for (slot, disk) in (0..).zip(&guest.config.disks) {
        let at = VIRTIO_BASE + u64::from(slot) * VIRTIO_STRIDE;
        all.push(Range::new(disk.name.clone(), at, VIRTIO_STRIDE, Some(VIRTIO_INTID + slot)));
    }
    let button = VIRTIO_BASE + POWER_BUTTON_SLOT * VIRTIO_STRIDE;
    let interrupt = VIRTIO_INTID + POWER_BUTTON_SLOT as u32;
    all.push(Range::new("power button", button, VIRTIO_STRIDE, Some(interrupt)));
    if guest.config.control {
        let (port, interrupt) = (VIRTIO_BASE + CONTROL_SLOT * VIRTIO_STRIDE, CONTROL_SLOT as u32);
        let interrupt = Some(VIRTIO_INTID + interrupt);
        all.push(Range::new("control port", port, VIRTIO_STRIDE, interrupt));
    }
    if guest.config.watchdog.is_some() {
        let size = 2 * WATCHDOG_FRAME_SIZE;
        all.push(Range::new("watchdog", WATCHDOG_BASE, size, Some(WATCHDOG_INTID)));
    }
    if !guest.groups.is_empty() {
        all.push(Range::new("GPIO", GPIO_BASE, GPIO_SIZE, Some(GPIO_INTID)));
    }
    for (slot, share) in (0..).zip(&guest.groups) {
        let (group, page) = (&share.group, u64::from(slot) * DOORBELL_SIZE);
        let region = group.region.first().map_or(0, |extent| extent.ipa.0);
        let range = |part, at, size, interrupt| {
            Range::new(format!("{}: {part}", group.name), at, size, interrupt)
        };
        let interrupt = Some(GROUP_INTID + slot);
        all.push(range("doorbell", DOORBELL_BASE + page, DOORBELL_SIZE, interrupt));
        all.push(range("membership", MEMBERSHIP_BASE + page, MEMBERSHIP_SIZE, None));
        all.push(range("region", region, group.size(), None));
    }
    all
}

/// The registers of vCPU number `n`, as they were kept last.
#[inline(never)]
pub(super) fn registers(world: &impl World, guest: &Guest, n: usize) -> Option<Record> {
    let kept = (0..guest.config.vcpus() as u8).map(VcpuId);
    let mut kept = kept.filter_map(|vcpu| Some((vcpu, guest.snapshot(vcpu)?)));
    let (vcpu, snapshot) = kept.nth(n)?;
    Some(registers_of(world, vcpu, &snapshot))
}

const X: [&str; 31] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
    "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
    "x28", "x29", "x30",
];

fn registers_of(world: &impl World, vcpu: VcpuId, snapshot: &Snapshot) -> Record {
    let registers = &snapshot.registers;
    let mut record = Record::sheet("registers")
        .with("vcpu", u64::from(vcpu.0))
        .with("ago", ago(world, snapshot.at))
        .with("pc", Value::Hex(registers.pc))
        .with("pstate", Value::Hex(registers.pstate))
        .with("mode", mode(registers.pstate))
        .with("sp_el0", Value::Hex(registers.sp_el0))
        .with("sp_el1", Value::Hex(registers.sp_el1));
    for (name, value) in X.iter().zip(registers.x) {
        record = record.with(name, Value::Hex(value));
    }
    let frames = snapshot.frames().iter().map(|frame| format!("{frame:#x}")).collect();
    record
        .with("elr_el1", Value::Hex(registers.elr_el1))
        .with("spsr_el1", Value::Hex(registers.spsr_el1))
        .with("esr_el1", Value::Hex(registers.esr_el1))
        .with("far_el1", Value::Hex(registers.far_el1))
        .with("vbar_el1", Value::Hex(registers.vbar_el1))
        .with("ttbr0_el1", Value::Hex(registers.stage1.ttbr0))
        .with("ttbr1_el1", Value::Hex(registers.stage1.ttbr1))
        .with("sctlr_el1", Value::Hex(registers.stage1.sctlr))
        .with("back_trace", Value::List(frames))
}

/// The exception level of PSTATE.M (DDI 0487 C5.2.20).
const fn mode(pstate: u64) -> &'static str {
    match pstate & 0x1f {
        0b0_0000 => "EL0",
        0b0_0100 => "EL1t",
        0b0_0101 => "EL1h",
        _ => "AArch32",
    }
}
