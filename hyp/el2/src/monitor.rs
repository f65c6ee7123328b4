//! The monitor on the board: what it asks, answered, and who runs it.
//!
//! It has no core of its own. Whoever takes the UART's interrupt does a bounded piece of its work, so does the core on
//! which a guest's state changed, and one whose deadline came. Where one is at it, others leave word and go on.

use alloc::format;
use alloc::string::String;

use tessera_core::addr::VcpuSet;
use tessera_core::deadlines::Slot;
use tessera_core::disk::partitions::Partition;
use tessera_core::errand::Errand;
use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::life::{Change, Telling};
use tessera_core::lock::Mutex;
use tessera_core::monitor::{
    Command, DiskFacts, Event, Events, LineFacts, Memory, Terminal, Verb, World,
};
use tessera_core::vm::Vm;

use crate::boot::map;
use crate::console::{self, Desk};
use crate::hw::{El2, FRAMES};
use crate::{care, guests, lines, memory, power, usage};

/// The monitor at the board's terminal. Taken before every other lock, and only tried.
static TERMINAL: Errand<Terminal> = Errand::new(Terminal::new());
/// How often a second the monitor looks again while others leave word for it.
const AGAIN_HZ: u64 = 1000;
/// What became of guests.
static EVENTS: Mutex<Events> = Mutex::new(Events::new());

/// Does what the monitor has to do, a bounded piece of it. Nothing may be locked.
pub fn run() {
    let done = TERMINAL.run(|terminal| {
        let more_events = collect_events();
        terminal.work(&Board, &Desk);
        terminal.waits_until().into_iter().chain(more_events).min()
    });
    // Where another is at it, he looks again.
    let Some((until, word)) = done else { return };
    // A guest with a control port can leave word as fast as it is read, so this core's own guest has a turn in between.
    let soon = word.then(|| El2.now().saturating_add(El2.counter_hz() / AGAIN_HZ));
    El2.set_deadline(Slot::Board, soon.into_iter().chain(until).min());
    if until.is_some() {
        // An answer takes its time: perhaps somebody wonders why a guest does nothing.
        care::look();
    }
}

/// Serves the control port of a guest, after one of its vCPUs stored to it; whether there is more to do at once. Nothing may
/// be locked.
pub fn serve_store(vm: &Vm) -> bool {
    let more = serve(vm);
    if vm.control.as_ref().is_some_and(|control| control.waits_until().is_some()) {
        // A core of the guest, which this is, watches the time.
        vm.attention.mind_the_clock();
        El2.kick(El2.this_cpu());
    }
    more
}

/// As [`serve_store`], where somebody else looks when there is more to do.
pub fn serve(vm: &Vm) -> bool {
    let more = vm.serve_control(&Board, &El2);
    // What was asked for may have changed guests' states.
    run();
    more
}

/// Moves what guests' lives remember of their changes to where it is told from; when there is more of it.
fn collect_events() -> Option<u64> {
    let before = next_event();
    let (now, hz) = (El2.now(), El2.counter_hz());
    let mut later = None;
    for guest in guests::all().unwrap_or_default() {
        // Bounded: a guest may have so many told.
        let again = loop {
            match guest.life.take_change(now, hz) {
                Telling::Now(Change { at, state, reason, left_out }) => {
                    EVENTS.lock().add(Event { at, guest: guest.id, state, reason, left_out });
                }
                Telling::Later(again) => break Some(again),
                Telling::Nothing => break None,
            }
        };
        later = later.into_iter().chain(again).min();
    }
    if next_event() != before {
        guests::tell_control_ports();
    }
    later
}

fn next_event() -> u64 {
    EVENTS.lock().next()
}

/// The board, as the monitor sees it.
struct Board;

impl World for Board {
    fn now(&self) -> u64 {
        El2.now()
    }

    fn counter_hz(&self) -> u64 {
        El2.counter_hz()
    }

    fn guests(&self) -> &[Guest] {
        guests::all().unwrap_or_default()
    }

    fn act(&self, command: Command) -> Result<(), String> {
        let guest = guests::get(command.guest).ok_or("there is no such guest")?;
        if let Some(request) = command.request() {
            let asked = guest.ask(request, &El2);
            return asked.map(drop).map_err(|why| format!("{}: {why}", guest.name()));
        }
        match command.verb {
            Verb::Console => _ = console::with(|console| console.show_guest(guest.id)),
            Verb::Reboot => {
                log::info!("the board starts anew");
                console::flush();
                power::reset();
            }
            Verb::Poweroff if command.word.is_empty() => {
                log::info!("the board goes off when all guests have stopped");
                guests::power_off();
            }
            Verb::Poweroff => {
                log::info!("the board goes off");
                console::flush();
                power::off();
            }
            _ => {}
        }
        Ok(())
    }

    fn sample(&self, ticks: u64) {
        usage::sample(ticks);
    }

    fn look(&self, guest: &Guest) {
        guest.look(VcpuSet(u8::MAX), &El2);
    }

    fn log_line(&self, at: &mut u64) -> Option<String> {
        let (line, next) = console::with(|console| console.log_line(*at)).flatten()?;
        *at = next;
        Some(line)
    }

    fn event(&self, from: u64) -> Option<(u64, Event)> {
        EVENTS.lock().get(from)
    }

    fn next_event(&self) -> u64 {
        next_event()
    }

    fn memory(&self) -> Memory {
        let (total, bundle) = map::ram_and_bundle();
        let (heap_used, heap) = memory::heap_usage();
        let (_, image) = memory::image_range();
        let (free, frames) = match FRAMES.lock().as_ref() {
            Some(frames) => (frames.free_bytes(), frames.total_bytes()),
            None => (0, 0),
        };
        Memory {
            total,
            image: image - memory::HEAP_SIZE as u64,
            heap_used: heap_used as u64,
            heap_free: (heap - heap_used) as u64,
            stacks: memory::stacks(),
            tables: map::table_frames() * tessera_core::addr::PAGE_SIZE,
            bundle,
            firmware: total.saturating_sub(image + bundle + frames),
            free,
        }
    }

    fn disk(&self) -> Option<DiskFacts> {
        guests::disk_facts()
    }

    fn partitions(&self) -> &[Partition] {
        guests::partitions()
    }

    fn line(&self, n: usize) -> Option<LineFacts> {
        lines::facts(n)
    }
}
