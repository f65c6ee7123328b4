//! Nothing is lost while news is under way: kicks that arrive late, and vCPUs on threads of their own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};
use std::vec;
use std::vec::Vec;

use tessera_abi::layout::{GROUP_INTID, MAX_GROUPS};

use crate::addr::{VcpuId, VcpuSet};
use crate::fuzz::Random;
use crate::vgic::fake::{FakeCpu, INTID, SPURIOUS};
use crate::vgic::fake::{GICR_STRIDE, Guest, SGI, pulse};
use crate::vgic::{ListRegisters, Model, Vgic, VgicCpu, vmcr};

/// The vCPUs of a guest that take SGIs and pulses of SPIs: when each interrupt was last raised and last taken.
struct Times {
    clock: AtomicU64,
    raised: Vec<AtomicU64>,
    taken: Vec<AtomicU64>,
}

impl Times {
    fn new(vcpus: usize) -> Self {
        let times = || (0..8 * 64 * vcpus).map(|_| AtomicU64::new(0)).collect();
        Self { clock: AtomicU64::new(1), raised: times(), taken: times() }
    }

    /// SPIs are one, whoever takes them; SGIs of a GICv2 are one for each source.
    fn index(vcpu: usize, id: u32) -> usize {
        let (intid, source) = ((id & INTID) as usize, (id >> 10) as usize);
        8 * (if intid < 32 { vcpu * 64 + intid } else { intid }) + source
    }

    fn raise(&self, vcpu: usize, id: u32) {
        let now = self.clock.fetch_add(1, SeqCst);
        self.raised[Self::index(vcpu, id)].fetch_max(now, SeqCst);
    }

    fn take(&self, vcpu: usize, id: u32) {
        let now = self.clock.fetch_add(1, SeqCst);
        self.taken[Self::index(vcpu, id)].fetch_max(now, SeqCst);
    }

    fn check(&self) {
        for (i, (raised, taken)) in self.raised.iter().zip(&self.taken).enumerate() {
            let (raised, taken) = (raised.load(SeqCst), taken.load(SeqCst));
            let (source, intid, vcpu) = (i % 8, i / 8 % 64, i / 512);
            assert!(raised <= taken, "INTID {intid} of vCPU {vcpu} from {source} lost");
        }
    }
}

/// Takes and ends one interrupt, if there is one.
fn handle(cpu: &mut FakeCpu, vcpu: usize, times: &Times) -> bool {
    let id = cpu.acknowledge();
    if id == SPURIOUS {
        return false;
    }
    times.take(vcpu, id);
    cpu.end(id);
    true
}

/// Any SPI: half of the time one of the doorbells', which have a way of their own.
fn some_spi(random: &mut Random) -> u32 {
    match random.below(2) {
        0 => 32 + random.below(32) as u32,
        _ => GROUP_INTID + random.below(MAX_GROUPS as u64) as u32,
    }
}

/// What a vCPU may do to others: raise interrupts, move SPIs, disable and enable.
fn disturb(
    vgic: &Vgic,
    me: &mut VgicCpu,
    cpu: &mut FakeCpu,
    random: &mut Random,
    times: &Times,
    vcpus: usize,
) -> VcpuSet {
    if vgic.model() == Model::V2 {
        return disturb_v2(vgic, me, cpu, random, times, vcpus);
    }
    let own = me.id().0 as usize;
    let spi = some_spi(random);
    match random.below(8) {
        0..=2 => {
            let (id, list) = (random.below(16) as u32, random.below(1 << vcpus));
            for target in (0..vcpus).filter(|n| list >> n & 1 != 0) {
                times.raise(target, id);
            }
            vgic.sgi1r(me, cpu, u64::from(id) << 24 | list)
        }
        3 | 4 => {
            times.raise(0, spi);
            pulse(vgic, spi)
        }
        5 => {
            let target = random.below(vcpus as u64);
            vgic.gicd_write(me, cpu, 0x6000 + 8 * u64::from(spi), 8, target).unwrap()
        }
        6 => {
            // Off and on again.
            let bits = random.next() & random.next();
            let off = vgic.gicd_write(me, cpu, 0x184, 4, bits).unwrap();
            off.union(vgic.gicd_write(me, cpu, 0x104, 4, bits).unwrap())
        }
        _ => {
            let base = random.below(vcpus as u64) * GICR_STRIDE + SGI;
            let bits = random.next() & 0xffff;
            let off = vgic.gicr_write(base + 0x180, 4, bits).unwrap();
            let on = vgic.gicr_write(base + 0x100, 4, bits).unwrap();
            let (_, read) =
                vgic.gicr_read(me, cpu, own as u64 * GICR_STRIDE + SGI + 0x200, 4).unwrap();
            off.union(on).union(read)
        }
    }
}

/// The same of a GICv2, whose SGIs have sources and can only be disabled by their group.
fn disturb_v2(
    vgic: &Vgic,
    me: &mut VgicCpu,
    cpu: &mut FakeCpu,
    random: &mut Random,
    times: &Times,
    vcpus: usize,
) -> VcpuSet {
    let own = me.id().0 as usize;
    let spi = some_spi(random);
    let mut write = |offset, size, value| vgic.gicd_write(me, cpu, offset, size, value).unwrap();
    match random.below(8) {
        0..=3 => {
            let (id, list) = (random.below(4) as u32, random.below(1 << vcpus));
            for target in (0..vcpus).filter(|n| list >> n & 1 != 0) {
                times.raise(target, id | (own as u32) << 10);
            }
            write(0xf00, 4, list << 16 | u64::from(id))
        }
        4 => {
            times.raise(0, spi);
            pulse(vgic, spi)
        }
        5 => write(0x800 + u64::from(spi), 1, 1 << random.below(vcpus as u64)),
        6 => {
            let bits = random.next() & random.next();
            write(0x184, 4, bits).union(write(0x104, 4, bits))
        }
        _ => {
            let kick = write(0x80, 4, random.next() & 0xffff);
            kick.union(vgic.gicd_read(me, cpu, 0x200, 4).unwrap().1)
        }
    }
}

/// A guest whose interrupts are all enabled, whatever their group.
fn ready(vcpus: usize, model: Model) -> Guest {
    let mut guest = match model {
        Model::V3 => Guest::new(vcpus),
        Model::V2 => Guest::v2(vcpus),
    };
    let _ = guest.gicd(0, 3);
    for (_, cpu) in &mut guest.cpus {
        cpu.vmcr = vmcr::VENG0 | vmcr::VENG1;
    }
    all_edges(&mut guest);
    guest
}

/// Everything an edge, so that each raise counts.
fn all_edges(guest: &mut Guest) {
    let _ = guest.gicd(0xc08, 0xaaaa_aaaa);
    let _ = guest.gicd(0xc0c, 0xaaaa_aaaa);
    guest.settle();
}

#[test]
fn nothing_is_lost_when_kicks_come_late() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let vcpus = 2 + random.below(3) as usize;
        let times = Times::new(vcpus);
        let mut g = ready(vcpus, [Model::V3, Model::V2][seed as usize % 2]);
        for _ in 0..20 {
            for _ in 0..30 {
                let v = random.below(vcpus as u64) as usize;
                match random.below(4) {
                    0 => {
                        let (me, cpu) = &mut g.cpus[v];
                        let kick = disturb(&g.vgic, me, cpu, &mut random, &times, vcpus);
                        g.kicked = g.kicked.union(kick);
                        // It was at EL2 for that, so it looks before it goes on.
                        g.enter(v);
                    }
                    1 => g.enter(v),
                    _ => {
                        handle(&mut g.cpus[v].1, v, &times);
                    }
                }
                g.cpus[v].1.check();
            }
            g.settle();
            for v in 0..vcpus {
                while handle(&mut g.cpus[v].1, v, &times) {
                    g.settle();
                }
            }
            times.check();
        }
    }
}

/// A vCPU's life on its thread for one round: disturbs and handles, then handles until nobody has anything.
fn live(
    vgic: &Vgic,
    (me, cpu): &mut (VgicCpu, FakeCpu),
    kicks: &[AtomicU8],
    times: &Times,
    random: &mut Random,
    busy: &AtomicU64,
) {
    let own = me.id().0 as usize;
    let mut left = 60;
    let mut idle = false;
    loop {
        let mut kick = VcpuSet::EMPTY;
        let exits = left > 0;
        if exits {
            left -= 1;
            kick = disturb(vgic, me, cpu, random, times, kicks.len());
        }
        // A kick is an exit. It is taken back before looking, as an interrupt is acknowledged before it is served.
        let kicked = kicks[own].swap(0, SeqCst) != 0;
        if exits || kicked || cpu.maintenance() {
            while vgic.needs_delivery(me) || cpu.maintenance() {
                let more = if vgic.needs_delivery(me) {
                    vgic.deliver(me, cpu)
                } else {
                    vgic.maintenance(me, cpu)
                };
                kick = kick.union(more);
            }
        }
        cpu.check();
        for vcpu in kick.without(VcpuId(own as u8)).iter() {
            // Whoever is kicked counts as busy before it can know, so that nobody leaves too early.
            busy.fetch_add(1, SeqCst);
            if kicks[vcpu.0 as usize].swap(1, SeqCst) != 0 {
                busy.fetch_sub(1, SeqCst);
            }
        }
        if kicked {
            busy.fetch_sub(1, SeqCst);
        }
        let took = handle(cpu, own, times);
        if left == 0 && !took && !cpu.maintenance() && !vgic.needs_delivery(me) {
            if !idle {
                busy.fetch_sub(1, SeqCst);
                idle = true;
            }
            if busy.load(SeqCst) == 0 {
                return;
            }
            std::thread::yield_now();
        } else if idle {
            busy.fetch_add(1, SeqCst);
            idle = false;
        }
    }
}

/// List registers of a vCPU that is recalled the moment they are given up.
struct Recalled<'a> {
    cpu: &'a mut FakeCpu,
    vgic: &'a Vgic,
    vcpu: u64,
}

impl ListRegisters for Recalled<'_> {
    fn count(&self) -> usize {
        self.cpu.count()
    }
    fn read(&self, index: usize) -> u64 {
        self.cpu.read(index)
    }
    fn write(&mut self, index: usize, value: u64) {
        self.cpu.write(index, value);
    }
    fn empty(&self) -> u32 {
        self.cpu.empty()
    }
    fn machine_control(&self) -> u64 {
        self.cpu.machine_control()
    }
    fn control(&self) -> u64 {
        self.cpu.control()
    }
    fn set_control(&mut self, value: u64) {
        self.cpu.set_control(value);
        let disable = self.vcpu * GICR_STRIDE + SGI + 0x180;
        let kick = self.vgic.gicr_write(disable, 4, 1).unwrap();
        assert_eq!(kick, VcpuSet(1 << self.vcpu));
    }
}

#[test]
fn nobody_waits_for_a_vcpu_that_goes_off_while_it_is_recalled() {
    let mut g = Guest::new(2);
    let (me, cpu) = &mut g.cpus[1];
    let _ = g.vgic.park(me, &mut Recalled { cpu, vgic: &g.vgic, vcpu: 1 }, true);
    assert_eq!(g.gicd_read(0, 0) >> 31, 0, "GICD_CTLR.RWP");
    assert_eq!(g.gicr_read(0, GICR_STRIDE), 0, "GICR_CTLR.RWP");
}

#[test]
fn nothing_is_lost_between_threads() {
    const VCPUS: usize = 3;
    for round in 0..120 {
        let times = Times::new(VCPUS);
        let mut g = ready(VCPUS, [Model::V3, Model::V2][round as usize % 2]);
        let kicks: Vec<AtomicU8> = (0..VCPUS).map(|_| AtomicU8::new(0)).collect();
        let busy = AtomicU64::new(VCPUS as u64);
        let (vgic, cpus) = (&g.vgic, &mut g.cpus);
        std::thread::scope(|scope| {
            for (v, cpu) in cpus.iter_mut().enumerate() {
                let (kicks, times, busy) = (&kicks, &times, &busy);
                scope.spawn(move || {
                    let mut random = Random(round * 100 + v as u64);
                    live(vgic, cpu, kicks, times, &mut random, busy);
                });
            }
        });
        times.check();
        assert_eq!(vec![false; VCPUS], g.cpus.iter().map(|c| c.1.signalled()).collect::<Vec<_>>());
    }
}

/// Who rings is no vCPU of the guest: it is at another guest's exit, while the guest moves, disables and enables the SPI and
/// switches vCPUs off that have it.
#[test]
fn no_ring_is_lost_that_comes_from_outside_while_the_doorbell_is_moved_and_disabled() {
    const RINGS: u64 = 400;
    const VCPUS: usize = 3;
    for round in 0..60 {
        let mut g = ready(VCPUS, [Model::V3, Model::V2][round as usize % 2]);
        let kicks: Vec<AtomicU8> = (0..VCPUS).map(|_| AtomicU8::new(0)).collect();
        // What the guest is to do, as in shared memory: rings that were made, and those that its handlers saw.
        let (made, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        let (vgic, cpus) = (&g.vgic, &mut g.cpus);
        let (kicks, made, seen) = (&kicks, &made, &seen);
        let kick = |set: VcpuSet| {
            set.iter().for_each(|vcpu| kicks[vcpu.0 as usize].store(1, SeqCst));
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    for _ in 0..RINGS / 2 {
                        let ring = made.fetch_add(1, SeqCst) + 1;
                        kick(vgic.ring(2).vcpus());
                        // Some follow each other at once, for some the guest has to be done.
                        while ring % 3 == 0 && seen.load(SeqCst) < ring {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            for (v, (me, cpu)) in cpus.iter_mut().enumerate() {
                scope.spawn(move || {
                    let mut random = Random(round * 100 + v as u64);
                    while seen.load(SeqCst) < RINGS {
                        match random.below(8) {
                            0 => kick(door_disturbed(vgic, me, cpu, &mut random)),
                            // Off, and on again at once.
                            1 => kick(vgic.park(me, cpu, true)),
                            _ => {}
                        }
                        let kicked = kicks[v].swap(0, SeqCst) != 0;
                        while vgic.needs_delivery(me) || cpu.maintenance() {
                            kick(if vgic.needs_delivery(me) {
                                vgic.deliver(me, cpu)
                            } else {
                                vgic.maintenance(me, cpu)
                            });
                        }
                        let id = cpu.acknowledge();
                        if id != SPURIOUS {
                            seen.fetch_max(made.load(SeqCst), SeqCst);
                            cpu.end(id);
                        }
                        if !kicked {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
    }
}

/// Moves the third doorbell's SPI, disables and enables it, changes its group or its priority and back, or makes it pending.
fn door_disturbed(
    vgic: &Vgic,
    me: &mut VgicCpu,
    cpu: &mut FakeCpu,
    random: &mut Random,
) -> VcpuSet {
    let (spi, bit) = (u64::from(GROUP_INTID) + 2, 1 << (GROUP_INTID + 2 - 32));
    let target = random.below(3);
    let mut write = |offset, size, value| vgic.gicd_write(me, cpu, offset, size, value).unwrap();
    match (random.below(6), vgic.model()) {
        (0, Model::V3) => write(0x6000 + 8 * spi, 8, target),
        (0, Model::V2) => write(0x800 + spi, 1, 1 << target),
        (1, Model::V3) => write(0x84, 4, 0xffff_ffff & !bit).union(write(0x84, 4, 0xffff_ffff)),
        (2, _) => write(0x400 + spi, 1, 0x80).union(write(0x400 + spi, 1, 0xa0)),
        (3, _) => write(0x204, 4, bit),
        (4, Model::V3) => write(0, 4, 0).union(write(0, 4, 3)),
        (4, Model::V2) => write(0, 4, 0).union(write(0, 4, 1)),
        _ => write(0x184, 4, bit).union(write(0x104, 4, bit)),
    }
}
