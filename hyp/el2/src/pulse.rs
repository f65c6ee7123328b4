//! Calls from one core to others that are not about guests: stop, another core panics; or answer, you were not seen for long
//! (`tessera_core::pulse`). A core reads one word where it takes a kick.

use core::sync::atomic::{AtomicU32, Ordering};

use tessera_core::addr::CpuId;
use tessera_core::hw::Hw;
use tessera_core::pulse::{Finding, PATIENCE_SECONDS};

use crate::hw::El2;
use crate::{cpu, panic, provoke};

/// Every core stops.
const STOP: u32 = 1 << 31;
const _: () = assert!(cpu::MAX_CPUS < 31);

/// [`STOP`], and a bit for each core that was asked for an answer.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Makes all cores stop when they are kicked.
pub fn stop_all() {
    CALLS.fetch_or(STOP, Ordering::Release);
}

/// Answers if this core was asked; whether it has to stop.
#[inline(always)]
pub fn stops() -> bool {
    CALLS.load(Ordering::Relaxed) != 0 && answer()
}

#[cold]
#[inline(never)]
fn answer() -> bool {
    if let Some(cpu) = cpu::current() {
        CALLS.fetch_and(!bit(CpuId(cpu.id.load(Ordering::Relaxed))), Ordering::Relaxed);
        cpu.pulse.answer();
    }
    CALLS.load(Ordering::Acquire) & STOP != 0
}

fn bit(cpu: CpuId) -> u32 {
    1 << cpu.0
}

/// This core takes interrupts from now on, and others may watch whether it does.
pub fn watch() {
    if let Some(cpu) = cpu::current() {
        cpu.pulse.watch(El2.now());
    }
}

/// This core is about to enter its guest.
pub fn enter() {
    watch();
    provoke::on_entry();
}

/// This core does something that takes its time.
pub fn leave() {
    if let Some(cpu) = cpu::current() {
        cpu.pulse.leave();
    }
}

/// Looks whether the other cores still come out of EL2; when to look again, where one was asked. Panics where one does not.
pub fn look() -> Option<u64> {
    let mut again = None;
    for core in cpu::others_online() {
        let Some(cpu) = cpu::get(core) else { continue };
        let finding = cpu.pulse.look(El2.now(), El2.counter_hz());
        match finding {
            Finding::Fine => continue,
            Finding::Waits => {}
            Finding::Ask => {
                CALLS.fetch_or(bit(core), Ordering::Release);
                El2.kick(core);
            }
            Finding::Stuck(seconds) => panic::stuck(core, seconds),
        }
        again = Some(El2.now().saturating_add(El2.counter_hz() * PATIENCE_SECONDS + 1));
    }
    again
}
