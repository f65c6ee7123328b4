//! The driver against the model of a controller and its card.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::card::Csd;
use super::model::*;
use super::reg::{card, cmd, control, status};
use super::*;
use crate::addr::{Pa, VmId};
use crate::disk::boot::{BootReader, ReadError};
use crate::disk::model::Random;
use crate::disk::partitions::BlockRead;
use crate::disk::{Accepted, DiskOp, DiskRequest, SubmitError, Tag};
use crate::disk::{Attached, Disk, Sector, Window};
use crate::hw::fake::{Event, FakeHw};

type Driver = Sdhci<&'static Model>;

fn machine(make: Make) -> (&'static FakeHw, &'static Model) {
    let hw = Box::leak(Box::new(FakeHw::new(Pa(MEMORY), 2 << 20)));
    (hw, Model::new(hw, make))
}

fn try_start(make: Make) -> (&'static FakeHw, &'static Model, Result<Driver, InitError>) {
    let (hw, model) = machine(make);
    let driver = Sdhci::new(model, hw, make.window.into_iter().collect(), false, None);
    (hw, model, driver)
}

fn start(make: Make) -> (&'static FakeHw, &'static Model, Driver) {
    let (hw, model, driver) = try_start(make);
    model.state.borrow_mut().log.clear();
    (hw, model, driver.unwrap())
}

#[test]
fn a_clock_that_the_board_knows_better_than_the_capabilities_is_divided() {
    let (hw, model) = machine(PI);
    let new = |base| Sdhci::new(model, hw, PI.window.into_iter().collect(), false, base).unwrap();
    let _ = new(None);
    assert_eq!(model.khz(), 50_000, "of 100 MHz, as the capabilities say");
    let _ = new(Some(200_000));
    assert_eq!(model.khz(), 25_000, "as the model counts, from half of what goes in");
}

const TAG: Tag = Tag { owner: 0, request: 7 };

fn transfer(op: DiskOp, sector: u64, segments: &[(u64, u32)]) -> DiskRequest {
    let mut request = DiskRequest::new(TAG);
    (request.op, request.sector) = (op, sector);
    for &(at, len) in segments {
        assert!(request.add_segment(Pa(at), len));
        request.sectors += u64::from(len);
    }
    request.sectors /= SECTOR_SIZE;
    request
}

type Outcome = Option<(Tag, Result<(), DiskError>)>;

/// Serves interrupts until a request ends; how many there were.
fn serve(hw: &FakeHw, model: &Model, driver: &mut Driver) -> (Outcome, u32) {
    for interrupts in 1..100_000 {
        assert!(model.line(), "the controller is silent, and nobody asks it");
        driver.acknowledge();
        let done = driver.complete(hw);
        if done.is_some() {
            return (done, interrupts);
        }
    }
    panic!("it does not end")
}

fn run(hw: &FakeHw, model: &Model, driver: &mut Driver, request: &DiskRequest) -> Outcome {
    assert_eq!(driver.submit(hw, request), Ok(Accepted::Queued));
    let (outcome, _) = serve(hw, model, driver);
    assert_eq!(driver.complete(hw), None);
    outcome
}

fn bytes(hw: &FakeHw, segments: &[(u64, u32)]) -> Vec<u8> {
    let mut all = Vec::new();
    for &(at, len) in segments {
        let mut piece = vec![0; len as usize];
        hw.read(Pa(at), &mut piece);
        all.extend(piece);
    }
    all
}

fn on_card(model: &Model, sector: u64, len: usize) -> Vec<u8> {
    let from = (sector * SECTOR_SIZE) as usize;
    model.state.borrow().data[from..from + len].to_vec()
}

const OK: Outcome = Some((TAG, Ok(())));
const FAILED: Outcome = Some((TAG, Err(DiskError::Failed)));
const LOST: Outcome = Some((TAG, Err(DiskError::Lost)));

#[test]
fn cards_of_each_generation_are_made_ready_at_the_clock_that_they_and_the_controller_can() {
    let slow = Make { high_speed: false, ..PI };
    let (mut old_host, mut no_answer) = (QEMU, PI);
    old_host.version = 1;
    no_answer.capabilities &= !(1 << 21);
    for (make, sectors, khz, fast) in [
        (PI, 0xed00u64 * 1024, 50_000, true),
        (QEMU, 0xed00 * 1024, 26_000, true),
        (old_host, 0xed00 * 1024, 26_000, true),
        (slow, 0xed00 * 1024, 25_000, false),
        (no_answer, 0xed00 * 1024, 25_000, false),
        (OLD, 3984 * 512 * 2, 13_000, false),
        // SDXC of 512 GB, and the largest there can be.
        (Make { csd: 1 << 126 | 0xe_e7ff << 48, ..PI }, 0xe_e800 * 1024, 50_000, true),
        (Make { csd: 1 << 126 | 0x3f_ffff << 48, ..PI }, 1 << 32, 50_000, true),
    ] {
        let (_, model, driver) = try_start(make);
        let driver = driver.unwrap();
        assert_eq!((driver.sectors(), driver.read_only()), (sectors, false));
        assert_eq!(model.khz(), khz);
        let bits = control::WIDTH_4 | if fast { control::HIGH_SPEED } else { 0 };
        assert_eq!(model.control() & (control::WIDTH_4 | control::HIGH_SPEED), bits);
        assert!(!model.line());
    }
    let (_, _, driver) = start(PI);
    assert_eq!(driver.to_string(), "30336 MiB, up to 50 MHz, ADMA2");
}

#[test]
fn what_cannot_be_used_is_said() {
    let why = |make| try_start(make).2.err().unwrap();
    let (hw, model) = machine(PI);
    model.state.borrow_mut().present = false;
    let error = Sdhci::new(model, hw, Vec::new(), false, None).err().unwrap();
    assert_eq!(error, InitError::NoCard);
    assert!(error.to_string().contains("insert one"));
    // SDUC; a block length that cannot be.
    assert_eq!(why(Make { csd: 2 << 126, ..PI }), InitError::Unknown);
    assert_eq!(why(Make { csd: 8 << 80, ..OLD }), InitError::Unknown);
    let never = Make { wakes_after: u32::MAX, ..PI };
    assert_eq!(why(never), InitError::Command(cmd::SEND_OP_COND, Fault::Silent));
}

#[test]
fn a_card_that_its_owner_wrote_protected_is_read_only() {
    for bit in [12, 13] {
        let (hw, _, mut driver) = start(Make { csd: PI.csd | 1 << bit, ..PI });
        assert!(driver.read_only());
        let request = transfer(DiskOp::Write, 0, &[(MEMORY, 512)]);
        assert_eq!(driver.submit(hw, &request), Err(SubmitError::Refused));
    }
}

#[test]
fn the_capacity_is_read_out_of_the_response_as_the_controller_shifts_it() {
    // A real SDHC card's CSD, as a Linux machine shows it: 15.8 GB.
    let csd: u128 = 0x400e_0032_5b59_0000_760f_7f80_0a40_0001;
    let words = [8, 40, 72, 104].map(|shift| (csd >> shift) as u32);
    let [low, high @ ..] = words;
    assert_eq!(Csd::new(low, high).sectors(), Some(0x7610 * 1024));
}

#[test]
fn data_arrives_in_its_place_by_dma_and_without_whatever_the_pieces_are() {
    let mut random = Random(3);
    for round in 0..200u32 {
        let make = [PI, QEMU, OLD][round as usize % 3];
        let (hw, model, mut driver) = start(make);
        let mut segments = Vec::new();
        let mut at = MEMORY;
        for _ in 0..1 + random.below(9) {
            let len = 512 * (1 + random.below(6)) as u32;
            // Cuts of whole cache lines, of words, and of bytes.
            let cut = [64, 4, 1][round as usize / 3 % 3] * random.below(500) as u32 % len;
            segments.extend([(at, len - cut), (at + 0x2000, cut)].iter().filter(|s| s.1 != 0));
            at += 0x4000;
        }
        let read = transfer(DiskOp::Read, 20, &segments);
        hw.events();
        model.state.borrow_mut().dma.clear();
        assert_eq!(run(hw, model, &mut driver, &read), OK);
        let len = read.sectors as usize * 512;
        assert!(bytes(hw, &segments) == on_card(model, 20, len), "round {round}");
        let write = transfer(DiskOp::Write, 700, &segments);
        hw.events();
        assert_eq!(run(hw, model, &mut driver, &write), OK);
        assert!(on_card(model, 700, len) == on_card(model, 20, len), "round {round}");
        let aligned = segments.iter().all(|s| s.1 % 64 == 0);
        let words = segments.iter().all(|s| s.1 % 4 == 0);
        let pi = make.window.is_some();
        assert_eq!(model.state.borrow().dma, [pi && aligned, pi && words]);
    }
}

#[test]
fn large_requests_go_in_parts_and_pieces_of_them_in_several_descriptors() {
    for make in [PI, QEMU] {
        let (hw, model, mut driver) = start(make);
        let segments = [(MEMORY, 0x9_1000), (MEMORY + 0xa_0000, 0x1_f200)];
        let read = transfer(DiskOp::Read, 0, &segments);
        hw.events();
        assert_eq!(run(hw, model, &mut driver, &read), OK);
        assert!(bytes(hw, &segments) == on_card(model, 0, 0xb_0200));
        let log = core::mem::take(&mut model.state.borrow_mut().log);
        assert_eq!(log, [(cmd::READ_MANY, 0), (cmd::READ_MANY, 1024)]);
    }
}

#[test]
fn what_dma_reads_is_forgotten_by_the_caches_before_and_after() {
    let (hw, model, mut driver) = start(PI);
    let read = transfer(DiskOp::Read, 0, &[(MEMORY + 0x1000, 0x1000)]);
    hw.events();
    assert_eq!(run(hw, model, &mut driver, &read), OK);
    let piece = Event::DmaSync(Pa(MEMORY + 0x1000), 0x1000);
    let events = hw.events();
    assert_eq!(events.iter().filter(|&&event| event == piece).count(), 2);
    assert_eq!(events.last(), Some(&piece));
    let write = transfer(DiskOp::Write, 0, &[(MEMORY + 0x1000, 0x1000)]);
    assert_eq!(run(hw, model, &mut driver, &write), OK);
    assert_eq!(hw.events().iter().filter(|&&event| event == piece).count(), 1);

    let (hw, model) = machine(PI);
    let mut driver = Sdhci::new(model, hw, PI.window.into_iter().collect(), true, None).unwrap();
    hw.events();
    driver.submit(hw, &transfer(DiskOp::Write, 0, &[])).ok();
    assert!(hw.events().is_empty());
}

#[test]
fn memory_that_dma_does_not_reach_is_moved_by_a_core() {
    // The window ends in the middle of memory, or above 4 GiB; the table's frame lies behind its end.
    let window = PI.window.unwrap();
    let tail = MEMORY + (1 << 20) - 0x1000;
    let below = DmaWindow { cpu: Pa(tail), len: 0x10_1000, ..window };
    let high = DmaWindow { bus: 0xfff0_0000 - 0x1000, ..window };
    for window in [below, high] {
        let (hw, model, mut driver) = start(Make { window: Some(window), ..PI });
        for (at, dma) in [(MEMORY + 0x1000, window.cpu.0 == MEMORY), (tail, true), (tail - 4, true)]
        {
            let by_dma = dma && at != tail - 4;
            let read = transfer(DiskOp::Read, 9, &[(at, 1024)]);
            hw.events();
            assert_eq!(run(hw, model, &mut driver, &read), OK);
            assert!(bytes(hw, &[(at, 1024)]) == on_card(model, 9, 1024));
            assert_eq!(model.state.borrow_mut().dma.pop(), Some(by_dma), "{at:#x}");
        }
    }
    let nowhere = DmaWindow { bus: 1 << 32, ..window };
    let free = |hw: &FakeHw| hw.free_frames();
    let (hw, model) = machine(PI);
    let before = free(hw);
    let mut driver = Sdhci::new(model, hw, vec![nowhere], false, None).unwrap();
    assert_eq!(free(hw), before);
    let read = transfer(DiskOp::Read, 9, &[(MEMORY, 1024)]);
    assert_eq!(run(hw, model, &mut driver, &read), OK);
}

#[test]
fn a_write_is_complete_when_the_card_is_no_longer_busy_and_a_flush_has_nothing_to_do() {
    let (hw, model, mut driver) = start(Make { busy: 20, ..PI });
    let write = transfer(DiskOp::Write, 5, &[(MEMORY, 512)]);
    assert_eq!(run(hw, model, &mut driver, &write), OK);
    let log = core::mem::take(&mut model.state.borrow_mut().log);
    let count = |index| log.iter().filter(|entry| entry.0 == index).count();
    assert_eq!((count(cmd::WRITE_ONE), count(cmd::SEND_STATUS)), (1, 21));
    for op in [DiskOp::Flush, DiskOp::Discard] {
        assert_eq!(driver.submit(hw, &transfer(op, 0, &[])), Ok(Accepted::Done));
    }
    assert!(model.state.borrow().log.is_empty());
}

#[test]
fn zeroes_are_written_where_a_guest_asks_for_them() {
    for make in [PI, QEMU] {
        let (hw, model, mut driver) = start(make);
        let mut request = transfer(DiskOp::WriteZeroes { unmap: true }, 10, &[]);
        request.sectors = 1500;
        assert_eq!(run(hw, model, &mut driver, &request), OK);
        assert!(on_card(model, 10, 1500 * 512).iter().all(|&byte| byte == 0));
        assert!(on_card(model, 9, 512).iter().any(|&byte| byte != 0));
        assert!(on_card(model, 1510, 512).iter().any(|&byte| byte != 0));
    }
}

#[test]
fn a_core_moves_no_more_than_a_few_blocks_before_the_guest_runs_on() {
    let (hw, model, mut driver) = start(QEMU);
    let read = transfer(DiskOp::Read, 0, &[(MEMORY, 64 * 512)]);
    assert_eq!(driver.submit(hw, &read), Ok(Accepted::Queued));
    let (outcome, interrupts) = serve(hw, model, &mut driver);
    assert_eq!((outcome, interrupts), (OK, 64 / EVENTS + 1));
    let (hw, model, mut driver) = start(PI);
    assert_eq!(driver.submit(hw, &read), Ok(Accepted::Queued));
    assert_eq!(serve(hw, model, &mut driver), (OK, 1));
}

#[test]
fn one_request_at_a_time_and_the_others_wait() {
    let (hw, model, mut driver) = start(PI);
    let read = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
    assert_eq!(driver.progress(), None);
    assert_eq!(driver.submit(hw, &read), Ok(Accepted::Queued));
    assert!(driver.progress().is_some());
    assert_eq!(driver.submit(hw, &read), Err(SubmitError::Full));
    assert_eq!(serve(hw, model, &mut driver).0, OK);
    assert_eq!(driver.progress(), None);
    assert_eq!(run(hw, model, &mut driver, &read), OK);
}

const CRC: u32 = 1 << 21;

/// Everything that can go wrong once.
fn troubles(write: bool) -> Vec<Trouble> {
    let mut all: Vec<_> = (16..26).map(|bit| Trouble::Error(1 << bit)).collect();
    all.remove(7);
    all.extend([0, 1, 3].map(|blocks| Trouble::After(blocks, CRC)));
    all.extend([0, 2].map(|blocks| Trouble::After(blocks, status::DATA_TIMEOUT)));
    all.extend([Trouble::Refuse(card::OUT_OF_RANGE), Trouble::Refuse(1 << 21)]);
    if write {
        all.extend([Trouble::RefuseStop(1 << 19), Trouble::RefuseStatus(1 << 20)]);
    }
    all
}

#[test]
fn what_fails_once_is_tried_again_and_three_times_more_than_that_it_is_the_guests_error() {
    for make in [PI, QEMU, OLD] {
        for op in [DiskOp::Read, DiskOp::Write] {
            for trouble in troubles(op == DiskOp::Write) {
                let (hw, model, mut driver) = start(make);
                let segments = [(MEMORY, 1024), (MEMORY + 0x1000, 1024)];
                let request = transfer(op, 30, &segments);
                hw.events();
                model.state.borrow_mut().troubles = vec![trouble; usize::from(RETRIES)];
                assert_eq!(run(hw, model, &mut driver, &request), OK, "{trouble:?}");
                assert!(bytes(hw, &segments) == on_card(model, 30, 2048), "{trouble:?}");
                model.state.borrow_mut().troubles = vec![trouble; usize::from(RETRIES) + 1];
                assert_eq!(run(hw, model, &mut driver, &request), FAILED, "{trouble:?}");
                // That was this request's matter alone.
                assert_eq!(run(hw, model, &mut driver, &request), OK, "{trouble:?}");
            }
        }
    }
}

#[test]
fn an_error_in_a_later_part_costs_that_part_alone() {
    let (hw, model, mut driver) = start(PI);
    let segments = [(MEMORY, 0x8_0000), (MEMORY + 0x9_0000, 0x2000)];
    let request = transfer(DiskOp::Read, 0, &segments);
    hw.events();
    // The last is first; one that has no effect stands for the part without an error.
    model.state.borrow_mut().troubles = vec![Trouble::After(5, CRC), Trouble::Refuse(0)];
    assert_eq!(run(hw, model, &mut driver, &request), OK);
    assert!(bytes(hw, &segments) == on_card(model, 0, 0x8_2000));
    let reads = |entry: &&(u32, u32)| entry.0 == cmd::READ_MANY;
    let state = model.state.borrow();
    let parts: Vec<u32> = state.log.iter().filter(reads).map(|entry| entry.1).collect();
    assert_eq!(parts, [0, 1024, 1024]);
}

#[test]
fn a_card_that_is_taken_out_in_the_middle_is_lost() {
    for make in [PI, QEMU] {
        for op in [DiskOp::Read, DiskOp::Write] {
            let (hw, model, mut driver) = start(make);
            let request = transfer(op, 0, &[(MEMORY, 4096)]);
            hw.events();
            model.state.borrow_mut().troubles = vec![Trouble::Remove(3)];
            assert_eq!(run(hw, model, &mut driver, &request), LOST);
            assert_eq!(driver.submit(hw, &request), Err(SubmitError::Lost));
            assert_eq!((driver.complete(hw), driver.progress()), (None, None));
            assert!(!model.line());
        }
    }
}

#[test]
fn another_card_is_not_taken_for_the_one_that_was_there() {
    let (hw, model, mut driver) = start(PI);
    let request = transfer(DiskOp::Write, 0, &[(MEMORY, 512)]);
    model.state.borrow_mut().present = false;
    assert_eq!(driver.submit(hw, &request), Ok(Accepted::Queued));
    // It comes back without power meanwhile: it has no address, and answers nobody.
    assert_eq!(serve(hw, model, &mut driver).0, LOST);
}

#[test]
fn a_controller_that_says_nothing_is_given_up_by_whoever_asks_next() {
    let seconds = |hw: &FakeHw, n: u64| hw.clock.set(hw.clock.get() + n * hw.counter_hz());
    for by_submit in [true, false] {
        let (hw, model, mut driver) = start(PI);
        let request = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
        model.state.borrow_mut().troubles = vec![Trouble::Hang];
        assert_eq!(driver.submit(hw, &request), Ok(Accepted::Queued));
        seconds(hw, 9);
        assert_eq!(driver.submit(hw, &request), Err(SubmitError::Full));
        assert_eq!(driver.complete(hw), None);
        seconds(hw, 2);
        if by_submit {
            assert_eq!(driver.submit(hw, &request), Err(SubmitError::Lost));
        }
        assert_eq!(driver.complete(hw), LOST);
        assert_eq!(driver.complete(hw), None);
    }
    // A core that was held up finds what the controller said meanwhile.
    let (hw, model, mut driver) = start(PI);
    let request = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
    hw.events();
    assert_eq!(driver.submit(hw, &request), Ok(Accepted::Queued));
    seconds(hw, 60);
    assert_eq!(driver.submit(hw, &request), Err(SubmitError::Full));
    assert_eq!(serve(hw, model, &mut driver).0, OK);
}

#[test]
fn a_disk_on_which_nothing_comes_forward_is_found_by_who_waits_for_it() {
    let (hw, model, driver) = start(PI);
    let seconds = |n: u64| hw.clock.set(hw.clock.get() + n * hw.counter_hz());
    let who = Attached { vm: VmId(0), device: 0 };
    let mut disk = Disk::new(driver);
    let window = Window { first: 0, sectors: 100, read_only: false };
    assert_eq!(disk.attach(who, window), Ok(0));
    let request = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
    assert!(!disk.check_overdue(hw));
    hw.events();
    // As long as requests come to their end, nothing is overdue.
    for _ in 0..5 {
        assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
        assert!(!disk.check_overdue(hw));
        seconds(6);
        assert!(!disk.check_overdue(hw));
        disk.acknowledge();
        assert_eq!(disk.complete(hw), Some((who, 7, Ok(()))));
    }
    model.state.borrow_mut().troubles = vec![Trouble::Hang];
    assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
    assert!(!disk.check_overdue(hw));
    seconds(6);
    assert!(!disk.check_overdue(hw));
    seconds(4);
    assert!(!disk.check_overdue(hw));
    seconds(2);
    assert!(disk.check_overdue(hw));
    assert!(!disk.check_overdue(hw));
    assert_eq!(disk.complete(hw), Some((who, 7, Err(DiskError::Lost))));
}

#[test]
fn whoever_gave_a_silent_disk_a_request_finds_it_out_by_the_clock_and_nobody_looks_at_an_idle_one()
{
    let (hw, model, driver) = start(PI);
    let who = Attached { vm: VmId(0), device: 0 };
    let mut disk = Disk::new(driver);
    let window = Window { first: 0, sectors: 100, read_only: false };
    assert_eq!(disk.attach(who, window), Ok(0));
    assert_eq!(disk.needs_look(hw), None, "nothing is under way");
    let request = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
    hw.events();
    assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
    let at = disk.needs_look(hw).unwrap();
    assert_eq!(disk.needs_look(hw), None, "one who looks is enough");
    disk.acknowledge();
    assert_eq!(disk.complete(hw), Some((who, 7, Ok(()))));
    hw.clock.set(at);
    assert_eq!(disk.look(hw), (false, None), "it is done, and nobody looks any more");
    model.state.borrow_mut().troubles = vec![Trouble::Hang];
    assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
    let began = hw.clock.get();
    let mut again = disk.needs_look(hw);
    let mut lost = false;
    while let Some(at) = again {
        hw.clock.set(at);
        (lost, again) = disk.look(hw);
    }
    let seconds = (hw.clock.get() - began) / hw.counter_hz();
    assert!(lost && (10..=15).contains(&seconds), "after {seconds} s");
    assert_eq!(disk.complete(hw), Some((who, 7, Err(DiskError::Lost))));
    assert_eq!((disk.errors(), disk.look(hw)), (1, (false, None)));
}

#[test]
fn who_waits_for_a_disk_that_has_fallen_silent_finds_it_out() {
    let (hw, model, driver) = start(PI);
    let seconds = |n: u64| hw.clock.set(hw.clock.get() + n * hw.counter_hz());
    let who = Attached { vm: VmId(0), device: 0 };
    let mut disk = Disk::new(driver);
    let window = Window { first: 0, sectors: 100, read_only: false };
    assert_eq!(disk.attach(who, window), Ok(0));
    let request = transfer(DiskOp::Read, 0, &[(MEMORY, 512)]);
    model.state.borrow_mut().troubles = vec![Trouble::Hang];
    assert_eq!(disk.submit(hw, &request), Ok(Accepted::Queued));
    assert_eq!(disk.submit(hw, &request), Err(SubmitError::Full), "from now on it waits its turn");
    let asked: Vec<_> = (0..4)
        .map(|_| {
            let result = disk.submit(hw, &request);
            seconds(6);
            result
        })
        .collect();
    let (full, lost) = (Err(SubmitError::Full), Err(SubmitError::Lost));
    assert_eq!(asked, [full, full, lost, lost]);
    assert_eq!(disk.complete(hw), Some((who, 7, Err(DiskError::Lost))));
}

#[test]
fn boot_reads_the_card_by_asking_again_and_again() {
    for make in [PI, QEMU, OLD] {
        let (hw, model, mut driver) = start(make);
        let mut reader = BootReader::new(&mut driver, hw).unwrap();
        let mut sectors = vec![Sector::default(); 34];
        reader.read(66, &mut sectors).unwrap();
        assert_eq!(sectors[33].0[..], on_card(model, 99, 512));
        model.state.borrow_mut().troubles = vec![Trouble::Hang];
        let silent = reader.read(0, &mut sectors[..1]);
        assert_eq!(silent, Err(ReadError::Silent));
    }
}

#[test]
fn no_values_of_registers_make_the_driver_panic_or_wait_for_ever() {
    let mut random = Random(11);
    let mut started = 0;
    for round in 0..240 {
        let (hw, model) = machine(PI);
        if round % 2 == 0 {
            // A card that describes itself in any way.
            let csd = u128::from(random.next()) << 64 | u128::from(random.next());
            let scr = random.next() as u32;
            let model = Model::new(hw, Make { csd, scr, v2: csd >> 126 == 1, ..PI });
            if let Ok(driver) = Sdhci::new(model, hw, Vec::new(), false, None) {
                started += 1;
                assert!(driver.sectors() > 0 && driver.sectors() <= 1 << 32);
            }
            continue;
        }
        if round % 4 == 1 {
            model.state.borrow_mut().noise = Some(Random(round));
            let _ = Sdhci::new(model, hw, Vec::new(), false, None);
            continue;
        }
        let mut driver =
            Sdhci::new(model, hw, PI.window.into_iter().collect(), false, None).unwrap();
        model.state.borrow_mut().noise = Some(Random(round));
        let ops = [DiskOp::Read, DiskOp::Write, DiskOp::WriteZeroes { unmap: false }];
        let mut request = transfer(ops[round as usize % 3], 0, &[(MEMORY, 4096)]);
        request.sectors = 8;
        if request.op.modifies() && round % 3 == 2 {
            request.clear_segments();
        }
        while driver.submit(hw, &request) == Ok(Accepted::Queued) {
            let ended = (0..10_000).any(|_| {
                driver.acknowledge();
                driver.complete(hw).is_some()
            });
            assert!(ended, "round {round}");
        }
    }
    assert!(started > 10, "{started}");
}
