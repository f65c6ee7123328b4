//! From the bundle to guests that can be started. A guest that cannot be is left out, with its reason.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use tessera_core::addr::VmId;
use tessera_core::board::Board;
use tessera_core::bundle::{Bundle, File};
use tessera_core::config::{self, BoardFacts, Config, VmConfig};
use tessera_core::console::ConsoleKeys;
use tessera_core::guest::{DiskSeat, Guest};
use tessera_core::trng::Stream;

use super::{disk, files, groups, life};
use crate::boot::stop;
use crate::hw::FRAMES;
use crate::{accounts, cpu, id, memory};

/// Defines all guests that can be started, and says which keys the console keeps.
pub fn define(board: &Board<'_>) -> (Vec<Guest>, ConsoleKeys) {
    let bundle = open(board);
    let verified = accounts::hashing(|| bundle.verify_config());
    let mut config = match verified.and_then(|verified| verified.tree()) {
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
    let vcpus = config.vms.iter().map(VmConfig::vcpus).sum();
    if !memory::grow_heap(config.vms.len(), vcpus) {
        stop(format_args!("there is no memory for what Tessera keeps of {vcpus} vCPUs"));
    }
    let mut disk = disk.and_then(disk::FoundDisk::open);
    check_board(&mut config, disk.as_ref());
    for problem in &config.problems {
        log::error!("{problem}");
    }
    super::WAKE_LATENCY.store(config.wake_latency_us, Ordering::Relaxed);
    life::adopt(board);
    let groups = groups::define(&config, |path| find(path).ok());
    let mut seed = seed(board);
    let mut guests: Vec<Guest> = Vec::with_capacity(config.vms.len());
    for vm in config.vms {
        let id = VmId(guests.len() as u8);
        let (kernel, ramdisk) = (find(&vm.kernel), vm.ramdisk.as_deref().map(find));
        let shares = groups::shares(&config.groups, &groups, &vm.name);
        let disks = attach_disks(&vm, id, disk.as_mut());
        match shares.and_then(|shares| Ok((disks?, shares))) {
            Ok((disks, shares)) => guests.push(Guest::new(
                id,
                vm,
                kernel.unwrap_or_default(),
                ramdisk.and_then(Result::ok).unwrap_or_default(),
                disks,
                shares,
                seed.as_mut().map(|seed| seed.for_guest(id)),
            )),
            Err(why) => log::error!("{}: {why}", vm.name),
        }
    }
    disk::publish(disk);
    (guests, config.keys)
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
    config.resolve(facts.cpus);
}

fn attach_disks(
    config: &VmConfig,
    id: VmId,
    mut board_disk: Option<&mut disk::BoardDisk>,
) -> Result<Vec<DiskSeat>, String> {
    let mut seats = Vec::with_capacity(config.disks.len());
    for (slot, wanted) in config.disks.iter().enumerate() {
        let board_disk = board_disk.as_mut().ok_or("the board has no disk")?;
        seats.push(board_disk.attach(id, slot as u8, wanted)?);
    }
    Ok(seats)
}
