//! The GICv3 face: distributor and redistributor registers (IHI 0069 12.8 to 12.11), with affinity routing always on
//! and one security state, as `GICD_CTLR.ARE` and `DS` read.

mod dist;
mod redist;

use super::Vgic;
use super::access::Which;
use super::bank::Field;
use crate::addr::VcpuSet;

/// The registers do not allow an access of this size or alignment, or there is no register frame: the guest gets an
/// external abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAccess;

impl core::fmt::Display for BadAccess {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the interrupt controller has no register that such an access reaches")
    }
}

/// `GICD_IIDR` and `GICR_IIDR` (IHI 0069 12.9): product 'T', implementer Arm, whose GIC this is like.
const IIDR: u32 = (b'T' as u32) << 24 | 0x43b;
/// First identification register (IHI 0069 12.1).
const ID_REGISTERS: u64 = 0xffd0;
/// `PIDR4..7, PIDR0..3, CIDR0..3` as Arm's GIC-500 has them; PIDR2 says architecture revision 3.
const IDS: [u8; 12] = [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// The registers that distributor and SGI frame have in common, at the same offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Register {
    /// A register of a bit an interrupt, `n` of its kind.
    Word(Field, u32),
    /// Priorities of four interrupts, or of one in an access of a byte, from interrupt `n`.
    Priorities(u32),
    /// Trigger of 16 interrupts, `n` of its kind.
    Config(u32),
}

impl Register {
    #[inline]
    fn at(offset: u64) -> Option<Self> {
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
fn check(offset: u64, size: u8, bytes: bool, wide: bool) -> Result<(), BadAccess> {
    let allowed = match size {
        4 => true,
        1 => bytes,
        8 => wide,
        _ => false,
    };
    if allowed && offset.is_multiple_of(size as u64) { Ok(()) } else { Err(BadAccess) }
}

/// The identification register at `offset`, each a byte in a word of its own.
fn id_register(offset: u64) -> u32 {
    let n = offset.wrapping_sub(ID_REGISTERS) / 4;
    IDS.get(n as usize).copied().unwrap_or(0) as u32
}

/// Half of a 64-bit register, or all of it, as an access of `size` at `offset` reads it.
fn part(value: u64, offset: u64, size: u8) -> u64 {
    if size == 8 { value } else { value >> (8 * (offset & 4)) & 0xffff_ffff }
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
    /// Reads one of the common registers of the bank, of those whose reading folds nothing.
    fn read_common(&self, which: Which, register: Register, size: u8) -> u32 {
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
    fn write_common(&self, which: Which, register: Register, size: u8, value: u64) -> VcpuSet {
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
