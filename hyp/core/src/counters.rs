//! How often what happened, for as long as the board runs.
//!
//! A counter has one writer at a time, the core of its vCPU or whoever holds the device's lock, so counting is a load, an
//! addition and a store, without an exclusive access. Anybody reads, at any time. Rates are the reader's: two readings,
//! and the time between them.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_abi::layout;

use crate::disk::{DiskOp, DiskRequest, SECTOR_SIZE};

use crate::trace::Ring;
use crate::usage::Usage;

/// A count.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more. For its one writer: what two add at once may be counted once.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Starts anew, for its one writer; what was counted.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Relaxed)
    }

    /// The count.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Declares [`Cause`] with the name of each.
macro_rules! causes {
    ($($(#[doc = $doc:literal])* $cause:ident = $name:literal,)*) => {
        /// What an exit was about.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Cause {
            $($(#[doc = $doc])* $cause,)*
        }

        impl Cause {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$cause,)*];

            /// Its name for people and programs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$cause => $name,)*
                }
            }
        }
    };
}

causes! {
    /// A hypervisor call.
    Hvc = "hvc",
    /// A secure monitor call.
    Smc = "smc",
    /// A system register other than those that send an SGI.
    SysReg = "sysreg",
    /// A system register that sends an SGI.
    Sgi = "sgi",
    /// The interrupt controller's distributor.
    Gicd = "gicd",
    /// The interrupt controller's redistributors.
    Gicr = "gicr",
    /// The second page of a GICv2's CPU interface.
    Gicc = "gicc",
    /// The UART.
    Uart = "uart",
    /// A virtio device.
    Virtio = "virtio",
    /// The doorbell of a group.
    Doorbell = "doorbell",
    /// The GPIO of a guest in groups.
    Gpio = "gpio",
    /// The watchdog.
    Watchdog = "watchdog",
    /// A load or store to where no device is.
    NoDevice = "no-device",
    /// Another abort of stage 2.
    Abort = "abort",
    /// WFI, on a shared core or while its time is measured.
    Wfi = "wfi",
    /// WFE, on a shared core.
    Wfe = "wfe",
    /// The first use of SIMD or floating point since another vCPU of the core used it.
    Fp = "fp",
    /// An instruction that guests do not have.
    Undefined = "undefined",
    /// The virtual timer's interrupt.
    VirtualTimer = "irq-vtimer",
    /// The interrupt of the hypervisor's timer: a guest's physical timer, or a deadline of the hypervisor's own.
    HypTimer = "irq-hyp-timer",
    /// A kick from another core.
    Kick = "irq-kick",
    /// The interrupt controller's maintenance interrupt.
    Maintenance = "irq-maintenance",
    /// The performance monitors' interrupt.
    Pmu = "irq-pmu",
    /// The interrupt of a device of the board.
    Board = "irq-board",
    /// An interrupt that was gone when it was looked at.
    Spurious = "irq-spurious",
    /// A system error.
    SError = "serror",
    /// An exception that no trap of ours produces.
    Unexpected = "unexpected",
}

/// Exits by cause.
#[derive(Default)]
pub struct ExitCounters([Counter; Cause::ALL.len()]);

impl ExitCounters {
    /// Counts an exit.
    #[inline(always)]
    pub fn count(&self, cause: Cause) {
        self.0[cause as usize].add(1);
    }

    /// How many there were for this cause.
    pub fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize].get()
    }

    /// Each cause with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.iter().map(|&cause| (cause, self.get(cause)))
    }

    /// All exits.
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }
}

/// What is written down about a vCPU while it runs, for all to read.
///
/// The alignment lets the way out of a guest go round in the ring by clearing a bit of an address.
#[derive(Default)]
#[repr(C, align(4096))]
pub struct Observed {
    /// Its last exits.
    pub ring: Ring,
    /// Its exits by cause.
    pub exits: ExitCounters,
    /// Interrupts that it was given.
    pub injected: Counter,
    /// How its time was spent.
    pub usage: Usage,
    /// Ticks of the board's counter that its core worked for others while it was on: at interrupts of the board's devices
    /// where anything was not about its own guest, and at the board's chores.
    pub stolen: Counter,
}

/// A virtual disk's work. Written under the disk's lock.
#[derive(Default)]
pub struct DiskCounters {
    /// Requests that were passed on to the board's disk.
    pub requests: Counter,
    /// Bytes that those asked to read.
    pub bytes_read: Counter,
    /// Bytes that those asked to write.
    pub bytes_written: Counter,
    /// Requests that the board's disk failed.
    pub errors: Counter,
    /// Interrupts that the guest got of it.
    pub interrupts: Counter,
}

impl DiskCounters {
    /// Counts a request that the board's disk accepted.
    #[inline]
    pub fn submitted(&self, request: &DiskRequest) {
        self.requests.add(1);
        let bytes = request.sectors * SECTOR_SIZE;
        match request.op {
            DiskOp::Read => self.bytes_read.add(bytes),
            DiskOp::Write => self.bytes_written.add(bytes),
            _ => {}
        }
    }
}

/// The counters of a guest, which outlive its lives.
#[derive(Default)]
pub struct GuestCounters {
    /// By vCPU.
    pub vcpus: Vec<Observed>,
    /// By the number of the disk's virtio slot.
    pub disks: [DiskCounters; layout::VIRTIO_SLOTS as usize],
    /// Bytes that it wrote to its console. Written under the UART's lock.
    pub console_out: Counter,
    /// Bytes that were typed for it.
    pub console_in: Counter,
    /// Interrupts of its UART: how often the line was raised. Written under the UART's lock.
    pub console_interrupts: Counter,
}

impl GuestCounters {
    /// Of a guest with this many vCPUs.
    pub fn new(vcpus: usize) -> Self {
        Self { vcpus: (0..vcpus).map(|_| Observed::default()).collect(), ..Self::default() }
    }

    /// Exits of all vCPUs for `cause`.
    pub fn exits(&self, cause: Cause) -> u64 {
        self.vcpus.iter().map(|vcpu| vcpu.exits.get(cause)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_count_and_a_name_of_its_own() {
        let counters = ExitCounters::default();
        for (n, &cause) in Cause::ALL.iter().enumerate() {
            (0..=n).for_each(|_| counters.count(cause));
        }
        let counts: Vec<u64> = counters.iter().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=Cause::ALL.len() as u64).collect::<Vec<_>>());
        assert_eq!(counters.total(), counts.iter().sum::<u64>());
        for (n, cause) in Cause::ALL.iter().enumerate() {
            assert!(Cause::ALL[n + 1..].iter().all(|other| other.name() != cause.name()));
        }
    }

    #[test]
    fn what_is_written_down_of_a_vcpu_fits_a_page_with_the_ring_in_its_first_half() {
        assert_eq!(size_of::<Observed>(), 4096);
        assert_eq!(core::mem::offset_of!(Observed, ring), 0);
        assert_eq!(size_of::<Ring>(), 2048);
    }
}
