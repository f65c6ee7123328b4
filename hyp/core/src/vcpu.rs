//! A virtual CPU: what belongs to it alone. One physical core owns it at a time, as `&mut Vcpu`.

use crate::addr::VcpuId;
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
}

impl Vcpu {
    /// vCPU `id`, as it is before it is started.
    pub fn new(id: VcpuId) -> Self {
        Self {
            registers: Registers::new(),
            vgic: VgicCpu::new(id),
            timer: PhysicalTimer::default(),
            clock: Clock::starting(0),
        }
    }

    /// Which vCPU of its guest this is.
    pub const fn id(&self) -> VcpuId {
        self.vgic.id()
    }
}

/// A guest's general-purpose registers, laid out for the way in and out of a guest (`vectors.S`).
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct Registers {
    /// X0 to X30.
    pub x: [u64; 31],
    /// Where the host's stack pointer waits while the guest runs; meaningless otherwise.
    pub host_sp: u64,
}

impl Registers {
    /// All zero.
    pub const fn new() -> Self {
        Self { x: [0; 31], host_sp: 0 }
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

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}
