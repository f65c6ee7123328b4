//! The virtual and the physical timer (DDI 0487 D12).

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tessera_rt::gic::{ISPENDR, get};
use tessera_rt::report::{check, equal, skip, tessera_only};
use tessera_rt::timer::{PHYSICAL, VIRTUAL, comes, now, ticks};
use tessera_rt::{Machine, cpu, gic, mrs, msr, println, smp, timer, trap};

static FIRED_AT: AtomicU64 = AtomicU64::new(0);
static FIRED: AtomicU64 = AtomicU64::new(0);

fn fired(intid: u32) {
    FIRED_AT.store(now(), SeqCst);
    FIRED.fetch_add(1, SeqCst);
    if intid == VIRTUAL { timer::disarm() } else { msr!("cntp_ctl_el0", 0) }
}

/// Runs the tests.
pub fn run(machine: &Machine) {
    counter(machine);
    for intid in [VIRTUAL, PHYSICAL] {
        trap::set_handler(intid, fired);
        gic::enable(intid);
    }
    fires("the virtual timer", timer::arm_at);
    fires("the physical timer", |at| {
        let offset = mrs!("cntpct_el0").wrapping_sub(now());
        msr!("cntp_cval_el0", at.wrapping_add(offset));
        msr!("cntp_ctl_el0", 1);
    });
    again();
    asleep();
    level();
    both();
    gic::disable(PHYSICAL);
    gic::disable(VIRTUAL);
    across(machine);
}

fn counter(machine: &Machine) {
    let frequency = timer::frequency();
    check("the frequency is sane", (1_000_000..=1_000_000_000).contains(&frequency));
    if tessera_only(machine, "the counter started near 0") {
        check("the counter started near 0", machine.entered_at < frequency * 60);
    }
    let mut last = now();
    let monotonic = (0..10_000).all(|_| {
        let next = now();
        core::mem::replace(&mut last, next) <= next
    });
    check("the virtual counter never goes back", monotonic);
    let (outer, before) = (now(), mrs!("cntpct_el0"));
    timer::sleep(1000);
    let passed = mrs!("cntpct_el0") - before;
    let least = ticks(1000);
    let same_speed = (least..=now() - outer).contains(&passed);
    check("the physical counter has the same speed", same_speed);
}

fn fires(what: &str, arm: impl Fn(u64)) {
    let mut latest = 0;
    for micros in [0, 10, 100, 1000, 10_000] {
        let before = FIRED.load(SeqCst);
        let at = now() + ticks(micros);
        arm(at);
        cpu::with_irqs(|| comes(|| FIRED.load(SeqCst) != before));
        equal(what, FIRED.load(SeqCst), before + 1);
        check("fires not early", FIRED_AT.load(SeqCst) >= at);
        latest = latest.max(FIRED_AT.load(SeqCst).saturating_sub(at));
    }
    // How late is said, not judged: an emulated machine that shares its cores is late through no fault of Tessera's.
    println!("# at most {latest} ticks late");
}

fn again() {
    let before = FIRED.load(SeqCst);
    for _ in 0..1000 {
        let count = FIRED.load(SeqCst);
        timer::arm_at(now() + ticks(20));
        cpu::with_irqs(|| comes(|| FIRED.load(SeqCst) != count));
    }
    equal("the virtual timer fires 1000 times", FIRED.load(SeqCst) - before, 1000);
}

fn asleep() {
    let (mut fired, mut early) = (0, 0);
    for _ in 0..100 {
        let before = FIRED.load(SeqCst);
        let at = now() + ticks(200);
        timer::arm_at(at);
        cpu::wfi();
        early += u64::from(now() < at);
        cpu::with_irqs(|| comes(|| FIRED.load(SeqCst) != before));
        fired += FIRED.load(SeqCst) - before;
    }
    equal("the timer ends wfi, 100 times", fired, 100);
    // It may end for other reasons, such as work for the core at EL2, but does so seldom.
    check("and is hardly ever early", early <= 10);
}

/// The condition and the line (D12.2.4).
fn level() {
    gic::disable(VIRTUAL);
    let before = now();
    let at = before + timer::frequency() * 3600;
    msr!("cntv_cval_el0", at);
    msr!("cntv_ctl_el0", 1);
    equal("armed for later it is not met", mrs!("cntv_ctl_el0"), 1);
    let left = mrs!("cntv_tval_el0") as u32;
    let (least, most) = (at - now(), at - before);
    // 32 bits of what is left.
    let counts = u64::from((most as u32).wrapping_sub(left)) <= most - least;
    check("tval counts down", counts);
    msr!("cntv_tval_el0", -5i64 as u64);
    equal("a time that is over is met", mrs!("cntv_ctl_el0"), 5);
    check("and the line is up", comes(|| get(ISPENDR, VIRTUAL)));
    msr!("cntv_ctl_el0", 3);
    equal("masked it is met still", mrs!("cntv_ctl_el0"), 7);
    check("and the line is down", comes(|| !get(ISPENDR, VIRTUAL)));
    msr!("cntv_ctl_el0", 1);
    check("unmasked it is up", comes(|| get(ISPENDR, VIRTUAL)));
    timer::disarm();
    check("disabled it is down", comes(|| !get(ISPENDR, VIRTUAL)));
    equal("disabled and ended it does not come", gic::acknowledge(), 1023);
    gic::enable(VIRTUAL);
    active_again();
}

/// While its interrupt is active the line may rise again: it comes once more after the end.
fn active_again() {
    msr!("cntv_tval_el0", 0);
    msr!("cntv_ctl_el0", 1);
    comes(waits);
    equal("the timer is acknowledged", gic::acknowledge(), VIRTUAL);
    gic::end(VIRTUAL);
    check("still met, it comes again", comes(waits));
    equal("and is acknowledged again", gic::acknowledge(), VIRTUAL);
    timer::disarm();
    gic::end(VIRTUAL);
    timer::sleep(100);
    equal("off, it does not", gic::acknowledge(), 1023);
}

/// An IRQ waits for this CPU.
fn waits() -> bool {
    mrs!("isr_el1") & 0x80 != 0
}

fn both() {
    let before = FIRED.load(SeqCst);
    msr!("cntp_tval_el0", ticks(100));
    msr!("cntp_ctl_el0", 1);
    timer::arm_at(now() + ticks(100));
    cpu::with_irqs(|| comes(|| FIRED.load(SeqCst) == before + 2));
    equal("both timers at once fire both", FIRED.load(SeqCst) - before, 2);
}

static OTHERS_TIME: AtomicU64 = AtomicU64::new(0);

fn across(machine: &Machine) {
    if machine.cpus().len() < 2 {
        return skip("the counter of the other cpu", "one CPU only");
    }
    fn tell(_: usize) {
        OTHERS_TIME.store(now(), SeqCst);
        trap::set_handler(VIRTUAL, fired);
        gic::enable(VIRTUAL);
        let before = FIRED.load(SeqCst);
        timer::arm_at(now() + ticks(500));
        cpu::with_irqs(|| comes(|| FIRED.load(SeqCst) != before));
        gic::disable(VIRTUAL);
    }
    let fired = FIRED.load(SeqCst);
    let before = now();
    smp::start(machine, 1, tell);
    check("the second cpu goes off", smp::wait_off(machine, 1));
    let time = OTHERS_TIME.load(SeqCst);
    check("the other cpu has the same time", (before..now()).contains(&time));
    equal("its own timer fires there", FIRED.load(SeqCst) - fired, 1);
}
