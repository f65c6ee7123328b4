//! What others cannot do without, looked after by the clock: a disk that falls silent, an interrupt line in a break, a core that
//! does not come out of EL2.
//!
//! Nobody ticks for it. Who gives the disk a request looks again some seconds later, as long as requests are under way; who
//! switched a line off looks when its break is over; a core without a guest looks at all others every second; and so does who
//! answers somebody that wants to know how guests are.

use tessera_core::deadlines::Slot;
use tessera_core::hw::Hw;

use crate::hw::El2;
use crate::{guests, lines, pulse, timer};

/// Has this core look at `at`, or sooner.
pub fn look_at(at: u64) {
    timer::set_earlier(Slot::Care, at);
}

/// Before a core that has no guest sleeps: it looks every second, and is itself watched.
pub fn idle() {
    pulse::watch();
    look_at(El2.now().saturating_add(El2.counter_hz()));
}

/// Looks after all of it, since the time has come.
#[inline(never)]
pub fn look() {
    let again = [pulse::look(), guests::look_at_disk(), lines::look()];
    if let Some(at) = again.into_iter().flatten().min() {
        look_at(at);
    }
}
