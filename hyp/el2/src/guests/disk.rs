//! The board's disk: the first virtio-mmio disk or else the SD card, cut into partitions, shared by the guests.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use spin::Once;
use tessera_core::addr::{IntId, Pa, VmId};
use tessera_core::board::{Board, SdHost, VirtioMmio};
use tessera_core::config::DiskConfig;
use tessera_core::disk::boot::BootReader;
use tessera_core::disk::partitions::{FIRST_READ, Partition, Partitions};
use tessera_core::disk::sdhci::Sdhci;
use tessera_core::disk::virtio_blk::{VirtioDisk, device_id};
use tessera_core::disk::{
    Accepted, Attached, Disk, DiskDriver, DiskError, DiskRequest, Registers, SECTOR_SIZE,
    SubmitError, Tag,
};
use tessera_core::guest::DiskSeat;
use tessera_core::hw::Hw;
use tessera_core::life::Phase;
use tessera_core::lock::Mutex;
use tessera_core::monitor::DiskFacts;
use tessera_core::vm::DiskEvent;

use crate::hw::El2;
use crate::lines::Work;
use crate::{barrier, boot, care, console, cpu, gic, mailbox, memory};

/// A device's registers in the direct map.
#[derive(Debug)]
struct Mmio(u64);

impl Registers for Mmio {
    #[inline]
    fn read32(&self, offset: u64) -> u32 {
        // SAFETY: a register of the device, mapped as device memory; offsets are those of its specification.
        unsafe { ptr::read_volatile((self.0 + offset) as *const u32) }
    }

    #[inline]
    fn write32(&self, offset: u64, value: u32) {
        // The device must see what memory says before it is told to look (VIRTIO 1.3 2.7.13.3).
        barrier::dsb_sy();
        // SAFETY: as for the load.
        unsafe { ptr::write_volatile((self.0 + offset) as *mut u32, value) }
    }
}

/// The driver of whichever disk the board has.
#[derive(Debug)]
enum Driver {
    Virtio(VirtioDisk<Mmio>),
    Sd(Sdhci<Mmio>),
}

macro_rules! either {
    ($driver:expr, $disk:ident => $call:expr) => {
        match $driver {
            Driver::Virtio($disk) => $call,
            Driver::Sd($disk) => $call,
        }
    };
}

impl DiskDriver for Driver {
    fn sectors(&self) -> u64 {
        either!(self, disk => disk.sectors())
    }
    fn read_only(&self) -> bool {
        either!(self, disk => disk.read_only())
    }
    #[inline]
    fn submit(&mut self, hw: &impl Hw, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        either!(self, disk => disk.submit(hw, request))
    }
    #[inline]
    fn acknowledge(&mut self) {
        either!(self, disk => disk.acknowledge())
    }
    #[inline]
    fn complete(&mut self, hw: &impl Hw) -> Option<(Tag, Result<(), DiskError>)> {
        either!(self, disk => disk.complete(hw))
    }
    fn progress(&self) -> Option<u32> {
        either!(self, disk => disk.progress())
    }
    fn stop(&mut self) {
        either!(self, disk => disk.stop())
    }
}

/// The disk while guests are built.
pub struct BoardDisk {
    disk: Disk<Driver>,
    partitions: Partitions,
    line: Line,
}

/// A disk's interrupt.
#[derive(Clone, Copy)]
struct Line {
    interrupt: IntId,
    edge: bool,
}

static PARTITIONS: Once<Vec<Partition>> = Once::new();

static DISK: Mutex<Option<Disk<Driver>>> = Mutex::new(None);

/// The interrupt of the disk, 0 where there is none.
static INTERRUPT: AtomicU32 = AtomicU32::new(0);

/// Whose core it interrupts: the number of an owner of the disk, or at first nobody's. Changed with the disk locked.
static INTERRUPTS: AtomicU32 = AtomicU32::new(u32::MAX);

/// It was said that the disk is lost.
static MOURNED: AtomicBool = AtomicBool::new(false);

/// The board's disk, whose first sectors are on their way.
pub struct FoundDisk {
    reader: BootReader<'static, Driver, El2>,
    at: Pa,
    line: Line,
}

/// Finds the board's disk and asks it for its first sectors: it takes its time, which is not waited for here. What is
/// wrong with it is logged.
pub fn find(board: &Board<'_>) -> Option<FoundDisk> {
    const BLOCK_DEVICE: u32 = 2;
    let is_disk = |transport: &&VirtioMmio| {
        device_id(&Mmio(memory::direct(transport.registers.start))) == Some(BLOCK_DEVICE)
    };
    if let Some(transport) = board.virtio.iter().find(is_disk) {
        let at = transport.registers.start;
        let line = Line { interrupt: transport.interrupt, edge: true };
        let driver = VirtioDisk::new(Mmio(memory::direct(at)), &El2);
        let driver = driver.map(Driver::Virtio).map_err(|error| error.to_string());
        return logged(at, driver.and_then(|driver| start(driver, at, line)));
    }
    let host = board.sd_host.as_ref()?;
    logged(host.registers.start, start_sd(host))
}

fn start_sd(host: &SdHost) -> Result<FoundDisk, String> {
    let at = host.registers.start;
    boot::map::device(host.registers);
    let registers = Mmio(memory::direct(at));
    let base = mailbox::clock_khz(mailbox::EMMC2);
    let driver = Sdhci::new(registers, &El2, host.dma.clone(), host.coherent, base);
    let driver = driver.map_err(|error| error.to_string())?;
    log::info!("SD card: {driver}");
    start(Driver::Sd(driver), at, Line { interrupt: host.interrupt, edge: false })
}

fn start(driver: Driver, at: Pa, line: Line) -> Result<FoundDisk, String> {
    let mut reader = BootReader::new(driver, &El2).map_err(|error| error.to_string())?;
    reader.read_ahead(FIRST_READ).map_err(|error| error.to_string())?;
    Ok(FoundDisk { reader, at, line })
}

impl FoundDisk {
    /// Reads the partitions; what is wrong with them is logged.
    pub fn open(self) -> Option<BoardDisk> {
        logged(self.at, self.partitions())
    }

    fn partitions(mut self) -> Result<BoardDisk, String> {
        let partitions = Partitions::read(&mut self.reader).map_err(|error| error.to_string())?;
        if partitions.from_backup {
            log::warn!("disk: its first partition table is damaged, the backup is used; mend it");
        }
        let disk = Disk::new(self.reader.into_driver());
        Ok(BoardDisk { disk, partitions, line: self.line })
    }
}

fn logged<T>(at: Pa, done: Result<T, String>) -> Option<T> {
    done.map_err(|why| log::error!("disk at {at}: {why}")).ok()
}

impl BoardDisk {
    /// Its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.partitions.iter()
    }

    /// A device for guest `vm` at `slot`, backed by the partition that it wants.
    pub fn attach(&mut self, vm: VmId, slot: u8, want: &DiskConfig) -> Result<DiskSeat, String> {
        let name = want.partition.strip_prefix("PARTUUID=").unwrap_or(&want.partition);
        let partition = self.partitions.find(name).map_err(|error| format!("{name}: {error}"))?;
        let window = partition.window(want.read_only);
        // What the guest can read as the disk's serial number.
        let serial = match partition.label.is_empty() {
            true => partition.partuuid.to_string(),
            false => partition.label.clone(),
        };
        let mut name_bytes = [0; 20];
        for (to, from) in name_bytes.iter_mut().zip(serial.bytes()) {
            *to = from;
        }
        let who = Attached { vm, device: slot };
        let owner = self.disk.attach(who, window).map_err(|error| format!("{name}: {error}"))?;
        Ok(DiskSeat { owner, window, serial: name_bytes })
    }
}

/// Opens the disk for the guests.
pub fn publish(disk: Option<BoardDisk>) {
    let Some(BoardDisk { disk, partitions, line }) = disk else { return };
    PARTITIONS.call_once(|| partitions.partitions);
    *DISK.lock() = Some(disk);
    INTERRUPT.store(line.interrupt.0, Ordering::Release);
    gic::enable_spi(line.interrupt, cpu::current_id(), line.edge);
    // Reading the partitions may have left the line high: the next request must raise it anew.
    with_disk(|disk| disk.acknowledge());
}

/// The partitions of the board's disk.
pub fn partitions() -> &'static [Partition] {
    PARTITIONS.get().map(Vec::as_slice).unwrap_or_default()
}

/// What the board's disk is.
pub fn facts() -> Option<DiskFacts> {
    with_disk(|disk| {
        let driver = disk.driver();
        DiskFacts {
            driver: match driver {
                Driver::Virtio(_) => "virtio-blk",
                Driver::Sd(_) => "SD card (SDHCI)",
            },
            lost: MOURNED.load(Ordering::Relaxed),
            read_only: driver.read_only(),
            size: driver.sectors() * SECTOR_SIZE,
        }
    })
}

/// Gives a request to the disk.
#[inline]
pub fn submit(request: &DiskRequest) -> Result<Accepted, SubmitError> {
    let (result, look) = match DISK.lock().as_mut() {
        Some(disk) => {
            let result = disk.submit(&El2, request);
            if result == Ok(Accepted::Queued) {
                interrupt_here(request.tag.owner);
            }
            (result, disk.needs_look(&El2))
        }
        None => (Err(SubmitError::Lost), None),
    };
    if let Some(at) = look {
        care::look_at(at);
    }
    if result == Err(SubmitError::Lost) {
        // Perhaps that was just found out. The caller has a device locked, which might be one of those concerned.
        serve(Cause::Lost);
    }
    result
}

/// Has the disk interrupt the core that gave it the latest request, called on that core with the disk locked. So whoever
/// uses the disk pays for what it has to say, and a core whose guest does not is left alone.
#[inline]
fn interrupt_here(owner: u8) {
    if u32::from(owner) != INTERRUPTS.load(Ordering::Relaxed) {
        INTERRUPTS.store(owner.into(), Ordering::Relaxed);
        gic::route_spi(IntId(INTERRUPT.load(Ordering::Relaxed)), cpu::current_id());
    }
}

/// Handles interrupt `intid` if it is the disk's: what there was to do, or `None` where it is not. The line may be shared with a
/// device that Tessera does not drive.
pub fn interrupt(intid: IntId) -> Option<Work> {
    (intid.0 == INTERRUPT.load(Ordering::Acquire)).then(|| serve(Cause::Interrupt))
}

/// Looks by the clock whether the disk still works; when to look again, if something is under way.
pub fn look() -> Option<u64> {
    let (lost, again) = with_disk(|disk| disk.look(&El2))?;
    if lost {
        serve(Cause::Overdue);
    }
    again
}

/// Gives up on a disk that does nothing any more, so that all requests come back. Called by whoever waits for requests.
pub fn check() {
    if with_disk(|disk| disk.check_overdue(&El2)) == Some(true) {
        serve(Cause::Overdue);
    }
}

/// Why the disk is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Interrupt,
    /// It was given up.
    Overdue,
    /// It took no request, of a device that this core has locked: so guests hear of it by an interrupt.
    Lost,
}

/// Hands completions to their guests, and the room they leave to those who wait, once the interrupt is quiet. For whom there
/// was anything.
fn serve(cause: Cause) -> Work {
    /// Events handled before this core comes to whatever else it has to do: others may submit as fast as the disk works,
    /// and a card's data may have to be copied.
    const TURN: u32 = 16;
    let mut interrupted = cause == Cause::Interrupt;
    let mut next = || {
        let mut disk = DISK.lock();
        let disk = disk.as_mut()?;
        if core::mem::take(&mut interrupted) {
            disk.acknowledge();
        }
        match disk.complete(&El2) {
            Some((who, request, result)) => Some((who, Some((request, result)))),
            None => disk.next_waiting().map(|who| (who, None)),
        }
    };
    let mut work = Work::Nothing;
    for _ in 0..TURN {
        let Some((who, event)) = next() else { return work };
        match event {
            Some((_, Err(DiskError::Lost))) => mourn(),
            Some((_, Err(error))) => complain(who, error),
            _ => {}
        }
        let own = tell(who, event, cause) && work != Work::Others;
        work = if own { Work::Own } else { Work::Others };
    }
    // There may be more, of which the disk has nothing new to say.
    gic::pend_spi(IntId(INTERRUPT.load(Ordering::Relaxed)));
    work
}

#[cold]
fn mourn() {
    if !MOURNED.swap(true, Ordering::Relaxed) {
        log::error!("the disk answers no more, or was removed: guests get I/O errors from now on");
    }
}

#[cold]
fn complain(who: Attached, error: DiskError) {
    let errors = with_disk(|disk| disk.errors()).unwrap_or(0);
    if let Some(guest) = super::get(who.vm) {
        let name = guest.name();
        console::about(
            guest,
            format_args!(
                "the disk failed a request of {name}: {error} (error {errors} since the start)"
            ),
        );
    }
}

fn with_disk<T>(f: impl FnOnce(&mut Disk<Driver>) -> T) -> Option<T> {
    DISK.lock().as_mut().map(f)
}

/// Tells a guest; whether this core is its own.
fn tell(who: Attached, done: DiskEvent, cause: Cause) -> bool {
    let Some(guest) = super::get(who.vm) else { return false };
    // There is a life: its end waits for the last request.
    let Some(vm) = guest.vm() else { return false };
    let own = vm.is_here(&El2);
    if own && cause != Cause::Lost {
        vm.disk_event(&El2, who.device, done);
    } else {
        // Its own core does the work, soon: this one is another guest's, or has a lock.
        vm.leave_disk_news(who.device, done);
        vm.kick_first(&El2);
    }
    if guest.life.phase() != Phase::Running {
        // Its leader waits for the last request.
        vm.kick_all(&El2);
    }
    own
}
