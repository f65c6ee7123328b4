//! System registers and system instructions.

use tessera_rt::exec;

use super::{Player, places};
use crate::registers::{Encoding, is_own};
use crate::tally::Tally;

/// ICC_BPR0_EL1 and ICC_BPR1_EL1: QEMU 10 compares all bits with the least value, keeps 3, and dies of 0.
const BINARY_POINTS: [Encoding; 2] = [(3, 0, 12, 8, 3), (3, 0, 12, 12, 3)];
/// CRn of registers that there are; the others are mostly none.
const USUAL: [u32; 14] = [0, 1, 2, 4, 5, 6, 7, 9, 10, 12, 12, 13, 14, 14];

fn some(op0: u32, dice: &mut Tally) -> Encoding {
    let n = dice.random() as u32;
    let crn = if dice.below(4) == 0 { n >> 3 & 15 } else { USUAL[dice.below(14) as usize] };
    let op1 = if dice.below(4) == 0 { n & 7 } else { [0, 3][dice.below(2) as usize] };
    (op0, op1, crn, n >> 7 & 15, n >> 11 & 7)
}

/// Reads a register or writes it, perhaps with what it had.
pub fn access(player: &Player, dice: &mut Tally) {
    let op0 = if dice.below(6) == 0 { 2 } else { 3 };
    let encoding = some(op0, dice);
    let (op0, op1, crn, crm, op2) = encoding;
    let before = exec::run(exec::mrs_x0(op0, op1, crn, crm, op2), 0);
    if is_own(encoding) || dice.below(3) == 0 {
        return dice.count(before);
    }
    let value = match dice.below(4) {
        0 => before.unwrap_or(0),
        1 => before.unwrap_or(0) ^ 1 << dice.below(64),
        _ => places::value(player.machine, dice),
    };
    let value = if BINARY_POINTS.contains(&encoding) { value & 7 } else { value };
    dice.count(exec::run(exec::msr_x0(op0, op1, crn, crm, op2), value));
}

/// A system instruction: address translation and TLB maintenance of anything, cache maintenance of what may be lost.
pub fn instruction(player: &Player, dice: &mut Tally) {
    let (op0, op1, crn, crm, op2) = some(1, dice);
    let crn = if dice.below(2) == 0 { [7, 8][dice.below(2) as usize] } else { crn };
    let by_address = crn == 7 && crm != 8;
    let by_set_and_way = (op1, crn, op2) == (0, 7, 2) && matches!(crm, 6 | 10 | 14);
    if by_set_and_way && crm == 6 {
        return; // It would throw away what the guest has written.
    }
    let at = if by_address && !by_set_and_way {
        places::writable(player.machine, dice)
    } else {
        places::value(player.machine, dice)
    };
    let read = dice.below(4) == 0;
    let instruction = if read {
        exec::mrs_x0(op0, op1, crn, crm, op2)
    } else {
        exec::msr_x0(op0, op1, crn, crm, op2)
    };
    dice.count(exec::run(instruction, at));
}
