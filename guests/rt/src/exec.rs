//! Instructions that are only numbers: put into memory and run.
#![allow(unsafe_code, reason = "runs what was just written, in an attempt")]

use core::cell::UnsafeCell;

use crate::machine::MAX_CPUS;
use crate::trap::{self, Fault};
use crate::{cpu, mmio, mmu};

/// Bytes of code that one CPU has.
const SLOT: usize = 64;
const RET: u32 = 0xd65f_03c0;

#[repr(C, align(64))]
struct Code([UnsafeCell<[u8; SLOT]>; MAX_CPUS]);
// SAFETY: each CPU uses its own slot, and by address only.
unsafe impl Sync for Code {}
static CODE: Code = Code([const { UnsafeCell::new([0; SLOT]) }; MAX_CPUS]);

/// Runs one instruction, which may use x0 to x17 only, with `x0` as given; gives x0 afterwards.
pub fn run(instruction: u32, x0: u64) -> Result<u64, Fault> {
    let at = place();
    mmio::write32(at, instruction);
    mmio::write32(at + 4, RET);
    mmu::sync_code(at, 8);
    call(at, x0)
}

/// Where [`run`] puts its instruction on this CPU: what ELR_EL1 has when that one is undefined.
pub fn place() -> u64 {
    CODE.0.get(cpu::this()).map_or(0, |slot| slot.get() as u64)
}

/// Jumps to an address with `x0` as given; gives x0 where that returns.
pub fn call(at: u64, x0: u64) -> Result<u64, Fault> {
    trap::attempt(|| {
        // SAFETY: what is there is the caller's choice; it keeps to the procedure call standard or faults.
        let code = unsafe { core::mem::transmute::<u64, extern "C" fn(u64) -> u64>(at) };
        code(x0)
    })
}

/// `MRS X0, S<op0>_<op1>_C<crn>_C<crm>_<op2>`.
pub const fn mrs_x0(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    0xd520_0000 | msr_fields(op0, op1, crn, crm, op2)
}

/// `MSR S<op0>_<op1>_C<crn>_C<crm>_<op2>, X0`, with op0 = 1 `SYS` with X0.
pub const fn msr_x0(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    0xd500_0000 | msr_fields(op0, op1, crn, crm, op2)
}

const fn msr_fields(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    (op0 & 3) << 19 | (op1 & 7) << 16 | (crn & 15) << 12 | (crm & 15) << 8 | (op2 & 7) << 5
}
