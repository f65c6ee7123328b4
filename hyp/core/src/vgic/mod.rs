//! The virtual interrupt controller of a guest.
//!
//! The hardware has a virtual CPU interface: the guest acknowledges and ends interrupts without us, as long as they are
//! in one of a few *list registers*. What is left to software is everything before that: distributor and
//! redistributors (enable, pending, priority, routing), and choosing what goes into the list registers.
//!
//! **State.** A guest has 64 interrupts, so a property of all of them is one machine word, and "what may this vCPU
//! take now" is a handful of logical operations. [`bank::Bank`] is 32 interrupts; a vCPU's SGIs and PPIs are one, the
//! SPIs are another. Register layouts are no part of the state: [`v3`] and [`v2`] are two faces of it. The one thing
//! that only a GICv2 has are SGIs that are pending by their source; they are a layer of their own, [`v2::sgi`].
//!
//! **Who may touch what.** Only the core that runs a vCPU touches that vCPU's list registers and its [`VgicCpu`].
//! Everything else is in [`Vgic`], reached by all: words of atomics for private interrupts (no lock: the owner's SGIs
//! and timers are the hot path), one lock for the SPIs' routes. A change that concerns what another vCPU has in a
//! list register is a *request*: bits in the bank, then news for that vCPU, then a kick, which is for the caller to
//! send to the vCPUs in the [`VcpuSet`] that it gets. Until the vCPU has *folded* its list registers back, reads of
//! pending and active state show what was folded last (and ask for a fold), and `GICD_CTLR.RWP` is set.
//!
//! **Two speeds.** The ordinary cases write one list register and no lock: an SGI, a timer, a doorbell. Whatever is not ordinary
//! (no list register free, state taken back, the same interrupt again while active) folds every list register into
//! the words, changes them, and fills the list registers anew: one path for all odd cases, see [`rebuild`].
//!
//! Not taken: a sorted list of pending interrupts per vCPU, as KVM has it. It pays for thousands of LPIs; with 64
//! interrupts a scan of two words is shorter than the list's lock.
//!
//! **Lock order.** The lock of the routes is the innermost: nothing is locked, and no function of another module
//! called, while it is held.

mod access;
mod bank;
mod deliver;
mod doors;
#[cfg(any(test, feature = "fake"))]
#[cfg_attr(not(test), allow(dead_code, reason = "tests use more of it than fuzz targets"))]
pub(crate) mod fake;
mod lr;
mod raise;
mod rebuild;
mod registers;
mod routes;
mod states;
#[cfg(test)]
mod tests;
mod v2;
mod v3;

use core::sync::atomic::{
    AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Relaxed, Release},
};

use crate::lock::Mutex;
use tessera_abi::layout::{MAX_GROUPS, MAX_VCPUS};

use self::bank::{Bank, Groups};
use self::doors::NOBODY;
use self::routes::Routes;
use crate::addr::{IntId, VcpuId, VcpuSet};
use crate::counters::Counter;

pub use self::deliver::News;
pub use self::doors::Rung;
pub use self::lr::{ListRegisters, MAX_LIST_REGISTERS, gich, hcr, vmcr};
pub use self::registers::BadAccess;
pub use self::states::States;

/// News for a vCPU: SGI `n` arrived, at bit `SGI_NEWS + n`.
const SGI_NEWS: u32 = 16;
/// News for a vCPU: something may have become deliverable.
const LOOK: u32 = 1 << 0;
/// News for a vCPU: requests wait that concern its list registers.
const RECALL: u32 = 1 << 1;
/// News for a vCPU: doorbells rang, or its SGIs of this news are to be taken by their sources (GICv2).
const ODD: u32 = 1 << 2;

/// Bits of a priority that are implemented, the upper five, as the virtual CPU interface has them (ICH_VTR_EL2.PRIbits).
const fn priority_bits(priority: u8) -> u8 {
    priority & 0xf8
}

/// Which interrupt controller a guest finds. The virtual CPU interface is the board's, so it is the board's version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// GICv3: distributor, redistributors, and a CPU interface of system registers.
    V3,
    /// GICv2, like a GIC-400: distributor, and a CPU interface in memory, which is the board's GICV.
    V2,
}

/// The interrupt controller of one guest: what all its vCPUs share.
pub struct Vgic {
    model: Model,
    /// `GICD_TYPER`.
    typer: u32,
    /// Redistributors: a GICv2 has none.
    redistributors: usize,
    vcpus: usize,
    /// All of them.
    everyone: VcpuSet,
    /// `GICD_CTLR`: the group enables.
    control: AtomicU32,
    /// vCPUs that were recalled and have not folded yet.
    recalls: AtomicU8,
    /// vCPUs that are off: nothing of theirs is in a list register, so a recall of theirs counts as done, also one that
    /// comes while they go off.
    off: AtomicU8,
    cpus: [Shared; MAX_VCPUS],
    /// The vCPU that each group's SPI is routed to, as `routes` has it, for who has no time for the lock.
    doors: [AtomicU8; MAX_GROUPS],
    /// The SPIs. Changed only with `routes` locked.
    spis: Bank,
    routes: Mutex<Routes>,
}

/// What others may see and change of a vCPU. Its own cache lines: it is written on each injection.
#[repr(align(64))]
#[derive(Default)]
struct Shared {
    /// What its owner has to look at before it enters the guest; 0 is nothing.
    news: AtomicU32,
    /// Doorbells' SPIs that may go into the list register that they have here without a look at anything else ([`doors`]).
    armed: AtomicU32,
    /// `GICR_WAKER.ProcessorSleep`.
    asleep: AtomicU32,
    /// Interrupts that were pending in its list registers when its owner looked last.
    pending: AtomicU64,
    /// Interrupts that its list registers were given.
    injected: Counter,
    /// Its SGIs and PPIs.
    bank: Bank,
    /// For each SGI of a GICv2 the vCPUs that sent it, a bit each, as far as it is in no list register.
    sources: [AtomicU8; 16],
}

/// What only the owner of a vCPU knows: what is in which list register.
pub struct VgicCpu {
    id: VcpuId,
    /// List registers that were written with an interrupt since they were last folded or given up.
    used: u32,
    /// The interrupt in each list register of `used`.
    slot: [u8; MAX_LIST_REGISTERS],
    /// What the list registers of `used` said when they were folded last. Kept here, so that no fold has to clear it.
    image: [u64; MAX_LIST_REGISTERS],
    /// Where an interrupt of `resident` is.
    place: [u8; 64],
    /// Interrupts in the list registers of `used`.
    resident: u64,
    /// Active interrupts that found no list register.
    spilled: u64,
    /// With which priority and group each active interrupt became so ([`lr::rank`]). An end drops the priority that its
    /// acknowledge raised, and deactivates only what has that priority and group in its list register (IHI 0069 4.8),
    /// so they stay there, whatever is written to the distributor meanwhile.
    begun: [u8; 64],
    /// Interrupts of `resident` that, where pending, are so only by their line or their physical twin.
    by_line: u64,
    /// Interrupts whose physical twin is active without a list register's HW bit to end it.
    owed: u32,
    /// Physical interrupts that the caller has to deactivate.
    deactivate: u32,
    /// Hardware-linked interrupts whose cause went away: they end instead of becoming pending again.
    withdrawn: u32,
    /// What was last written to ICH_HCR_EL2; 0 before the first time and while parked.
    control: u64,
    /// The source of each SGI of a GICv2 that is active, four bits an SGI.
    active_sources: u64,
}

impl VgicCpu {
    /// The owner's part of vCPU `id`, with nothing in its list registers.
    pub const fn new(id: VcpuId) -> Self {
        Self {
            id,
            used: 0,
            slot: [0; MAX_LIST_REGISTERS],
            image: [0; MAX_LIST_REGISTERS],
            place: [0; 64],
            resident: 0,
            spilled: 0,
            begun: [0; 64],
            by_line: 0,
            owed: 0,
            deactivate: 0,
            withdrawn: 0,
            control: 0,
            active_sources: 0,
        }
    }

    /// Which vCPU this is.
    pub const fn id(&self) -> VcpuId {
        self.id
    }

    /// Takes the physical interrupts (a bit each, by INTID) that are now to be deactivated (`ICC_DIR_EL1`): the guest
    /// ended their virtual twins in a way that the hardware link does not cover. To ask after each [`Vgic::deliver`]
    /// and [`Vgic::park`]; a call that finds some at another time makes [`Vgic::needs_delivery`] true.
    #[inline]
    pub fn take_deactivations(&mut self) -> u32 {
        core::mem::take(&mut self.deactivate)
    }

    /// Private interrupts that the guest has begun and not ended, without the hardware's link to their physical twins: to be
    /// made active on the core on which the vCPU runs on after [`Vgic::set_aside`], before their devices are.
    #[inline]
    pub const fn twins(&self) -> u32 {
        self.owed
    }

    /// More is to be delivered than list registers hold, or active interrupts are outside, so that every injection is
    /// a matter of priorities; or the list registers are not in use yet.
    #[inline]
    fn overflowing(&self) -> bool {
        self.control != hcr::EN
    }
}

impl Vgic {
    /// The controller of a guest with `vcpus` vCPUs (at most [`MAX_VCPUS`]), as a reset leaves it.
    pub fn new(vcpus: usize, model: Model) -> Self {
        let vcpus = vcpus.min(MAX_VCPUS);
        let (typer, redistributors) = match model {
            Model::V3 => (v3::TYPER, vcpus),
            Model::V2 => (v2::typer(vcpus), 0),
        };
        let vgic = Self {
            model,
            typer,
            redistributors,
            vcpus,
            everyone: VcpuSet((1u16 << vcpus).wrapping_sub(1) as u8),
            control: AtomicU32::new(0),
            recalls: AtomicU8::new(0),
            off: AtomicU8::new(u8::MAX),
            cpus: Default::default(),
            doors: [const { AtomicU8::new(NOBODY) }; MAX_GROUPS],
            spis: Bank::default(),
            routes: Mutex::new(Routes::new(true)),
        };
        vgic.reset();
        vgic
    }

    /// Back to what a reset leaves. No vCPU of the guest runs; each of them was [`Vgic::park`]ed and its
    /// [`VgicCpu`] made anew.
    pub fn reset(&self) {
        let mut routes = self.routes.lock();
        let v2 = self.model == Model::V2;
        // A GICv2's SPIs have no target until they are given one, but for a single CPU.
        *routes = Routes::new(!v2 || self.vcpus == 1);
        self.control.store(0, Relaxed);
        self.recalls.store(0, Relaxed);
        self.off.store(u8::MAX, Relaxed);
        self.note_doors(&routes, u32::MAX);
        self.spis.reset(false);
        for cpu in &self.cpus {
            cpu.news.store(0, Relaxed);
            cpu.armed.store(0, Relaxed);
            cpu.asleep.store(1, Relaxed);
            cpu.pending.store(0, Relaxed);
            cpu.bank.reset(true);
            if v2 {
                cpu.bank.enabled.put(v2::SGIS);
            }
            for sources in &cpu.sources {
                sources.store(0, Relaxed);
            }
        }
    }

    /// Which interrupt controller it is.
    pub const fn model(&self) -> Model {
        self.model
    }

    /// Whether [`Vgic::deliver`] has anything to do: to ask before each entry to the guest.
    #[inline(always)]
    pub fn needs_delivery(&self, me: &VgicCpu) -> bool {
        self.news(me.id).any()
    }

    /// Whether an interrupt waits that could end the vCPU's WFI: one is pending in a list register, or there is news.
    #[inline]
    pub fn has_pending(&self, me: &VgicCpu, lrs: &impl ListRegisters) -> bool {
        self.needs_delivery(me)
            || members((me.used & !lrs.empty()) as u64)
                .any(|i| lrs.read(i as usize) & lr::PENDING != 0)
    }

    /// Drives the line of a level-sensitive SPI (or, if the guest configured it so, edge-triggered: its rise counts).
    /// Any core may call this. Returns the vCPUs to kick; a vCPU that is at EL2 on the calling core needs none.
    pub fn set_spi_level(&self, intid: IntId, high: bool) -> VcpuSet {
        let Some(bit) = spi_bit(intid) else { return VcpuSet::EMPTY };
        let routes = self.routes.lock();
        if self.spis.drive(bit, high) == 0 {
            return VcpuSet::EMPTY;
        }
        self.tell(&routes, bit, if high { bit } else { 0 })
    }

    /// Makes an edge-triggered SPI pending once. Any core may call this; see [`Vgic::set_spi_level`] for the result.
    pub fn pulse_spi(&self, intid: IntId) -> VcpuSet {
        let Some(bit) = spi_bit(intid) else { return VcpuSet::EMPTY };
        let routes = self.routes.lock();
        self.spis.latch.set(bit);
        self.tell(&routes, 0, bit)
    }

    /// Tells the vCPUs that `change`d SPIs concern: holders fold those of `recall` and look at those of `look`; where
    /// nobody holds an SPI of `look` that is forwarded, the vCPU it is routed to does.
    fn tell(&self, routes: &Routes, recall: u32, look: u32) -> VcpuSet {
        let held = routes.held_by_any();
        let fresh = look & !held & self.spis.forwards(self.groups());
        let mut kick = VcpuSet::EMPTY;
        for vcpu in self.vcpus() {
            let mine = routes.held(vcpu);
            if mine & recall != 0 {
                kick = kick.union(self.announce(vcpu, RECALL));
            } else if mine & look != 0 || routes.routed(vcpu) & fresh != 0 {
                kick = kick.union(self.announce(vcpu, LOOK));
            }
        }
        kick
    }

    /// Leaves news for a vCPU, after the state that the news is about.
    #[inline]
    fn announce(&self, vcpu: VcpuId, news: u32) -> VcpuSet {
        let set = VcpuSet::only(vcpu);
        if news & RECALL != 0 {
            self.recalls.fetch_or(set.0, Release);
        }
        self.shared(vcpu).news.fetch_or(news, Release);
        set
    }

    #[inline(always)]
    fn shared(&self, vcpu: VcpuId) -> &Shared {
        &self.cpus[vcpu.0 as usize % MAX_VCPUS]
    }

    /// The bank that interrupt `intid` (below 64) is in, as `vcpu` sees it.
    #[inline]
    fn bank(&self, vcpu: VcpuId, intid: u32) -> &Bank {
        if intid < 32 { &self.shared(vcpu).bank } else { &self.spis }
    }

    #[inline]
    fn groups(&self) -> Groups {
        Groups(self.control.load(Relaxed))
    }

    fn vcpus(&self) -> impl Iterator<Item = VcpuId> + use<> {
        (0..self.vcpus as u8).map(VcpuId)
    }
}

/// The bit of an SPI in its bank.
fn spi_bit(intid: IntId) -> Option<u32> {
    (32..64).contains(&intid.0).then(|| 1 << (intid.0 - 32))
}

/// The SPIs of a set of interrupts.
#[inline]
const fn spis(set: u64) -> u32 {
    (set >> 32) as u32
}

/// A set of interrupts from the private ones and the SPIs.
#[inline]
const fn both(private: u32, spis: u32) -> u64 {
    private as u64 | (spis as u64) << 32
}

/// The members of a set of bits, lowest first.
#[inline]
fn members(mut set: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let lowest = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        Some(lowest)
    })
}
