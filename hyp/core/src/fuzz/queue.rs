//! A virtqueue in memory that holds anything, beside a plain reader of the same bytes.

use alloc::vec;
use alloc::vec::Vec;

use super::{Choices, Random};
use crate::addr::{Ipa, Pa};
use crate::guest_mem::{Extent, GuestRam};
use crate::hw::Hw;
use crate::hw::fake::FakeHw;
use crate::virtio::desc;
use crate::virtio::queue::{Area, Buffer, Queue};

/// The guest's RAM: two pages that lie the other way round on the board.
const RAM: u64 = 0x4000_0000;
const PAGE: u64 = 0x1000;
const BOARD: Pa = Pa(0x8000_0000);
/// Where the rings are.
const DESC: u64 = RAM;
const AVAIL: u64 = RAM + 0xfc0;
const USED: u64 = RAM + 0x1400;
const MOST: u16 = 64;

/// What the queue was told, and the memory that it reads.
struct Plain<'a> {
    memory: &'a [u8],
    size: u16,
    indirect: bool,
}

impl Plain<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let from = usize::try_from(at.checked_sub(RAM)?).ok()?;
        self.memory.get(from..from.checked_add(N)?)?.try_into().ok()
    }

    /// The buffers of a chain as VIRTIO 1.3 2.7.5 has them, or nothing where the driver broke a rule.
    fn chain(&self, head: u16) -> Option<Vec<Buffer>> {
        let mut all: Vec<Buffer> = Vec::new();
        let (mut table, mut entries) = (DESC, u32::from(self.size));
        let mut index = u32::from(head);
        let mut inside = false;
        loop {
            if index >= entries {
                return None;
            }
            let raw = self.bytes::<16>(table.checked_add(u64::from(index) * 16)?)?;
            let raw = u128::from_le_bytes(raw);
            let (at, len) = (raw as u64, (raw >> 64) as u32);
            let (flags, next) = ((raw >> 96) as u16, (raw >> 112) as u16);
            if flags & desc::INDIRECT != 0 {
                let good = self.indirect && !inside && flags & desc::NEXT == 0;
                if !good || len % 16 != 0 || !(1..=u32::from(self.size)).contains(&(len / 16)) {
                    return None;
                }
                (inside, table, entries, index) = (true, at, len / 16, 0);
                continue;
            }
            let write = flags & desc::WRITE != 0;
            if !write && all.last().is_some_and(|before| before.write) {
                return None;
            }
            all.push(Buffer { at: Ipa(at), len, write });
            if flags & desc::NEXT == 0 {
                return Some(all);
            }
            // A table's reference counts too: no walk looks at more than one descriptor above the queue's size.
            if all.len() + usize::from(inside) > usize::from(self.size) {
                return None;
            }
            index = u32::from(next);
        }
    }
}

/// Memory, then chains taken and given back: each chain is what a plain reader makes of the same bytes. Returns how many
/// chains were whole.
pub fn run(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let how = choices.byte();
    let (event_idx, indirect) = (how & 1 != 0, how & 2 != 0);
    let size = if how & 0x80 == 0 { 1 << (how >> 4 & 7) } else { choices.word() as u16 };
    let hw = FakeHw::new(BOARD, 4 * PAGE as usize);
    let page = |ipa, pa| Extent { ipa: Ipa(ipa), pa: BOARD.offset(pa), len: PAGE };
    let Ok(ram) = GuestRam::new(vec![page(RAM, PAGE), page(RAM + PAGE, 0)]) else { return 0 };
    let mut queue = Queue::new(MOST);
    queue.set_size(size);
    for (area, at) in [(Area::Desc, DESC), (Area::Driver, AVAIL), (Area::Device, USED)] {
        *queue.area(area) = Ipa(at);
    }
    if queue.start(&ram, event_idx, indirect).is_err() {
        assert!(!size.is_power_of_two() || size > MOST);
        return 0;
    }
    let fill = choices.rest();
    let fill = &fill[..fill.len().min(2 * PAGE as usize)];
    assert_eq!(ram.write(&hw, Ipa(RAM), fill), Ok(()));
    serve(&mut queue, &hw, &ram, indirect)
}

fn serve(queue: &mut Queue, hw: &FakeHw, ram: &GuestRam, indirect: bool) -> usize {
    let (size, mut whole) = (queue.size(), 0);
    for turn in 0..2 * u32::from(size) {
        let mut memory = vec![0; 2 * PAGE as usize];
        assert_eq!(ram.read(hw, Ipa(RAM), &mut memory), Ok(()));
        let Ok(Some(head)) = queue.pop(hw, ram) else { break };
        assert!(head < size);
        assert!(turn <= u32::from(size), "more chains than the driver can have made available");
        let mut all = Vec::new();
        let each = |buffer| {
            all.push(buffer);
            Ok(())
        };
        let walked = queue.walk(hw, ram, head, each);
        let want = Plain { memory: &memory, size, indirect }.chain(head);
        assert_eq!(walked.ok().map(|()| all), want, "chain {head} of {size}");
        if turn % 3 == 2 {
            queue.put_back();
            assert_eq!(queue.pop(hw, ram), Ok(Some(head)));
        }
        whole += usize::from(want.is_some());
        assert_eq!(queue.push(hw, ram, head, turn), Ok(()));
        let _ = queue.wants_interrupt(hw, ram);
    }
    let mut rest = [0; 2 * PAGE as usize];
    hw.read(BOARD.offset(2 * PAGE), &mut rest);
    assert_eq!(rest, [0; 2 * PAGE as usize], "memory of others");
    whole
}

pub fn seeds() -> Vec<Vec<u8>> {
    let descriptor = |at: u64, len: u32, flags: u16, next: u16| {
        let high = u64::from(next) << 48 | u64::from(flags) << 32 | u64::from(len);
        [at.to_le_bytes(), high.to_le_bytes()].concat()
    };
    // A chain of two, and one by a table; both available.
    let mut memory = [
        descriptor(RAM + 0x800, 16, desc::NEXT, 1),
        descriptor(RAM + 0x900, 512, desc::WRITE, 0),
        descriptor(RAM + 0x40, 32, desc::INDIRECT, 0),
        descriptor(0, 0, 0, 0),
        descriptor(RAM + 0x800, 16, desc::NEXT, 1),
        descriptor(RAM + 0xfff, 4096, desc::WRITE, 0),
    ]
    .concat();
    memory.resize((AVAIL - RAM) as usize, 0);
    memory.extend([0u16, 2, 0, 2].iter().flat_map(|half| half.to_le_bytes()));
    let with = |how: u8| [&[how], &memory[..]].concat();
    vec![with(0x23), with(0x33), Random(1).bytes(600)]
}
