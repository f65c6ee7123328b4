//! Nothing of another guest shows in this one's registers.
//!
//! All that EL2 has to exchange when another vCPU takes the core is filled with values that follow from `load.seed`, another
//! for each guest: SIMD registers, EL1's system registers, the timers, the priority mask, an interrupt that pends behind it,
//! and one that is active. `load.rounds` (1000) times the guest then sleeps, spins or makes an exit, and looks whether all of it
//! is still there. It takes no exception meanwhile, so ELR_EL1 and its like have to stay, too.
//!
//! `load.debug` does so with debug and PMU registers as well, which may be exchanged for guests that use them only, and `load.no-fp` leaves
//! the SIMD registers alone, for the same reason.

use tessera_rt::fp::Registers;
use tessera_rt::gic::{ISACTIVER, ISPENDR, get};
use tessera_rt::{Machine, cpu, gic, mrs, msr, println, psci, timer};

use crate::meter::work_for;
use crate::number;

/// An SGI that pends all the time, less urgent than the mask lets through.
const PENDING: u32 = 5;
const PENDING_PRIORITY: u8 = 0xe0;
/// One that is active all the time.
const ACTIVE: u32 = 3;
const ACTIVE_PRIORITY: u8 = 0x80;
/// The timer's, which comes between all the same.
const TIMER_PRIORITY: u8 = 0x20;
/// The masks, of which each guest has one: all between the two priorities.
const MASKS: [u8; 4] = [0x90, 0xa0, 0xb0, 0xc0];
/// Complaints after which nothing more is said.
const MOST: u64 = 20;
/// FPCR and FPSR (DDI 0487 C5.2.8, C5.2.10): how to round, and what has happened.
const ROUNDING: u32 = 22;
const HAPPENED: u64 = 0x1f;

/// A register: its name, what may be written there of a number, and how.
struct Register {
    name: &'static str,
    value: fn(u64) -> u64,
    write: fn(u64),
    read: fn() -> u64,
}

macro_rules! register {
    ($name:literal, $value:expr) => {
        Register { name: $name, value: $value, write: |v| msr!($name, v), read: || mrs!($name) }
    };
}

/// Those that do nothing here but keep their values.
const REGISTERS: [Register; 17] = [
    register!("tpidr_el0", |seed| seed),
    register!("tpidrro_el0", |seed| seed),
    register!("contextidr_el1", |seed| seed & 0xffff_ffff),
    register!("sp_el0", |seed| seed & !0xf),
    register!("elr_el1", |seed| seed & 0x7f_ffff_fffc),
    register!("spsr_el1", |seed| seed & 0xf000_0000 | 0x3c5),
    register!("esr_el1", |seed| seed & 0xffff_ffff),
    register!("far_el1", |seed| seed),
    register!("afsr0_el1", |seed| seed & 0xffff_ffff),
    register!("afsr1_el1", |seed| seed & 0xffff_ffff),
    register!("par_el1", |seed| seed & 0x7f_ffff_f000),
    // Behind the attributes that are in use.
    register!("mair_el1", |seed| mrs!("mair_el1") & 0xff_ffff | seed << 24),
    register!("amair_el1", |seed| seed),
    // No walk begins there.
    register!("ttbr1_el1", |seed| seed & 0x7f_ffff_f000),
    register!("csselr_el1", |seed| seed & 2),
    register!("cntkctl_el1", |seed| seed & 3),
    register!("cntp_cval_el0", |seed| seed | 1 << 63),
];

/// Those of debugging and counting.
const DEBUG: [Register; 6] = [
    register!("dbgbvr0_el1", |seed| seed & 0x7f_ffff_fffc),
    register!("dbgwvr0_el1", |seed| seed & 0x7f_ffff_fff8),
    register!("mdscr_el1", |seed| seed & 1 << 12),
    Register {
        name: "dbgclaimclr_el1",
        value: |seed| seed >> 8 & 0xff,
        // One sets tags, and the other clears them and tells which are set (DDI 0487 D24.3).
        write: |tags| {
            msr!("dbgclaimclr_el1", 0xff_u64);
            msr!("dbgclaimset_el1", tags);
        },
        read: || mrs!("dbgclaimclr_el1"),
    },
    register!("pmselr_el0", |seed| seed & 1),
    register!("S3_3_C14_C15_7", |seed| seed & 3 << 30), // PMCCFILTR_EL0
];

/// What is expected of this guest.
struct Expected {
    registers: [u64; REGISTERS.len()],
    debug: Option<[u64; DEBUG.len()]>,
    simd: Option<Registers>,
    floating: [u64; 2],
    mask: u64,
}

/// Runs it.
pub fn run(machine: &Machine) {
    let (seed, rounds) = (number(machine, "load.seed", 1), number(machine, "load.rounds", 1000));
    let expected = fill(machine, seed);
    let mut wrong = 0;
    for round in 0..rounds {
        pause(round, seed);
        wrong += expected.differences(round, wrong);
    }
    println!("LOAD state rounds={rounds} wrong={wrong}");
    gic::end(ACTIVE);
}

/// Puts everything where it stays.
fn fill(machine: &Machine, seed: u64) -> Expected {
    let value = |n: u64| (seed + n * 64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    // What was written may have bits that the register does not.
    let put = |(n, register): (u64, &Register)| {
        (register.write)((register.value)(value(n)));
        (register.read)()
    };
    let mut registers = [0; REGISTERS.len()];
    for (place, one) in registers.iter_mut().zip((0..).zip(&REGISTERS)) {
        *place = put(one);
    }
    let debug = machine.arg("load.debug").map(|_| {
        let mut values = [0; DEBUG.len()];
        values.iter_mut().zip((100..).zip(&DEBUG)).for_each(|(place, one)| *place = put(one));
        values
    });
    let floating = [(seed & 3) << ROUNDING, seed & HAPPENED];
    let simd = machine.arg("load.no-fp").is_none().then(|| {
        let simd = Registers(core::array::from_fn(|n| value(200 + n as u64)));
        simd.write();
        msr!("S3_3_C4_C4_0", floating[0]);
        msr!("S3_3_C4_C4_1", floating[1]);
        simd
    });
    let mask = MASKS[(seed % MASKS.len() as u64) as usize];
    gic::set_priority(ACTIVE, ACTIVE_PRIORITY);
    gic::set_priority(PENDING, PENDING_PRIORITY);
    gic::set_priority(timer::VIRTUAL, TIMER_PRIORITY);
    gic::send_sgi(ACTIVE, 1);
    while gic::acknowledge() & 0x3ff != ACTIVE {}
    gic::set_mask(mask);
    gic::send_sgi(PENDING, 1);
    gic::enable(timer::VIRTUAL);
    Expected { registers, debug, simd, floating, mask: u64::from(mask) }
}

/// What may bring another vCPU onto the core, or EL2.
fn pause(round: u64, seed: u64) {
    match (round + seed) % 4 {
        0 => work_for(timer::ticks(300)),
        1 => _ = psci::call(psci::VERSION, [0; 3]),
        _ => {
            let at = timer::now() + timer::ticks(200 + (round * 37 + seed * 101) % 800);
            timer::arm_at(at);
            while timer::now() < at {
                cpu::wfi();
                cpu::give_way();
            }
            let taken = gic::acknowledge();
            timer::disarm();
            if taken == timer::VIRTUAL {
                gic::end(taken);
            } else {
                println!("not ok - the timer is not what was acknowledged, but {taken}");
            }
        }
    }
}

impl Expected {
    /// How many things are not what they were; says so of the first.
    fn differences(&self, round: u64, before: u64) -> u64 {
        let mut wrong = 0;
        let mut compare = |what: &str, got: u64, want: u64| {
            if got != want {
                wrong += 1;
                if before + wrong <= MOST {
                    println!("not ok - round {round}: {what} is {got:#x}, not {want:#x}");
                }
            }
        };
        for (register, want) in REGISTERS.iter().zip(self.registers) {
            compare(register.name, (register.read)(), want);
        }
        for (register, want) in DEBUG.iter().zip(self.debug.iter().flatten()) {
            compare(register.name, (register.read)(), *want);
        }
        if let Some(simd) = &self.simd {
            let now = Registers::read();
            let same = now.0.iter().zip(&simd.0).position(|(got, want)| got != want);
            compare("the first SIMD register that differs", same.map_or(0, |n| n as u64 + 1), 0);
            compare("fpcr", mrs!("S3_3_C4_C4_0"), self.floating[0]);
            compare("fpsr", mrs!("S3_3_C4_C4_1"), self.floating[1]);
        }
        compare("the priority mask", gic::mask(), self.mask);
        compare("the running priority", gic::running(), ACTIVE_PRIORITY.into());
        for (what, array, intid, want) in [
            ("what is active", ISACTIVER, ACTIVE, true),
            ("what only was", ISPENDR, ACTIVE, false),
            ("what pends", ISPENDR, PENDING, true),
            ("what never was active", ISACTIVER, PENDING, false),
        ] {
            compare(what, get(array, intid).into(), want.into());
        }
        wrong
    }
}
