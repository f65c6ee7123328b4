//! What guests share: doorbells, the region of who may only read, and the pages around the one that says who is up.

use tessera_rt::abi::group::doorbell::{ALL, PENDING, RING};
use tessera_rt::mmio::{read8, read32, read64, write8, write32, write64};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::trap::{EC_DATA, FSC_EXTERNAL, attempt};
use tessera_rt::{GroupNode, Machine};

use crate::tally::Tally;

const PAGE: u64 = 0x1000;
const ROUNDS: u64 = 20_000;

/// Attack 22. A guest without groups attacks the places where they would be.
pub fn run(machine: &Machine, tally: &mut Tally) {
    use tessera_rt::abi::layout::{DOORBELL_BASE, DOORBELL_SIZE, MAX_GROUPS, MEMBERSHIP_BASE};
    if !machine.tessera {
        return;
    }
    let groups = machine.groups();
    for slot in groups.len() as u64..MAX_GROUPS as u64 + 1 {
        nothing(DOORBELL_BASE + slot * DOORBELL_SIZE, tally);
        nothing(MEMBERSHIP_BASE + slot * DOORBELL_SIZE, tally);
    }
    nothing(MEMBERSHIP_BASE - PAGE, tally);
    groups.iter().for_each(|group| attack(group, tally));
}

/// Rings the first member of each group as fast as it can, or the second where the region begins with an odd number, for ever.
pub fn storm(machine: &Machine) -> ! {
    let mut bells = [(0, 0); tessera_rt::abi::layout::MAX_GROUPS];
    for (bell, group) in bells.iter_mut().zip(machine.groups()) {
        *bell = (mmu::map(group.doorbell, Kind::Device, false), mmu::map_gigabyte(group.region.0));
    }
    loop {
        for (group, (doorbell, region)) in machine.groups().iter().zip(&bells) {
            write32(doorbell + RING, read32(*region) & 1);
            let _ = group.try_ring(read32(*region) & 1);
        }
    }
}

/// Neither a load nor a store gets an answer there.
fn nothing(page: u64, tally: &mut Tally) {
    let at = mmu::map(page, Kind::Normal, false);
    tally.must_fault("a load", page, EC_DATA, FSC_EXTERNAL, attempt(|| read64(at)));
    no_store(page, tally);
}

fn no_store(page: u64, tally: &mut Tally) {
    let at = mmu::map(page, Kind::Normal, false);
    for offset in [0, 0x10, 0x40, 0xff8] {
        let store = attempt(|| write64(at + offset, u64::MAX));
        tally.must_fault("a store", page + offset, EC_DATA, FSC_EXTERNAL, store);
    }
}

fn attack(group: &GroupNode, tally: &mut Tally) {
    let (region, bytes) = group.region;
    no_store(group.membership, tally);
    nothing(region + bytes, tally);
    nothing(region - PAGE, tally);
    if group.read_only {
        for page in [region, region + bytes / 2, region + bytes - PAGE] {
            no_store(page & !(PAGE - 1), tally);
        }
    }
    let doorbell = mmu::map(group.doorbell, Kind::Device, false);
    for index in (0..=256).chain((8..32).map(|bit| 1 << bit)).chain([ALL, ALL - 1, 1 << 31 | 1]) {
        tally.step(|| write32(doorbell + RING, index));
        tally.step(|| group.try_ring(index));
        // Of groups that it is not in, by far.
        let other = GroupNode { number: index | 8, ..*group };
        tally.step(|| (other.try_ring(index), other.take()));
    }
    for offset in 0..PAGE {
        let at = doorbell + offset;
        tally.step(|| read8(at));
        tally.step(|| write8(at, offset as u8));
        tally.step(|| read32(at & !3));
        tally.step(|| write32(at & !3, u32::MAX));
        tally.step(|| read64(at & !7));
        tally.step(|| write64(at & !7, u64::MAX));
    }
    for _ in 0..ROUNDS {
        let whom = tally.below(64) as u32;
        tally.step(|| write32(doorbell + RING, if whom < 32 { whom } else { ALL }));
        tally.step(|| group.try_ring(whom));
        match whom {
            0 => tally.step(|| read32(doorbell + PENDING)),
            1 => tally.step(|| group.take()),
            _ => {}
        }
    }
}
