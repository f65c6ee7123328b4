//! The distributor of either version: what both have at the same place, and the way to each.
//!
//! GICv3 kept GICv2's registers where they were, so a register of a bit an interrupt, priorities and triggers are
//! written once, and so is the quick answer to what guests ask most. The rest is in [`super::v3`] and [`super::v2`].

use super::access::Which;
use super::bank::Field;
use super::{ListRegisters, Model, Vgic, VgicCpu};
use crate::addr::VcpuSet;

pub(super) const GICD_CTLR: u64 = 0x0000;
const GICD_TYPER: u64 = 0x0004;
const GICD_IIDR: u64 = 0x0008;

/// `GICD_CTLR` with one security state (IHI 0069 12.9, IHI 0048 4.3.1): EnableGrp0 and EnableGrp1.
pub(super) const CTLR_GROUPS: u32 = 0b11;
/// `GICD_IIDR` and `GICR_IIDR` (IHI 0069 12.9): product 'T', implementer Arm, whose GIC this is like.
pub(super) const IIDR: u32 = (b'T' as u32) << 24 | 0x43b;

/// The registers do not allow an access of this size or alignment, or there is no register frame: the guest gets an
/// external abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAccess;

impl core::fmt::Display for BadAccess {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the interrupt controller has no register that such an access reaches")
    }
}

/// The registers that both distributors and GICv3's SGI frames have in common, at the same offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Register {
    /// A register of a bit an interrupt, `n` of its kind.
    Word(Field, u32),
    /// Priorities of four interrupts, or of one in an access of a byte, from interrupt `n`.
    Priorities(u32),
    /// Trigger of 16 interrupts, `n` of its kind.
    Config(u32),
}

impl Register {
    #[inline]
    pub fn at(offset: u64) -> Option<Self> {
        let n = (offset >> 2 & 31) as u32;
        let field = match offset >> 7 {
            0x1 => Field::Group,
            0x2 => Field::SetEnable,
            0x3 => Field::ClearEnable,
            0x4 => Field::SetPending,
            0x5 => Field::ClearPending,
            0x6 => Field::SetActive,
            0x7 => Field::ClearActive,
            0x8..=0xf => return Some(Self::Priorities((offset - 0x400) as u32)),
            0x18 | 0x19 => return Some(Self::Config((offset >> 2 & 63) as u32)),
            _ => return None,
        };
        Some(Self::Word(field, n))
    }
}

/// Checks size and alignment of an access: 32 bits, or a byte where `bytes`, or 64 bits where `wide`.
#[inline]
pub(super) fn check(offset: u64, size: u8, bytes: bool, wide: bool) -> Result<(), BadAccess> {
    let allowed = match size {
        4 => true,
        1 => bytes,
        8 => wide,
        _ => false,
    };
    if allowed && offset.is_multiple_of(size as u64) { Ok(()) } else { Err(BadAccess) }
}

/// `ICFGR`: two bits an interrupt, the upper of which says edge (IHI 0069 12.9). Of the 16 from bit `16 * half`.
fn config_of(edges: u32, half: u32) -> u32 {
    (0..16).fold(0, |config, n| config | (edges >> (16 * half + n) & 1) << (2 * n + 1))
}

/// The interrupts that a value of `ICFGR` says are edge-triggered.
fn edges_of(config: u32, half: u32) -> u32 {
    (0..16).fold(0, |edges, n| edges | (config >> (2 * n + 1) & 1) << (16 * half + n))
}

impl Vgic {
    /// Reads `size` bytes at `offset` of the distributor. Returns the value, and the vCPUs to kick: what another vCPU
    /// has in its list registers is reported as of its last fold, and such a read asks for a new one.
    #[inline(always)]
    pub fn gicd_read(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
    ) -> Result<(u64, VcpuSet), BadAccess> {
        match (offset, size) {
            (GICD_IIDR, 4) => Ok((IIDR as u64, VcpuSet::EMPTY)),
            (GICD_TYPER, 4) => Ok((self.typer as u64, VcpuSet::EMPTY)),
            _ => self.gicd_read_more(me, lrs, offset, size),
        }
    }

    #[inline(never)]
    fn gicd_read_more(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
    ) -> Result<(u64, VcpuSet), BadAccess> {
        match self.model {
            Model::V3 => self.gicd_read_v3(me, lrs, offset, size),
            Model::V2 => self.gicd_read_v2(me, lrs, offset, size),
        }
    }

    /// Writes `size` bytes at `offset` of the distributor. Returns the vCPUs to kick; the own one, if it is in the set,
    /// needs no kick but [`Vgic::deliver`] before it runs on.
    #[inline(always)]
    pub fn gicd_write(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<VcpuSet, BadAccess> {
        if size == 4
            && offset & 3 == 0
            && let Some(Register::Word(field, 1)) = Register::at(offset)
        {
            return Ok(self.write_field(Which::Shared, field, value as u32));
        }
        self.gicd_write_more(me, lrs, offset, size, value)
    }

    #[inline(never)]
    fn gicd_write_more(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<VcpuSet, BadAccess> {
        match self.model {
            Model::V3 => self.gicd_write_v3(offset, size, value),
            Model::V2 => self.gicd_write_v2(me, lrs, offset, size, value),
        }
    }

    /// Reads one of the common registers of the bank, of those whose reading folds nothing.
    pub(super) fn read_common(&self, which: Which, register: Register, size: u8) -> u32 {
        match register {
            Register::Priorities(n) => {
                let four = self.read_priorities(which, n & 0x1c);
                if size == 1 { four >> (8 * (n & 3)) & 0xff } else { four }
            }
            Register::Config(n) => config_of(self.read_edges(which), n % 2),
            Register::Word(..) => 0,
        }
    }

    /// Writes one of the common registers of the bank.
    pub(super) fn write_common(
        &self,
        which: Which,
        register: Register,
        size: u8,
        value: u64,
    ) -> VcpuSet {
        let value = value as u32;
        match register {
            Register::Word(field, _) => self.write_field(which, field, value),
            Register::Priorities(n) => self.write_priorities(which, n % 32, size as u32, value),
            Register::Config(n) => {
                let half = n % 2;
                // SGIs are edges whatever is written.
                let fixed = matches!(which, Which::Private(_)) && half == 0;
                let mask = if fixed { 0 } else { 0xffff << (16 * half) };
                self.write_edges(which, mask, edges_of(value, half))
            }
        }
    }
}
