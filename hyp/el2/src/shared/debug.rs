//! Debug registers and performance monitors of a vCPU that uses them.

use crate::barrier;
use crate::sysreg::{mrs, msr};

/// Most breakpoints, and most watchpoints, of a core.
const MOST: usize = 16;

/// Takes the first `count` of sixteen pairs of registers, `dbg…cr` and `dbg…vr`.
macro_rules! save_each {
    ($count:expr, $kind:literal, $control:expr, $value:expr) => {
        save_each!(@ $count, $kind, $control, $value; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $count:expr, $kind:literal, $control:expr, $value:expr; $($n:literal)*) => {
        $(if $n < $count {
            $control[$n] = mrs!(concat!("dbg", $kind, "cr", $n, "_el1")) as u32;
            $value[$n] = mrs!(concat!("dbg", $kind, "vr", $n, "_el1"));
        })*
    };
}

/// Gives them back.
macro_rules! restore_each {
    ($count:expr, $kind:literal, $control:expr, $value:expr) => {
        restore_each!(@ $count, $kind, $control, $value; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $count:expr, $kind:literal, $control:expr, $value:expr; $($n:literal)*) => {
        $(if $n < $count {
            msr!(concat!("dbg", $kind, "vr", $n, "_el1"), $value[$n]);
            msr!(concat!("dbg", $kind, "cr", $n, "_el1"), u64::from($control[$n]));
        })*
    };
}

/// Breakpoints, watchpoints and the locks of the debug registers (DDI 0487 D24.3).
#[derive(Default)]
pub struct Breakpoints {
    /// Of these only the lower half is anything but zero, as of all others here that are narrow.
    control: [u32; MOST],
    value: [u64; MOST],
    watch_control: [u32; MOST],
    watch_value: [u64; MOST],
    locked: bool,
    interrupts: u64,
    /// DBGCLAIMSET_EL1: claim tags that are set.
    claims: u64,
    /// OSDTRRX_EL1, OSDTRTX_EL1 and OSECCR_EL1, which are there for an OS that saves them while the lock is set.
    behind_lock: [u32; 3],
}

/// How many the core has (ID_AA64DFR0_EL1.BRPs, WRPs).
fn counts() -> (usize, usize) {
    let dfr0 = mrs!("id_aa64dfr0_el1");
    ((dfr0 >> 12 & 0xf) as usize + 1, (dfr0 >> 20 & 0xf) as usize + 1)
}

/// OSLSR_EL1.OSLK: the OS lock is set.
const OSLK: u64 = 1 << 1;

impl Breakpoints {
    #[inline(never)]
    pub fn save(&mut self) {
        let (breakpoints, watchpoints) = counts();
        save_each!(breakpoints, "b", self.control, self.value);
        save_each!(watchpoints, "w", self.watch_control, self.watch_value);
        self.locked = mrs!("oslsr_el1") & OSLK != 0;
        self.interrupts = mrs!("mdccint_el1");
        // Reading the register that clears them tells which are set (DDI 0487 D24.3).
        self.claims = mrs!("dbgclaimclr_el1");
        lock();
        let registers = [mrs!("osdtrrx_el1"), mrs!("osdtrtx_el1"), mrs!("oseccr_el1")];
        self.behind_lock = registers.map(|register| register as u32);
    }

    #[inline(never)]
    pub fn restore(&self) {
        let (breakpoints, watchpoints) = counts();
        restore_each!(breakpoints, "b", self.control, self.value);
        restore_each!(watchpoints, "w", self.watch_control, self.watch_value);
        msr!("dbgclaimset_el1", self.claims);
        set_behind_lock(self.behind_lock);
        msr!("oslar_el1", u64::from(self.locked));
        msr!("mdccint_el1", self.interrupts);
    }
}

/// Sets the OS lock, without which the registers behind it are not those that an OS saves (DDI 0487 H6.4).
fn lock() {
    msr!("oslar_el1", 1);
    barrier::isb();
}

/// Leaves the OS lock set.
fn set_behind_lock(registers: [u32; 3]) {
    lock();
    let [receive, transmit, catch] = registers.map(u64::from);
    msr!("osdtrrx_el1", receive);
    msr!("osdtrtx_el1", transmit);
    msr!("oseccr_el1", catch);
    barrier::isb();
}

/// Leaves nothing of what one guest can tell another by: claim tags, and what is behind the OS lock, which is set.
pub fn forget_claims() {
    msr!("dbgclaimclr_el1", 0xff);
    set_behind_lock([0; 3]);
}

/// Most event counters of a core (PMCR_EL0.N).
const COUNTERS: usize = 31;

/// Performance monitors (DDI 0487 D24.5).
#[derive(Default)]
pub struct Monitors {
    control: u64,
    enabled: u64,
    interrupts: u64,
    /// What it was before the line was lowered ahead of the rest.
    lowered: Option<u64>,
    overflows: u64,
    user: u64,
    selected: u64,
    cycles: u64,
    cycle_filter: u64,
    /// Type and value of each.
    events: [(u64, u64); COUNTERS],
}

/// PMCR_EL0: what a write sets that is not done at once: E, D, X, DP, LC, LP.
const LASTING: u64 = 0b1111_1001;

impl Monitors {
    /// Has the line to the interrupt controller go down, with the next context synchronisation.
    #[inline(never)]
    pub fn lower_line(&mut self) {
        self.lowered = Some(mrs!("pmintenset_el1"));
        msr!("pmintenclr_el1", u64::from(u32::MAX));
    }

    /// The counters stand from here on.
    #[inline(never)]
    pub fn save(&mut self) {
        self.control = mrs!("pmcr_el0");
        msr!("pmcr_el0", 0);
        barrier::isb();
        self.enabled = mrs!("pmcntenset_el0");
        self.interrupts = self.lowered.take().unwrap_or_else(|| mrs!("pmintenset_el1"));
        self.overflows = mrs!("pmovsset_el0");
        self.user = mrs!("pmuserenr_el0");
        self.selected = mrs!("pmselr_el0");
        self.cycles = mrs!("pmccntr_el0");
        self.cycle_filter = mrs!("pmccfiltr_el0");
        let count = self.count();
        for (n, event) in self.events.iter_mut().enumerate().take(count) {
            select(n);
            *event = (mrs!("pmxevtyper_el0"), mrs!("pmxevcntr_el0"));
        }
    }

    /// From what a reset leaves.
    #[inline(never)]
    pub fn restore(&self) {
        for (n, &(kind, value)) in self.events.iter().enumerate().take(self.count()) {
            select(n);
            msr!("pmxevtyper_el0", kind);
            msr!("pmxevcntr_el0", value);
        }
        msr!("pmccfiltr_el0", self.cycle_filter);
        msr!("pmccntr_el0", self.cycles);
        msr!("pmselr_el0", self.selected);
        msr!("pmuserenr_el0", self.user);
        msr!("pmovsset_el0", self.overflows);
        msr!("pmintenset_el1", self.interrupts);
        msr!("pmcntenset_el0", self.enabled);
        barrier::isb();
        msr!("pmcr_el0", self.control & LASTING);
    }

    fn count(&self) -> usize {
        (self.control >> 11) as usize & 0x1f
    }
}

fn select(n: usize) {
    msr!("pmselr_el0", n as u64);
    barrier::isb();
}
