//! Groups: memory that guests share, their doorbells, and who of them is up.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tessera_rt::abi::group::doorbell::{ALL, CHANGED, INDEX, MEMBERS, PENDING, RING, WRITABLE};
use tessera_rt::abi::group::membership::{self, LIVES_SHIFT, State};
use tessera_rt::abi::hypercall;
use tessera_rt::mmio::{read8, read32, read64, write32, write64};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::report::{check, equal, same, skip};
use tessera_rt::trap::{EC_DATA, EC_FETCH, FSC_EXTERNAL, Fault, attempt, set_handler};
use tessera_rt::{GroupNode, Machine, cpu, exec, gic, println, timer};

/// Bytes of the region that a member writes to.
const PART: u64 = 4096;
/// What a member writes there: its index is added.
const MARK: u64 = 0x6d65_6d62_6572_0000;

/// A group with its pages mapped.
struct Group {
    node: GroupNode,
    doorbell: u64,
    page: u64,
    region: u64,
}

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

impl Group {
    fn new(node: GroupNode) -> Self {
        let doorbell = mmu::map(node.doorbell, Kind::Device, false);
        let page = mmu::map(node.membership, Kind::Normal, true);
        let group = Self { node, doorbell, page, region: mmu::map_gigabyte(node.region.0) };
        set_handler(node.intid, |_| _ = INTERRUPTS.fetch_add(1, SeqCst));
        gic::set_edge(node.intid, true);
        gic::route(node.intid, cpu::affinity());
        gic::enable(node.intid);
        group
    }

    fn read(&self, register: u64) -> u32 {
        read32(self.doorbell + register)
    }

    /// Members of an odd index call, the others use the doorbell's page.
    fn calls(&self) -> bool {
        self.node.index & 1 != 0
    }

    fn ring(&self, whom: u32) {
        // What was written before is there when it is heard.
        cpu::dsb();
        if self.calls() {
            while !self.node.try_ring(whom) {}
        } else {
            write32(self.doorbell + RING, whom);
        }
    }

    /// Who rang.
    fn take(&self) -> u32 {
        if self.calls() { self.node.take().0 } else { self.read(PENDING) }
    }

    fn word(&self, index: u32) -> u64 {
        read64(self.page + membership::WORDS + 8 * u64::from(index))
    }

    fn part(&self, index: u32) -> u64 {
        self.region + PART * u64::from(index)
    }

    fn everyone(&self) -> u32 {
        ((1u64 << self.node.members) - 1) as u32
    }
}

/// Runs the tests.
pub fn run(machine: &Machine) {
    let [node, ..] = machine.groups() else {
        return skip("groups", "this guest is in none");
    };
    let group = Group::new(*node);
    registers(&group);
    page(&group);
    memory(&group);
    conversation(&group);
    gic::disable(group.node.intid);
}

fn registers(group: &Group) {
    let node = &group.node;
    equal("the doorbell has the index of the tree", group.read(INDEX), node.index);
    equal("and the number of members", group.read(MEMBERS), node.members);
    equal(
        "and says whether the region can be written",
        group.read(WRITABLE),
        u32::from(!node.read_only),
    );
    let told = |fault: Fault| (fault.class(), fault.status());
    for (what, access) in [
        ("a byte of the doorbell", attempt(|| u64::from(read8(group.doorbell + PENDING)))),
        ("a double word", attempt(|| read64(group.doorbell))),
        ("what is behind its registers", attempt(|| u64::from(read32(group.doorbell + 0x18)))),
    ] {
        same(what, access.map(|_| ()).map_err(told), Err((EC_DATA, FSC_EXTERNAL)));
    }
}

fn page(group: &Group) {
    let page = group.page;
    equal("the membership page is one", read32(page + membership::MAGIC), membership::MAGIC_VALUE);
    equal("of the first version", read32(page + membership::VERSION), 1);
    equal("with as many members", read32(page + membership::MEMBERS), group.node.members);
    equal("and the region's size", read64(page + membership::SIZE), group.node.region.1);
    let word = group.word(group.node.index);
    equal("the own state is up", word & 0xff, State::Up as u64);
    check("in the first life or a later one", word >> LIVES_SHIFT >= 1);
    let told = |fault: Fault| (fault.class(), fault.status(), fault.far);
    let store = attempt(|| write64(page + membership::GENERATION, 0)).map_err(told);
    same(
        "a store to it aborts",
        store,
        Err((EC_DATA, FSC_EXTERNAL, page + membership::GENERATION)),
    );
    let fetch = exec::call(page, 0).map(|_| ()).map_err(told);
    same("a fetch from it aborts", fetch, Err((EC_FETCH, FSC_EXTERNAL, page)));
}

fn memory(group: &Group) {
    let node = &group.node;
    let last = group.region + node.region.1 - 8;
    equal("the last word of the region was zeroed", read64(last), 0);
    let part = group.part(node.index);
    let store = attempt(|| write64(part, MARK + u64::from(node.index)));
    if node.read_only {
        let told = store.map_err(|fault| (fault.class(), fault.status(), fault.far));
        same("a store of who may only read aborts", told, Err((EC_DATA, FSC_EXTERNAL, part)));
    } else {
        check("who may write can", store.is_ok());
        equal("and reads it back", read64(part), MARK + u64::from(node.index));
    }
    let behind = mmu::map(node.region.0 + node.region.1, Kind::Normal, false);
    let load = attempt(|| read64(behind)).map(|_| ()).map_err(|fault| fault.class());
    same("behind the region is nothing", load, Err(EC_DATA));
}

/// Hears each other member, whose mark is there then, and is heard.
fn conversation(group: &Group) {
    let me = 1 << group.node.index;
    let others = group.everyone() & !me;
    let mut heard = 0;
    group.ring(group.node.index);
    equal("a ring of oneself is none", group.read(PENDING) & me, 0);
    for nobody in [group.node.members, 32, 0x1_0000, ALL - 1] {
        group.ring(nobody);
    }
    no_group(&group.node);
    cpu::irq_unmask();
    let done = timer::comes(|| {
        // Whoever came late has not heard the rings before.
        group.ring(ALL);
        timer::sleep(1000);
        heard |= group.take();
        heard & others == others
    });
    group.ring(ALL);
    cpu::irq_mask();
    check("each other member is heard", done);
    equal("and nobody else", heard & !others, 0);
    check("by interrupts", INTERRUPTS.load(SeqCst) >= 1);
    let marks = (0..group.node.members).filter(|index| others >> index & 1 != 0);
    let wrong =
        marks.filter(|&index| ![0, MARK + u64::from(index)].contains(&read64(group.part(index))));
    equal("with nothing but its own mark in its part", wrong.count(), 0);
    // Who is done is off by now.
    let lived = |index: u32| group.word(index) >> LIVES_SHIFT >= 1;
    check("all have been up", (0..group.node.members).all(lived));
    check(
        "the page changed as often as that takes",
        read64(group.page + membership::GENERATION) >= 2,
    );
}

/// Calls for a group that the guest is not in.
fn no_group(node: &GroupNode) {
    let none = GroupNode { number: 1 << 16, ..*node };
    equal("a ring in no group", none.call::<{ hypercall::RING }>(0)[0], hypercall::NO_GROUP);
    equal("who rang in no group", none.call::<{ hypercall::TAKE }>(0)[0], hypercall::NO_GROUP);
}

/// Says what is in the region: the sum (FNV-1a) of its first `probe.bytes` bytes, and how many behind them are not zero.
pub fn region(machine: &Machine) {
    let [node, ..] = machine.groups() else { panic!("there is a region in a group") };
    let (at, size) = (mmu::map_gigabyte(node.region.0), node.region.1);
    let bytes = machine.arg("probe.bytes").and_then(|n| n.parse().ok()).unwrap_or(size);
    let sum = (0..bytes).fold(0xcbf2_9ce4_8422_2325, |sum: u64, n| {
        (sum ^ u64::from(read8(at + n))).wrapping_mul(0x100_0000_01b3)
    });
    let behind = (bytes..size).filter(|n| read8(at + n) != 0).count();
    println!("GROUP-REGION sum={sum:#x} behind={behind}");
}

/// Says what becomes of the other members, as it is told by interrupts, and keeps a mark in the region.
pub fn watch(machine: &Machine) -> ! {
    let [node, ..] = machine.groups() else { panic!("a watcher is in a group") };
    let group = Group::new(*node);
    let part = group.part(node.index);
    let kept = read64(part);
    println!(
        "GROUP-KEPT lives={} mark={}",
        group.word(node.index) >> LIVES_SHIFT,
        kept - kept.min(MARK)
    );
    write64(part, MARK.max(kept) + 1);
    loop {
        let before = INTERRUPTS.load(SeqCst);
        let (rings, changed) = (group.read(PENDING), group.read(CHANGED));
        if rings != 0 {
            println!("GROUP-RUNG by={rings:#x}");
        }
        if changed != 0 {
            let words = (0..node.members).filter(|&index| index != node.index);
            words.for_each(|index| {
                let word = group.word(index);
                println!(
                    "GROUP-MEMBER {index} state={} lives={}",
                    word & 0xff,
                    word >> LIVES_SHIFT
                );
            });
        }
        while INTERRUPTS.load(SeqCst) == before {
            // Masked, it wakes all the same, and none is lost between the look and the sleep.
            cpu::wfi();
            cpu::irq_unmask();
            cpu::isb();
            cpu::irq_mask();
        }
    }
}
