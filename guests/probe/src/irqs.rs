//! How interrupts reach a CPU: order, masks, preemption, the two ways to end one, edges and levels.

use tessera_rt::console::{self, UART};
use tessera_rt::gic::{
    CTLR, DEFAULT_MASK, DEFAULT_PRIORITY, GICD, ICACTIVER, ICPENDR, ISACTIVER, ISENABLER, ISPENDR,
    get, set,
};
use tessera_rt::mmio::{read32, write32};
use tessera_rt::report::{check, equal, same};
use tessera_rt::{Machine, cpu, gic, mrs, timer, trap};

use crate::gic::FREE_SPI;
use crate::seen;

/// SPIs that no device has: more than the four list registers of the CPUs that QEMU models.
const FIRST: u32 = FREE_SPI;
const LAST: u32 = FREE_SPI + 7;
/// No interrupt.
const NONE: u32 = 1023;
const UART_INTID: u32 = 33;

/// Runs the tests.
pub fn run(_: &Machine) {
    (FIRST..=LAST).for_each(|intid| {
        gic::set_edge(intid, true);
        gic::enable(intid);
    });
    delivery();
    order();
    masks();
    preemption();
    end_modes();
    pending_again();
    changed_while_active();
    level();
    sleep();
    (FIRST..=LAST).for_each(gic::disable);
}

fn delivery() {
    seen::watch(FIRST);
    set(ISPENDR, FIRST);
    equal("an edge arrives", seen::wait(0, FIRST, 1), 1);
    equal("once", seen::after_a_while(0, FIRST), 1);
    check("it is active no more", !get(ISACTIVER, FIRST));
    set(ISPENDR, FIRST);
    set(ICPENDR, FIRST);
    equal("withdrawn, it does not arrive", seen::after_a_while(0, FIRST), 1);
    gic::disable(FIRST);
    set(ISPENDR, FIRST);
    equal("disabled, it does not arrive", seen::after_a_while(0, FIRST), 1);
    gic::enable(FIRST);
    equal("enabled again, it does", seen::wait(0, FIRST, 2), 2);
}

/// Takes what pends, most urgent first, ending each.
fn drain<const N: usize>() -> [u32; N] {
    core::array::from_fn(|_| {
        let intid = gic::acknowledge();
        if intid < gic::SPURIOUS {
            gic::end(intid);
        }
        intid
    })
}

fn order() {
    let priorities = [0xa0, 0x20, 0x60, 0x80, 0x40, 0xc0, 0x10, 0x30];
    for (intid, priority) in (FIRST..=LAST).zip(priorities) {
        gic::set_priority(intid, priority);
        set(ISPENDR, intid);
    }
    equal("the most urgent is told first", gic::most_urgent(), FIRST + 6);
    let want = [6, 1, 7, 4, 2, 3, 0, 5].map(|place| FIRST + place);
    same("eight pending come in the order of priority", drain::<8>(), want);
    equal("and no more", gic::acknowledge(), NONE);
    for intid in FIRST..=LAST {
        gic::set_priority(intid, DEFAULT_PRIORITY);
        set(ISPENDR, intid);
    }
    let mut got = drain::<8>();
    got.sort_unstable();
    same("of equal ones none is lost", got, core::array::from_fn(|n| FIRST + n as u32));
    mixed();
}

/// SGIs and SPIs, sixteen at once.
fn mixed() {
    (0..8).for_each(|sgi| gic::send_sgi(sgi, 1));
    (FIRST..=LAST).for_each(|intid| set(ISPENDR, intid));
    timer::sleep(100);
    let mut got = drain::<16>();
    got.sort_unstable();
    let want = core::array::from_fn(|n| if n < 8 { n as u32 } else { FIRST + n as u32 - 8 });
    same("sixteen at once, sgis and spis, all come", got, want);
}

fn masks() {
    gic::set_priority(FIRST, 0x80);
    gic::set_mask(0x80);
    set(ISPENDR, FIRST);
    timer::sleep(100);
    equal("pmr at its priority keeps it back", gic::acknowledge(), NONE);
    gic::set_mask(0x88);
    timer::sleep(100);
    same("pmr below lets it through", drain::<2>(), [FIRST, NONE]);
    gic::set_mask(DEFAULT_MASK);
    set(ISPENDR, FIRST);
    gic::set_interface(false);
    timer::sleep(100);
    equal("a disabled group is not told", gic::acknowledge(), NONE);
    gic::set_interface(true);
    timer::sleep(100);
    same("an enabled one is", drain::<2>(), [FIRST, NONE]);
    let control = read32(GICD + CTLR);
    write32(GICD + CTLR, control & !gic::group_enable());
    set(ISPENDR, FIRST);
    timer::sleep(100);
    equal("a distributor that is off sends nothing", gic::acknowledge(), NONE);
    write32(GICD + CTLR, control);
    timer::sleep(100);
    same("switched on it does", drain::<2>(), [FIRST, NONE]);
    gic::set_priority(FIRST, DEFAULT_PRIORITY);
}

fn preemption() {
    let (low, same_priority, high) = (FIRST, FIRST + 1, FIRST + 2);
    gic::set_priority(low, 0x80);
    gic::set_priority(same_priority, 0x80);
    gic::set_priority(high, 0x40);
    set(ISPENDR, low);
    equal("a low priority is acknowledged", gic::acknowledge(), low);
    equal("it runs", gic::running(), 0x80);
    check("it is active", get(ISACTIVER, low));
    check("it pends no more", !get(ISPENDR, low));
    set(ISPENDR, same_priority);
    timer::sleep(100);
    equal("its own priority has to wait", gic::acknowledge(), NONE);
    set(ISPENDR, high);
    timer::sleep(100);
    equal("a higher one preempts", gic::acknowledge(), high);
    equal("and runs", gic::running(), 0x40);
    gic::end(high);
    equal("then the first runs again", gic::running(), 0x80);
    gic::end(low);
    timer::sleep(100);
    same("then the one that waited", drain::<2>(), [same_priority, NONE]);
    equal("nothing runs", gic::running(), 0xff);
    (low..=high).for_each(|intid| gic::set_priority(intid, DEFAULT_PRIORITY));
}

fn end_modes() {
    gic::set_split_end(true);
    set(ISPENDR, FIRST);
    equal("with eoimode 1 it is acknowledged", gic::acknowledge(), FIRST);
    gic::end(FIRST);
    equal("eoir drops the priority", gic::running(), 0xff);
    check("and leaves it active", get(ISACTIVER, FIRST));
    set(ISPENDR, FIRST);
    timer::sleep(100);
    equal("pending while active it waits", gic::acknowledge(), NONE);
    set(ISPENDR, FIRST + 1);
    timer::sleep(100);
    equal("others do not", gic::acknowledge(), FIRST + 1);
    gic::end(FIRST + 1);
    gic::deactivate(FIRST + 1);
    gic::deactivate(FIRST);
    timer::sleep(100);
    equal("deactivated it comes again", gic::acknowledge(), FIRST);
    gic::end(FIRST);
    set(ICACTIVER, FIRST);
    check("icactiver deactivates too", !get(ISACTIVER, FIRST));
    gic::set_split_end(false);
}

fn pending_again() {
    set(ISPENDR, FIRST);
    equal("an edge is acknowledged", gic::acknowledge(), FIRST);
    set(ISPENDR, FIRST);
    check("pending and active at once", get(ISPENDR, FIRST) && get(ISACTIVER, FIRST));
    gic::end(FIRST);
    timer::sleep(100);
    same("the second edge comes after the end", drain::<2>(), [FIRST, NONE]);
    set(ISACTIVER, FIRST);
    set(ISPENDR, FIRST);
    timer::sleep(100);
    equal("made active by hand it does not come", gic::acknowledge(), NONE);
    set(ICACTIVER, FIRST);
    timer::sleep(100);
    same("made inactive it does", drain::<2>(), [FIRST, NONE]);
}

/// An active interrupt ends, whatever its priority has become.
fn changed_while_active() {
    set(ISPENDR, FIRST);
    equal("an interrupt is acknowledged, whose priority changes", gic::acknowledge(), FIRST);
    gic::set_priority(FIRST, 0x40);
    gic::end(FIRST);
    check("its end ends it", !get(ISACTIVER, FIRST));
    equal("and drops the priority that it had", gic::running(), 0xff);
    set(ISPENDR, FIRST);
    same("it comes again", drain::<2>(), [FIRST, NONE]);
    gic::set_priority(FIRST, DEFAULT_PRIORITY);
}

/// The UART's transmitter as a level that stays until it is masked or cleared.
fn level() {
    trap::set_handler(UART_INTID, |intid| {
        seen::note(intid);
        if seen::count(0, intid) == 3 {
            write32(UART + console::IMSC, 0);
        }
    });
    gic::set_edge(UART_INTID, false);
    write32(UART + console::IMSC, console::INT_TX);
    console::put(b'#');
    console::put(b'\n');
    check("the transmitter asks", timer::comes(|| get(ISPENDR, UART_INTID)));
    gic::enable(UART_INTID);
    equal("a level comes again until it is masked", seen::wait(0, UART_INTID, 3), 3);
    equal("then no more", seen::after_a_while(0, UART_INTID), 3);
    check("masked it does not pend", !get(ISPENDR, UART_INTID));
    gic::disable(UART_INTID);
    write32(UART + console::IMSC, console::INT_TX);
    timer::sleep(100);
    check("unmasked it pends", get(ISPENDR, UART_INTID));
    write32(UART + console::ICR, console::INT_TX);
    timer::sleep(100);
    check("cleared in the device it does not", !get(ISPENDR, UART_INTID));
    write32(UART + console::IMSC, 0);
    check("enable bits of others are untouched", get(ISENABLER, FIRST));
}

/// What pends ends WFI, masked by PSTATE or not, and is told in ISR_EL1.
fn sleep() {
    set(ISPENDR, FIRST);
    cpu::wfi();
    timer::sleep(100);
    equal("isr says irq", mrs!("isr_el1") & 0x80, 0x80);
    same("masked it waits for acknowledge", drain::<2>(), [FIRST, NONE]);
    equal("isr says nothing", mrs!("isr_el1") & 0x80, 0);
}
