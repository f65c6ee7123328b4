//! The board's disk: found among the virtio-mmio transports, cut into partitions, shared by the guests.

use alloc::format;
use alloc::string::{String, ToString};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::Mutex;
use tessera_core::addr::{IntId, VmId};
use tessera_core::board::{Board, VirtioMmio};
use tessera_core::config::DiskConfig;
use tessera_core::disk::boot::BootReader;
use tessera_core::disk::gpt::{FIRST_READ, Gpt, Partition};
use tessera_core::disk::virtio_blk::{Registers, VirtioDisk, device_id};
use tessera_core::disk::{Accepted, Attached, Disk, DiskRequest, SubmitError};
use tessera_core::hw::Hw;
use tessera_core::life::Phase;
use tessera_core::virtio::blk::VirtioBlk;
use tessera_core::vm::DiskEvent;

use crate::hw::El2;
use crate::{barrier, cpu, gic, memory};

/// virtio-mmio registers in the direct map.
#[derive(Debug)]
struct Mmio(u64);

impl Registers for Mmio {
    fn read32(&self, offset: u64) -> u32 {
        // SAFETY: a register of the transport, mapped as device memory; offsets are those of the specification.
        unsafe { ptr::read_volatile((self.0 + offset) as *const u32) }
    }

    fn write32(&self, offset: u64, value: u32) {
        // The device must see what the rings say before it is told to look (VIRTIO 1.3 2.7.13.3).
        barrier::dsb_sy();
        // SAFETY: as for the load.
        unsafe { ptr::write_volatile((self.0 + offset) as *mut u32, value) }
    }
}

type Driver = VirtioDisk<Mmio>;

/// The disk while guests are built.
pub struct BoardDisk {
    disk: Disk<Driver>,
    gpt: Gpt,
    interrupt: IntId,
}

static DISK: Mutex<Option<Disk<Driver>>> = Mutex::new(None);

/// The interrupt of the disk, 0 where there is none.
static INTERRUPT: AtomicU32 = AtomicU32::new(0);

/// The first disk of the board, whose first sectors are on their way.
pub struct FoundDisk {
    reader: BootReader<'static, Driver, El2>,
    transport: VirtioMmio,
}

/// Finds the board's first disk and asks it for its first sectors: it takes its time, which is not waited for here.
/// What is wrong with it is logged.
pub fn find(board: &Board<'_>) -> Option<FoundDisk> {
    const BLOCK_DEVICE: u32 = 2;
    let is_disk = |transport: &&VirtioMmio| {
        device_id(&Mmio(memory::direct(transport.registers.start))) == Some(BLOCK_DEVICE)
    };
    let transport = *board.virtio.iter().find(is_disk)?;
    logged(&transport, start(transport))
}

fn start(transport: VirtioMmio) -> Result<FoundDisk, String> {
    let registers = Mmio(memory::direct(transport.registers.start));
    let driver = VirtioDisk::new(registers, &El2).map_err(|error| error.to_string())?;
    let mut reader = BootReader::new(driver, &El2).map_err(|error| error.to_string())?;
    reader.read_ahead(FIRST_READ).map_err(|error| error.to_string())?;
    Ok(FoundDisk { reader, transport })
}

impl FoundDisk {
    /// Reads the partitions; what is wrong with them is logged.
    pub fn open(self) -> Option<BoardDisk> {
        let transport = self.transport;
        logged(&transport, self.partitions())
    }

    fn partitions(mut self) -> Result<BoardDisk, String> {
        let gpt = Gpt::read(&mut self.reader).map_err(|error| error.to_string())?;
        if gpt.from_backup {
            log::warn!("disk: its first partition table is damaged, the backup is used; mend it");
        }
        let disk = Disk::new(self.reader.into_driver());
        Ok(BoardDisk { disk, gpt, interrupt: self.transport.interrupt })
    }
}

fn logged<T>(transport: &VirtioMmio, done: Result<T, String>) -> Option<T> {
    done.map_err(|why| log::error!("disk at {}: {why}", transport.registers.start)).ok()
}

impl BoardDisk {
    /// Its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.gpt.partitions.iter()
    }

    /// A device for guest `vm` at `slot`, backed by the partition that it wants.
    pub fn attach(&mut self, vm: VmId, slot: u8, want: &DiskConfig) -> Result<VirtioBlk, String> {
        let name = want.partition.strip_prefix("PARTUUID=").unwrap_or(&want.partition);
        let partition = self.gpt.find(name).map_err(|error| format!("{name}: {error}"))?;
        let window = partition.window(want.read_only);
        let mut id = [0; 20];
        for (to, from) in id.iter_mut().zip(partition.label.bytes()) {
            *to = from;
        }
        let who = Attached { vm, device: slot };
        let owner = self.disk.attach(who, window).map_err(|error| format!("{name}: {error}"))?;
        Ok(VirtioBlk::new(owner, window, id))
    }
}

/// Opens the disk for the guests.
pub fn publish(disk: Option<BoardDisk>) {
    let Some(BoardDisk { disk, interrupt, .. }) = disk else { return };
    *DISK.lock() = Some(disk);
    INTERRUPT.store(interrupt.0, Ordering::Release);
    gic::enable_spi(interrupt, cpu::current_id(), true);
    // Reading the partitions may have left the line high: the next request must raise it anew.
    with_disk(|disk| disk.acknowledge());
}

/// Gives a request to the disk.
#[inline]
pub fn submit(request: &DiskRequest) -> Result<Accepted, SubmitError> {
    match DISK.lock().as_mut() {
        Some(disk) => disk.submit(&El2, request),
        None => Err(SubmitError::Lost),
    }
}

/// Handles interrupt `intid` if it is the disk's; whether it was.
pub fn interrupt(intid: IntId) -> bool {
    if intid.0 != INTERRUPT.load(Ordering::Acquire) {
        return false;
    }
    with_disk(|disk| disk.acknowledge());
    // As long as the disk completes requests: it has 64 in flight at most, and guests' own cores submit new ones no
    // faster than it works. What a completion costs beyond these few lines is done in its guest's time.
    while let Some((who, request, result)) = with_disk(|disk| disk.complete(&El2)).flatten() {
        tell(who, Some((request, result)));
    }
    while let Some(who) = with_disk(Disk::next_waiting).flatten() {
        tell(who, None);
    }
    true
}

fn with_disk<T>(f: impl FnOnce(&mut Disk<Driver>) -> T) -> Option<T> {
    DISK.lock().as_mut().map(f)
}

fn tell(who: Attached, done: DiskEvent) {
    let Some(guest) = super::get(who.vm) else { return };
    let here = cpu::current_id();
    if guest.vm.cpus.contains(&here) {
        guest.vm.disk_event(&El2, who.device, done);
    } else {
        // Its own core does the work: this one is another guest's.
        guest.vm.disk_news.leave(who.device, done);
        if let Some(&core) = guest.vm.cpus.first() {
            El2.kick(core);
        }
    }
    if guest.vm.life.phase() != Phase::Running {
        // Its leader waits for the last request.
        guest.vm.kick_all(&El2);
    }
}
