//! The redistributors' frames, two of 64 KiB a vCPU (IHI 0069 12.10, 12.11).

use tessera_abi::layout::GICR_STRIDE;

use super::{ID_REGISTERS, id_register, part};
use crate::addr::{VcpuId, VcpuSet};
use crate::vgic::access::Which;
use crate::vgic::raise::affinity;
use crate::vgic::registers::{BadAccess, IIDR, Register, check};
use crate::vgic::{ListRegisters, Vgic, VgicCpu};

use core::sync::atomic::Ordering::Relaxed;

const GICR_CTLR: u64 = 0x0000;
const GICR_IIDR: u64 = 0x0004;
const GICR_TYPER: u64 = 0x0008;
const GICR_TYPER_HIGH: u64 = 0x000c;
const GICR_WAKER: u64 = 0x0014;
/// `GICR_SETLPIR`, `GICR_CLRLPIR`, `GICR_PROPBASER`, `GICR_PENDBASER`, `GICR_INVLPIR`, `GICR_INVALLR`: 64 bits wide,
/// and of no effect without LPIs.
const WIDE: [u64; 6] = [0x0040, 0x0048, 0x0070, 0x0078, 0x00a0, 0x00b0];
/// The SGI frame follows the RD frame.
const SGI_FRAME: u64 = 0x1_0000;

/// `GICR_CTLR.RWP`.
const CTLR_RWP: u32 = 1 << 3;
/// `GICR_WAKER.ProcessorSleep`.
const WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
/// `GICR_WAKER.ChildrenAsleep`.
const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
/// `GICR_TYPER.Last`.
const TYPER_LAST: u64 = 1 << 4;
/// `GICR_TYPER.Processor_Number`.
const TYPER_NUMBER_SHIFT: u32 = 8;
/// `GICR_TYPER.Affinity_Value`.
const TYPER_AFFINITY_SHIFT: u32 = 32;

impl Vgic {
    /// Reads `size` bytes at `offset` from the first redistributor. For the result see [`Vgic::gicd_read`].
    #[inline(always)]
    pub fn gicr_read(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
    ) -> Result<(u64, VcpuSet), BadAccess> {
        let (vcpu, within) = self.redistributor(offset)?;
        match (within, size) {
            (GICR_TYPER, 8) => Ok((self.gicr_typer(vcpu), VcpuSet::EMPTY)),
            (GICR_TYPER | GICR_TYPER_HIGH, 4) => {
                Ok((part(self.gicr_typer(vcpu), within, size), VcpuSet::EMPTY))
            }
            _ => self.gicr_read_more(me, lrs, vcpu, within, size),
        }
    }

    #[inline(never)]
    fn gicr_read_more(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        vcpu: VcpuId,
        offset: u64,
        size: u8,
    ) -> Result<(u64, VcpuSet), BadAccess> {
        check_access(offset, size)?;
        let which = Which::Private(vcpu);
        let value = match offset {
            GICR_CTLR if self.write_pending(VcpuSet::only(vcpu)) => CTLR_RWP,
            GICR_IIDR => IIDR,
            GICR_WAKER if self.shared(vcpu).asleep.load(Relaxed) != 0 => {
                WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP
            }
            ID_REGISTERS..SGI_FRAME => id_register(offset),
            SGI_FRAME.. => match Register::at(offset - SGI_FRAME) {
                Some(Register::Word(field, 0)) => {
                    let (value, kick) = self.read_field(me, lrs, which, field);
                    return Ok((value as u64, kick));
                }
                Some(register @ (Register::Priorities(0..32) | Register::Config(0..2))) => {
                    self.read_common(which, register, size)
                }
                _ => 0,
            },
            _ => 0,
        };
        Ok((value as u64, VcpuSet::EMPTY))
    }

    /// Writes `size` bytes at `offset` from the first redistributor. For the result see [`Vgic::gicd_write`].
    #[inline(always)]
    pub fn gicr_write(&self, offset: u64, size: u8, value: u64) -> Result<VcpuSet, BadAccess> {
        let (vcpu, offset) = self.redistributor(offset)?;
        check_access(offset, size)?;
        let which = Which::Private(vcpu);
        let kick = match offset {
            // The redistributor forwards also while its core says that it sleeps; software that waits for the
            // handshake sees it.
            GICR_WAKER => {
                let asleep = value as u32 & WAKER_PROCESSOR_SLEEP;
                self.shared(vcpu).asleep.store(asleep, Relaxed);
                VcpuSet::EMPTY
            }
            SGI_FRAME.. => match Register::at(offset - SGI_FRAME) {
                Some(
                    register @ (Register::Word(_, 0)
                    | Register::Priorities(0..32)
                    | Register::Config(0..2)),
                ) => self.write_common(which, register, size, value),
                _ => VcpuSet::EMPTY,
            },
            _ => VcpuSet::EMPTY,
        };
        Ok(kick)
    }

    /// `GICR_TYPER` (IHI 0069 12.11): the vCPU's number and affinity, and whether it is the last.
    #[inline]
    fn gicr_typer(&self, vcpu: VcpuId) -> u64 {
        let last = if vcpu.0 as usize + 1 == self.vcpus { TYPER_LAST } else { 0 };
        affinity(vcpu) << TYPER_AFFINITY_SHIFT | (vcpu.0 as u64) << TYPER_NUMBER_SHIFT | last
    }

    /// Whose redistributor is at `offset`, and where in it.
    #[inline]
    fn redistributor(&self, offset: u64) -> Result<(VcpuId, u64), BadAccess> {
        let vcpu = offset / GICR_STRIDE;
        if vcpu >= self.redistributors as u64 {
            return Err(BadAccess);
        }
        Ok((VcpuId(vcpu as u8), offset % GICR_STRIDE))
    }
}

/// 32 bits everywhere; bytes of priorities; 64 bits of the registers that have them.
#[inline]
fn check_access(offset: u64, size: u8) -> Result<(), BadAccess> {
    let bytes = offset >= SGI_FRAME
        && matches!(Register::at(offset - SGI_FRAME), Some(Register::Priorities(_)));
    check(offset, size, bytes, offset == GICR_TYPER || WIDE.contains(&offset))
}
