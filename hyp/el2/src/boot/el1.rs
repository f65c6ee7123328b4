//! Entered at EL1: there is no EL2 for us. Says so on the board's console, and how to get it.

use core::fmt::Write;

use tessera_core::board::Board;

use crate::{console, memory, power};

const MESSAGE: &str = "\n\
tessera| error: entered at EL1, but a hypervisor needs EL2.\n\
tessera| On QEMU add virtualization=on to -M virt. On a board, check that the boot loader starts its\n\
tessera| payload at EL2 (U-Boot: no hypervisor below; Raspberry Pi: arm_64bit=1 and the stock stub).\n";

/// The boot core at EL1, with the same tables.
#[unsafe(no_mangle)]
extern "C" fn el1_main(dtb: u64, image: u64) -> ! {
    memory::set_image_pa(image);
    memory::init_heap();
    if let Some(fdt) = super::device_tree(dtb) {
        let board = Board::discover(&fdt);
        power::set_conduit(board.psci);
        if let Some(uart) = board.uart {
            super::map::adopt();
            super::map::device(uart.registers);
            let mut out = console::polled_writer(uart);
            let _ = out.write_str(MESSAGE);
            out.flush();
        }
    }
    power::off()
}
