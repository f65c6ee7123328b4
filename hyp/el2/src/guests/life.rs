//! What a life of a guest is made of: taken from the board at its start, given back at its end.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Once;
use tessera_abi::layout;
use tessera_core::addr::{Ipa, PAGE_SIZE, Pa, VmId};
use tessera_core::attention::Attention;
use tessera_core::board::{Board, Gic};
use tessera_core::config::ConsoleKind;
use tessera_core::control::Control;
use tessera_core::guest::{DiskSeat, Guest};
use tessera_core::guest_dt::Pmu;
use tessera_core::guest_mem::{Extent, GuestRam};
use tessera_core::hw::Hw;
use tessera_core::id_regs::IdRegs;
use tessera_core::lock::Mutex;
use tessera_core::paging::MapError;
use tessera_core::pl061::Pl061;
use tessera_core::psci::{PowerStates, Psci};
use tessera_core::smccc::{Mitigations, Services};
use tessera_core::stage2::Stage2;
use tessera_core::steal::StealTime;
use tessera_core::vgic::{Model, Vgic};
use tessera_core::virtio::blk::VirtioBlk;
use tessera_core::virtio::input::PowerButton;
use tessera_core::vm::{DiskNews, Vm};
use tessera_core::vtimer::Clock;
use tessera_core::vuart::Vuart;
use tessera_core::watchdog::Watchdog;

use super::disk;
use crate::boot::map;
use crate::hw::{El2, FRAMES};
use crate::sysreg::mrs;
use crate::{cpu, id, memory, power};

/// What the board has for all guests alike.
pub struct Parts {
    /// Performance monitors that a guest gets.
    pub pmu: Pmu,
    /// The interrupt controller that a guest gets.
    gic: Model,
    /// A GICv2's virtual interface, which guests use as theirs.
    gicv: Option<Pa>,
    /// Defences of the board's cores and of its firmware.
    mitigations: Mitigations,
    /// Physical memory that no guest may ever see.
    forbidden: Arc<[core::ops::Range<Pa>]>,
}

static PARTS: Once<Parts> = Once::new();

/// Remembers what guests are made of. Call once, before the first is started.
pub fn adopt(board: &Board<'_>) {
    let (image, image_len) = memory::image_range();
    let gicv = match board.gic {
        Some(Gic::V2 { gicv, .. }) => Some(gicv.start),
        _ => None,
    };
    PARTS.call_once(|| Parts {
        pmu: match board.pmu {
            _ if !id::has_pmu() => Pmu::None,
            Some(intid) if intid.0 == layout::PMU_INTID => Pmu::Interrupting,
            _ => Pmu::Counting,
        },
        gic: if gicv.is_some() { Model::V2 } else { Model::V3 },
        gicv,
        mitigations: Mitigations::new(
            mrs!("midr_el1"),
            mrs!("id_aa64pfr0_el1"),
            power::firmware_answers(),
        ),
        forbidden: [image..image.offset(image_len)].into(),
    });
}

/// What guests are made of.
pub fn parts() -> Option<&'static Parts> {
    PARTS.get()
}

/// Builds a life and installs it. Where that fails, nothing of it is left.
///
/// Not inlined, as all that handles a life by value: in the frame of the loop that runs guests it would lie below all that is
/// done for them.
#[inline(never)]
pub fn build(guest: &Guest) -> Result<(), String> {
    let parts = parts().ok_or("the board is not known yet")?;
    let (ram, stage2, steal) = take_memory(guest, parts)?;
    let config = &guest.config;
    let end = layout::RAM_BASE.saturating_add(config.memory);
    let random = guest.random.lock().as_mut().map(|stream| stream.for_guest(guest.id));
    let disk = |seat: &DiskSeat| Mutex::new(VirtioBlk::new(seat.owner, seat.window, seat.serial));
    guest.install(Arc::new(Vm {
        id: guest.id,
        name: config.name.clone(),
        cpus: guest.cores().to_vec(),
        ram,
        stage2,
        attention: Attention::default(),
        services: Services {
            psci: Psci {
                power: PowerStates::new(config.vcpus() as u8),
                ram: layout::RAM_BASE..end,
            },
            mitigations: parts.mitigations,
            random: random.is_some(),
            steal: steal.is_some(),
        },
        steal,
        ids: IdRegs::from_hw(id::read),
        clock: Mutex::new(Clock::starting(0)),
        random: Mutex::new(random),
        disks: guest.disks.iter().map(disk).collect(),
        disk_news: DiskNews::new(),
        power_button: Mutex::new(PowerButton::new()),
        watchdog: config.watchdog.map(|on_hang| Mutex::new(Watchdog::new(on_hang))),
        control: config.control.then(Control::new),
        uart: (config.console == ConsoleKind::Pl011).then(|| Mutex::new(Vuart::new())),
        gpio: (!guest.groups.is_empty()).then(|| Mutex::new(Pl061::new())),
        groups: guest.groups.clone(),
        vgic: Vgic::new(config.vcpus(), parts.gic),
        counters: guest.counters.clone(),
    }));
    Ok(())
}

/// Whether the disk has nothing under way of a life that all vCPUs have left: it may still write to its memory. If not, ask
/// again when something of it has come, or in about a second, for the disk may have ceased to work.
pub fn drain(vm: &Vm) -> bool {
    if vm.reset_disks() {
        return true;
    }
    disk::check();
    // Some may have come while this vCPU had left and others had not, and the kick for it is gone.
    while vm.take_disk_news(&El2, cpu::current_id()) {}
    vm.reset_disks()
}

/// Gives back what [`build`] took. No core of the guest is in the life, and its disks have nothing under way.
#[inline(never)]
pub fn give_back(vm: Arc<Vm>) {
    let mut vm = vm;
    // Others hold it for as long as they hand something over, and can come by no new hold.
    let vm = loop {
        match Arc::try_unwrap(vm) {
            Ok(vm) => break vm,
            Err(held) => vm = held,
        }
        core::hint::spin_loop();
    };
    // Tables first: the TLBs forget the memory before it is anybody else's.
    vm.stage2.free(&El2);
    give_ram(&vm.ram);
    if let Some(steal) = &vm.steal {
        El2.give_frames(steal.page(), 0);
    }
}

/// All the memory of a life, mapped; where that cannot be had, nothing is kept.
fn take_memory(
    guest: &Guest,
    parts: &Parts,
) -> Result<(GuestRam, Stage2, Option<StealTime>), String> {
    let ram = take_ram(guest.config.memory)?;
    let mut stage2 = map_ram(&ram, guest.id, parts).inspect_err(|_| give_ram(&ram))?;
    let shared = map_groups(guest, &mut stage2).map_err(|error| error.to_string());
    let mut steal =
        || guest.config.sharing.map(|_| take_steal_time(guest, &mut stage2)).transpose();
    match shared.and_then(|()| steal()) {
        Ok(steal) => Ok((ram, stage2, steal)),
        Err(error) => {
            stage2.free(&El2);
            give_ram(&ram);
            Err(error)
        }
    }
}

/// What the guest shares with others.
fn map_groups(guest: &Guest, stage2: &mut Stage2) -> Result<(), MapError> {
    for (slot, share) in (0..).zip(&guest.groups) {
        for extent in &share.group.region {
            stage2.map_shared(&El2, extent.ipa, extent.pa, extent.len, share.access())?;
        }
        let page = Ipa(layout::MEMBERSHIP_BASE + slot * layout::MEMBERSHIP_SIZE);
        stage2.map_data_page(&El2, page, share.group.page)?;
    }
    Ok(())
}

/// The page in which the guest reads how long its vCPUs waited for a core.
fn take_steal_time(guest: &Guest, stage2: &mut Stage2) -> Result<StealTime, String> {
    let page = El2.take_frames(0).ok_or("no memory is free")?;
    stage2.map_data_page(&El2, Ipa(layout::STEAL_TIME_BASE), page).map_err(|error| {
        El2.give_frames(page, 0);
        error.to_string()
    })?;
    Ok(StealTime::new(page, El2.counter_hz(), &guest.counters))
}

/// The guest's physical address space; where it cannot be made, nothing of it is left.
fn map_ram(ram: &GuestRam, id: VmId, parts: &Parts) -> Result<Stage2, String> {
    let mut stage2 = Stage2::new(&El2, id, map::pa_range(), parts.forbidden.clone())
        .map_err(|error| error.to_string())?;
    let mut map_all = || {
        for extent in ram.extents() {
            stage2.map_ram(&El2, extent.ipa, extent.pa, extent.len)?;
        }
        // The rest of GICC is emulated.
        let len = layout::GICC_DIR_BASE - layout::GICC_BASE;
        parts.gicv.map_or(Ok(()), |gicv| stage2.map_device(&El2, Ipa(layout::GICC_BASE), gicv, len))
    };
    if let Err(error) = map_all() {
        stage2.free(&El2);
        return Err(error.to_string());
    }
    Ok(stage2)
}

/// Frames for a guest's memory, in the largest blocks there are, one an extent.
fn take_ram(bytes: u64) -> Result<GuestRam, String> {
    let blocks = FRAMES.lock().as_mut().and_then(|frames| frames.take_bytes(bytes));
    let blocks = blocks.ok_or("its memory is not free; give it less, or stop another guest")?;
    let mut ipa = Ipa(layout::RAM_BASE);
    let mut extents: Vec<Extent> = Vec::with_capacity(blocks.len());
    for block in blocks {
        extents.push(Extent { ipa, pa: block.at, len: block.bytes() });
        ipa = ipa.offset(block.bytes());
    }
    GuestRam::new(extents).map_err(|error| error.to_string())
}

/// Gives back what [`take_ram`] took.
fn give_ram(ram: &GuestRam) {
    for extent in ram.extents() {
        El2.give_frames(extent.pa, (extent.len / PAGE_SIZE).ilog2() as u8);
    }
}
