//! The cores of the board: stacks for each, and starting them, by PSCI or by the word in memory that each waits for.

use alloc::string::{String, ToString};
use core::sync::atomic::Ordering;

use tessera_core::addr::{CpuId, Pa};
use tessera_core::board::{Board, Cpu, CpuStart, Range};
use tessera_core::hw::Hw;

use super::{map, stop};
use crate::cpu::{self, MAX_CPUS, MPIDR_AFFINITY, PerCpu};
use crate::hw::El2;
use crate::memory::{self, symbol};
use crate::sysreg::mrs;
use crate::{barrier, cache, el1, gic, pointer_keys, power, timer};

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
    let boot_index = board.cpus.iter().position(|cpu| cpu.mpidr == boot).unwrap_or(0);
    // All are described before any starts: a word in memory may be the same for several, which then come at once.
    for (n, core) in board.cpus.iter().take(MAX_CPUS).enumerate() {
        let Some(cpu) = cpu::get(CpuId(n as u8)) else { break };
        cpu.id.store(n as u8, Ordering::Relaxed);
        cpu.mpidr.store(core.mpidr, Ordering::Relaxed);
        gic::set_kick(CpuId(n as u8), core.mpidr);
        if n == boot_index {
            cpu.stack_end.store(symbol!(__boot_stack_end), Ordering::Relaxed);
            cpu.panic_stack_end.store(symbol!(__panic_stack_end), Ordering::Relaxed);
            cpu::set_current(cpu);
        } else {
            give_stacks(cpu, n as u64);
        }
    }
    // A new core reads this with its caches on, but perhaps before the stores have left ours.
    barrier::dsb_sy();
    for (n, core) in board.cpus.iter().take(MAX_CPUS).enumerate() {
        if let Some(cpu) = cpu::get(CpuId(n as u8)).filter(|_| n != boot_index) {
            start_one(cpu, n, core);
        }
    }
    init_this_core();
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

fn start_one(cpu: &'static PerCpu, n: usize, core: &Cpu) {
    let entry = memory::image_pa(symbol!(secondary_entry)).0;
    let context = core::ptr::from_ref(cpu) as u64;
    let mpidr = core.mpidr;
    cpu.asked.store(true, Ordering::Relaxed);
    let started = match core.start {
        CpuStart::Psci => power::cpu_on(mpidr, entry, context).map_err(|error| error.to_string()),
        CpuStart::SpinTable(at) => release(at, entry),
        CpuStart::Unknown => Err("its enable-method is neither psci nor spin-table".into()),
    };
    if let Err(why) = started {
        log::error!("core {n} (MPIDR {mpidr:#x}) does not start: {why}; it stays off");
        cpu.asked.store(false, Ordering::Relaxed);
    }
}

/// Tells the core that waits at `at` where to go. It reads the word with its caches off, and comes with nothing in its
/// registers (Linux Documentation/arch/arm64/booting.rst, 4).
fn release(at: Pa, entry: u64) -> Result<(), String> {
    if !at.is_aligned(8) {
        return Err(alloc::format!("its cpu-release-addr {at} is not aligned"));
    }
    map::device(Range { start: at, len: 8 });
    // SAFETY: an aligned word that the board's tree gives for this, mapped as RAM or now as a device; its page is no
    // free frame, since `Board::discover` reserves the word.
    unsafe { core::ptr::write_volatile(memory::direct(at) as *mut u64, entry) };
    cache::clean_invalidate(memory::direct(at), 8);
    barrier::sev();
    Ok(())
}

/// A core that has just started.
pub fn enter(cpu: &'static PerCpu) {
    cpu::set_current(cpu);
    init_this_core();
}

fn init_this_core() {
    el1::init();
    gic::init_cpu(cpu::current_id(), mrs!("mpidr_el1") & MPIDR_AFFINITY);
    timer::reset();
    pointer_keys::look();
    // Only now can it be kicked.
    barrier::dsb_sy();
    if let Some(cpu) = cpu::current() {
        cpu.online.store(true, Ordering::Release);
    }
}
