//! For tests: a virtio disk with its content in a `Vec`, on the registers' other side, and a board with guests on it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use super::virtio_blk::VirtioDisk;
use super::{Attached, Disk, Registers, SECTOR_SIZE, Window};
use crate::addr::{Ipa, PAGE_SIZE, Pa, VmId};
#[cfg(test)]
pub(crate) use crate::fuzz::Random;
use crate::guest_mem::{Extent, GuestRam};
use crate::hw::Hw;
use crate::hw::fake::FakeHw;
use crate::virtio::blk::config::{at as config, blk_feature};
use crate::virtio::blk::request::kind;
use crate::virtio::blk::{Effect, VirtioBlk};
use crate::virtio::queue::{Area, Buffer, Queue};
use crate::virtio::{MAGIC, desc, feature, reg};

/// What kind of disk it is.
#[derive(Clone, Copy)]
pub(crate) struct Make {
    pub legacy: bool,
    pub features: u64,
    pub queue_max: u32,
    pub seg_max: u32,
    pub size_max: u32,
    pub max_range: u32,
}

/// QEMU's disk as it comes.
pub(crate) const MODERN: Make = Make {
    legacy: false,
    features: feature::VERSION_1
        | feature::INDIRECT_DESC
        | feature::EVENT_IDX
        | blk_feature::SEG_MAX
        | blk_feature::FLUSH
        | blk_feature::DISCARD
        | blk_feature::WRITE_ZEROES,
    queue_max: 1024,
    seg_max: 254,
    size_max: 0,
    max_range: 0x3f_ffff,
};
pub(crate) const LEGACY: Make =
    Make { legacy: true, features: MODERN.features & 0xffff_ffff | 1 << 27, ..MODERN };
/// A disk that can do as little as the standard allows.
pub(crate) const POOR: Make =
    Make { features: feature::VERSION_1, queue_max: 8, seg_max: 0, ..MODERN };

/// What the disk was told to do: type, sector, sectors.
pub(crate) type Done = (u32, u64, u64);

pub(crate) struct State {
    pub data: Vec<u8>,
    /// Completes nothing until told.
    pub deferred: bool,
    /// Sees no notifications.
    pub deaf: bool,
    pub status_to_give: Option<u8>,
    pub log: Vec<Done>,
    pub interrupts: u32,
    pub resets: u32,
    pub pending: VecDeque<u16>,
    pub queue: Queue,
    status: u32,
    accepted: u64,
    select: [u32; 2],
    interrupt: u32,
    pfn: u32,
}

/// The disk.
pub(crate) struct Model<'a> {
    hw: &'a FakeHw,
    memory: GuestRam,
    make: Make,
    pub state: RefCell<State>,
}

impl Model<'static> {
    /// A disk for the rest of the test's time.
    pub(crate) fn lasting(hw: &'static FakeHw, make: Make, sectors: u64) -> &'static Self {
        Box::leak(Box::new(Self::new(hw, make, sectors)))
    }
}

impl<'a> Model<'a> {
    pub(crate) fn new(hw: &'a FakeHw, make: Make, sectors: u64) -> Self {
        let len = hw.memory.borrow().len() as u64;
        let all = Extent { ipa: Ipa(hw.base.0), pa: hw.base, len };
        let data = (0..sectors * SECTOR_SIZE).map(|i| (i / SECTOR_SIZE * 7 + i) as u8).collect();
        let state = State {
            data,
            deferred: false,
            deaf: false,
            status_to_give: None,
            log: Vec::new(),
            interrupts: 0,
            resets: 0,
            pending: VecDeque::new(),
            queue: Queue::new(1024),
            status: 0,
            accepted: 0,
            select: [0; 2],
            interrupt: 0,
            pfn: 0,
        };
        let memory = GuestRam::new(vec![all]).unwrap();
        Self { hw, memory, make, state: RefCell::new(state) }
    }

    pub(crate) fn sector(&self, sector: u64) -> Vec<u8> {
        let from = (sector * SECTOR_SIZE) as usize;
        self.state.borrow().data[from..from + SECTOR_SIZE as usize].to_vec()
    }

    /// Completes up to `n` requests.
    pub(crate) fn run(&self, n: usize) {
        for _ in 0..n {
            let mut state = self.state.borrow_mut();
            let Some(head) = state.pending.pop_front() else { return };
            self.serve(&mut state, head);
        }
    }

    fn notify(&self) {
        let mut state = self.state.borrow_mut();
        if state.deaf {
            return;
        }
        while let Some(head) = state.queue.pop(self.hw, &self.memory).unwrap() {
            state.pending.push_back(head);
        }
        let deferred = state.deferred;
        drop(state);
        if !deferred {
            self.run(usize::MAX);
        }
    }

    fn serve(&self, state: &mut State, head: u16) {
        let mut buffers: Vec<Buffer> = Vec::new();
        let push = |b| {
            buffers.push(b);
            Ok(())
        };
        state.queue.walk(self.hw, &self.memory, head, push).unwrap();
        let (frame, data) = (buffers[0], &buffers[1..buffers.len() - 1]);
        let status = buffers[buffers.len() - 1];
        assert!(!frame.write && frame.len == 16 && status.write && status.len == 1);
        assert!(data.len() <= self.make.seg_max.max(1) as usize, "{} segments", data.len());
        let mut header = [0; 16];
        self.hw.read(Pa(frame.at.0), &mut header);
        let header = u128::from_le_bytes(header);
        let (code, sector) = (header as u32, (header >> 64) as u64);
        let written = match code {
            kind::IN | kind::OUT => self.transfer(state, code, sector, data),
            kind::DISCARD | kind::WRITE_ZEROES => self.range(state, code, data),
            _ => {
                assert_eq!((code, data.len(), sector), (kind::FLUSH, 0, 0));
                state.log.push((code, 0, 0));
                0
            }
        };
        let told = state.status_to_give.unwrap_or(0);
        self.hw.write(Pa(status.at.0), &[told]);
        state.queue.push(self.hw, &self.memory, head, written + 1).unwrap();
        if state.queue.wants_interrupt(self.hw, &self.memory).unwrap() {
            state.interrupt |= 1;
            state.interrupts += 1;
        }
    }

    fn transfer(&self, state: &mut State, code: u32, sector: u64, data: &[Buffer]) -> u32 {
        let mut at = (sector * SECTOR_SIZE) as usize;
        let from = at;
        for piece in data {
            assert_eq!(piece.write, code == kind::IN);
            assert!(self.make.size_max == 0 || piece.len <= self.make.size_max);
            let len = piece.len as usize;
            if code == kind::IN {
                self.hw.write(Pa(piece.at.0), &state.data[at..at + len]);
            } else {
                self.hw.read(Pa(piece.at.0), &mut state.data[at..at + len]);
            }
            at += len;
        }
        let bytes = at - from;
        assert!(bytes > 0 && bytes.is_multiple_of(SECTOR_SIZE as usize));
        state.log.push((code, sector, bytes as u64 / SECTOR_SIZE));
        if code == kind::IN { bytes as u32 } else { 0 }
    }

    fn range(&self, state: &mut State, code: u32, data: &[Buffer]) -> u32 {
        assert!(data.len() == 1 && data[0].len == 16 && !data[0].write);
        let mut bytes = [0; 16];
        self.hw.read(Pa(data[0].at.0), &mut bytes);
        let raw = u128::from_le_bytes(bytes);
        let (sector, sectors) = (raw as u64, (raw >> 64) as u32);
        assert!(sectors <= self.make.max_range);
        let from = (sector * SECTOR_SIZE) as usize;
        let fill = if code == kind::DISCARD { 0xdd } else { 0 };
        state.data[from..][..sectors as usize * SECTOR_SIZE as usize].fill(fill);
        state.log.push((code, sector, u64::from(sectors)));
        0
    }

    fn config(&self) -> Vec<u8> {
        let mut space = vec![0; config::SIZE];
        let sectors = self.state.borrow().data.len() as u64 / SECTOR_SIZE;
        let mut put = |at: usize, v: u64| space[at..at + 4].copy_from_slice(&v.to_le_bytes()[..4]);
        put(config::CAPACITY, sectors);
        put(config::SIZE_MAX, u64::from(self.make.size_max));
        put(config::SEG_MAX, u64::from(self.make.seg_max));
        put(config::MAX_DISCARD_SECTORS, u64::from(self.make.max_range));
        put(config::MAX_WRITE_ZEROES_SECTORS, u64::from(self.make.max_range));
        space
    }

    fn start(&self, state: &mut State) {
        let event_idx = state.accepted & feature::EVENT_IDX != 0;
        let indirect = state.accepted & feature::INDIRECT_DESC != 0;
        state.queue.start(&self.memory, event_idx, indirect).unwrap();
    }
}

impl Registers for &Model<'_> {
    fn read32(&self, offset: u64) -> u32 {
        // Time passes for those who wait.
        self.hw.clock.set(self.hw.clock.get() + 1000);
        let state = self.state.borrow();
        match offset {
            reg::MAGIC => MAGIC,
            reg::VERSION => 2 - u32::from(self.make.legacy),
            reg::DEVICE_ID => 2,
            reg::DEVICE_FEATURES => (self.make.features >> (32 * state.select[0])) as u32,
            reg::QUEUE_NUM_MAX => self.make.queue_max,
            reg::QUEUE_READY => u32::from(state.queue.ready()),
            reg::QUEUE_PFN => state.pfn,
            reg::INTERRUPT_STATUS => state.interrupt,
            reg::STATUS => state.status,
            _ if offset >= reg::CONFIG => {
                drop(state);
                let at = (offset - reg::CONFIG) as usize;
                u32::from_le_bytes(self.config()[at..at + 4].try_into().unwrap())
            }
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write32(&self, offset: u64, value: u32) {
        if offset == reg::QUEUE_NOTIFY {
            return self.notify();
        }
        let state = &mut *self.state.borrow_mut();
        let legacy = self.make.legacy;
        match offset {
            reg::DEVICE_FEATURES_SEL => state.select[0] = value,
            reg::DRIVER_FEATURES_SEL => state.select[1] = value,
            reg::DRIVER_FEATURES => {
                state.accepted |= u64::from(value) << (32 * state.select[1]);
                assert_eq!(state.accepted & !self.make.features, 0);
            }
            reg::STATUS if value == 0 => {
                state.status = 0;
                state.resets += 1;
                state.queue.reset();
                state.pending.clear();
            }
            reg::STATUS => state.status = value,
            reg::INTERRUPT_ACK => state.interrupt &= !value,
            reg::QUEUE_SEL => assert_eq!(value, 0),
            reg::QUEUE_NUM => state.queue.set_size(value as u16),
            reg::QUEUE_READY if !legacy => self.start(state),
            reg::GUEST_PAGE_SIZE | reg::QUEUE_ALIGN if legacy => assert_eq!(value, 4096),
            reg::QUEUE_PFN if legacy => {
                state.pfn = value;
                let (base, size) = (u64::from(value) * PAGE_SIZE, u64::from(state.queue.size()));
                let avail = base + size * desc::SIZE;
                *state.queue.area(Area::Desc) = Ipa(base);
                *state.queue.area(Area::Driver) = Ipa(avail);
                let end = avail + 4 + 2 * size + 2;
                *state.queue.area(Area::Device) = Ipa(end.next_multiple_of(PAGE_SIZE));
                self.start(state);
            }
            _ if !legacy && (reg::QUEUE_DESC..reg::SHM_LEN).contains(&offset) => {
                let area =
                    [Area::Desc, Area::Driver, Area::Device][(offset >> 4 & 15) as usize - 8];
                let place = &mut state.queue.area(area).0;
                *place |= u64::from(value) << (8 * (offset & 4));
            }
            _ => panic!("write of {value:#x} to {offset:#x}"),
        }
    }
}

/// A guest: its RAM, its disk, and what its driver remembers.
pub(crate) struct Guest {
    pub ram: GuestRam,
    pub blk: VirtioBlk,
    pub interrupts: u32,
    pub features: u64,
    pub size: u16,
    pub avail_idx: u16,
    pub seen: u16,
}

/// Where a test driver has its rings and buffers.
pub(crate) const RAM: u64 = 0x4000_0000;
pub(crate) const RAM_SIZE: u64 = 0x8_0000;
pub(crate) const DESC: u64 = RAM;
pub(crate) const AVAIL: u64 = RAM + 0x1000;
pub(crate) const USED: u64 = RAM + 0x2000;
/// Headers, 32 bytes apart, with the status byte at 16 and a range at 16 of the next place.
pub(crate) const FRAMES: u64 = RAM + 0x3000;
pub(crate) const TABLES: u64 = RAM + 0x8000;
pub(crate) const DATA: u64 = RAM + 0x1_0000;

/// A board: memory, a disk, and guests with 512 KiB each whose second half lies before the first.
pub(crate) struct Board<'a> {
    pub hw: &'a FakeHw,
    pub model: &'a Model<'a>,
    pub disk: Disk<VirtioDisk<&'a Model<'a>>>,
    pub guests: Vec<Guest>,
}

impl Board<'static> {
    /// A board for the rest of the test's time.
    pub(crate) fn new(make: Make, sectors: u64, windows: &[Window]) -> Self {
        let hw: &'static FakeHw = Box::leak(Box::new(FakeHw::new(Pa(0x8000_0000), 4 << 20)));
        Board::of(hw, Model::lasting(hw, make, sectors), windows)
    }

    /// A board with one guest that has sectors 100 to 1099 of 2000 and a driver that is ready.
    pub(crate) fn with_one(make: Make) -> Self {
        let window = Window { first: 100, sectors: 1000, read_only: false };
        let mut board = Self::new(make, 2000, &[window]);
        board.bring_up(0);
        board
    }
}

impl<'a> Board<'a> {
    /// A board made of a machine and a disk, with a guest for each window.
    pub(crate) fn of(hw: &'a FakeHw, model: &'a Model<'a>, windows: &[Window]) -> Self {
        let mut disk = Disk::new(VirtioDisk::new(model, hw).unwrap());
        let mut guests = Vec::new();
        for (i, window) in windows.iter().enumerate() {
            let who = Attached { vm: VmId(i as u8), device: 0 };
            let owner = disk.attach(who, *window).unwrap();
            let base = hw.base.0 + i as u64 * RAM_SIZE;
            let half = RAM_SIZE / 2;
            let extent = |ipa, pa| Extent { ipa: Ipa(ipa), pa: Pa(pa), len: half };
            let extents = vec![extent(RAM, base + half), extent(RAM + half, base)];
            guests.push(Guest {
                ram: GuestRam::new(extents).unwrap(),
                blk: VirtioBlk::new(owner, *window, *b"tessera-test-disk\0\0\0"),
                interrupts: 0,
                features: feature::VERSION_1
                    | feature::INDIRECT_DESC
                    | feature::EVENT_IDX
                    | blk_feature::FLUSH,
                size: 128,
                avail_idx: 0,
                seen: 0,
            });
        }
        Self { hw, model, disk, guests }
    }

    pub(crate) fn store(&mut self, guest: usize, offset: u64, value: u64) -> Effect {
        let Self { hw, disk, guests, .. } = self;
        let Guest { blk, ram, interrupts, .. } = &mut guests[guest];
        let submit = &mut |request: &_| disk.submit(*hw, request);
        let effect = blk.mmio_write(offset, 4, value, *hw, ram, submit);
        *interrupts += u32::from(effect.interrupt);
        effect
    }

    pub(crate) fn load(&self, guest: usize, offset: u64) -> u64 {
        self.guests[guest].blk.mmio_read(offset, 4)
    }

    pub(crate) fn notify(&mut self, guest: usize) -> Effect {
        self.store(guest, reg::QUEUE_NOTIFY, 0)
    }

    /// Takes the guest's driver to DRIVER_OK.
    pub(crate) fn bring_up(&mut self, guest: usize) {
        let Guest { features, size, .. } = self.guests[guest];
        for (offset, value) in [
            (reg::STATUS, 1),
            (reg::STATUS, 3),
            (reg::DRIVER_FEATURES_SEL, 0),
            (reg::DRIVER_FEATURES, features & 0xffff_ffff),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, features >> 32),
            (reg::STATUS, 11),
            (reg::QUEUE_SEL, 0),
            (reg::QUEUE_NUM, u64::from(size)),
            (reg::QUEUE_DESC, DESC),
            (reg::QUEUE_DRIVER, AVAIL),
            (reg::QUEUE_DEVICE, USED),
            (reg::QUEUE_READY, 1),
            (reg::STATUS, 15),
        ] {
            assert_eq!(self.store(guest, offset, value), Effect::default());
        }
        assert_eq!(self.load(guest, reg::STATUS), 15);
        assert_eq!(self.load(guest, reg::QUEUE_READY), 1);
        let g = &mut self.guests[guest];
        (g.avail_idx, g.seen) = (0, 0);
    }

    /// What a core does when the disk interrupts.
    pub(crate) fn irq(&mut self) {
        self.disk.acknowledge();
        while let Some((who, request, result)) = self.disk.complete(self.hw) {
            let Guest { blk, ram, interrupts, .. } = &mut self.guests[usize::from(who.vm.0)];
            *interrupts += u32::from(blk.finish(request, result, self.hw, ram));
        }
        while let Some(who) = self.disk.next_waiting() {
            let Self { hw, disk, guests, .. } = self;
            let Guest { blk, ram, interrupts, .. } = &mut guests[usize::from(who.vm.0)];
            let effect = blk.resume(*hw, ram, &mut |request: &_| disk.submit(*hw, request));
            *interrupts += u32::from(effect.interrupt);
        }
    }

    pub(crate) fn write(&self, guest: usize, at: u64, bytes: &[u8]) {
        self.guests[guest].ram.write(self.hw, Ipa(at), bytes).unwrap();
    }

    pub(crate) fn read(&self, guest: usize, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.guests[guest].ram.read(self.hw, Ipa(at), &mut bytes).unwrap();
        bytes
    }

    pub(crate) fn read_u16(&self, guest: usize, at: u64) -> u16 {
        u16::from_le_bytes(self.read(guest, at, 2).try_into().unwrap())
    }

    /// Writes descriptor `index` of a table.
    pub(crate) fn describe(&self, guest: usize, table: u64, index: u16, d: (u64, u32, u16, u16)) {
        let (at, len, flags, next) = d;
        let high = u64::from(next) << 48 | u64::from(flags) << 32 | u64::from(len);
        let raw = u128::from(high) << 64 | u128::from(at);
        self.write(guest, table + u64::from(index) * 16, &raw.to_le_bytes());
    }

    /// Writes a chain of buffers (address, length, for the device to write) from descriptor `first` on.
    pub(crate) fn chain(&self, guest: usize, table: u64, first: u16, buffers: &[(u64, u32, bool)]) {
        for (i, &(at, len, write)) in buffers.iter().enumerate() {
            let index = first + i as u16;
            let more = if i + 1 < buffers.len() { desc::NEXT } else { 0 };
            let flags = more | if write { desc::WRITE } else { 0 };
            self.describe(guest, table, index, (at, len, flags, index + 1));
        }
    }

    /// Makes a chain available without a notification.
    pub(crate) fn offer(&mut self, guest: usize, head: u16) {
        let Guest { avail_idx, size, .. } = self.guests[guest];
        let slot = u64::from(avail_idx % size);
        self.write(guest, AVAIL + 4 + 2 * slot, &head.to_le_bytes());
        let next = avail_idx.wrapping_add(1);
        self.guests[guest].avail_idx = next;
        self.write(guest, AVAIL + 2, &next.to_le_bytes());
    }

    /// The header of request `n`, which also has its status byte.
    pub(crate) fn header(&self, guest: usize, n: u16, code: u32, sector: u64) -> u64 {
        let at = FRAMES + u64::from(n) * 64;
        let raw = u128::from(code) | u128::from(sector) << 64;
        self.write(guest, at, &raw.to_le_bytes());
        self.write(guest, at + 16, &[0xff]);
        at
    }

    /// Offers request `n`, a transfer by an indirect table as Linux makes it.
    pub(crate) fn request(
        &mut self,
        guest: usize,
        n: u16,
        code: u32,
        sector: u64,
        data: &[(u64, u32)],
    ) {
        let header = self.header(guest, n, code, sector);
        let mut buffers = vec![(header, 16, false)];
        buffers.extend(
            data.iter().map(|&(at, len)| (at, len, code == kind::IN || code == kind::GET_ID)),
        );
        buffers.push((header + 16, 1, true));
        let table = TABLES + u64::from(n) * 16 * 16;
        self.chain(guest, table, 0, &buffers);
        self.describe(guest, DESC, n, (table, buffers.len() as u32 * 16, desc::INDIRECT, 0));
        self.offer(guest, n);
    }

    /// Offers a discard or write-zeroes as request `n`.
    pub(crate) fn range(&mut self, guest: usize, n: u16, code: u32, range: (u64, u32, u32)) {
        let raw = u128::from(range.0) | u128::from(range.1) << 64 | u128::from(range.2) << 96;
        let at = FRAMES + u64::from(n) * 64 + 32;
        self.write(guest, at, &raw.to_le_bytes());
        self.request(guest, n, code, 0, &[(at, 16)]);
    }

    pub(crate) fn status(&self, guest: usize, n: u16) -> u8 {
        self.read(guest, FRAMES + u64::from(n) * 64 + 16, 1)[0]
    }

    /// The used elements (head, length) that the guest has not seen.
    pub(crate) fn used(&mut self, guest: usize) -> Vec<(u32, u32)> {
        let idx = self.read_u16(guest, USED + 2);
        let mut all = Vec::new();
        while self.guests[guest].seen != idx {
            let Guest { seen, size, .. } = self.guests[guest];
            let raw = self.read(guest, USED + 4 + 8 * u64::from(seen % size), 8);
            let raw = u64::from_le_bytes(raw.try_into().unwrap());
            all.push((raw as u32, (raw >> 32) as u32));
            self.guests[guest].seen = seen.wrapping_add(1);
        }
        // As Linux does: an interrupt at the next one.
        let at = AVAIL + 4 + 2 * u64::from(self.guests[guest].size);
        self.write(guest, at, &idx.to_le_bytes());
        all
    }

    /// Offers a request, notifies, lets the disk work, and gives the status and the used length.
    pub(crate) fn whole(&mut self, code: u32, sector: u64, data: &[(u64, u32)]) -> (u8, u32) {
        self.request(0, 0, code, sector, data);
        self.finish_whole()
    }

    pub(crate) fn whole_range(&mut self, code: u32, range: (u64, u32, u32)) -> (u8, u32) {
        self.range(0, 0, code, range);
        self.finish_whole()
    }

    fn finish_whole(&mut self) -> (u8, u32) {
        let before = self.guests[0].interrupts;
        assert!(!self.notify(0).retry);
        self.irq();
        let used = self.used(0);
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].0, 0);
        assert_eq!(self.guests[0].interrupts, before + 1);
        (self.status(0, 0), used[0].1)
    }
}
