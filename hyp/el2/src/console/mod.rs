//! The console's hardware side: one UART, and the multiplexer behind a lock.
//!
//! The lock is shared by all guests, but no hot exit takes it: only bytes that are printed or typed do.

mod mini_uart;
mod pl011;
mod uart;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tessera_core::addr::{IntId, VmId};
use tessera_core::board::{self, UartKind};
use tessera_core::console::{Console, ConsoleKeys, Sizes};
use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::life::StopReason;
use tessera_core::lock::Mutex;
use tessera_core::monitor::Port;
use tessera_core::serror::SystemError;
use uart::Uart;

use crate::hw::El2;
use crate::lines::Work;
use crate::sysreg::mrs;
use crate::{cpu, gic, guests, memory, monitor};

/// Console and UART.
struct State {
    console: Option<Console>,
    uart: Option<Uart>,
}

static STATE: Mutex<State> = Mutex::new(State { console: None, uart: None });

/// Where the UART's registers are, for the panic path; 0 before there is one.
static UART_VA: AtomicU64 = AtomicU64::new(0);
/// It is a mini-UART.
static UART_IS_MINI: AtomicBool = AtomicBool::new(false);

/// The UART's interrupt, 0 where there is none.
static INTERRUPT: AtomicU32 = AtomicU32::new(0);

/// Lets the UART interrupt this core.
pub fn enable_interrupt(intid: Option<IntId>) {
    if let Some(intid) = intid {
        INTERRUPT.store(intid.0, Ordering::Release);
        gic::enable_spi(intid, cpu::current_id(), false);
    }
}

/// Starts the console on the board's UART, whose registers are mapped as device memory. No guest has a part in it yet.
pub fn init(board: board::Uart) {
    let PanicWriter(Some(mut uart)) = polled_writer(board) else { return };
    uart.init();
    let mut state = STATE.lock();
    state.uart = Some(uart);
    state.console = Some(Console::new(&[], Sizes::default()));
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// Gives each guest its part of the console, in the order of their numbers.
pub fn add_guests(names: &[&str], keys: ConsoleKeys) {
    let mut state = STATE.lock();
    state.flush();
    let console = state.console.take();
    state.console = console.map(|console| console.with_guests(names, Sizes::default(), keys));
}

/// The console, for the monitor.
pub struct Desk;

impl Port for Desk {
    fn with<T>(&self, f: impl FnOnce(&mut Console) -> T) -> Option<T> {
        with(f)
    }
}

/// Runs `f` on the console, then moves output on to the UART.
pub fn with<T>(f: impl FnOnce(&mut Console) -> T) -> Option<T> {
    let mut state = STATE.lock();
    let result = f(state.console.as_mut()?);
    state.drain();
    Some(result)
}

/// Says `text` because of what a guest did: as long as it does not do so too often.
pub fn about(guest: &Guest, text: fmt::Arguments<'_>) {
    let (now, hz) = (El2.now(), El2.counter_hz());
    with(|console| console.log_about((guest.id, guest.name()), now, hz, text));
}

/// The reason for which guest `vm` is about to end, with what this core knows of it told.
pub fn explained(vm: VmId, reason: StopReason) -> StopReason {
    if let Some(guest) = guests::get(vm).filter(|_| reason == StopReason::SystemError) {
        about(guest, format_args!("{}: {}", guest.name(), SystemError(mrs!("esr_el2"))));
    }
    reason
}

/// Handles interrupt `intid` if it is the UART's: what there was to do, or `None` where it is not. Calls `deliver` for each
/// guest that has new input.
pub fn interrupt(intid: IntId, mut deliver: impl FnMut(VmId)) -> Option<Work> {
    if intid.0 != INTERRUPT.load(Ordering::Acquire) {
        return None;
    }
    let mut useful = false;
    let mut targets = 0u32;
    let monitored;
    {
        let mut state = STATE.lock();
        let State { console: Some(console), uart: Some(uart) } = &mut *state else {
            return Some(Work::Nothing);
        };
        // Bounded: at line speed no more than a FIFO's worth can have come while this runs.
        for _ in 0..64 {
            let Some(byte) = uart.getc() else { break };
            useful = true;
            if let Some(vm) = console.physical_input(byte) {
                targets |= 1 << vm.0;
            }
        }
        uart.acknowledge();
        monitored = console.monitor_is_due();
        useful |= state.drain();
    }
    apply_flow();
    if monitored {
        monitor::run();
    }
    for n in 0..32 {
        if targets >> n & 1 != 0 {
            deliver(VmId(n));
        }
    }
    // All guests' output comes by here.
    Some(if useful { Work::Others } else { Work::Nothing })
}

/// Tells the focused guest's UART to hold back, or to go on, as the console asks.
fn apply_flow() {
    // Bounded: each turn changes what the console asked, and it asks about one guest.
    for _ in 0..4 {
        let change = STATE.lock().console.as_mut().and_then(Console::flow_change);
        let Some((vm, hold)) = change else { return };
        if let Some(vm) = guests::get(vm).and_then(Guest::vm) {
            vm.hold_uart(&El2, hold);
        }
    }
}

/// Writes out all that waits, as long as that takes the UART: for the boot's end and before the board goes off.
pub fn flush() {
    STATE.lock().flush();
}

impl State {
    /// Moves output to the UART while it has room; the transmit interrupt brings the rest. Whether there was any.
    fn drain(&mut self) -> bool {
        let Self { console: Some(console), uart: Some(uart) } = self else { return false };
        let mut any = false;
        let mut bytes = [0; uart::MOST_ROOM];
        while console.has_output() {
            let Some(room) = bytes.get_mut(..uart.room()).filter(|room| !room.is_empty()) else {
                break;
            };
            let count = console.take_output(room);
            uart.put(room.get(..count).unwrap_or_default());
            any |= count > 0;
        }
        // A guest that was told to hold back is told to go on by the interrupt too.
        let waits = console.holds() || console.is_waited_for();
        uart.transmit_interrupt(console.has_output() || waits);
        any
    }

    fn flush(&mut self) {
        // Bounded, for a UART that has stopped: each turn waits for a FIFO to go out.
        for _ in 0..10_000 {
            let Self { console: Some(console), uart: Some(uart) } = self else { return };
            uart.flush();
            if !console.has_output() {
                return;
            }
            self.drain();
        }
    }
}

struct Logger;

static LOGGER: Logger = Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        with(|console| match record.level() {
            log::Level::Error => console.log(format_args!("error: {}", record.args())),
            log::Level::Warn => console.log(format_args!("warning: {}", record.args())),
            _ => console.log(*record.args()),
        });
    }

    fn flush(&self) {}
}

/// Straight to the UART, past every lock: for a board that is about to stop.
pub struct PanicWriter(Option<Uart>);

/// A writer before there is a console, on the board's UART, whose registers are mapped.
pub fn polled_writer(board: board::Uart) -> PanicWriter {
    UART_IS_MINI.store(board.kind == UartKind::MiniUart, Ordering::Relaxed);
    UART_VA.store(memory::direct(board.registers.start), Ordering::Release);
    panic_writer()
}

/// A writer for the panic path.
pub fn panic_writer() -> PanicWriter {
    let va = UART_VA.load(Ordering::Acquire);
    let mini = UART_IS_MINI.load(Ordering::Relaxed);
    let kind = if mini { UartKind::MiniUart } else { UartKind::Pl011 };
    // SAFETY: `va` is the board's UART, mapped as device memory. Another driver for it may exist, but its core is stopped
    // or is this one, which does not return; or there is none yet.
    PanicWriter((va != 0).then(|| unsafe { Uart::new(kind, va as *mut u8) }))
}

impl PanicWriter {
    /// Waits until all is on the line.
    pub fn flush(&mut self) {
        if let Some(uart) = &mut self.0 {
            uart.flush();
        }
    }
}

impl Write for PanicWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(uart) = &mut self.0 else { return Ok(()) };
        for byte in text.bytes() {
            if byte == b'\n' {
                uart.put_polled(b'\r');
            }
            uart.put_polled(byte);
        }
        Ok(())
    }
}
