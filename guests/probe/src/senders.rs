//! SGIs of a GICv2 as it tells them apart: each sender's is one of its own (IHI 0048 2.2.1, 4.3.15 to 4.3.17, 4.4.4).

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tessera_rt::gic::v2::{
    CPENDSGIR, ITARGETSR, SGIR, SPENDSGIR, TO_OTHERS, TO_SELF, intid, own_bit, sender,
};
use tessera_rt::gic::{DEFAULT_PRIORITY, GICD, IPRIORITYR, ISACTIVER, SPURIOUS, get};
use tessera_rt::machine::MAX_CPUS;
use tessera_rt::mmio::{read8, write8, write32};
use tessera_rt::report::{check, equal, same, skip};
use tessera_rt::{Machine, cpu, gic, smp, timer};

const SGIS: usize = 16;
/// The SGI that all send.
const SAME: u32 = 9;
/// No interrupt.
const NONE: u32 = 1023;
/// The SGI that ends [`listen`].
const STOP: u32 = 15;
/// What [`bank`] gives its own SGIs as priority.
const OTHERS_PRIORITY: u8 = 0x30;

/// Runs the tests.
pub fn run(machine: &Machine) {
    if !gic::is_v2() {
        return skip("senders of sgis", "a GICv3 does not tell them");
    }
    own();
    every_sender_by_register(machine);
    if machine.cpus().len() < 2 {
        return skip("sgis of other senders", "one CPU only");
    }
    banked(machine);
    every_sender(machine);
    split_end(machine);
    all_from_all(machine);
    filters(machine);
}

/// Gives what is acknowledged next and ends it.
fn take() -> u32 {
    let taken = gic::acknowledge();
    if taken < SPURIOUS || intid(taken) < SPURIOUS {
        gic::end(taken);
    }
    taken
}

fn from(sgi: u32, sender: u32) -> u32 {
    sender << 10 | sgi
}

/// The bits of all CPUs of the machine, in lists of targets and of senders.
pub fn everybody(machine: &Machine) -> u8 {
    ((1u32 << machine.cpus().len()) - 1) as u8
}

fn own() {
    let me = own_bit().trailing_zeros();
    gic::send_sgi(3, u16::from(own_bit()));
    timer::sleep(100);
    equal("an sgi to this cpu says that it sent it", take(), from(3, me));
    write32(GICD + SGIR, TO_SELF | 4);
    timer::sleep(100);
    equal("so does one to the sender", take(), from(4, me));
    gic::send_sgi(3, u16::from(own_bit()));
    gic::send_sgi(3, u16::from(own_bit()));
    timer::sleep(100);
    same("sent twice it is one", [take(), take()], [from(3, me), NONE]);
    write32(GICD + SGIR, TO_SELF | 0xff << 16 | 4);
    timer::sleep(100);
    same("to the sender, the list is ignored", [take(), take()], [from(4, me), NONE]);
    write32(GICD + SGIR, TO_OTHERS | 0xff << 16 | 5);
    write32(GICD + SGIR, 6);
    timer::sleep(100);
    equal("to the others or to nobody, nothing comes", take(), NONE);
}

/// Made pending by SPENDSGIR they come as if sent.
fn every_sender_by_register(machine: &Machine) {
    let all = everybody(machine);
    write8(GICD + SPENDSGIR + u64::from(SAME), all);
    timer::sleep(100);
    equal("all that were made pending come", senders_of(SAME, machine.cpus().len()), all);
    equal("and no more", take(), NONE);
}

/// Takes `count` interrupts and gives the senders of those that were `sgi`, each once.
fn senders_of(sgi: u32, count: usize) -> u8 {
    (0..count).fold(0, |seen, _| {
        let taken = take();
        let bit = 1 << sender(taken);
        if intid(taken) == sgi && seen & bit == 0 { seen | bit } else { seen }
    })
}

/// Lets every CPU but this one do `job`, and waits until they are off.
fn others_do(machine: &Machine, job: fn(usize)) {
    let others = 1..machine.cpus().len().min(MAX_CPUS);
    others.clone().for_each(|number| {
        smp::start(machine, number, job);
    });
    check("the others go off", others.into_iter().all(|number| smp::wait_off(machine, number)));
}

static PRIVATE: AtomicU32 = AtomicU32::new(0);

/// Registers of SGIs and PPIs are each CPU's own.
fn banked(machine: &Machine) {
    fn bank(_: usize) {
        write8(GICD + IPRIORITYR + 3, OTHERS_PRIORITY);
        let target = read8(GICD + ITARGETSR + 3);
        PRIVATE.store(u32::from(read8(GICD + IPRIORITYR + 3)) << 8 | u32::from(target), SeqCst);
    }
    smp::start(machine, 1, bank);
    smp::wait_off(machine, 1);
    let want = u32::from(OTHERS_PRIORITY) << 8 | 1 << 1;
    equal("another cpu has its own priorities and targets", PRIVATE.load(SeqCst), want);
    equal("and this one its own", read8(GICD + IPRIORITYR + 3), DEFAULT_PRIORITY);
}

fn send_same(_: usize) {
    gic::send_sgi(SAME, 1);
    gic::send_sgi(SAME, 1);
}

/// The same SGI from every CPU, before the first is taken.
fn every_sender(machine: &Machine) {
    let count = machine.cpus().len();
    let all = everybody(machine);
    others_do(machine, send_same);
    send_same(0);
    timer::sleep(100);
    equal("the senders can be read", read8(GICD + SPENDSGIR + u64::from(SAME)), all);
    equal("each sender's sgi comes, once", senders_of(SAME, count), all);
    equal("and no more", take(), NONE);
    others_do(machine, send_same);
    let first = gic::acknowledge();
    equal("one is acknowledged", intid(first), SAME);
    let rest = read8(GICD + CPENDSGIR + u64::from(SAME));
    equal("it pends no more", rest & 1 << sender(first), 0);
    equal("the same from another waits for its end", gic::acknowledge(), NONE);
    gic::end(first);
    timer::sleep(100);
    equal("then it comes", senders_of(SAME, count - 2) | 1 << sender(first), all & !1);
    others_do(machine, send_same);
    write8(GICD + CPENDSGIR + u64::from(SAME), 1 << 1);
    timer::sleep(100);
    equal("taken back from one sender, the others come", senders_of(SAME, count), all & !3);
}

/// With EOImode an SGI is active until GICC_DIR.
fn split_end(machine: &Machine) {
    smp::start(machine, 1, send_same);
    smp::wait_off(machine, 1);
    gic::send_sgi(SAME, 1);
    timer::sleep(100);
    gic::set_split_end(true);
    let first = gic::acknowledge();
    gic::end(first);
    equal("eoir drops an sgi's priority", gic::running(), 0xff);
    check("and leaves it active", get(ISACTIVER, SAME));
    equal("the same of another sender waits", gic::acknowledge(), NONE);
    gic::send_sgi(SAME + 1, 1);
    timer::sleep(100);
    let another = gic::acknowledge();
    equal("another sgi does not", another, from(SAME + 1, 0));
    gic::end(another);
    gic::deactivate(another);
    gic::deactivate(first);
    timer::sleep(100);
    let second = gic::acknowledge();
    check("deactivated, it comes", intid(second) == SAME && sender(second) != sender(first));
    gic::end(second);
    gic::deactivate(second);
    gic::set_split_end(false);
    check("and is active no more", !get(ISACTIVER, SAME));
}

/// Sixteen SGIs from every CPU: many more than there are list registers.
fn all_from_all(machine: &Machine) {
    fn send_all(_: usize) {
        (0..SGIS as u32).for_each(|sgi| gic::send_sgi(sgi, 1));
    }
    others_do(machine, send_all);
    send_all(0);
    gic::set_priority(SAME, 0x40);
    timer::sleep(100);
    let count = machine.cpus().len();
    equal("the most urgent sgi comes first", senders_of(SAME, count), everybody(machine));
    let mut seen = [0u8; SGIS];
    for _ in 0..(SGIS - 1) * count {
        let taken = take();
        if let Some(senders) = seen.get_mut(intid(taken) as usize) {
            *senders |= 1 << sender(taken);
        }
    }
    seen[SAME as usize] = everybody(machine);
    same("all sgis of all senders come", seen, [everybody(machine); SGIS]);
    equal("and no more", take(), NONE);
    gic::set_priority(SAME, DEFAULT_PRIORITY);
}

/// For each CPU, how often each SGI of the boot CPU came to it.
static HEARD: [[AtomicU32; SGIS]; MAX_CPUS] =
    [const { [const { AtomicU32::new(0) }; SGIS] }; MAX_CPUS];

fn listen(number: usize) {
    loop {
        cpu::wfi();
        let taken = take();
        if taken == STOP {
            return;
        }
        if let Some(count) = HEARD[number].get(taken as usize) {
            count.fetch_add(1, SeqCst);
        }
    }
}

/// The CPUs that have heard `sgi` once, as a list of targets.
fn heard(sgi: u32) -> u8 {
    let once = |number: &usize| HEARD[*number][sgi as usize].load(SeqCst) == 1;
    (0..MAX_CPUS).filter(once).fold(0, |list, number| list | 1 << number)
}

/// SGIR's filter and list, seen by who gets something.
fn filters(machine: &Machine) {
    let count = machine.cpus().len().min(MAX_CPUS);
    let all = everybody(machine);
    let last = 1u8 << (count - 1);
    (1..count).for_each(|number| {
        smp::start(machine, number, listen);
    });
    write32(GICD + SGIR, TO_OTHERS | 1);
    gic::send_sgi(2, u16::from(last));
    gic::send_sgi(3, u16::from(all));
    write32(GICD + SGIR, TO_SELF | 0xff << 16 | 4);
    write32(GICD + SGIR, TO_OTHERS | 1 << 16 | 5);
    gic::send_sgi(6, u16::from(!all));
    let wanted = [(1, all & !1), (2, last), (3, all & !1), (4, 0), (5, all & !1), (6, 0)];
    let right = || wanted.iter().all(|(sgi, cpus)| heard(*sgi) == *cpus);
    timer::comes(right);
    for (what, (sgi, cpus)) in [
        "to all but the sender",
        "to a list of one",
        "to a list of all",
        "to the sender",
        "to all but the sender, the list is ignored",
        "to a list of absent cpus",
    ]
    .into_iter()
    .zip(wanted)
    {
        equal(what, heard(sgi), cpus);
    }
    same("the sender has its own two", [take(), take(), take()], [3, 4, NONE]);
    gic::broadcast_sgi(STOP);
    let off = (1..count).all(|number| smp::wait_off(machine, number));
    check("the others go off", off);
}
