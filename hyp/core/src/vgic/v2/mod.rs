//! The GICv2 face, like a GIC-400 without the security extension: the distributor's registers (IHI 0048 4.3).
//!
//! The CPU interface is the board's GICV, which the guest reaches without us, but for `GICC_DIR`. That one has a page
//! of its own, which is left out of stage 2: an active interrupt that found no list register cannot be deactivated by
//! hardware, and GICv2 has no switch to make such a write trap only then, as GICv3's has. Software at EL1 seldom splits
//! the end of an interrupt, so it is not missed.
//!
//! Which registers a vCPU reaches depends on who it is: those of SGIs and PPIs are banked. Three things differ from
//! GICv3 beyond the layout. SGIs are always enabled, as a GIC-400 has them, and are pending by their source ([`sgi`]).
//! SPIs have a set of targets instead of one; the first of them to look could take it, here it is always the lowest, so
//! that an SPI has one vCPU at a time whatever the version. And nothing tells the guest when a change has reached the
//! other vCPUs (GICv3's `GICD_CTLR.RWP`): it follows with their next exit, for which they are kicked.

pub(super) mod sgi;

use super::access::Which;
use super::bank::Field;
use super::registers::{BadAccess, CTLR_GROUPS, GICD_CTLR, Register, check};
use super::{ListRegisters, Model, Vgic, VgicCpu};
use crate::addr::{VcpuId, VcpuSet};

/// `GICD_ITARGETSR<n>` of the interrupts that there are, a byte each (IHI 0048 4.3.12).
const GICD_ITARGETSR: u64 = 0x800;
const GICD_ITARGETSR_SPIS: u64 = 0x820;
const GICD_ITARGETSR_END: u64 = 0x840;
/// The end of all that may be `GICD_ITARGETSR<n>`.
const GICD_ITARGETSR_LAST: u64 = 0xc00;
/// `GICD_SGIR` (IHI 0048 4.3.15).
const GICD_SGIR: u64 = 0xf00;
/// `GICD_CPENDSGIR<n>` and `GICD_SPENDSGIR<n>`, a byte an SGI (IHI 0048 4.3.16, 4.3.17).
const GICD_CPENDSGIR: u64 = 0xf10;
const GICD_SPENDSGIR: u64 = 0xf20;
const GICD_SPENDSGIR_END: u64 = 0xf30;
/// First identification register (IHI 0048 4.3.18).
const ID_REGISTERS: u64 = 0xfd0;
/// The end of the frame.
const FRAME: u64 = 0x1000;

/// `ICPIDR4..7, ICPIDR0..3, ICCIDR0..3` as Arm's GIC-400 has them; ICPIDR2 says architecture version 2.
const IDS: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// `GICC_DIR` in its page (IHI 0048 4.4.15, at 0x1000 of the CPU interface), and the interrupt that it names.
const GICC_DIR: u64 = 0;
const DIR_INTERRUPT: u64 = 0x3ff;

/// The SGIs of a word of private interrupts.
pub(super) const SGIS: u32 = 0xffff;

/// `GICD_TYPER` (IHI 0048 4.3.2): 64 interrupts (ITLinesNumber), so many CPUs (CPUNumber), no security extension.
pub(super) const fn typer(vcpus: usize) -> u32 {
    1 | (vcpus.saturating_sub(1) as u32 & 7) << 5
}

impl Vgic {
    /// As [`Vgic::gicd_read`], of a GICv2.
    #[inline(never)]
    pub(super) fn gicd_read_v2(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
    ) -> Result<(u64, VcpuSet), BadAccess> {
        check_access(offset, size)?;
        let value = match offset {
            GICD_CTLR => self.groups().0,
            GICD_ITARGETSR..GICD_ITARGETSR_END => {
                byte_of(self.targets(me.id, offset), offset, size)
            }
            GICD_CPENDSGIR..GICD_SPENDSGIR_END => self.read_sources(me, lrs, offset as u32, size),
            ID_REGISTERS.. => {
                IDS.get((offset - ID_REGISTERS) as usize / 4).copied().unwrap_or(0).into()
            }
            _ => match banked(me.id, offset) {
                Some((which, Register::Word(field, _))) => {
                    let (mut value, kick) = self.read_field(me, lrs, which, field);
                    if let (Which::Private(_), Field::SetPending | Field::ClearPending) =
                        (which, field)
                    {
                        value = value & !SGIS | self.pending_sgis(me, lrs);
                    }
                    return Ok((value.into(), kick));
                }
                Some((which, register)) => self.read_common(which, register, size),
                None => 0,
            },
        };
        Ok((value.into(), VcpuSet::EMPTY))
    }

    /// As [`Vgic::gicd_write`], of a GICv2.
    #[inline(never)]
    pub(super) fn gicd_write_v2(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<VcpuSet, BadAccess> {
        // What guests are in a hurry with.
        if offset == GICD_SGIR && size == 4 {
            return Ok(self.write_sgir(me, lrs, value as u32));
        }
        self.gicd_write_v2_more(me, lrs, offset, size, value)
    }

    #[inline(never)]
    fn gicd_write_v2_more(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<VcpuSet, BadAccess> {
        check_access(offset, size)?;
        let word = value as u32;
        let kick = match offset {
            GICD_CTLR => self.write_groups(word & CTLR_GROUPS),
            // All go to the one CPU that there is.
            GICD_ITARGETSR_SPIS..GICD_ITARGETSR_END if self.vcpus > 1 => {
                self.write_targets((offset - GICD_ITARGETSR_SPIS) as u32, size.into(), word)
            }
            GICD_CPENDSGIR..GICD_SPENDSGIR => {
                self.clear_sources(me, lrs, offset as u32, size, word)
            }
            GICD_SPENDSGIR..GICD_SPENDSGIR_END => self.set_sources(me, offset as u32, size, word),
            _ => match banked(me.id, offset) {
                Some((Which::Private(_), Register::Word(field, _))) => {
                    self.write_field(Which::Private(me.id), field, word & !fixed(field))
                }
                Some((which, register)) => self.write_common(which, register, size, value),
                None => VcpuSet::EMPTY,
            },
        };
        Ok(kick)
    }

    /// A store of `size` bytes at `offset` of the page of `GICC_DIR`: deactivates an interrupt of the own vCPU.
    /// Returns other vCPUs to kick.
    #[inline(never)]
    pub fn gicc_write(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<VcpuSet, BadAccess> {
        if self.model != Model::V2 {
            return Err(BadAccess);
        }
        check(offset, size, false, false)?;
        if offset != GICC_DIR {
            return Ok(VcpuSet::EMPTY);
        }
        Ok(self.write_dir(me, lrs, value & DIR_INTERRUPT))
    }

    /// A load from the page of `GICC_DIR`, which is written only.
    pub fn gicc_read(&self, offset: u64, size: u8) -> Result<u64, BadAccess> {
        if self.model != Model::V2 {
            return Err(BadAccess);
        }
        check(offset, size, false, false).map(|()| 0)
    }

    /// The targets of the four interrupts around `offset`: each private one has its own vCPU. Where there is only one
    /// CPU, the registers read as zero.
    fn targets(&self, me: VcpuId, offset: u64) -> u32 {
        if self.vcpus == 1 {
            0
        } else if offset < GICD_ITARGETSR_SPIS {
            u32::from_le_bytes([VcpuSet::only(me).0; 4])
        } else {
            self.read_targets((offset - GICD_ITARGETSR_SPIS) as u32 & !3)
        }
    }
}

/// The common register at `offset`, if it is one of an interrupt that there is, and the bank that `me` sees there.
fn banked(me: VcpuId, offset: u64) -> Option<(Which, Register)> {
    let register = Register::at(offset)?;
    let half = match register {
        Register::Word(_, n) => n,
        Register::Priorities(n) => n / 32,
        Register::Config(n) => n / 2,
    };
    match half {
        0 => Some((Which::Private(me), register)),
        1 => Some((Which::Shared, register)),
        _ => None,
    }
}

/// The SGIs where a write to their field does nothing: they are always enabled, and pending by source.
fn fixed(field: Field) -> u32 {
    match field {
        Field::ClearEnable | Field::SetPending | Field::ClearPending => SGIS,
        _ => 0,
    }
}

/// 32 bits everywhere; bytes where a byte is an interrupt.
fn check_access(offset: u64, size: u8) -> Result<(), BadAccess> {
    let bytes = matches!(Register::at(offset), Some(Register::Priorities(_)))
        || (GICD_ITARGETSR..GICD_ITARGETSR_LAST).contains(&offset)
        || (GICD_CPENDSGIR..GICD_SPENDSGIR_END).contains(&offset);
    if offset >= FRAME {
        return Err(BadAccess);
    }
    check(offset, size, bytes, false)
}

/// The byte at `offset` of the four in `word`, or all of them, as an access of `size` reads it.
fn byte_of(word: u32, offset: u64, size: u8) -> u32 {
    if size == 1 { word >> (8 * (offset & 3)) & 0xff } else { word }
}
