//! The board's disk: its driver against a model of the device, its sharing, and reading it at boot.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::boot::{BootReader, ReadError};
use super::model::*;
use super::partitions::BlockRead;
use super::virtio_blk::{InitError, VirtioDisk};
use super::*;
use crate::addr::VmId;
use crate::hw::fake::FakeHw;
use crate::virtio::blk::config::blk_feature;
use crate::virtio::blk::request::kind;
use crate::virtio::{feature, reg};

fn machine(make: Make, sectors: u64) -> (&'static FakeHw, &'static Model<'static>) {
    let hw = alloc::boxed::Box::leak(alloc::boxed::Box::new(FakeHw::new(Pa(0x8000_0000), 2 << 20)));
    (hw, Model::lasting(hw, make, sectors))
}

fn transfer(op: DiskOp, sector: u64, segments: &[(u64, u32)]) -> DiskRequest {
    let mut request = DiskRequest::new(Tag { owner: 0, request: 7 });
    (request.op, request.sector) = (op, sector);
    for &(at, len) in segments {
        assert!(request.add_segment(Pa(at), len));
        request.sectors += u64::from(len);
    }
    request.sectors /= SECTOR_SIZE;
    request
}

const MEMORY: u64 = 0x8000_0000;
const TAG: Tag = Tag { owner: 0, request: 7 };

#[test]
fn pieces_that_follow_each_other_become_one() {
    let request = transfer(DiskOp::Read, 0, &[(0x1000, 512), (0x1200, 512), (0x1000, 512)]);
    let want = [Segment { at: Pa(0x1000), len: 1024 }, Segment { at: Pa(0x1000), len: 512 }];
    assert_eq!(request.segments(), want);
    let mut request = DiskRequest::new(TAG);
    let added = (0..200).filter(|i| request.add_segment(Pa(i * 4096), 512)).count();
    assert_eq!((added, request.segments.capacity()), (MAX_SEGMENTS, MAX_SEGMENTS));
}

#[test]
fn what_is_no_disk_is_not_taken_for_one() {
    struct Other(u32, u32, u32);
    impl Registers for Other {
        fn read32(&self, offset: u64) -> u32 {
            match offset {
                reg::MAGIC => self.0,
                reg::VERSION => self.1,
                reg::DEVICE_ID => self.2,
                _ => 0,
            }
        }
        fn write32(&self, _: u64, _: u32) {}
    }
    let (hw, _) = machine(MODERN, 10);
    let magic = crate::virtio::MAGIC;
    let init = |a, b, c| VirtioDisk::new(Other(a, b, c), hw).err().unwrap();
    assert_eq!(init(0, 2, 2), InitError::NotVirtio);
    assert_eq!(init(magic, 2, 0), InitError::NotADisk(0));
    assert_eq!(init(magic, 2, 1), InitError::NotADisk(1));
    assert_eq!(init(magic, 3, 2), InitError::Version(3));
    assert_eq!(init(magic, 2, 2), InitError::Features);
    assert_eq!(init(magic, 1, 2), InitError::Queue);
}

#[test]
fn requests_larger_than_the_disk_takes_are_done_in_parts_with_every_byte_in_its_place() {
    let mut random = Random(1);
    for round in 0..60u32 {
        let make = Make {
            features: MODERN.features | blk_feature::SIZE_MAX,
            seg_max: 1 + round % 5,
            size_max: 512 << (round % 4),
            ..[MODERN, LEGACY][round as usize % 2]
        };
        let (hw, model) = machine(make, 200);
        let mut disk = VirtioDisk::new(model, hw).unwrap();
        // Pieces of whole sectors, or two that share one.
        let mut segments = Vec::new();
        let mut at = MEMORY;
        for _ in 0..1 + random.below(9) {
            let len = 512 * (1 + random.below(6)) as u32;
            let cut = if make.seg_max > 1 { 4 * random.below(128) as u32 } else { 0 };
            segments.extend([(at, len - cut), (at + 0x2000, cut)].iter().filter(|s| s.1 != 0));
            at += 0x4000;
        }
        let request = transfer(DiskOp::Read, 20, &segments);
        assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
        assert_eq!(disk.complete(hw), Some((TAG, Ok(()))));
        assert_eq!(disk.complete(hw), None);
        let mut got = Vec::new();
        for (at, len) in segments {
            let mut bytes = vec![0; len as usize];
            hw.read(Pa(at), &mut bytes);
            got.extend(bytes);
        }
        let want: Vec<u8> = (20..20 + request.sectors).flat_map(|s| model.sector(s)).collect();
        assert!(got == want, "round {round}");
    }
}

#[test]
fn a_range_longer_than_the_disk_takes_is_done_in_parts() {
    let (hw, model) = machine(Make { max_range: 7, ..MODERN }, 100);
    let mut disk = VirtioDisk::new(model, hw).unwrap();
    for (op, code) in [
        (DiskOp::Discard, kind::DISCARD),
        (DiskOp::WriteZeroes { unmap: true }, kind::WRITE_ZEROES),
    ] {
        let mut request = transfer(op, 10, &[]);
        request.sectors = 16;
        assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
        assert_eq!(disk.complete(hw), Some((TAG, Ok(()))));
        let log = core::mem::take(&mut model.state.borrow_mut().log);
        assert_eq!(log, [(code, 10, 7), (code, 17, 7), (code, 24, 2)]);
    }
}

#[test]
fn one_large_request_at_a_time_and_small_ones_beside_it() {
    let (hw, model) = machine(Make { seg_max: 1, ..MODERN }, 100);
    let mut disk = VirtioDisk::new(model, hw).unwrap();
    model.state.borrow_mut().deferred = true;
    let mut large = transfer(DiskOp::Read, 0, &[(MEMORY, 512), (MEMORY + 4096, 512)]);
    let small = transfer(DiskOp::Read, 0, &[(MEMORY + 8192, 512)]);
    assert_eq!(disk.submit(hw, &large), Ok(Accepted::Queued));
    large.tag.request = 8;
    assert_eq!(disk.submit(hw, &large), Err(SubmitError::Full));
    assert_eq!(disk.submit(hw, &small), Ok(Accepted::Queued));
    model.run(9);
    assert_eq!(disk.complete(hw), Some((TAG, Ok(()))));
    model.run(9);
    assert_eq!(disk.complete(hw), Some((TAG, Ok(()))));
    assert_eq!(disk.complete(hw), None);
    assert_eq!(disk.submit(hw, &large), Ok(Accepted::Queued));
}

#[test]
fn an_error_in_one_part_is_the_whole_requests_and_ends_it() {
    let (hw, model) = machine(Make { seg_max: 1, ..MODERN }, 100);
    let mut disk = VirtioDisk::new(model, hw).unwrap();
    model.state.borrow_mut().status_to_give = Some(1);
    let large = transfer(DiskOp::Read, 0, &[(MEMORY, 512), (MEMORY + 4096, 512)]);
    assert_eq!(disk.submit(hw, &large), Ok(Accepted::Queued));
    assert_eq!(disk.complete(hw), Some((TAG, Err(DiskError::Failed))));
    assert_eq!(model.state.borrow().log.len(), 1);
    model.state.borrow_mut().status_to_give = None;
    assert_eq!(disk.submit(hw, &large), Ok(Accepted::Queued));
    assert_eq!(disk.complete(hw), Some((TAG, Ok(()))));
}

#[test]
fn a_disk_that_breaks_the_protocol_is_stopped_and_all_requests_come_back_lost() {
    type Spoil = fn(&FakeHw, Pa);
    let spoils: [Spoil; 3] = [
        // An index beyond what is under way; a chain that does not exist; one that is not under way.
        |hw, used| hw.store_u16_release(used.offset(2), 1000),
        |hw, used| {
            hw.write(used.offset(4), &77u32.to_le_bytes());
            hw.store_u16_release(used.offset(2), 1);
        },
        |hw, used| {
            hw.write(used.offset(4), &50u32.to_le_bytes());
            hw.store_u16_release(used.offset(2), 1);
        },
    ];
    for spoil in spoils {
        let (hw, model) = machine(MODERN, 100);
        let mut disk = VirtioDisk::new(model, hw).unwrap();
        model.state.borrow_mut().deferred = true;
        let mut request = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
        for n in 0..3 {
            request.tag.request = n;
            assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
        }
        let used = *model.state.borrow_mut().queue.area(crate::virtio::queue::Area::Device);
        let resets = model.state.borrow().resets;
        spoil(hw, Pa(used.0));
        let lost: Vec<_> = core::iter::from_fn(|| disk.complete(hw)).collect();
        let want = |n| (Tag { owner: 0, request: n }, Err(DiskError::Lost));
        assert_eq!(lost, [want(0), want(1), want(2)]);
        assert_eq!(model.state.borrow().resets, resets + 1);
        assert_eq!(disk.submit(hw, &request), Err(SubmitError::Lost));
        assert_eq!(disk.complete(hw), None);
    }
}

#[test]
fn guests_of_a_disk_that_is_lost_get_errors_and_do_not_hang() {
    let mut board = Board::with_one(MODERN);
    board.model.state.borrow_mut().deferred = true;
    for n in 0..100 {
        board.request(0, n, kind::IN, 0, &[(DATA, 512)]);
    }
    let _ = board.notify(0);
    board.disk.driver().stop();
    board.irq();
    let used = board.used(0);
    assert_eq!(used.len(), 100);
    assert!((0..100).all(|n| board.status(0, n) == 1));
    assert_eq!(board.whole(kind::IN, 0, &[(DATA, 512)]), (1, 0));
}

/// Two guests with a thousand sectors each, both drivers ready.
fn two_guests() -> Board<'static> {
    let window = |first| Window { first, sectors: 1000, read_only: false };
    let mut board = Board::new(MODERN, 2000, &[window(0), window(1000)]);
    board.bring_up(0);
    board.bring_up(1);
    board.model.state.borrow_mut().deferred = true;
    board
}

#[test]
fn a_guest_with_many_requests_does_not_keep_another_waiting_for_more_than_a_round() {
    let mut board = two_guests();
    for n in 0..128 {
        board.request(0, n, kind::IN, u64::from(n), &[(DATA, 512)]);
    }
    let _ = board.notify(0);
    for n in 0..8 {
        board.request(1, n, kind::IN, u64::from(n), &[(DATA, 512)]);
    }
    let _ = board.notify(1);
    assert_eq!(board.guests[1].blk.in_flight(), 0);
    // 64 of the first guest are under way. As they come back, both take turns of four.
    board.model.run(8);
    board.irq();
    assert_eq!((board.guests[0].blk.in_flight(), board.guests[1].blk.in_flight()), (60, 4));
    board.model.run(8);
    board.irq();
    assert_eq!((board.guests[0].blk.in_flight(), board.guests[1].blk.in_flight()), (56, 8));
    for _ in 0..100 {
        board.model.run(1);
        board.irq();
        // Even one slot at a time, with new notifications in between.
        let _ = board.notify(0);
    }
    for _ in 0..100 {
        board.model.run(1);
        board.irq();
    }
    assert_eq!((board.used(0).len(), board.used(1).len()), (128, 8));
}

#[test]
fn nobody_is_forgotten_whatever_the_order_of_things() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let make = [MODERN, POOR, Make { seg_max: 1, ..LEGACY }][seed as usize % 3];
        let window = |first| Window { first, sectors: 100, read_only: false };
        let mut board = Board::new(make, 300, &[window(0), window(100), window(200)]);
        (0..3).for_each(|guest| board.bring_up(guest));
        board.model.state.borrow_mut().deferred = true;
        let mut offered = [0; 3];
        while offered != [100; 3] {
            let guest = random.below(3) as usize;
            for _ in 0..random.below(30) {
                if offered[guest] < 100 {
                    let len = 512 * (1 + random.below(3)) as u32;
                    let (a, b) = ((DATA, len), (DATA + 0x1000, 512));
                    let code = [kind::IN, kind::OUT, kind::FLUSH][random.below(3) as usize];
                    let data = if code == kind::FLUSH { &[][..] } else { &[a, b][..] };
                    board.request(guest, offered[guest], code, 0, data);
                    offered[guest] += 1;
                }
            }
            let _ = board.notify(guest);
            board.model.run(random.below(9) as usize);
            if random.below(2) == 0 {
                board.irq();
            }
        }
        for _ in 0..2000 {
            board.model.run(1);
            board.irq();
        }
        for guest in 0..3 {
            assert_eq!(board.used(guest).len(), 100, "guest {guest}, seed {seed}");
            assert!((0..100).all(|n| board.status(guest, n) == 0));
        }
    }
}

#[test]
fn windows_overlap_only_where_nobody_writes_and_lie_on_the_disk() {
    let (hw, model) = machine(MODERN, 1000);
    let mut disk = Disk::new(VirtioDisk::new(model, hw).unwrap());
    let who = |n| Attached { vm: VmId(n), device: 0 };
    let window = |first, sectors, read_only| Window { first, sectors, read_only };
    assert_eq!(disk.attach(who(0), window(0, 100, false)), Ok(0));
    assert_eq!(disk.attach(who(1), window(99, 10, true)), Err(ShareError::Taken(who(0))));
    assert_eq!(disk.attach(who(1), window(100, 10, true)), Ok(1));
    assert_eq!(disk.attach(who(2), window(100, 10, true)), Ok(2));
    assert_eq!(disk.attach(who(3), window(100, 10, false)), Err(ShareError::Taken(who(1))));
    assert_eq!(disk.attach(who(3), window(900, 101, true)), Err(ShareError::BeyondDisk));
    assert_eq!(disk.attach(who(3), window(u64::MAX, 2, true)), Err(ShareError::BeyondDisk));
    let text = ShareError::Taken(who(4)).to_string();
    assert!(text.contains("guest 4") && text.contains("read-only"));

    let (hw, model) = machine(Make { features: MODERN.features | blk_feature::RO, ..MODERN }, 10);
    let mut disk = Disk::new(VirtioDisk::new(model, hw).unwrap());
    assert_eq!(disk.attach(who(0), window(0, 10, false)), Err(ShareError::ReadOnlyDisk));
    assert_eq!(disk.attach(who(0), window(0, 10, true)), Ok(0));
}

#[test]
fn the_shared_disk_refuses_what_a_device_should_never_have_asked() {
    let (hw, model) = machine(MODERN, 1000);
    let mut disk = Disk::new(VirtioDisk::new(model, hw).unwrap());
    let attach = |disk: &mut Disk<_>, first, read_only| {
        let who = Attached { vm: VmId(0), device: 0 };
        disk.attach(who, Window { first, sectors: 100, read_only }).unwrap()
    };
    assert_eq!(attach(&mut disk, 100, false), 0);
    assert_eq!(attach(&mut disk, 200, true), 1);
    let mut refused = |owner, op, sector, sectors, segments: &[(u64, u32)]| {
        let mut request = transfer(op, sector, segments);
        (request.tag.owner, request.sectors) = (owner, sectors);
        disk.submit(hw, &request) == Err(SubmitError::Refused)
    };
    assert!(refused(0, DiskOp::Read, 99, 1, &[(MEMORY, 512)]));
    assert!(refused(0, DiskOp::Read, 200, 1, &[(MEMORY, 512)]));
    assert!(refused(0, DiskOp::Write, 199, 2, &[(MEMORY, 1024)]));
    assert!(refused(0, DiskOp::Discard, 199, u64::MAX, &[]));
    assert!(refused(0, DiskOp::Read, 100, 1, &[(MEMORY, 1024)]));
    assert!(refused(0, DiskOp::Read, 100, 0, &[]));
    assert!(refused(1, DiskOp::Write, 200, 1, &[(MEMORY, 512)]));
    assert!(refused(1, DiskOp::WriteZeroes { unmap: false }, 200, 1, &[]));
    assert!(refused(2, DiskOp::Flush, 0, 0, &[]));
    assert!(!refused(1, DiskOp::Read, 299, 1, &[(MEMORY, 512)]));
    assert_eq!(model.state.borrow().log, [(kind::IN, 299, 1)]);
}

#[test]
fn boot_reads_sectors_and_gives_its_frames_back() {
    for make in [MODERN, LEGACY, POOR] {
        let (hw, model) = machine(make, 100);
        let mut disk = VirtioDisk::new(model, hw).unwrap();
        let free = hw.free_frames();
        let mut reader = BootReader::new(&mut disk, hw).unwrap();
        let mut sectors = vec![Sector::default(); 34];
        reader.read(66, &mut sectors).unwrap();
        assert_eq!(sectors[0].0[..], model.sector(66));
        assert_eq!(sectors[33].0[..], model.sector(99));
        assert_eq!(reader.read(67, &mut sectors), Err(ReadError::Range));
        assert_eq!(reader.read(0, &mut [Sector::default(); 65]), Err(ReadError::Range));
        assert_eq!(reader.read(u64::MAX, &mut sectors[..1]), Err(ReadError::Range));
        assert_eq!(reader.read(0, &mut []), Ok(()));
        model.state.borrow_mut().status_to_give = Some(1);
        assert_eq!(reader.read(0, &mut sectors[..1]), Err(ReadError::Disk(DiskError::Failed)));
        drop(reader);
        assert_eq!(hw.free_frames(), free);
    }
}

#[test]
fn what_boot_read_ahead_is_there_when_it_is_wanted() {
    let (hw, model) = machine(MODERN, 100);
    let free = |hw: &FakeHw| hw.free_frames();
    let mut reader = BootReader::new(VirtioDisk::new(model, hw).unwrap(), hw).unwrap();
    let with_frames = free(hw);
    model.state.borrow_mut().deferred = true;
    reader.read_ahead(34).unwrap();
    model.run(9);
    model.state.borrow_mut().deferred = false;
    let mut sectors = vec![Sector::default(); 34];
    for count in [34, 1] {
        reader.read(0, &mut sectors[..count]).unwrap();
        assert_eq!(sectors[count - 1].0[..], model.sector(count as u64 - 1));
    }
    assert_eq!(model.state.borrow().log, [(kind::IN, 0, 34)]);
    // Another read needs the frames.
    reader.read(7, &mut sectors[..1]).unwrap();
    reader.read(0, &mut sectors[..1]).unwrap();
    assert_eq!(sectors[0].0[..], model.sector(0));
    assert_eq!(model.state.borrow().log.len(), 3);
    assert_eq!(reader.read_ahead(65), Err(ReadError::Range));

    // Whatever is under way is over when the driver is taken.
    reader.read_ahead(2).unwrap();
    let mut disk = reader.into_driver();
    assert_eq!(disk.complete(hw), None);
    assert_eq!(free(hw), with_frames + 8);
    // A reader that is forgotten while the disk writes to its frames keeps them.
    model.state.borrow_mut().deferred = true;
    let mut reader = BootReader::new(disk, hw).unwrap();
    reader.read_ahead(200).unwrap_err();
    reader.read_ahead(2).unwrap();
    drop(reader);
    assert_eq!(free(hw), with_frames);
}

#[test]
fn the_first_request_after_boot_reads_raises_the_interrupt() {
    for make in [MODERN, LEGACY, POOR] {
        let (hw, model) = machine(make, 100);
        let mut disk = VirtioDisk::new(model, hw).unwrap();
        let mut reader = BootReader::new(&mut disk, hw).unwrap();
        for sector in 0..3 {
            reader.read(sector, &mut [Sector::default()]).unwrap();
        }
        drop(reader);
        assert_eq!(model.read32(reg::INTERRUPT_STATUS), 0);
        let before = model.state.borrow().interrupts;
        let request = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
        assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
        assert_eq!(model.state.borrow().interrupts, before + 1);
    }
}

#[test]
fn boot_gives_up_on_a_disk_that_does_not_answer() {
    let (hw, model) = machine(MODERN, 100);
    let mut disk = VirtioDisk::new(model, hw).unwrap();
    model.state.borrow_mut().deaf = true;
    let mut reader = BootReader::new(&mut disk, hw).unwrap();
    let mut sector = [Sector::default()];
    assert_eq!(reader.read(0, &mut sector), Err(ReadError::Silent));
    assert_eq!(model.state.borrow().resets, 2);
    assert_eq!(reader.read(0, &mut sector), Err(ReadError::Disk(DiskError::Lost)));
    drop(reader);
    assert_eq!(disk.complete(hw), None);
}

#[test]
fn the_disk_is_notified_and_interrupts_only_when_needed() {
    let (hw, model) = machine(MODERN, 100);
    assert_ne!(MODERN.features & feature::EVENT_IDX, 0);
    let mut disk = VirtioDisk::new(model, hw).unwrap();
    model.state.borrow_mut().deferred = true;
    let request = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
    for _ in 0..8 {
        assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
    }
    // Nobody has looked since the first completion, so the others need no interrupt.
    model.run(8);
    assert_eq!(model.state.borrow().interrupts, 1);
    assert_eq!(core::iter::from_fn(|| disk.complete(hw)).count(), 8);
    assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
    model.run(8);
    assert_eq!(model.state.borrow().interrupts, 2);
}
