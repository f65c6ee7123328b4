//! PSCI (DEN 0022).

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tessera_rt::machine::Conduit;
use tessera_rt::psci::{
    AFFINITY_INFO, ALREADY_ON, CPU_OFF, CPU_ON, CPU_SUSPEND, FEATURES, INVALID_ADDRESS,
    INVALID_PARAMETERS, MIGRATE_INFO_TYPE, NOT_SUPPORTED, SYSTEM_OFF, SYSTEM_RESET, SYSTEM_RESET2,
    VERSION, call, call_by,
};
use tessera_rt::report::{check, equal, skip, tessera_only};
use tessera_rt::{Machine, cpu, gic, mrs, psci, smp, timer, trap};

/// A function number that nobody uses.
const UNKNOWN: u64 = 0x8400_ffff;
/// How often a wait of two milliseconds may end, with those that are early.
const MOST_TIMES: u32 = 10;
/// An affinity that no CPU has.
const NO_CPU: u64 = 0x42;

/// Runs the tests.
pub fn run(machine: &Machine) {
    equal("psci is 1.1", call(VERSION, [0; 3]), 0x1_0001);
    equal("an unknown function is not supported", call(UNKNOWN, [0; 3]), NOT_SUPPORTED);
    equal("no trusted os to migrate", call(MIGRATE_INFO_TYPE, [0; 3]), 2);
    features(machine);
    if tessera_only(machine, "psci by smc") {
        equal("psci by smc is 1.1", call_by(Conduit::Smc, VERSION, [0; 3]), 0x1_0001);
        let by_smc = call_by(Conduit::Smc, UNKNOWN, [0; 3]);
        equal("an unknown smc is not supported", i64::from(by_smc as i32), NOT_SUPPORTED);
    }
    suspend();
    errors(machine);
    if machine.cpus().len() < 2 {
        return skip("second cpu", "one CPU only");
    }
    second_cpu(machine);
}

fn features(machine: &Machine) {
    let has = |function| call(FEATURES, [function, 0, 0]);
    for (what, function) in [
        ("features: version", VERSION),
        ("features: cpu_off", CPU_OFF),
        ("features: cpu_on", CPU_ON),
        ("features: cpu_on, 32 bits", 0x8400_0003),
        ("features: affinity_info", AFFINITY_INFO),
        ("features: system_off", SYSTEM_OFF),
        ("features: system_reset", SYSTEM_RESET),
        ("features: features", FEATURES),
    ] {
        equal(what, has(function), 0);
    }
    check("features: cpu_suspend", has(CPU_SUSPEND) >= 0);
    equal("features: an unknown function", has(UNKNOWN), NOT_SUPPORTED);
    if tessera_only(machine, "features: system_reset2 and smccc_version") {
        equal("features: system_reset2", has(SYSTEM_RESET2), 0);
        equal("features: smccc_version", has(psci::SMCCC_VERSION), 0);
    }
}

fn suspend() {
    trap::set_handler(timer::VIRTUAL, |_| timer::disarm());
    gic::enable(timer::VIRTUAL);
    let end = timer::now() + timer::ticks(2000);
    timer::arm_at(end);
    // What the board's core is interrupted for may end it early, as it may end a WFI.
    let (mut answer, mut times) = (0, 0);
    loop {
        answer |= call(CPU_SUSPEND, [0, smp::entry(), 0]);
        times += 1;
        if timer::now() >= end || times == MOST_TIMES {
            break;
        }
    }
    cpu::with_irqs(|| ());
    equal("cpu_suspend to standby returns success", answer, 0);
    check("and hardly ever before the interrupt", times < MOST_TIMES);
    gic::disable(timer::VIRTUAL);
}

fn errors(machine: &Machine) {
    let me = cpu::affinity();
    let entry = smp::entry();
    equal("cpu_on of no cpu", call(CPU_ON, [NO_CPU, entry, 0]), INVALID_PARAMETERS);
    equal("cpu_on of this cpu", call(CPU_ON, [me, entry, 0]), ALREADY_ON);
    equal("affinity_info of this cpu is on", call(AFFINITY_INFO, [me, 0, 0]), 0);
    equal("affinity_info of no cpu", call(AFFINITY_INFO, [NO_CPU, 0, 0]), INVALID_PARAMETERS);
    if machine.cpus().len() > 1 && tessera_only(machine, "cpu_on with an entry outside ram") {
        let second = machine.cpus()[1];
        let answer = call(CPU_ON, [second, machine.ram_end(), 0]);
        equal("cpu_on with an entry outside ram", answer, INVALID_ADDRESS);
        let answer = call(CPU_ON, [second, 0x0900_0000, 0]);
        equal("cpu_on with an entry in a device", answer, INVALID_ADDRESS);
    }
}

static SECOND: AtomicU64 = AtomicU64::new(0);
static GO_OFF: AtomicU64 = AtomicU64::new(0);

fn second_cpu(machine: &Machine) {
    let second = machine.cpus()[1];
    let info = || call(AFFINITY_INFO, [second, 0, 0]);
    equal("the second cpu is off", info(), 1);
    equal("cpu_on of the second cpu", smp::start(machine, 1, report_and_wait), 0);
    check("it runs", timer::comes(|| SECOND.load(SeqCst) != 0));
    equal("it has its own mpidr", SECOND.load(SeqCst) & 0xff_00ff_ffff, second);
    equal("affinity_info says on", info(), 0);
    equal("cpu_on again", call(CPU_ON, [second, smp::entry(), 1]), ALREADY_ON);
    GO_OFF.store(1, SeqCst);
    check("it goes off", smp::wait_off(machine, 1));
    let runs = (0..50).filter(|_| {
        SECOND.store(0, SeqCst);
        smp::start(machine, 1, report_and_wait) == 0
            && smp::wait_off(machine, 1)
            && SECOND.load(SeqCst) != 0
    });
    equal("it can be switched on and off 50 times", runs.count(), 50);
    power_down(machine);
}

static CAME_BACK: AtomicU64 = AtomicU64::new(0);
const AT_ENTRY: u64 = 1;
const BY_RETURN: u64 = 2;
/// CPU_SUSPEND's power state, original format (DEN 0022 5.4.2): power down rather than standby.
const POWER_DOWN: u64 = 1 << 16;

/// A CPU that is suspended to power down comes back at its entry, or returns as from standby: both are allowed.
fn power_down(machine: &Machine) {
    fn fall_asleep(number: usize) {
        smp::prepare(number, |_| {
            timer::disarm();
            CAME_BACK.store(AT_ENTRY, SeqCst);
        });
        gic::enable(timer::VIRTUAL);
        timer::arm_at(timer::now() + timer::ticks(5_000));
        if call(CPU_SUSPEND, [POWER_DOWN, smp::entry(), number as u64]) == 0 {
            CAME_BACK.store(BY_RETURN, SeqCst);
        }
        timer::disarm();
        cpu::with_irqs(|| ());
        gic::disable(timer::VIRTUAL);
    }
    smp::start(machine, 1, fall_asleep);
    let woke = timer::comes(|| CAME_BACK.load(SeqCst) != 0);
    check("cpu_suspend to power down ends with the interrupt", woke);
    check("and the cpu goes off", smp::wait_off(machine, 1));
}

fn report_and_wait(_: usize) {
    SECOND.store(mrs!("mpidr_el1"), SeqCst);
    while GO_OFF.load(SeqCst) == 0 {
        core::hint::spin_loop();
    }
}
