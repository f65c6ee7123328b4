//! The cores of the board: stacks for each, and starting them by PSCI.

use core::sync::atomic::Ordering;

use tessera_core::addr::CpuId;
use tessera_core::board::{Board, Cpu};
use tessera_core::hw::Hw;

use super::{map, stop};
use crate::cpu::{self, MAX_CPUS, MPIDR_AFFINITY, PerCpu};
use crate::hw::El2;
use crate::memory::{self, symbol};
use crate::sysreg::mrs;
use crate::{barrier, el1, gic, power, timer};

/// Makes the running core core 0 for now: the boot stack is its stack. [`start`] gives it its number in the board.
pub fn adopt_boot_core() {
    let Some(cpu) = cpu::get(CpuId(0)) else { return };
    cpu.mpidr.store(mrs!("mpidr_el1") & MPIDR_AFFINITY, Ordering::Relaxed);
    cpu.stack_end.store(symbol!(__boot_stack_end), Ordering::Relaxed);
    cpu.panic_stack_end.store(symbol!(__panic_stack_end), Ordering::Relaxed);
    cpu::set_current(cpu);
}

/// Starts the other cores, in the order of the board's tree; each gets its number there.
pub fn start(board: &Board<'_>) {
    if board.cpus.len() > MAX_CPUS {
        log::warn!("the board has {} cores; {MAX_CPUS} are used", board.cpus.len());
    }
    let boot = mrs!("mpidr_el1") & MPIDR_AFFINITY;
    if let Some(first) = cpu::get(CpuId(0)) {
        // It was this core's by default; whether the board's core 0 comes up is to be seen.
        first.online.store(false, Ordering::Relaxed);
    }
    let boot_index = board.cpus.iter().position(|cpu| cpu.mpidr == boot).unwrap_or(0);
    for (n, &Cpu { mpidr, .. }) in board.cpus.iter().take(MAX_CPUS).enumerate() {
        let Some(cpu) = cpu::get(CpuId(n as u8)) else { break };
        cpu.id.store(n as u8, Ordering::Relaxed);
        cpu.mpidr.store(mpidr, Ordering::Relaxed);
        gic::set_kick(CpuId(n as u8), mpidr);
        if n == boot_index {
            cpu.stack_end.store(symbol!(__boot_stack_end), Ordering::Relaxed);
            cpu.panic_stack_end.store(symbol!(__panic_stack_end), Ordering::Relaxed);
            cpu::set_current(cpu);
            continue;
        }
        give_stacks(cpu, n as u64);
        start_one(cpu, n, mpidr);
    }
    init_this_core(boot);
}

fn give_stacks(cpu: &PerCpu, n: u64) {
    let pairs =
        [(memory::stack_of(n), &cpu.stack_end), (memory::panic_stack_of(n), &cpu.panic_stack_end)];
    for (range, end) in pairs {
        let len = range.end - range.start;
        let order = (len / 4096).ilog2() as u8;
        let Some(pa) = El2.take_frames(order) else {
            stop(format_args!("no memory for the stacks of core {n}"))
        };
        map::stack(range.start, pa, len);
        end.store(range.end, Ordering::Relaxed);
    }
}

fn start_one(cpu: &'static PerCpu, n: usize, mpidr: u64) {
    let entry = memory::image_pa(symbol!(secondary_entry)).0;
    let context = core::ptr::from_ref(cpu) as u64;
    // The new core reads its stack's address with its caches on, but perhaps before this store has left ours.
    barrier::dsb_sy();
    cpu.asked.store(true, Ordering::Relaxed);
    if let Err(error) = power::cpu_on(mpidr, entry, context) {
        log::error!("core {n} (MPIDR {mpidr:#x}) does not start: {error}; it stays off");
        cpu.asked.store(false, Ordering::Relaxed);
    }
}

/// A core that has just started.
pub fn enter(cpu: &'static PerCpu) {
    cpu::set_current(cpu);
    init_this_core(cpu.mpidr.load(Ordering::Relaxed));
}

fn init_this_core(mpidr: u64) {
    el1::init();
    gic::init_cpu(mpidr);
    timer::init();
}
