//! System registers and system instructions by their encodings: all of them.

use tessera_rt::{Machine, dma, exec, gic, msr};

use crate::tally::Tally;

/// An encoding: op0, op1, CRn, CRm, op2.
pub type Encoding = (u32, u32, u32, u32, u32);

/// Registers whose change would end this guest and tell nothing: translation, vectors, stack, interrupt mask, the
/// run-time's own, and the frequency by which it measures time.
const OWN: [Encoding; 6] = [
    (3, 0, 1, 0, 0),  // SCTLR_EL1
    (3, 0, 1, 0, 3),  // SCTLR2_EL1
    (3, 0, 12, 0, 0), // VBAR_EL1
    (3, 0, 13, 0, 4), // TPIDR_EL1
    (3, 0, 4, 2, 0),  // SPSel
    (3, 3, 14, 0, 0), // CNTFRQ_EL0
];

/// Whether a register is one of [`OWN`] or of the translation's.
pub fn is_own(encoding: Encoding) -> bool {
    let (op0, op1, crn, crm, _) = encoding;
    let translation = (op0, op1) == (3, 0) && matches!((crn, crm), (2, 0 | 5) | (10, 2));
    let mask = (op0, op1, crn, crm) == (3, 3, 4, 2);
    OWN.contains(&encoding) || translation || mask
}

fn all(op0: u32) -> impl Iterator<Item = Encoding> {
    (0..1u32 << 14).map(move |n| (op0, n >> 11 & 7, n >> 7 & 15, n >> 3 & 15, n & 7))
}

/// Attack 7.
pub fn reads(_: &Machine, tally: &mut Tally) {
    for (op0, op1, crn, crm, op2) in all(3).chain(all(2)) {
        let outcome = exec::run(exec::mrs_x0(op0, op1, crn, crm, op2), 0);
        // Op1 4, 5 and 6 are EL2's and EL3's (DDI 0487 C5.1.2).
        if outcome.is_ok() && op0 == 3 && (4..7).contains(&op1) && crn != 15 {
            tally.complain("a register of a higher level, CRn:CRm:op2", op_code(crn, crm, op2), 0);
        }
        tally.count(outcome);
    }
}

fn op_code(crn: u32, crm: u32, op2: u32) -> u64 {
    u64::from(crn << 8 | crm << 4 | op2)
}

/// Attack 8: each register gets random bits, all ones, and what it had.
pub fn writes(_: &Machine, tally: &mut Tally) {
    for encoding in all(3).chain(all(2)).filter(|e| !is_own(*e)) {
        let (op0, op1, crn, crm, op2) = encoding;
        let before = exec::run(exec::mrs_x0(op0, op1, crn, crm, op2), 0).unwrap_or(0);
        let write = exec::msr_x0(op0, op1, crn, crm, op2);
        for value in [tally.random(), u64::MAX, before] {
            tally.count(exec::run(write, value));
        }
    }
    msr!("cntp_ctl_el0", 0);
    msr!("mdscr_el1", 0);
    msr!("pmcr_el0", 6);
    msr!("pmintenclr_el1", u64::from(u32::MAX));
    msr!("cpacr_el1", 3 << 20);
    gic::init_cpu();
}

/// Attack 20: everything that SYS and SYSL can say, on a page of our own, on a device and on nothing.
pub fn maintenance(machine: &Machine, tally: &mut Tally) {
    let page = dma::pages(1);
    let places = [page + 3, 0x0900_0001, machine.ram_end(), u64::MAX - 7, 0x7f_ffff_0000];
    for (op0, op1, crn, crm, op2) in all(1) {
        // DC IVAC as the architecture has it would throw away what this guest wrote beside the page.
        let at = places[tally.below(places.len() as u64) as usize];
        tally.count(exec::run(exec::msr_x0(op0, op1, crn, crm, op2), at));
        tally.count(exec::run(exec::mrs_x0(op0, op1, crn, crm, op2), at));
    }
    for (crm, op2) in [(6, 2), (10, 2), (14, 2)] {
        for _ in 0..500 {
            let set_way = tally.random() & 0xffff_ffff;
            if (crm, op2) != (6, 2) {
                tally.count(exec::run(exec::msr_x0(1, 0, 7, crm, op2), set_way));
            }
        }
    }
    for _ in 0..500 {
        let anywhere = tally.random();
        for (op1, crm, op2) in [(0, 8, 0), (0, 8, 1), (0, 8, 2), (0, 8, 3), (4, 8, 0), (4, 8, 4)] {
            tally.count(exec::run(exec::msr_x0(1, op1, 7, crm, op2), anywhere)); // AT
        }
        for (crm, op2) in [(3, 1), (3, 2), (7, 1), (7, 3), (7, 5)] {
            tally.count(exec::run(exec::msr_x0(1, 0, 8, crm, op2), anywhere)); // TLBI
        }
    }
}
