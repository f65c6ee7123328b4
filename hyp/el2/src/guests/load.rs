//! Clearing a guest's memory and loading it: at its first start, and again at each reset.

use tessera_abi::layout;
use tessera_core::addr::{Ipa, Pa, VcpuId};
use tessera_core::guest_dt::{self, GuestDt, Pmu, Seed};
use tessera_core::hw::Hw;
use tessera_core::image::{Kernel, place};
use tessera_core::psci::Start;
use tessera_core::vm::Vm;
use tessera_core::vtimer::Clock;

use super::{Guest, life};
use crate::hw::El2;
use crate::{cache, interrupt, memory, tlb};

/// Bytes that one core clears at a time.
const CHUNK: u64 = 2 << 20;

/// Clears a part of the guest's memory; `true` for the last of it, and who cleared that now loads the guest. `None` where there
/// is nothing left to clear.
pub fn clear(guest: &Guest, vm: &Vm) -> Option<bool> {
    let size = vm.ram.size();
    let chunks = size.div_ceil(CHUNK) as u32;
    let chunk = guest.life.take_chunk(chunks)?;
    let start = u64::from(chunk) * CHUNK;
    let len = CHUNK.min(size - start);
    for piece in vm.ram.pieces(Ipa(layout::RAM_BASE + start), len) {
        let Ok((pa, len)) = piece else { break };
        // SAFETY: whole pages of the guest's own RAM, in the direct map. No vCPU of it runs and no disk writes to
        // it: all have parked, and its requests have ended.
        unsafe { cache::zero_pages(memory::direct(pa), len) };
    }
    // The board's devices interrupt this core too, and others wait for them.
    interrupt::outside_guest();
    Some(guest.life.chunk_cleared(chunks))
}

/// Loads kernel, ramdisk and device tree into cleared memory and lets the first vCPU start. An error says why not.
#[inline(never)]
pub fn load(guest: &Guest, vm: &Vm) -> Result<(), alloc::string::String> {
    let text = |error: &dyn core::fmt::Display| alloc::format!("{error}");
    let kernel = Kernel::open(guest.kernel).map_err(|error| text(&error))?;
    let memory = vm.ram.size();
    let base = Ipa(layout::RAM_BASE);
    let tree_size = guest_dt::MAX_BYTES + guest.config.bootargs.len() as u64;
    let places = place(base, memory, &kernel, guest.ramdisk.len() as u64, tree_size)
        .map_err(|error| text(&error))?;
    let mut at = places.kernel;
    let limit = kernel.memory_bytes();
    kernel
        .unpack(limit, |bytes| {
            write(vm, at, bytes);
            at = at.offset(bytes.len() as u64);
        })
        .map_err(|error| text(&error))?;
    write(vm, places.ramdisk, guest.ramdisk);
    let ramdisk = guest.ramdisk.len() as u64;
    let tree = guest_dt::build(&GuestDt {
        vcpus: guest.config.vcpus(),
        gic: vm.vgic.model(),
        memory,
        bootargs: &guest.config.bootargs,
        ramdisk: (ramdisk > 0).then_some((places.ramdisk, ramdisk)),
        uart: vm.uart.is_some(),
        control: vm.control.is_some(),
        watchdog: vm.watchdog.is_some(),
        disks: vm.disks.len(),
        pmu: life::parts().map_or(Pmu::None, |parts| parts.pmu),
        seed: seed(vm),
    });
    write(vm, places.tree, &tree);
    // Instructions were written, and translations of the guest's last life may be cached.
    cache::invalidate_instructions();
    tlb::invalidate_vm(vm.id);
    *vm.clock.lock() = Clock::starting(El2.now());
    let start = Start { entry: places.kernel, context: places.tree.0 };
    vm.services.psci.power.switch_on(VcpuId(0), start).map_err(|_| "vCPU 0 is on".into())
}

fn seed(vm: &Vm) -> Option<Seed> {
    let mut seed = [0; core::mem::size_of::<Seed>()];
    vm.random.lock().as_mut()?.fill(&mut seed);
    Some(seed)
}

/// Copies into the guest's memory, and out of the caches: it starts with its own off.
fn write(vm: &Vm, at: Ipa, bytes: &[u8]) {
    let mut at = at;
    for part in bytes.chunks(CHUNK as usize) {
        write_part(vm, at, part);
        at = at.offset(part.len() as u64);
        interrupt::outside_guest();
    }
}

fn write_part(vm: &Vm, at: Ipa, bytes: &[u8]) {
    let mut rest = bytes;
    for piece in vm.ram.pieces(at, bytes.len() as u64) {
        let Ok((pa, len)) = piece else { return };
        let Some((now, later)) = rest.split_at_checked(len as usize) else { return };
        El2.write(pa, now);
        clean(pa, len);
        rest = later;
    }
}

fn clean(pa: Pa, len: u64) {
    cache::clean_invalidate(memory::direct(pa), len);
}
