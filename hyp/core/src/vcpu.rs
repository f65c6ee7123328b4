//! A virtual CPU: what belongs to it alone. One physical core owns it at a time, as `&mut Vcpu`.

use core::mem::offset_of;
use core::ptr;

use crate::addr::VcpuId;
use crate::counters::Observed;
use crate::vgic::VgicCpu;
use crate::vtimer::{Clock, PhysicalTimer};

/// A virtual CPU.
pub struct Vcpu {
    /// Its general-purpose registers.
    pub registers: Registers,
    /// Its part of the interrupt controller.
    pub vgic: VgicCpu,
    /// Its physical timer, which is emulated.
    pub timer: PhysicalTimer,
    /// The guest's counter, as it was when this vCPU was started.
    pub clock: Clock,
    /// What is written down about it.
    pub observed: &'static Observed,
}

impl Vcpu {
    /// vCPU `id`, as it is before it is started.
    pub fn new(id: VcpuId, observed: &'static Observed) -> Self {
        Self {
            registers: Registers::new(observed),
            vgic: VgicCpu::new(id),
            timer: PhysicalTimer::default(),
            clock: Clock::starting(0),
            observed,
        }
    }

    /// Which vCPU of its guest this is.
    pub const fn id(&self) -> VcpuId {
        self.vgic.id()
    }
}

/// A guest's general-purpose registers, laid out for the way in and out of a guest (`vectors.S`).
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Registers {
    /// X0 to X30.
    pub x: [u64; 31],
    /// Where the next exit is written down. Private, so that it is always in a ring.
    trace: u64,
    /// X19 of the host, while the guest runs; meaningless otherwise. Beside the place, as both are fetched at once.
    pub host_x19: u64,
    /// SP and X29 of the host, as X19.
    pub host: [u64; 2],
}

impl Registers {
    /// Offset of the address of the next exit's place in the ring.
    pub const TRACE: usize = offset_of!(Self, trace);

    /// All zero, of a vCPU whose exits are written down in `observed`.
    pub fn new(observed: &'static Observed) -> Self {
        Self { x: [0; 31], trace: ptr::from_ref(&observed.ring) as u64, host_x19: 0, host: [0; 2] }
    }

    /// General-purpose register `rt` of an instruction, where 31 is XZR.
    #[inline(always)]
    pub fn read(&self, rt: u8) -> u64 {
        self.x.get(usize::from(rt)).copied().unwrap_or(0)
    }

    /// Writes general-purpose register `rt` of an instruction; a write to 31, XZR, is lost.
    #[inline(always)]
    pub fn write(&mut self, rt: u8, value: u64) {
        if let Some(x) = self.x.get_mut(usize::from(rt)) {
            *x = value;
        }
    }
}
