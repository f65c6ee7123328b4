//! From the first Rust instruction to guests that run.

mod el1;
pub mod map;
mod smp;

use core::mem::offset_of;

use tessera_core::board::Board;
use tessera_core::fdt::Fdt;

use crate::memory::{self, DTB_VA};
use crate::{console, cpu, gic, guests, mailbox, main_loop, panic, power, provoke};

core::arch::global_asm!(
    include_str!("head.S"),
    cpus = sym cpu::CPUS,
    max_cpus = const cpu::MAX_CPUS,
    cpu_size = const size_of::<cpu::PerCpu>(),
    mpidr = const offset_of!(cpu::PerCpu, mpidr),
);

/// The boot core, at EL2, MMU and caches on, BSS clear, on the boot stack. `dtb` and `image` are physical addresses,
/// `began` is the counter when the loader handed over.
#[unsafe(no_mangle)]
extern "C" fn primary_main(dtb: u64, image: u64, began: u64) -> ! {
    memory::set_image_pa(image);
    memory::init_heap();
    smp::adopt_boot_core();
    let Some(fdt) = device_tree(dtb) else { power::halt() };
    let board = Board::discover(&fdt);
    power::set_conduit(board.psci);
    panic::configure(board.bootargs);
    provoke::configure(board.bootargs);
    map::adopt();
    if let Some(watchdog) = board.watchdog {
        map::device(watchdog);
        power::set_watchdog(watchdog.start);
    }
    if let Some(mailbox) = board.mailbox {
        map::device(mailbox);
        mailbox::init(mailbox.start);
    }
    if let Some(uart) = board.uart {
        map::device(uart.registers);
        console::init(uart);
    }
    log::info!("Tessera {} at {image:#x}, device tree at {dtb:#x}", env!("CARGO_PKG_VERSION"));
    let gic = match board.check() {
        Ok(gic) => gic,
        Err(error) => stop(format_args!("{error}")),
    };
    map::board(&board, dtb, fdt.bytes().len() as u64);
    gic::init_board(gic, board.cpus.len());
    smp::start(&board);
    console::enable_interrupt(board.uart.and_then(|uart| uart.interrupt));
    provoke::on_boot_core();
    guests::start(&board, began);
    main_loop::run_core()
}

/// The tree that the boot code mapped, or `None` where there is none: then nothing can be said either.
fn device_tree(pa: u64) -> Option<Fdt<'static>> {
    /// What the boot protocol allows (Linux Documentation/arch/arm64/booting.rst, 2).
    const MAX_DTB: usize = 2 << 20;
    let at = DTB_VA + pa % (2 << 20);
    // SAFETY: the boot code mapped the 2 MiB block there, read-only, and the next where the tree reaches it; nothing
    // writes to it.
    let head = unsafe { core::slice::from_raw_parts(at as *const u8, 40) };
    let len = Fdt::total_size(head).ok()?.min(MAX_DTB);
    // SAFETY: as above: `len` is what the boot code went by, or less.
    let blob = unsafe { core::slice::from_raw_parts(at as *const u8, len) };
    Fdt::new(blob).ok()
}

/// Says why Tessera cannot run, and turns the board off.
pub fn stop(why: core::fmt::Arguments<'_>) -> ! {
    log::error!("{why}");
    console::flush();
    power::exit_with_failure()
}

/// A core that firmware started for us, on its own stack.
#[unsafe(no_mangle)]
extern "C" fn secondary_main(cpu: &'static cpu::PerCpu) -> ! {
    smp::enter(cpu);
    provoke::on_secondary_core();
    main_loop::run_core()
}
