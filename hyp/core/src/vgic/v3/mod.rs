//! The GICv3 face: distributor and redistributor registers (IHI 0069 12.8 to 12.11), with affinity routing always on
//! and one security state, as `GICD_CTLR.ARE` and `DS` read.

mod dist;
mod redist;

pub(super) use self::dist::TYPER;

/// First identification register (IHI 0069 12.1).
const ID_REGISTERS: u64 = 0xffd0;
/// `PIDR4..7, PIDR0..3, CIDR0..3` as Arm's GIC-500 has them; PIDR2 says architecture revision 3.
const IDS: [u8; 12] = [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// The identification register at `offset`, each a byte in a word of its own.
fn id_register(offset: u64) -> u32 {
    let n = offset.wrapping_sub(ID_REGISTERS) / 4;
    IDS.get(n as usize).copied().unwrap_or(0) as u32
}

/// Half of a 64-bit register, or all of it, as an access of `size` at `offset` reads it.
fn part(value: u64, offset: u64, size: u8) -> u64 {
    if size == 8 { value } else { value >> (8 * (offset & 4)) & 0xffff_ffff }
}
