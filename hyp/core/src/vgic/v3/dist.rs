//! The distributor's frame (IHI 0069 12.9).

use super::{ID_REGISTERS, id_register, part};
use crate::addr::VcpuSet;
use crate::vgic::access::Which;
use crate::vgic::registers::{BadAccess, CTLR_GROUPS, GICD_CTLR, Register, check};
use crate::vgic::{ListRegisters, Vgic, VgicCpu};

/// `GICD_SETSPI_NSR` to `GICD_CLRSPI_SR`: no message-based SPIs, so they do nothing.
const GICD_SETSPI_NSR: u64 = 0x0040;
const GICD_CLRSPI_SR_END: u64 = 0x005c;
/// `GICD_ITARGETSR<n>`: no effect with affinity routing.
const GICD_ITARGETSR: u64 = 0x0800;
const GICD_ITARGETSR_END: u64 = 0x0c00;
/// `GICD_CPENDSGIR<n>`, `GICD_SPENDSGIR<n>`: no effect with affinity routing.
const GICD_CPENDSGIR: u64 = 0x0f10;
const GICD_SPENDSGIR_END: u64 = 0x0f30;
/// `GICD_IROUTER<n>` of the SPIs that there are, INTIDs 32 to 63.
const GICD_IROUTER: u64 = 0x6100;
const GICD_IROUTER_END: u64 = 0x6200;
/// The end of all that may be `GICD_IROUTER<n>`.
const GICD_IROUTER_LAST: u64 = 0x7fe0;

/// Affinity routing.
const CTLR_ARE: u32 = 1 << 4;
/// One security state.
const CTLR_DS: u32 = 1 << 6;
/// Register write pending.
const CTLR_RWP: u32 = 1 << 31;

/// `GICD_TYPER` (IHI 0069 12.9): 64 interrupts (ITLinesNumber), 10 bits of INTID, all four affinity levels (A3V), no
/// 1-of-N distribution (No1N), no LPIs, no message-based SPIs. CPUNumber is 0: no legacy operation.
pub(in crate::vgic) const TYPER: u32 = 1 | 9 << 19 | 1 << 24 | 1 << 25;

impl Vgic {
    /// As [`Vgic::gicd_read`], of a GICv3.
    #[inline(never)]
    pub(in crate::vgic) fn gicd_read_v3(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
    ) -> Result<(u64, VcpuSet), BadAccess> {
        check_access(offset, size)?;
        let value = match offset {
            GICD_CTLR => self.gicd_ctlr(),
            GICD_IROUTER..GICD_IROUTER_END => {
                let packed = self.read_route(spi_of_router(offset));
                return Ok((part(unpack(packed), offset, size), VcpuSet::EMPTY));
            }
            ID_REGISTERS.. => id_register(offset),
            _ => match Register::at(offset) {
                Some(Register::Word(field, 1)) => {
                    let (value, kick) = self.read_field(me, lrs, Which::Shared, field);
                    return Ok((value as u64, kick));
                }
                Some(register @ (Register::Priorities(32..64) | Register::Config(2..4))) => {
                    self.read_common(Which::Shared, register, size)
                }
                _ => 0,
            },
        };
        Ok((value as u64, VcpuSet::EMPTY))
    }

    /// As [`Vgic::gicd_write`], of a GICv3.
    #[inline(never)]
    pub(in crate::vgic) fn gicd_write_v3(
        &self,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<VcpuSet, BadAccess> {
        check_access(offset, size)?;
        let kick = match offset {
            GICD_CTLR => self.write_groups(value as u32 & CTLR_GROUPS),
            GICD_IROUTER..GICD_IROUTER_END => {
                let (mask, value) = match (size, offset & 4) {
                    (8, _) => (u64::MAX, value),
                    (_, 0) => (0xffff_ffff, value & 0xffff_ffff),
                    _ => (!0xffff_ffff, value << 32),
                };
                self.write_route(spi_of_router(offset), pack(mask), pack(value))
            }
            _ => match Register::at(offset) {
                Some(register @ (Register::Priorities(32..64) | Register::Config(2..4))) => {
                    self.write_common(Which::Shared, register, size, value)
                }
                _ => VcpuSet::EMPTY,
            },
        };
        Ok(kick)
    }

    fn gicd_ctlr(&self) -> u32 {
        let pending = if self.write_pending(VcpuSet(u8::MAX)) { CTLR_RWP } else { 0 };
        self.groups().0 | CTLR_ARE | CTLR_DS | pending
    }
}

/// 32 bits everywhere; bytes where a byte is an interrupt; halves of the message registers; 64 bits of routers.
fn check_access(offset: u64, size: u8) -> Result<(), BadAccess> {
    let bytes = matches!(Register::at(offset), Some(Register::Priorities(_)))
        || (GICD_ITARGETSR..GICD_ITARGETSR_END).contains(&offset)
        || (GICD_CPENDSGIR..GICD_SPENDSGIR_END).contains(&offset);
    if size == 2 && (GICD_SETSPI_NSR..GICD_CLRSPI_SR_END).contains(&offset) && offset & 7 == 0 {
        return Ok(());
    }
    check(offset, size, bytes, (GICD_IROUTER - 0x100..GICD_IROUTER_LAST).contains(&offset))
}

fn spi_of_router(offset: u64) -> u32 {
    (offset - GICD_IROUTER) as u32 / 8
}

/// Aff3 in bits 39:32 and Aff2.Aff1.Aff0 in 23:0, as `GICD_IROUTER<n>` has them; its Interrupt_Routing_Mode reads as
/// zero, as there is no 1-of-N distribution.
fn unpack(affinity: u32) -> u64 {
    let affinity = affinity as u64;
    (affinity & 0xff00_0000) << 8 | affinity & 0x00ff_ffff
}

fn pack(router: u64) -> u32 {
    (router >> 8 & 0xff00_0000 | router & 0x00ff_ffff) as u32
}
