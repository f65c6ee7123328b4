//! What each physical core has for itself, found through TPIDR_EL2.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tessera_core::addr::CpuId;
use tessera_core::deadlines::Deadlines;
use tessera_core::hw::Hw;
use tessera_core::pulse::Pulse;

use crate::hw::El2;

use crate::sysreg::{mrs, msr};

/// Most cores of a board.
pub const MAX_CPUS: usize = 8;

/// One core's own data. The first two words are read by assembly (`head.S`, `vectors.S`).
#[repr(C)]
pub struct PerCpu {
    /// End of this core's stack.
    pub stack_end: AtomicU64,
    /// End of the stack on which an exception of the hypervisor itself is reported.
    pub panic_stack_end: AtomicU64,
    /// MPIDR_EL1 affinity: how PSCI and the GIC call the core.
    pub mpidr: AtomicU64,
    /// The core's place in the board.
    pub id: AtomicU8,
    /// The core was asked to start.
    pub asked: AtomicBool,
    /// The core runs Rust, and can be kicked.
    pub online: AtomicBool,
    /// The frame of its redistributor's SGIs and PPIs, in the direct map; 0 with a GICv2.
    pub gicr_sgi: AtomicU64,
    /// When it wants to be woken.
    pub deadlines: Deadlines,
    /// Whether it still takes interrupts, as others see it.
    pub pulse: Pulse,
}

impl PerCpu {
    const fn new() -> Self {
        Self {
            stack_end: AtomicU64::new(0),
            panic_stack_end: AtomicU64::new(0),
            mpidr: AtomicU64::new(0),
            id: AtomicU8::new(0),
            asked: AtomicBool::new(false),
            online: AtomicBool::new(false),
            gicr_sgi: AtomicU64::new(0),
            deadlines: Deadlines::new(),
            pulse: Pulse::new(),
        }
    }
}

/// All cores. A core that a spin table starts looks for itself here (`head.S`).
pub static CPUS: [PerCpu; MAX_CPUS] = [const { PerCpu::new() }; MAX_CPUS];

/// Affinity fields of MPIDR_EL1 (DDI 0487 D24.2.119).
pub const MPIDR_AFFINITY: u64 = 0xff_00ff_ffff;

/// The data of core `id`, or `None` where a board has fewer.
pub fn get(id: CpuId) -> Option<&'static PerCpu> {
    CPUS.get(usize::from(id.0))
}

/// Tells this core that `cpu` is its own data.
pub fn set_current(cpu: &'static PerCpu) {
    msr!("tpidr_el2", core::ptr::from_ref(cpu) as u64);
}

/// The number of this core.
pub fn current_id() -> CpuId {
    current().map_or(CpuId(0), |cpu| CpuId(cpu.id.load(Ordering::Relaxed)))
}

/// This core's data, or `None` before it is set.
pub fn current() -> Option<&'static PerCpu> {
    let at = mrs!("tpidr_el2") as *const PerCpu;
    // SAFETY: TPIDR_EL2 is zero from the first instructions on (`head.S`) and then holds an element of CPUS, which
    // lives for ever and is shared by atomics alone.
    unsafe { at.as_ref() }
}

/// Cores that run Rust.
pub fn online_count() -> usize {
    CPUS.iter().filter(|cpu| cpu.online.load(Ordering::Acquire)).count()
}

/// How many cores guests can be given: numbers 0 and up, as far as all of them run. Waits for those that were asked to
/// start, a second at most.
pub fn usable_count() -> usize {
    let began = El2.now();
    let late =
        |cpu: &PerCpu| cpu.asked.load(Ordering::Relaxed) && !cpu.online.load(Ordering::Acquire);
    while CPUS.iter().any(late) && El2.now().saturating_sub(began) < El2.counter_hz() {
        core::hint::spin_loop();
    }
    for (n, _) in CPUS.iter().enumerate().filter(|(_, cpu)| late(cpu)) {
        log::error!("core {n} was started but does not come up; guests cannot have it");
    }
    CPUS.iter().take_while(|cpu| cpu.online.load(Ordering::Acquire)).count()
}

/// The cores that run Rust, without this one.
pub fn others_online() -> impl Iterator<Item = CpuId> {
    let me = current_id();
    CPUS.iter()
        .filter(|cpu| cpu.online.load(Ordering::Acquire))
        .map(|cpu| CpuId(cpu.id.load(Ordering::Relaxed)))
        .filter(move |&id| id != me)
}
