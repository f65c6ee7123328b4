//! From the bundle to guests that are ready to be loaded. A guest that cannot be is left out, with its reason.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use tessera_abi::layout;
use tessera_core::addr::{Ipa, PAGE_SIZE, Pa, VmId};
use tessera_core::board::{Board, Gic};
use tessera_core::bundle::{Bundle, File};
use tessera_core::config::{self, BoardFacts, Config, ConsoleKind, VmConfig};
use tessera_core::counters::GuestCounters;
use tessera_core::guest_dt::Pmu;
use tessera_core::guest_mem::{Extent, GuestRam};
use tessera_core::hw::Hw;
use tessera_core::id_regs::IdRegs;
use tessera_core::life::Life;
use tessera_core::lock::Mutex;
use tessera_core::psci::{PowerStates, Psci};
use tessera_core::smccc::{Mitigations, Services};
use tessera_core::stage2::Stage2;
use tessera_core::trng::Stream;
use tessera_core::vgic::{Model, Vgic};
use tessera_core::virtio::blk::VirtioBlk;
use tessera_core::virtio::input::PowerButton;
use tessera_core::vm::{DiskNews, Vm};
use tessera_core::vtimer::Clock;
use tessera_core::vuart::Vuart;

use super::{Guest, disk, files};
use crate::boot::{map, stop};
use crate::hw::{El2, FRAMES};
use crate::sysreg::mrs;
use crate::{accounts, cpu, id, memory, power};

/// Everything that the guests are made of.
struct Parts {
    files: Vec<File<'static>>,
    disk: Option<disk::BoardDisk>,
    seed: Option<Stream>,
    /// Performance monitors that a guest gets.
    pmu: Pmu,
    /// The interrupt controller that a guest gets.
    gic: Model,
    /// A GICv2's virtual interface, which guests use as theirs.
    gicv: Option<Pa>,
    /// Physical memory that no guest may ever see.
    forbidden: Arc<[core::ops::Range<Pa>]>,
}

/// Builds all guests that can be built.
pub fn build(board: &Board<'_>) -> Vec<Guest> {
    let bundle = open(board);
    let mut config = match bundle.config() {
        Ok(fdt) => config::parse(&fdt),
        Err(error) => stop(format_args!("bundle: {error}")),
    };
    // The disk answers while the bundle is hashed.
    let disk = disk::find(board);
    let whole = accounts::hashing(|| files::verify(&bundle));
    let find = |path: &str| {
        let of_that_name = |file: &&File<'static>| file.paths().any(|name| name == path);
        let file = whole.iter().find(of_that_name);
        file.map(File::data).ok_or_else(|| format!("{path} is not in the bundle, or is damaged"))
    };
    config.reject(config::check_files(&config, find));
    let disk = disk.and_then(disk::FoundDisk::open);
    check_board(&mut config, disk.as_ref());
    for problem in &config.problems {
        log::error!("{problem}");
    }
    let (image, image_len) = memory::image_range();
    let gicv = match board.gic {
        Some(Gic::V2 { gicv, .. }) => Some(gicv.start),
        _ => None,
    };
    let mut parts = Parts {
        files: whole.clone(),
        disk,
        seed: seed(board),
        pmu: match board.pmu {
            _ if !id::has_pmu() => Pmu::None,
            Some(intid) if intid.0 == layout::PMU_INTID => Pmu::Interrupting,
            _ => Pmu::Counting,
        },
        gic: if gicv.is_some() { Model::V2 } else { Model::V3 },
        gicv,
        forbidden: [image..image.offset(image_len)].into(),
    };
    let mut guests: Vec<Guest> = Vec::with_capacity(config.vms.len());
    for vm in config.vms {
        let name = vm.name.clone();
        match build_one(vm, VmId(guests.len() as u8), &mut parts) {
            Ok(guest) => guests.push(guest),
            Err(why) => log::error!("{name}: {why}"),
        }
    }
    disk::publish(parts.disk.take());
    guests
}

fn open(board: &Board<'_>) -> Bundle<'static> {
    let Some(initrd) = board.initrd else {
        stop(format_args!(
            "no bundle: the loader gave no initrd. Make one with `cargo xtask bundle FILE.dts -o \
             FILE.itb` and pass it with -initrd on QEMU, or initramfs in config.txt"
        ))
    };
    // SAFETY: the loader's initrd is RAM of the direct map, kept out of the free frames; nothing ever writes to it.
    let bytes = unsafe {
        core::slice::from_raw_parts(memory::direct(initrd.start) as *const u8, initrd.len as usize)
    };
    match Bundle::parse(bytes) {
        Ok(bundle) => bundle,
        Err(error) => stop(format_args!("bundle: {error}")),
    }
}

/// What guests' random numbers come from: the loader's seed and the core's own generator, as far as there are any.
fn seed(board: &Board<'_>) -> Option<Stream> {
    let own = id::random();
    match (Stream::from_seed(board.rng_seed), &own) {
        (Some(mut stream), Some(own)) => {
            stream.mix(own);
            Some(stream)
        }
        (None, Some(own)) => Stream::from_seed(own),
        (stream, None) => stream,
    }
}

fn check_board(config: &mut Config, disk: Option<&disk::BoardDisk>) {
    let names: Option<Vec<(&str, String)>> =
        disk.map(|disk| disk.partitions().map(|p| (&*p.label, p.partuuid.to_string())).collect());
    let partitions: Option<Vec<_>> = names.as_ref().map(|names| {
        let facts = names.iter().map(|(label, id)| config::PartitionFacts { label, partuuid: id });
        facts.collect()
    });
    let facts = BoardFacts {
        cpus: cpu::usable_count(),
        memory: FRAMES.lock().as_ref().map_or(0, |frames| frames.free_bytes()),
        partitions: partitions.as_deref(),
    };
    config.reject(config::check_board(config, &facts));
}

fn build_one(config: VmConfig, id: VmId, parts: &mut Parts) -> Result<Guest, String> {
    let file = |path: &str| {
        let of_that_name = |file: &&File<'static>| file.paths().any(|name| name == path);
        parts.files.iter().find(of_that_name).map_or(&[][..], File::data)
    };
    let kernel = file(&config.kernel);
    let ramdisk = config.ramdisk.as_deref().map_or(&[][..], file);
    // Memory last, and given back where it cannot be mapped: a guest that fails must not cost the others theirs.
    let disks = attach_disks(&config, id, parts)?;
    let ram = take_ram(config.memory)?;
    let stage2 = map_ram(&ram, id, parts).inspect_err(|_| give_ram(&ram))?;
    let vm = new_vm(&config, id, ram, disks, parts);
    Ok(Guest { vm: Arc::new(vm), config, kernel, ramdisk, pmu: parts.pmu, stage2 })
}

fn attach_disks(
    config: &VmConfig,
    id: VmId,
    parts: &mut Parts,
) -> Result<Vec<Mutex<VirtioBlk>>, String> {
    let mut disks = Vec::with_capacity(config.disks.len());
    for (slot, wanted) in config.disks.iter().enumerate() {
        let board_disk = parts.disk.as_mut().ok_or("the board has no disk")?;
        let device = board_disk.attach(id, slot as u8, wanted)?;
        disks.push(Mutex::new(device));
    }
    Ok(disks)
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

fn new_vm(
    config: &VmConfig,
    id: VmId,
    ram: GuestRam,
    disks: Vec<Mutex<VirtioBlk>>,
    parts: &mut Parts,
) -> Vm {
    let end = layout::RAM_BASE.saturating_add(config.memory);
    let random = parts.seed.as_mut().map(|seed| seed.for_guest(id));
    Vm {
        id,
        name: config.name.clone(),
        cpus: config.cpus.clone(),
        ram,
        life: Life::new(config.vcpus() as u8),
        services: Services {
            psci: Psci {
                power: PowerStates::new(config.vcpus() as u8),
                ram: layout::RAM_BASE..end,
            },
            mitigations: Mitigations::new(
                mrs!("midr_el1"),
                mrs!("id_aa64pfr0_el1"),
                power::firmware_answers(),
            ),
            random: random.is_some(),
        },
        ids: IdRegs::from_hw(id::read),
        clock: Mutex::new(Clock::starting(0)),
        random: Mutex::new(random),
        disks,
        disk_news: DiskNews::new(),
        power_button: Mutex::new(PowerButton::new()),
        uart: (config.console == ConsoleKind::Pl011).then(|| Mutex::new(Vuart::new())),
        vgic: Vgic::new(config.vcpus(), parts.gic),
        counters: Arc::new(GuestCounters::new(config.vcpus())),
    }
}

/// Gives back what [`take_ram`] took.
fn give_ram(ram: &GuestRam) {
    for extent in ram.extents() {
        // Extents may be several blocks that follow each other.
        for page in (0..extent.len).step_by(PAGE_SIZE as usize) {
            El2.give_frames(extent.pa.offset(page), 0);
        }
    }
}

/// Frames for a guest's memory, in the largest blocks there are.
fn take_ram(bytes: u64) -> Result<GuestRam, String> {
    let blocks = FRAMES.lock().as_mut().and_then(|frames| frames.take_bytes(bytes));
    let blocks = blocks.ok_or("its memory is not free in one go; give it less")?;
    let mut ipa = Ipa(layout::RAM_BASE);
    let mut extents: Vec<Extent> = Vec::with_capacity(blocks.len());
    for block in blocks {
        extents.push(Extent { ipa, pa: block.at, len: block.bytes() });
        ipa = ipa.offset(block.bytes());
    }
    GuestRam::new(extents).map_err(|error| error.to_string())
}
