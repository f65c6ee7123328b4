//! Random words as code, and returns from exceptions to anywhere.
//!
//! Words run at EL0, or at EL1 with SP_EL0, so that the stack for exceptions stays as it is. The handler of faults goes on
//! behind a word that faults; the last one is undefined and ends the attempt. There are no branches among them: one that
//! goes back would never end.
#![allow(unsafe_code, reason = "runs random words, in an attempt")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::machine::MAX_CPUS;
use tessera_rt::mmio::write32;
use tessera_rt::trap::{self, Fault, Frame, attempt};
use tessera_rt::{cpu, exec, mmu, msr};

use super::{Player, places};
use crate::devices::ODD;
use crate::registers::is_own;
use crate::tally::Tally;

/// Words of a piece of code at most.
const WORDS: u64 = 256;
/// `UDF #0`.
const END: u32 = 0;
/// PSTATE: EL1 with SP_EL0, and what else may be set beside the level: flags, PAN, UAO, IL, SS, masks.
const EL1T: u64 = 4;
const FLAGS: u64 = 0xf000_0000 | 0x1f << 20 | 0xf << 6;
const IRQ_MASKED: u64 = 1 << 7;
/// An interrupt of group 0 is nothing that the run-time expects.
const FIQ_MASKED: u64 = 1 << 6;
/// PSTATE.IL: no instruction runs.
const ILLEGAL: u64 = 1 << 20;
/// A page of level 3 for EL0 to read, write and run.
const EL0_PAGE: u64 = 3 | 1 << 6 | 3 << 8 | 1 << 10 | 1 << 53;

/// For each CPU where its random words end, or 0.
static LAST: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Runs random words.
pub fn words(player: &Player, dice: &mut Tally) {
    let code = places::own(player.cpu);
    let count = 1 + dice.below(WORDS);
    for place in 0..count {
        write32(code + place * 4, word(dice));
    }
    write32(code + count * 4, END);
    mmu::sync_code(code, count * 4 + 4);
    let user = dice.below(2) == 0;
    let at = if user { mmu::map_raw(slot(player), code | EL0_PAGE) } else { code };
    let pstate = dice.random() & FLAGS & !ILLEGAL | FIQ_MASKED;
    let pstate = if user { pstate } else { pstate | EL1T | IRQ_MASKED };
    let x = core::array::from_fn(|_| places::value(player.machine, dice));
    msr!("sp_el0", places::writable(player.machine, dice));
    LAST[player.cpu].store(at + count * 4, Relaxed);
    trap::set_hook(Some(go_on));
    dice.count(leave_to(at, pstate, &x));
    LAST[player.cpu].store(0, Relaxed);
}

/// A slot of the window for each CPU, which [`mmu::map`] may take away: then code ends with a fault.
fn slot(player: &Player) -> usize {
    500 + player.cpu
}

/// Goes on behind a word that faulted.
fn go_on(frame: &mut Frame, _: &Fault) -> bool {
    let last = LAST[cpu::this()].load(Relaxed);
    let inside = last.checked_sub(frame.elr).is_some_and(|left| (1..=WORDS * 4).contains(&left));
    if inside {
        frame.elr += 4;
        frame.spsr &= !ILLEGAL;
    }
    inside
}

/// Anything but a branch. What changes the run-time's own registers, or which stack it has, is none of it either.
fn word(dice: &mut Tally) -> u32 {
    let random = dice.random() as u32;
    match dice.below(8) {
        0 | 1 => ODD[dice.below(ODD.len() as u64) as usize] & !0x3ff | random & 0x3ff,
        2 => {
            let (op0, rest) = (random >> 30 | 1, random & 0x3fff);
            let encoding = (op0, rest >> 11 & 7, rest >> 7 & 15, rest >> 3 & 15, rest & 7);
            let (op0, op1, crn, crm, op2) = encoding;
            if op0 == 1 || is_own(encoding) || crn == 12 {
                return exec::mrs_x0(3, op1, crn, crm, op2);
            }
            exec::msr_x0(op0, op1, crn, crm, op2) | random >> 14 & 31
        }
        3 => {
            [0xd400_0001, 0xd400_0002, 0xd400_0003, 0xd420_0000][dice.below(4) as usize]
                | (random & 0xffff) << 5
        }
        // Hints, but for the two that wait: nothing would end that.
        4 if !matches!(random & 0x7f, 2 | 3) => 0xd503_201f | (random & 0x7f) << 5,
        _ if is_branch_or_system(random) => random ^ 1 << 26,
        _ => random,
    }
}

/// Branches, exceptions and system instructions (DDI 0487 C4.1: op0 is 101x).
fn is_branch_or_system(word: u32) -> bool {
    word & 0x1c00_0000 == 0x1400_0000
}

/// Returns from no exception, to anywhere in any state, where nothing random can run.
pub fn leave(player: &Player, dice: &mut Tally) {
    let page = places::own(player.cpu) + 0x4000;
    (0..1024).for_each(|word| write32(page + word * 4, END));
    mmu::sync_code(page, 0x1000);
    let at = match dice.below(4) {
        0 => page + dice.below(0x1000),
        1 => mmu::map_raw(slot(player), page | EL0_PAGE) + (dice.below(0x400) & !3),
        2 => places::outside(player.machine, dice),
        _ => dice.random(),
    };
    let pstate = match dice.below(3) {
        0 => dice.random(),
        1 => dice.random() & (FLAGS | 0x1f),
        _ => dice.random() & FLAGS | [0, 4, 5, 0x10][dice.below(4) as usize],
    };
    let x = core::array::from_fn(|_| places::value(player.machine, dice));
    dice.count(leave_to(at, pstate | FIQ_MASKED, &x));
}

/// ERET with these registers. It never comes back but by a fault.
fn leave_to(at: u64, pstate: u64, x: &[u64; 31]) -> Result<(), Fault> {
    attempt(|| {
        // SAFETY: whatever runs next ends with a fault, which brings all registers back that Rust relies on.
        unsafe {
            asm!(
                "msr elr_el1, {at}",
                "msr spsr_el1, {pstate}",
                "mov x30, {x}",
                "ldp x0, x1, [x30]",
                "ldp x2, x3, [x30, #16]",
                "ldp x4, x5, [x30, #32]",
                "ldp x6, x7, [x30, #48]",
                "ldp x8, x9, [x30, #64]",
                "ldp x10, x11, [x30, #80]",
                "ldp x12, x13, [x30, #96]",
                "ldp x14, x15, [x30, #112]",
                "ldp x16, x17, [x30, #128]",
                "ldp x18, x19, [x30, #144]",
                "ldp x20, x21, [x30, #160]",
                "ldp x22, x23, [x30, #176]",
                "ldp x24, x25, [x30, #192]",
                "ldp x26, x27, [x30, #208]",
                "ldp x28, x29, [x30, #224]",
                "ldr x30, [x30, #240]",
                "eret",
                at = in(reg) at,
                pstate = in(reg) pstate,
                x = in(reg) x.as_ptr(),
                options(noreturn),
            )
        }
    })
}

/// Vectors of which each word is undefined.
#[repr(align(2048))]
struct Vectors([u8; 2048]);
static UNDEFINED: Vectors = Vectors([0; 2048]);

/// Exceptions without end, none of which leaves the guest: vectors that are no code. With vectors where nothing is Tessera
/// would see it, and stop the guest.
pub fn get_lost() -> ! {
    msr!("vbar_el1", UNDEFINED.0.as_ptr() as u64);
    // SAFETY: no instruction of Rust's runs after it.
    unsafe { asm!("udf #0", options(noreturn)) }
}
