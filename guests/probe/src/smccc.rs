//! SMC calling convention (DEN 0028) and random numbers (DEN 0098). Bare QEMU has neither.

use tessera_rt::machine::Conduit;
use tessera_rt::psci::{ARCH_FEATURES, NOT_SUPPORTED, SMCCC_VERSION, call, call_all};
use tessera_rt::report::{check, equal, same, skip, tessera_only};
use tessera_rt::{Machine, psci};

const WORKAROUNDS: [u64; 3] = [0x8000_8000, 0x8000_7fff, 0x8000_3fff];
const TRNG_VERSION: u64 = 0x8400_0050;
const TRNG_FEATURES: u64 = 0x8400_0051;
const TRNG_RND64: u64 = 0xc400_0053;
const INVALID: i64 = -2;

/// Runs the tests.
pub fn run(machine: &Machine) {
    if !tessera_only(machine, "smccc") {
        return;
    }
    check("smccc is 1.1 or later", call(SMCCC_VERSION, [0; 3]) >= 0x1_0001);
    let features = |function| call(ARCH_FEATURES, [function, 0, 0]);
    equal("arch_features of smccc_version", features(SMCCC_VERSION), 0);
    equal("arch_features of itself", features(ARCH_FEATURES), 0);
    equal("arch_features of an unknown one", features(0x8000_1234), NOT_SUPPORTED);
    for (number, workaround) in (1..).zip(WORKAROUNDS) {
        let answer = features(workaround);
        // -2 is NOT_REQUIRED of workaround 2 (DEN 0028 7.6).
        let known = (-1..=1).contains(&answer) || number == 2 && answer == -2;
        check("a workaround is there, not there or not needed", known);
        if answer == 0 && number != 2 {
            let kept = call_all(Conduit::Hvc, &pattern(workaround));
            same("a workaround keeps x4 to x17", kept[4..].iter().eq(pattern(0)[4..].iter()), true);
        }
    }
    registers_kept();
    random(machine);
}

fn pattern(function: u64) -> [u64; 18] {
    let mut x = core::array::from_fn(|number| 0x5a5a_0000_0000_0000 | number as u64);
    x[0] = function;
    x
}

fn registers_kept() {
    for (what, conduit) in [("hvc", Conduit::Hvc), ("smc", Conduit::Smc)] {
        for function in [psci::VERSION, 0x8400_ffff, 0xc600_0001, 0xffff_ffff_ffff_ffff] {
            let after = call_all(conduit, &pattern(function));
            same(what, &after[4..], &pattern(0)[4..]);
        }
    }
    let answer = call_all(Conduit::Hvc, &pattern(0xc600_0001))[0] as i64;
    equal("an unknown 64-bit function is not supported", answer, NOT_SUPPORTED);
}

fn random(machine: &Machine) {
    let version = call(TRNG_VERSION, [0; 3]);
    if version < 0 {
        equal("without a generator its version is not supported", version, NOT_SUPPORTED);
        equal("and nothing is random", call(TRNG_RND64, [64, 0, 0]), NOT_SUPPORTED);
        return skip("random numbers", if machine.has_seed { "seed, no TRNG" } else { "no seed" });
    }
    check("trng is 1.0 or later", version >= 0x1_0000);
    equal("trng features: rnd64", call(TRNG_FEATURES, [TRNG_RND64, 0, 0]), 0);
    equal("no bits are invalid", call(TRNG_RND64, [0, 0, 0]), INVALID);
    equal("too many bits are invalid", call(TRNG_RND64, [193, 0, 0]), INVALID);
    let draw = || {
        let mut x = [0; 18];
        (x[0], x[1]) = (TRNG_RND64, 192);
        call_all(Conduit::Hvc, &x)
    };
    let (first, second) = (draw(), draw());
    equal("192 bits are given", first[0], 0);
    check("and are different each time", first[1..4] != second[1..4] && first[1..4] != [0; 3]);
    let mut x = [0; 18];
    (x[0], x[1]) = (TRNG_RND64, 8);
    let few = call_all(Conduit::Hvc, &x);
    check("8 bits leave the others 0", few[0] == 0 && few[1] == 0 && few[2] == 0 && few[3] < 256);
}
