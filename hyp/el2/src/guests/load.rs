//! Clearing a guest's memory and loading it: at its first start, and again at each reset.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tessera_abi::layout;
use tessera_core::addr::{Ipa, Pa, VcpuId};
use tessera_core::group::Share;
use tessera_core::guest_dt::{self, GroupDt, GuestDt, Pmu, Seed};
use tessera_core::hw::Hw;
use tessera_core::image::{Content, ImageError, Kernel, Placement, place};
use tessera_core::psci::Start;
use tessera_core::stage2::Access;
use tessera_core::vm::Vm;
use tessera_core::vtimer::Clock;

use super::{Guest, life};
use crate::hw::El2;
use crate::{cache, interrupt, memory, tlb};

/// Bytes that one core clears or copies at a time.
const CHUNK: u64 = 2 << 20;

/// The same where others of its guests may wait: some 50 us of it, a small part of any wake-up latency.
const TURN: u64 = 64 << 10;

fn piece_of(guest: &Guest) -> u64 {
    if guest.config.sharing.is_some() { TURN } else { CHUNK }
}

/// Clears a part of the guest's memory; `true` for the last of it, and who cleared that now loads the guest. `None` where there
/// is nothing left to clear.
pub fn clear(guest: &Guest, vm: &Vm) -> Option<bool> {
    let (size, most) = (vm.ram.size(), piece_of(guest));
    let chunks = size.div_ceil(most) as u32;
    let chunk = guest.life.take_chunk(chunks)?;
    let start = u64::from(chunk) * most;
    let len = most.min(size - start);
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

/// A guest's kernel and ramdisk on their way into its cleared memory.
///
/// Both can be hundreds of milliseconds of a core's time, which others may share: [`Loading::step`] brings in a part of them.
pub struct Loading {
    places: Placement,
    kernel: Content<'static>,
    /// Where the next of the kernel goes.
    kernel_at: Ipa,
    /// What is not copied yet of the ramdisk, and where that goes.
    ramdisk: &'static [u8],
    ramdisk_at: Ipa,
}

impl Loading {
    /// Finds out where the parts go. An error says why they go nowhere.
    #[inline(never)]
    pub fn begin(guest: &Guest, vm: &Vm) -> Result<Self, String> {
        let text = |error: ImageError| error.to_string();
        let kernel = Kernel::open(guest.kernel).map_err(text)?;
        let tree_size = guest_dt::MAX_BYTES
            + guest.groups.len() as u64 * guest_dt::GROUP_BYTES
            + guest.config.bootargs.len() as u64;
        let ramdisk = guest.ramdisk;
        let base = Ipa(layout::RAM_BASE);
        let places = place(base, vm.ram.size(), &kernel, ramdisk.len() as u64, tree_size);
        let places = places.map_err(text)?;
        Ok(Self {
            places,
            kernel: kernel.content(kernel.memory_bytes()).map_err(text)?,
            kernel_at: places.kernel,
            ramdisk,
            ramdisk_at: places.ramdisk,
        })
    }

    /// Brings in some more; `false` once all is there and the first vCPU may start. An error says why it may not.
    #[inline(never)]
    pub fn step(&mut self, guest: &Guest, vm: &Vm) -> Result<bool, String> {
        let most = piece_of(guest) as usize;
        if let Some(piece) = self.kernel.piece(most).map_err(|error| error.to_string())? {
            write(vm, self.kernel_at, piece);
            self.kernel_at = self.kernel_at.offset(piece.len() as u64);
            return Ok(true);
        }
        if self.ramdisk.is_empty() {
            return start(guest, vm, &self.places).map(|()| false);
        }
        let (now, later) = self.ramdisk.split_at(most.min(self.ramdisk.len()));
        write(vm, self.ramdisk_at, now);
        self.ramdisk = later;
        self.ramdisk_at = self.ramdisk_at.offset(now.len() as u64);
        Ok(true)
    }
}

/// Adds the device tree to the rest and switches the first vCPU on.
fn start(guest: &Guest, vm: &Vm, places: &Placement) -> Result<(), String> {
    let ramdisk = guest.ramdisk.len() as u64;
    let tree = guest_dt::build(&GuestDt {
        vcpus: guest.config.vcpus(),
        gic: vm.vgic.model(),
        memory: vm.ram.size(),
        bootargs: &guest.config.bootargs,
        ramdisk: (ramdisk > 0).then_some((places.ramdisk, ramdisk)),
        uart: vm.uart.is_some(),
        control: vm.control.is_some(),
        watchdog: vm.watchdog.is_some(),
        disks: vm.disks.len(),
        pmu: life::parts().map_or(Pmu::None, |parts| parts.pmu),
        groups: &groups(vm),
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

fn groups(vm: &Vm) -> Vec<GroupDt<'_>> {
    fn group(share: &Share) -> GroupDt<'_> {
        let region = &share.group.region;
        GroupDt {
            name: &share.group.name,
            region: (region.first().map_or(Ipa(0), |extent| extent.ipa), share.group.size()),
            index: share.index,
            members: share.group.count(),
            writable: share.access() == Access::ReadWrite,
        }
    }
    vm.groups.iter().map(group).collect()
}

fn seed(vm: &Vm) -> Option<Seed> {
    let mut seed = [0; core::mem::size_of::<Seed>()];
    vm.random.lock().as_mut()?.fill(&mut seed);
    Some(seed)
}

/// Copies into the guest's memory, and out of the caches: it starts with its own off.
fn write(vm: &Vm, at: Ipa, bytes: &[u8]) {
    let mut rest = bytes;
    for piece in vm.ram.pieces(at, bytes.len() as u64) {
        let Ok((pa, len)) = piece else { break };
        let Some((now, later)) = rest.split_at_checked(len as usize) else { break };
        El2.write(pa, now);
        clean(pa, len);
        rest = later;
    }
    // The board's devices interrupt this core too, and others wait for them.
    interrupt::outside_guest();
}

fn clean(pa: Pa, len: u64) {
    cache::clean_invalidate(memory::direct(pa), len);
}
