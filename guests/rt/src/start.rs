//! From the entry code to the guest's main function.
#![allow(unsafe_code, reason = "the entry code and the guest's main function are found by symbol")]

use crate::fdt::Fdt;
use crate::machine::Machine;
use crate::{console, cpu, gic, mmu, msr, println, psci, smp};

core::arch::global_asm!(include_str!("entry.s"));

static MACHINE: spin::Once<Machine> = spin::Once::new();

// SAFETY: symbols of the linker script; only their addresses are taken.
unsafe extern "C" {
    static _start: u8;
    static __end: u8;
}

// SAFETY: each guest defines it with this signature, by the macro of this crate.
unsafe extern "Rust" {
    fn rt_guest_main(machine: &'static Machine);
}

/// Called by the entry code with the MMU on, on a stack of this CPU's own.
#[unsafe(no_mangle)]
extern "C" fn rt_start(number: usize, tree: *const u8, entered_at: u64) -> ! {
    msr!("tpidr_el1", number as u64);
    if number != 0 {
        gic::init_cpu();
        smp::run(number);
    }
    console::init();
    let machine = MACHINE.call_once(|| {
        let mut machine = read_tree(tree);
        machine.entered_at = entered_at;
        gic::set_version(machine.gic);
        machine.gic_not_reset = gic::not_reset();
        machine
    });
    psci::set_conduit(machine.conduit);
    mmu::init(machine.ram_end());
    gic::init_distributor();
    gic::init_cpu();
    // SAFETY: `guest!` defines it with this signature.
    unsafe { rt_guest_main(machine) };
    psci::off()
}

fn read_tree(at: *const u8) -> Machine {
    if at.is_null() {
        return Machine::default();
    }
    // SAFETY: by the boot protocol x0 is the address of a device tree, whose header is 40 bytes.
    let header = unsafe { core::slice::from_raw_parts(at, 40) };
    let size = crate::fdt::word(header, 4).unwrap_or(0) as usize;
    // SAFETY: the second word of the header is the size of the whole, which nobody writes.
    let blob = unsafe { core::slice::from_raw_parts(at, size) };
    let mut machine =
        Fdt::new(blob).map_or_else(Machine::default, |tree| Machine::from_tree(&tree));
    let image = (&raw const _start as u64, &raw const __end as u64 - 1);
    let tree = at as u64;
    machine.loaded = [image, (tree, tree + (size as u64).saturating_sub(1))];
    machine
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    console::write_now(format_args!("\nGUEST-DIED cpu {}: {info}\n", cpu::this()));
    psci::died()
}

/// Prints the first line of a guest.
pub(crate) fn greet(name: &str, machine: &Machine) {
    println!(
        "{name}: {} CPUs, GICv{}, RAM {:#x}+{:#x}, {}, {} virtio windows, bootargs \"{}\"",
        machine.cpus().len(),
        if gic::is_v2() { 2 } else { 3 },
        machine.ram_base,
        machine.ram_size,
        if machine.tessera { "Tessera" } else { "no hypervisor" },
        machine.virtio().len(),
        machine.bootargs,
    );
}
