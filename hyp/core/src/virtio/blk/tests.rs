//! A guest's driver in guest memory, the device, the board's disk and a model of that, all together.

use alloc::vec;
use alloc::vec::Vec;

use super::config::{at as config, blk_feature};
use super::request::kind;
use super::*;
use crate::disk::model::*;
use crate::virtio::{desc, feature, interrupt, status};

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_add((i * 13) as u8).wrapping_mul(3)).collect()
}

#[test]
fn a_read_goes_from_the_guests_store_to_its_interrupt_without_a_copy() {
    for make in [MODERN, LEGACY, POOR] {
        let mut board = Board::with_one(make);
        board.request(0, 5, kind::IN, 17, &[(DATA, 4096)]);
        board.model.state.borrow_mut().deferred = true;
        assert_eq!(board.notify(0), Effect::default());
        assert_eq!(board.guests[0].blk.in_flight(), 1);
        assert_eq!(board.used(0), []);

        board.model.run(99);
        board.irq();
        assert_eq!(board.used(0), [(5, 4097)]);
        assert_eq!(board.guests[0].interrupts, 1);
        assert_eq!(board.load(0, reg::INTERRUPT_STATUS), u64::from(interrupt::USED));
        assert_eq!(board.status(0, 5), Status::Ok as u8);
        let want: Vec<u8> = (117..125).flat_map(|sector| board.model.sector(sector)).collect();
        assert_eq!(board.read(0, DATA, 4096), want);
        assert_eq!(board.model.state.borrow().log, [(kind::IN, 117, 8)]);
        assert_eq!(board.guests[0].blk.in_flight(), 0);
    }
}

#[test]
fn what_was_written_is_on_the_disk_and_is_read_back() {
    for make in [MODERN, LEGACY, POOR] {
        let mut board = Board::with_one(make);
        let data = pattern(1, 3 * 512);
        board.write(0, DATA, &data);
        let pieces = [(DATA, 100), (DATA + 100, 412), (DATA + 512, 1024)];
        assert_eq!(board.whole(kind::OUT, 999 - 2, &pieces), (0, 1));
        assert_eq!([board.model.sector(1097), board.model.sector(1098)].concat(), data[..1024]);
        assert_eq!(board.whole(kind::IN, 997, &[(DATA + 0x2000, 1536)]), (0, 1537));
        assert_eq!(board.read(0, DATA + 0x2000, 1536), data);
    }
}

#[test]
fn memory_that_is_not_contiguous_on_the_board_takes_part_in_pieces() {
    let mut board = Board::with_one(MODERN);
    let middle = RAM + RAM_SIZE / 2;
    assert_eq!(board.whole(kind::IN, 0, &[(middle - 512, 1024)]), (0, 1025));
    let want = [board.model.sector(100), board.model.sector(101)].concat();
    assert_eq!(board.read(0, middle - 512, 1024), want);
}

#[test]
fn how_a_request_is_cut_into_descriptors_means_nothing() {
    let mut board = Board::with_one(MODERN);
    let header = board.header(0, 0, kind::IN, 3);
    // The header in three parts, one of them empty; data and status in one buffer.
    let buffers = [
        (header, 5, false),
        (header + 5, 0, false),
        (header + 5, 11, false),
        (DATA, 500, true),
        (DATA + 500, 13, true),
    ];
    board.chain(0, DESC, 10, &buffers);
    board.offer(0, 10);
    let _ = board.notify(0);
    board.irq();
    assert_eq!(board.used(0), [(10, 513)]);
    let mut want = board.model.sector(103);
    want.push(0);
    assert_eq!(board.read(0, DATA, 513), want);

    // Header and data of a write in one buffer.
    let data = pattern(9, 512);
    board.header(0, 0, kind::OUT, 4);
    let first = board.read(0, header, 16);
    board.write(0, DATA, &first);
    board.write(0, DATA + 16, &data);
    board.chain(0, DESC, 20, &[(DATA, 528, false), (header + 16, 1, true)]);
    board.offer(0, 20);
    let _ = board.notify(0);
    board.irq();
    assert_eq!(board.used(0), [(20, 1)]);
    assert_eq!(board.model.sector(104), data);
}

#[test]
fn a_table_may_follow_ordinary_descriptors() {
    let mut board = Board::with_one(MODERN);
    let header = board.header(0, 0, kind::IN, 0);
    board.describe(0, DESC, 0, (header, 16, desc::NEXT, 7));
    board.describe(0, DESC, 7, (TABLES, 32, desc::INDIRECT | desc::WRITE, 0));
    board.chain(0, TABLES, 0, &[(DATA, 512, true), (header + 16, 1, true)]);
    board.offer(0, 0);
    let _ = board.notify(0);
    board.irq();
    assert_eq!((board.used(0), board.status(0, 0)), (vec![(0, 513)], 0));
}

#[test]
fn a_guest_finds_its_partitions_size_and_limits_in_the_configuration() {
    let board = Board::with_one(MODERN);
    let blk = &board.guests[0].blk;
    let base = reg::CONFIG;
    assert_eq!(blk.mmio_read(base, 8), 1000);
    assert_eq!((blk.mmio_read(base, 4), blk.mmio_read(base + 4, 4)), (1000, 0));
    assert_eq!((blk.mmio_read(base, 1), blk.mmio_read(base + 1, 1)), (1000 & 0xff, 1000 >> 8));
    assert_eq!(blk.mmio_read(base + config::SEG_MAX as u64, 4), u64::from(SEG_MAX));
    assert_eq!(blk.mmio_read(base + config::BLK_SIZE as u64, 4), 512);
    assert_eq!(blk.mmio_read(base + config::NUM_QUEUES as u64, 2), 1);
    assert_eq!(blk.mmio_read(reg::MAGIC, 2), 0);
    assert_eq!(blk.mmio_read(reg::DEVICE_ID, 4), 2);
}

#[test]
fn a_request_outside_the_partition_never_reaches_the_disk() {
    let mut board = Board::with_one(MODERN);
    for (sector, len) in
        [(1000, 512), (999, 1024), (u64::MAX, 512), (u64::MAX - 50, 4096), (1 << 55, 512)]
    {
        for code in [kind::IN, kind::OUT] {
            assert_eq!(board.whole(code, sector, &[(DATA, len)]), (1, 0));
        }
        assert_eq!(board.whole_range(kind::DISCARD, (sector, len / 512, 0)), (1, 0));
        assert_eq!(board.whole_range(kind::WRITE_ZEROES, (sector, len / 512, 0)), (1, 0));
    }
    assert_eq!(board.model.state.borrow().log, []);
    assert_eq!(board.whole(kind::IN, 999, &[(DATA, 512)]), (0, 513));
}

#[test]
fn a_bad_request_gets_an_error_and_the_device_goes_on() {
    let mut board = Board::with_one(MODERN);
    let io_error = (Status::IoError as u8, 0);
    assert_eq!(board.whole(kind::IN, 0, &[(DATA, 511)]), io_error);
    assert_eq!(board.whole(kind::IN, 0, &[]), io_error);
    assert_eq!(board.whole(kind::OUT, 0, &[]), io_error);
    assert_eq!(board.whole(kind::IN, 0, &[(RAM + RAM_SIZE - 512, 1024)]), io_error);
    assert_eq!(board.whole(kind::OUT, 0, &[(u64::MAX - 511, 1024)]), io_error);
    assert_eq!(board.whole(kind::IN, 0, &[(RAM, u32::MAX), (RAM, 513)]), io_error);
    assert_eq!(board.whole(77, 0, &[(DATA, 512)]), (Status::Unsupported as u8, 0));
    // A read into a buffer that is for the device to read, a write out of one that it may write.
    for (code, writable) in [(kind::IN, false), (kind::OUT, true)] {
        let header = board.header(0, 0, code, 0);
        let buffers = [(header, 16, false), (DATA, 512, writable), (header + 16, 1, true)];
        board.chain(0, DESC, 0, &buffers);
        board.offer(0, 0);
        let _ = board.notify(0);
        assert_eq!((board.used(0), board.status(0, 0)), (vec![(0, 0)], 1));
    }
    assert_eq!(board.model.state.borrow().log, []);
    assert_eq!(board.whole(kind::IN, 0, &[(DATA, 512)]), (0, 513));
}

#[test]
fn as_many_segments_as_the_configuration_says_are_taken_and_more_refused() {
    for make in [MODERN, POOR] {
        let mut board = Board::with_one(make);
        for (count, want) in [(SEG_MAX, (0, SEG_MAX * 512 + 1)), (SEG_MAX + 3, (1, 0))] {
            let header = board.header(0, 0, kind::IN, 0);
            let mut buffers = vec![(header, 16, false)];
            buffers.extend((0..count).map(|i| (DATA + u64::from(i) * 1024, 512, true)));
            buffers.push((header + 16, 1, true));
            board.chain(0, DESC, 0, &buffers);
            board.offer(0, 0);
            let _ = board.notify(0);
            board.irq();
            assert_eq!((board.status(0, 0), board.used(0)), (want.0, vec![(0, want.1)]));
        }
        for i in 0..u64::from(SEG_MAX) {
            assert_eq!(board.read(0, DATA + i * 1024, 512), board.model.sector(100 + i));
        }
    }
}

#[test]
fn a_read_only_disk_refuses_all_that_changes_it_but_not_a_flush() {
    let window = Window { first: 100, sectors: 1000, read_only: true };
    let mut board = Board::new(MODERN, 2000, &[window]);
    let features = board.load(0, reg::DEVICE_FEATURES);
    assert_ne!(features & blk_feature::RO, 0);
    assert_eq!(features & (blk_feature::DISCARD | blk_feature::WRITE_ZEROES), 0);
    board.bring_up(0);
    assert_eq!(board.whole(kind::OUT, 0, &[(DATA, 512)]), (1, 0));
    assert_eq!(board.whole_range(kind::DISCARD, (0, 8, 0)), (1, 0));
    assert_eq!(board.whole_range(kind::WRITE_ZEROES, (0, 8, 0)), (1, 0));
    assert_eq!(board.whole(kind::FLUSH, 0, &[]), (0, 1));
    assert_eq!(board.whole(kind::IN, 0, &[(DATA, 512)]), (0, 513));
}

#[test]
fn flush_identification_discard_and_zeroes_do_what_they_say() {
    for make in [MODERN, LEGACY, POOR] {
        let rich = make.features & blk_feature::DISCARD != 0;
        let mut board = Board::with_one(make);
        assert_eq!(board.whole(kind::FLUSH, 0, &[]), (0, 1));
        assert_eq!(board.whole(kind::GET_ID, 0, &[(DATA, 20)]), (0, 21));
        assert_eq!(board.read(0, DATA, 20), b"tessera-test-disk\0\0\0");
        assert_eq!(board.whole(kind::GET_ID, 0, &[(DATA, 7), (DATA + 100, 3)]), (0, 11));
        assert_eq!(board.read(0, DATA + 100, 3), b"-te");

        let before = board.model.sector(107);
        assert_eq!(board.whole_range(kind::DISCARD, (8, 8, 0)), (0, 1));
        assert_eq!(board.model.sector(108) == [0xdd; 512], rich);
        assert_eq!(board.whole_range(kind::WRITE_ZEROES, (16, 500, 1)), (0, 1));
        for sector in 116..616 {
            assert_eq!(board.model.sector(sector), [0; 512]);
        }
        assert_ne!(board.model.sector(616), [0; 512]);
        assert_eq!(board.model.sector(107), before);

        let unsupported = (Status::Unsupported as u8, 0);
        assert_eq!(board.whole_range(kind::DISCARD, (8, 8, 1)), unsupported);
        assert_eq!(board.whole_range(kind::WRITE_ZEROES, (8, 8, 2)), unsupported);
        assert_eq!(board.whole_range(kind::DISCARD, (8, 0, 0)), (1, 0));
        assert_eq!(board.whole_range(kind::WRITE_ZEROES, (0, MAX_WRITE_ZEROES + 1, 0)), (1, 0));
    }
}

#[test]
fn an_error_of_the_disk_is_an_error_of_the_request() {
    let mut board = Board::with_one(MODERN);
    for (told, want) in [(1, 1), (2, 2), (0xff, 1), (3, 1)] {
        board.model.state.borrow_mut().status_to_give = Some(told);
        assert_eq!(board.whole(kind::IN, 0, &[(DATA, 512)]), (want, 0));
    }
    board.model.state.borrow_mut().status_to_give = None;
    assert_eq!(board.whole(kind::IN, 0, &[(DATA, 512)]), (0, 513));
}

#[test]
fn a_driver_that_cannot_flush_has_its_writes_flushed() {
    let window = Window { first: 0, sectors: 100, read_only: false };
    let mut board = Board::new(MODERN, 100, &[window]);
    board.guests[0].features &= !blk_feature::FLUSH;
    board.bring_up(0);
    assert_eq!(board.whole(kind::OUT, 3, &[(DATA, 512)]), (0, 1));
    assert_eq!(board.model.state.borrow().log, [(kind::OUT, 3, 1), (kind::FLUSH, 0, 0)]);
}

#[test]
fn many_requests_are_under_way_at_once_and_each_completes_once() {
    let mut board = Board::with_one(MODERN);
    board.model.state.borrow_mut().deferred = true;
    for n in 0..128 {
        board.request(0, n, kind::IN, u64::from(n), &[(DATA + u64::from(n) * 512, 512)]);
    }
    assert_eq!(board.notify(0), Effect::default());
    // All that the disk takes; the others stay in the guest's ring.
    assert_eq!(board.guests[0].blk.in_flight(), 64);
    let mut seen = Vec::new();
    for _ in 0..200 {
        board.model.run(3);
        board.irq();
        seen.extend(board.used(0));
    }
    assert_eq!(seen.len(), 128);
    seen.sort_unstable();
    assert!(seen.iter().enumerate().all(|(n, used)| *used == (n as u32, 513)));
    for n in 0..128 {
        assert_eq!(board.read(0, DATA + n * 512, 512), board.model.sector(100 + n));
    }
}

#[test]
fn a_guest_is_interrupted_and_notifies_only_as_it_asked() {
    let mut board = Board::with_one(MODERN);
    board.model.state.borrow_mut().deferred = true;
    for n in 0..8 {
        board.request(0, n, kind::IN, 0, &[(DATA, 512)]);
    }
    // An interrupt with the fifth, please.
    board.write(0, AVAIL + 4 + 2 * 128, &4u16.to_le_bytes());
    let _ = board.notify(0);
    // The next notification is wanted with the ninth request.
    assert_eq!(board.read_u16(0, USED + 4 + 8 * 128), 8);
    for done in 1..=8 {
        board.model.run(1);
        board.irq();
        assert_eq!(board.guests[0].interrupts, u32::from(done >= 5));
    }

    let mut board = Board::new(MODERN, 100, &[Window { first: 0, sectors: 9, read_only: true }]);
    board.guests[0].features &= !feature::EVENT_IDX;
    board.bring_up(0);
    board.write(0, AVAIL, &1u16.to_le_bytes());
    board.request(0, 0, kind::IN, 0, &[(DATA, 512)]);
    let _ = board.notify(0);
    board.irq();
    assert_eq!((board.guests[0].interrupts, board.used(0).len()), (0, 1));
    assert_eq!(board.read_u16(0, USED), 0);
}

#[test]
fn indices_wrap_around() {
    let mut board = Board::with_one(MODERN);
    for n in 0..70_000u64 {
        assert_eq!(board.whole(kind::GET_ID, 0, &[(DATA, 20)]), (0, 21), "{n}");
    }
    for n in 0..300 {
        assert_eq!(board.whole(kind::IN, n, &[(DATA, 512)]), (0, 513));
    }
}

#[test]
fn a_reset_waits_for_the_disk_and_then_begins_afresh() {
    let mut board = Board::with_one(MODERN);
    board.model.state.borrow_mut().deferred = true;
    for n in 0..3 {
        board.request(0, n, kind::IN, 0, &[(DATA, 512)]);
    }
    let _ = board.notify(0);
    let again = Effect { interrupt: false, retry: true };
    for _ in 0..3 {
        assert_eq!(board.store(0, reg::STATUS, 0), again);
        assert_eq!(board.load(0, reg::STATUS), 15);
        // Nothing new begins meanwhile.
        board.request(0, 9, kind::IN, 0, &[(DATA, 512)]);
        let _ = board.notify(0);
        board.model.run(1);
        board.irq();
    }
    assert_eq!(board.store(0, reg::STATUS, 0), Effect::default());
    assert_eq!(board.load(0, reg::STATUS), 0);
    assert_eq!(board.load(0, reg::QUEUE_READY), 0);
    // The rings were left alone.
    assert_eq!((board.used(0), board.guests[0].interrupts), (vec![], 0));

    board.write(0, RAM, &[0; 0x3000]);
    board.bring_up(0);
    board.model.state.borrow_mut().deferred = false;
    assert_eq!(board.whole(kind::IN, 0, &[(DATA, 512)]), (0, 513));
}

#[test]
fn a_queue_is_stopped_only_when_nothing_is_under_way() {
    let mut board = Board::with_one(MODERN);
    board.model.state.borrow_mut().deferred = true;
    board.request(0, 0, kind::IN, 0, &[(DATA, 512)]);
    let _ = board.notify(0);
    assert!(board.store(0, reg::QUEUE_READY, 0).retry);
    assert_eq!(board.load(0, reg::QUEUE_READY), 1);
    assert!(board.store(0, reg::QUEUE_READY, 0).retry);
    board.model.run(1);
    board.irq();
    assert_eq!(board.store(0, reg::QUEUE_READY, 0), Effect::default());
    assert_eq!(board.load(0, reg::QUEUE_READY), 0);
    assert_eq!(board.used(0), []);
    assert_eq!(board.load(0, reg::STATUS), 15);
}

/// Brings up a device, lets `spoil` write to the guest's rings, notifies, and tells whether the device broke down.
fn breaks(spoil: impl Fn(&mut Board)) -> bool {
    let mut board = Board::with_one(MODERN);
    spoil(&mut board);
    let effect = board.notify(0);
    board.irq();
    let broken = board.load(0, reg::STATUS) & u64::from(status::NEEDS_RESET) != 0;
    assert_eq!(board.guests[0].blk.take_fault().is_some(), broken);
    if broken {
        assert!(effect.interrupt || board.guests[0].interrupts > 0);
        let reasons = board.load(0, reg::INTERRUPT_STATUS);
        assert_ne!(reasons & u64::from(interrupt::CONFIG), 0);
        assert_eq!(board.notify(0), Effect::default());
        // A reset heals.
        assert_eq!(board.store(0, reg::STATUS, 0), Effect::default());
        board.write(0, RAM, &[0; 0x3000]);
        board.bring_up(0);
        assert_eq!(board.whole(kind::IN, 0, &[(DATA, 512)]), (0, 513));
    }
    broken
}

#[test]
fn rings_that_break_the_protocol_break_the_device_and_a_reset_heals_it() {
    let frame = |b: &Board| b.header(0, 0, kind::IN, 0);
    assert!(!breaks(|_| {}));
    // More available than the queue holds.
    assert!(breaks(|b| b.write(0, AVAIL + 2, &129u16.to_le_bytes())));
    assert!(breaks(|b| b.write(0, AVAIL + 2, &0xffffu16.to_le_bytes())));
    // A head that does not exist.
    assert!(breaks(|b| b.offer(0, 128)));
    // A chain that goes on nowhere, and one that goes round.
    assert!(breaks(|b| {
        b.describe(0, DESC, 0, (frame(b), 16, desc::NEXT, 500));
        b.offer(0, 0);
    }));
    assert!(breaks(|b| {
        b.describe(0, DESC, 0, (frame(b), 16, desc::NEXT, 0));
        b.offer(0, 0);
    }));
    // Without a header, without a status, with both in the wrong order.
    assert!(breaks(|b| {
        b.chain(0, DESC, 0, &[(frame(b), 15, false), (DATA, 1, true)]);
        b.offer(0, 0);
    }));
    assert!(breaks(|b| {
        b.chain(0, DESC, 0, &[(frame(b), 16, false), (DATA, 0, true)]);
        b.offer(0, 0);
    }));
    assert!(breaks(|b| {
        b.chain(0, DESC, 0, &[(DATA, 1, true), (frame(b), 16, false)]);
        b.offer(0, 0);
    }));
    // Header or status outside RAM.
    assert!(breaks(|b| {
        b.chain(0, DESC, 0, &[(RAM - 16, 16, false), (DATA, 1, true)]);
        b.offer(0, 0);
    }));
    assert!(breaks(|b| {
        b.chain(0, DESC, 0, &[(frame(b), 16, false), (RAM + RAM_SIZE, 1, true)]);
        b.offer(0, 0);
    }));
    assert!(breaks(|b| {
        b.chain(0, DESC, 0, &[(frame(b), 16, false), (u64::MAX, 2, true)]);
        b.offer(0, 0);
    }));
    // Impossible tables.
    for (at, len, flags) in [
        (TABLES, 0, desc::INDIRECT),
        (TABLES, 17, desc::INDIRECT),
        (TABLES, 129 * 16, desc::INDIRECT),
        (TABLES, !15, desc::INDIRECT),
        (TABLES, 32, desc::INDIRECT | desc::NEXT),
        (u64::MAX - 7, 32, desc::INDIRECT),
    ] {
        assert!(breaks(|b| {
            b.chain(0, TABLES, 0, &[(frame(b), 16, false), (DATA, 1, true)]);
            b.describe(0, DESC, 0, (at, len, flags, 0));
            b.offer(0, 0);
        }));
    }
    // A table in a table; a table that goes on behind its end.
    assert!(breaks(|b| {
        b.describe(0, DESC, 0, (TABLES, 16, desc::INDIRECT, 0));
        b.describe(0, TABLES, 0, (TABLES, 16, desc::INDIRECT, 0));
        b.offer(0, 0);
    }));
    assert!(breaks(|b| {
        b.describe(0, DESC, 0, (TABLES, 16, desc::INDIRECT, 0));
        b.describe(0, TABLES, 0, (frame(b), 16, desc::NEXT, 1));
        b.offer(0, 0);
    }));
    // The same chain twice at once.
    assert!(breaks(|b| {
        b.model.state.borrow_mut().deferred = true;
        b.request(0, 0, kind::IN, 0, &[(DATA, 512)]);
        b.offer(0, 0);
        let _ = b.notify(0);
        b.model.state.borrow_mut().deferred = false;
        b.model.run(9);
        b.irq();
    }));
}

#[test]
fn a_queue_that_fills_as_fast_as_it_is_emptied_keeps_a_core_for_a_bounded_time() {
    /// Offers the same request over and over, whenever the disk is asked.
    fn refill(board: &Board, count: &mut u32) -> Result<Accepted, SubmitError> {
        *count += 1;
        let idx = board.read_u16(0, AVAIL + 2).wrapping_add(1);
        board.write(0, AVAIL + 2, &idx.to_le_bytes());
        Ok(Accepted::Done)
    }
    let mut board = Board::with_one(MODERN);
    board.request(0, 0, kind::FLUSH, 0, &[]);
    let window = Window { first: 0, sectors: 1, read_only: false };
    let mut blk = core::mem::replace(&mut board.guests[0].blk, VirtioBlk::new(0, window, [0; 20]));
    let (ram, mut count) = (&board.guests[0].ram, 0);
    let mut submit = |_: &DiskRequest| refill(&board, &mut count);
    let effect = blk.mmio_write(reg::QUEUE_NOTIFY, 4, 0, board.hw, ram, &mut submit);
    assert!(effect.retry && effect.interrupt);
    let effect = blk.resume(board.hw, ram, &mut submit);
    assert!(!effect.retry && effect.interrupt);
    assert_eq!(blk.take_fault(), Some(QueueError::Endless));
    assert_eq!(count, 17 * 129);
}

#[test]
fn a_table_without_the_feature_breaks_the_device() {
    let mut board = Board::new(MODERN, 100, &[Window { first: 0, sectors: 9, read_only: true }]);
    board.guests[0].features &= !feature::INDIRECT_DESC;
    board.bring_up(0);
    board.request(0, 0, kind::IN, 0, &[(DATA, 512)]);
    assert!(board.notify(0).interrupt);
    assert_ne!(board.load(0, reg::STATUS) & u64::from(status::NEEDS_RESET), 0);
}
