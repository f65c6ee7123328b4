//! A plain interrupt controller without list registers, and random sequences that compare the real one with it: what
//! the guest acknowledges and what it reads must be the same at every step.

use std::vec;
use std::vec::Vec;

use super::cpu::{INTID, SPURIOUS};
use super::guest::{GICR_STRIDE, Guest, SGI};
use super::random::Random;
use crate::addr::{IntId, VcpuId};
use crate::vgic::{hcr, vmcr};

/// An interrupt.
#[derive(Clone, Copy, Default, Debug)]
struct Line {
    group: bool,
    enabled: bool,
    latch: bool,
    line: bool,
    edge: bool,
    active: bool,
    /// The vCPU whose end of interrupt deactivates it.
    active_on: Option<usize>,
    priority: u8,
    /// Pending by its physical twin.
    hw_pending: bool,
    /// Active, and to be deactivated with its physical twin.
    hw_active: bool,
    route: u64,
    /// GICv2: the vCPUs that an SGI is pending from.
    sources: u8,
}

impl Line {
    fn pending(&self) -> bool {
        self.latch || self.hw_pending || self.line && !self.edge || self.sources != 0
    }
    fn drive(&mut self, high: bool) {
        self.latch |= high && !self.line && self.edge;
        self.line = high;
    }
    fn deactivate(&mut self) {
        (self.active, self.active_on, self.hw_active) = (false, None, false);
    }
}

/// The controller: private interrupts of each vCPU, then the SPIs.
struct Model {
    v2: bool,
    groups: u64,
    private: Vec<[Line; 32]>,
    spis: [Line; 32],
}

/// A route that leads nowhere.
const NOBODY: u64 = 99;

/// The registers of a bit an interrupt, by offset.
const WORDS: [u64; 7] = [0x80, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380];

impl Model {
    fn new(vcpus: usize, v2: bool) -> Self {
        let mut private = [Line::default(); 32];
        for (id, line) in private.iter_mut().enumerate() {
            (line.edge, line.enabled) = (id < 16, id < 16 && v2);
        }
        let route = if v2 && vcpus > 1 { NOBODY } else { 0 };
        let spis = [Line { route, ..Line::default() }; 32];
        Self { v2, groups: 0, private: vec![private; vcpus], spis }
    }

    fn line(&mut self, vcpu: usize, id: u32) -> &mut Line {
        match (id & INTID).checked_sub(32) {
            None => &mut self.private[vcpu][(id & INTID) as usize],
            Some(n) => &mut self.spis[n as usize],
        }
    }

    /// The interrupts that may be acknowledged next: the most urgent ones.
    fn best(&mut self, vcpu: usize, veng: u64, below: u16) -> Vec<u32> {
        let groups = self.groups;
        let mut best = Vec::new();
        let mut urgency = below;
        for id in 0..64 {
            let line = *self.line(vcpu, id);
            let group = line.group as u64;
            let here = id < 32 || line.route == vcpu as u64;
            let on = groups >> group & 1 != 0 && veng >> group & 1 != 0;
            let takeable = line.pending() && line.enabled && !line.active && on && here;
            if !takeable || u16::from(line.priority) > urgency || u16::from(line.priority) >= below
            {
                continue;
            }
            if u16::from(line.priority) < urgency {
                best.clear();
                urgency = line.priority.into();
            }
            if line.sources == 0 {
                best.push(id);
            } else {
                best.extend((0..8).filter(|n| line.sources >> n & 1 != 0).map(|n| n << 10 | id));
            }
        }
        best
    }

    fn acknowledge(&mut self, vcpu: usize, id: u32) {
        let line = self.line(vcpu, id);
        line.latch = false;
        line.sources &= !(1 << (id >> 10));
        line.hw_active = line.hw_pending;
        line.hw_pending = false;
        (line.active, line.active_on) = (true, Some(vcpu));
    }

    fn write_word(&mut self, vcpu: usize, first: u32, register: u64, value: u32) {
        // GICv2's SGIs are always enabled, and pending by source.
        let fixed = self.v2 && first == 0 && [0x180, 0x200, 0x280].contains(&register);
        let value = if fixed { value & !0xffff } else { value };
        for n in (0..32).filter(|n| register == 0x80 || value >> n & 1 != 0) {
            let line = self.line(vcpu, first + n);
            match register {
                0x80 => line.group = value >> n & 1 != 0,
                0x100 => line.enabled = true,
                0x180 => line.enabled = false,
                0x200 => line.latch = true,
                0x280 => line.latch = false,
                0x300 => {
                    if !line.active {
                        line.active_on = (first == 0).then_some(vcpu);
                    }
                    line.active = true;
                }
                _ => line.deactivate(),
            }
        }
    }

    fn read_word(&mut self, vcpu: usize, first: u32, register: u64) -> u64 {
        (0..32).fold(0, |word, n| {
            let line = self.line(vcpu, first + n);
            let bit = match register {
                0x80 => line.group,
                0x100 | 0x180 => line.enabled,
                0x200 | 0x280 => line.pending(),
                _ => line.active,
            };
            word | (bit as u64) << n
        })
    }
}

/// Both controllers, and what software on each vCPU has under way.
struct Pair {
    guest: Guest,
    model: Model,
    random: Random,
    /// The guests use EOImode 1: end drops the priority, deactivation is a write of its own.
    split: bool,
    /// Acknowledged and not ended, by vCPU.
    stack: Vec<Vec<u32>>,
    /// Ended and, in EOImode 1, not deactivated.
    dropped: Vec<Vec<u32>>,
    /// Physical interrupts that are active, by core.
    physical: Vec<u32>,
    acknowledged: usize,
}

impl Pair {
    fn new(seed: u64, v2: bool) -> Self {
        let mut random = Random::new(seed);
        let vcpus = 1 + random.below(4) as usize;
        let count = if random.below(4) == 0 { 1 + random.below(8) as usize } else { 4 };
        let split = random.below(2) == 0;
        let new = if v2 { Guest::v2_after_reset } else { Guest::after_reset };
        let mut guest = new(vcpus, count);
        for (_, cpu) in &mut guest.cpus {
            cpu.vmcr |= if split { vmcr::VEOIM } else { 0 };
        }
        let mut pair = Self {
            guest,
            model: Model::new(vcpus, v2),
            random,
            split,
            stack: vec![vec![]; vcpus],
            dropped: vec![vec![]; vcpus],
            physical: vec![0; vcpus],
            acknowledged: 0,
        };
        pair.set_up();
        pair
    }

    /// Mostly enabled, mostly in group 1, priorities at random.
    fn set_up(&mut self) {
        let vcpus = self.stack.len();
        self.groups(3);
        for (vcpu, first) in (0..vcpus).map(|v| (v, 0)).chain([(0, 32)]) {
            let group = self.random.next() as u32 | self.random.next() as u32;
            self.write_word(vcpu, first, 0x80, group);
            let enable = self.random.next() as u32 | self.random.next() as u32;
            self.write_word(vcpu, first, 0x100, enable);
            for n in 0..32 {
                let priority = self.random.next() as u8;
                self.write_priority(vcpu, first + n, priority);
                if self.model.v2 {
                    self.write_route(first + n);
                }
            }
        }
        self.guest.settle();
    }

    fn vcpu(&mut self) -> usize {
        self.random.below(self.stack.len() as u64) as usize
    }

    fn groups(&mut self, groups: u64) {
        self.model.groups = groups;
        let _ = self.guest.gicd(0, groups);
    }

    fn write_word(&mut self, vcpu: usize, first: u32, register: u64, value: u32) {
        self.model.write_word(vcpu, first, register, value);
        if first == 0 && self.model.v2 {
            let _ = self.guest.gicd_by(vcpu, register, 4, value.into());
        } else if first == 0 {
            let base = vcpu as u64 * GICR_STRIDE + SGI;
            let _ = self.guest.gicr(base + register, value.into());
        } else {
            let _ = self.guest.gicd(register + 4, value.into());
        }
    }

    fn write_priority(&mut self, vcpu: usize, id: u32, priority: u8) {
        self.model.line(vcpu, id).priority = priority & 0xf8;
        let offset = 0x400 + u64::from(id);
        if id < 32 && !self.model.v2 {
            let base = vcpu as u64 * GICR_STRIDE + SGI;
            let _ = self.guest.gicr_sized(base + offset, 1, priority.into());
        } else {
            let _ = self.guest.gicd_by(vcpu, offset, 1, priority.into());
        }
    }

    /// Routes an interrupt to random vCPUs; that of a private one cannot be changed.
    fn write_route(&mut self, id: u32) {
        if !self.model.v2 {
            let route = self.random.below(5);
            self.model.line(0, id).route = route;
            let _ = self.guest.gicd_sized(0x6000 + 8 * u64::from(id), 8, route);
            return;
        }
        let targets = self.random.next() as u8 & self.random.next() as u8;
        let _ = self.guest.gicd_by(0, 0x800 + u64::from(id), 1, targets.into());
        let vcpus = self.stack.len();
        if id >= 32 && vcpus > 1 {
            let lowest = u64::from(targets.trailing_zeros());
            self.model.line(0, id).route = if lowest < vcpus as u64 { lowest } else { NOBODY };
        }
    }

    /// A few random bits, often few.
    fn some_bits(&mut self) -> u32 {
        let bits = self.random.next() as u32;
        if self.random.below(3) == 0 { bits } else { bits & 1 << self.random.below(32) }
    }

    fn step(&mut self) {
        let v = self.vcpu();
        match self.random.below(24) {
            0..=2 if self.model.v2 => self.send_sgi_by_source(v),
            0..=2 => self.send_sgi(v),
            3..=7 => self.acknowledge(v),
            8..=11 => self.end(v),
            12 | 13 => self.deactivate(v),
            14 => self.drive_spi(),
            15 => self.drive_ppi(v),
            16 => self.fire_hw(v),
            17 => self.withdraw(v),
            18 | 19 => self.write_random_word(v),
            20 => self.write_random_attribute(v),
            21 => self.change_cpu_interface(v),
            22 => self.read_all(v),
            _ => self.park(v),
        }
        self.guest.settle();
        self.collect();
    }

    fn send_sgi(&mut self, v: usize) {
        let (id, group1) = (self.random.below(16) as u32, self.random.below(4) != 0);
        let list = self.random.below(16);
        let irm = self.random.below(8) == 0;
        let far = self.random.below(8) == 0;
        for target in 0..self.stack.len() {
            let named = if irm { target != v } else { list >> target & 1 != 0 && !far };
            let line = self.model.line(target, id);
            line.latch |= named && line.group == group1;
        }
        let value = u64::from(id) << 24 | list | (irm as u64) << 40 | (far as u64) << 16;
        let _ = if group1 { self.guest.sgi(v, value) } else { self.guest.sgi0(v, value) };
    }

    fn send_sgi_by_source(&mut self, v: usize) {
        let (id, vcpus) = (self.random.below(16) as u32, self.stack.len());
        // Often the same, so that several sources meet.
        let id = if self.random.below(2) == 0 { 3 } else { id };
        let sources = self.random.next() as u8 & self.random.next() as u8;
        let at = u64::from(id) + if self.random.below(2) == 0 { 0xf10 } else { 0xf20 };
        match (self.random.below(8), at >= 0xf20) {
            (0, true) => {
                self.model.line(v, id).sources |= sources & ((1u16 << vcpus) - 1) as u8;
                let _ = self.guest.gicd_by(v, at, 1, sources.into());
            }
            (0, false) => {
                self.model.line(v, id).sources &= !sources;
                let _ = self.guest.gicd_by(v, at, 1, sources.into());
            }
            _ => {
                let (filter, list) = (self.random.below(4), self.random.below(256));
                for target in 0..vcpus {
                    let named = [list >> target & 1 != 0, target != v, target == v, false];
                    if named[filter as usize] {
                        self.model.line(target, id).sources |= 1 << v;
                    }
                }
                let nsatt = self.random.below(2) << 15;
                let _ = self.guest.sgir(v, filter << 24 | list << 16 | nsatt | u64::from(id));
            }
        }
    }

    fn acknowledge(&mut self, v: usize) {
        let cpu = &self.guest.cpus[v].1;
        let running = cpu.running.last().copied().map_or(0x100, u16::from);
        let below = running.min(cpu.pmr.into());
        let veng = cpu.vmcr & 3;
        let best = self.model.best(v, veng, below);
        let id = self.guest.cpus[v].1.acknowledge();
        if id == SPURIOUS {
            let lrs = &self.guest.cpus[v].1.lr;
            assert!(best.is_empty(), "vCPU {v}: {best:?} lost, list registers {lrs:x?}");
            return;
        }
        assert!(best.contains(&id), "vCPU {v} took {id}, not one of {best:?}");
        self.model.acknowledge(v, id);
        self.stack[v].push(id);
        self.acknowledged += 1;
    }

    fn end(&mut self, v: usize) {
        let Some(id) = self.stack[v].pop() else { return };
        self.guest.cpus[v].1.end(id);
        if self.split {
            self.dropped[v].push(id);
        } else {
            self.model.line(v, id).deactivate();
        }
    }

    fn deactivate(&mut self, v: usize) {
        if self.dropped[v].is_empty() {
            return;
        }
        let nth = self.random.below(self.dropped[v].len() as u64) as usize;
        let id = self.dropped[v].swap_remove(nth);
        // Deactivated by register in between: the guest's software knows.
        if self.model.line(v, id).active_on != Some(v) {
            return;
        }
        self.model.line(v, id).deactivate();
        let (me, lrs) = &mut self.guest.cpus[v];
        if self.model.v2 {
            self.guest.dir(v, id);
            return;
        }
        if lrs.hcr & hcr::TDIR == 0 {
            lrs.deactivate(id);
            return;
        }
        let kick = self.guest.vgic.write_dir(me, lrs, id.into());
        self.guest.kicked = self.guest.kicked.union(kick);
    }

    fn drive_spi(&mut self) {
        let id = 32 + self.random.below(32) as u32;
        match self.random.below(3) {
            0 => {
                self.model.line(0, id).latch = true;
                let _ = self.guest.pulse(id);
            }
            level => {
                self.model.line(0, id).drive(level == 1);
                let _ = self.guest.spi(id, level == 1);
            }
        }
    }

    fn drive_ppi(&mut self, v: usize) {
        let (id, high) = (29 + self.random.below(2) as u32, self.random.below(2) == 0);
        self.model.line(v, id).drive(high);
        let kick = self.guest.vgic.set_ppi_level(VcpuId(v as u8), IntId(id), high);
        self.guest.kicked = self.guest.kicked.union(kick);
    }

    fn fire_hw(&mut self, v: usize) {
        let id = [23, 26, 27][self.random.below(3) as usize];
        // A physical interrupt that is active does not come again.
        if self.physical[v] >> id & 1 == 0 {
            self.physical[v] |= 1 << id;
            self.model.line(v, id).hw_pending = true;
            self.guest.hw(v, id);
        }
    }

    fn withdraw(&mut self, v: usize) {
        let id = [23, 26, 27][self.random.below(3) as usize];
        self.model.line(v, id).hw_pending = false;
        let (me, lrs) = &mut self.guest.cpus[v];
        let kick = self.guest.vgic.withdraw_hw_ppi(me, lrs, IntId(id));
        self.guest.kicked = self.guest.kicked.union(kick);
    }

    fn write_random_word(&mut self, v: usize) {
        let first = if self.random.below(2) == 0 { 0 } else { 32 };
        let register = WORDS[self.random.below(7) as usize];
        let mut bits = self.some_bits();
        if register == 0x80 {
            bits ^= self.model.read_word(v, first, 0x80) as u32;
        }
        if register >= 0x300 && !self.split {
            // Software of EOImode 0 that clears or sets active states under its own handlers gets what it deserves.
            return;
        }
        self.write_word(v, first, register, bits);
    }

    fn write_random_attribute(&mut self, v: usize) {
        let id = self.random.below(64) as u32;
        match self.random.below(4) {
            // Which of the active ones is ended is a matter of the priority it was taken at.
            0 if !self.model.line(v, id).active => {
                let priority = self.random.next() as u8;
                self.write_priority(v, id, priority);
            }
            1 => {
                let half = self.random.below(2) * 16;
                let config = self.random.next() as u32;
                for n in 0..16 {
                    self.model.line(0, 32 + half as u32 + n).edge = config >> (2 * n + 1) & 1 != 0;
                }
                let _ = self.guest.gicd(0xc08 + half / 4, config.into());
            }
            2 if id >= 32 || self.model.v2 => self.write_route(id),
            _ => {
                let groups = 3 & !(self.random.below(8) & self.random.below(4));
                self.groups(groups);
            }
        }
    }

    fn change_cpu_interface(&mut self, v: usize) {
        let cpu = &mut self.guest.cpus[v].1;
        if self.random.below(2) == 0 {
            cpu.pmr = self.random.next() as u8 | self.random.next() as u8;
        } else {
            cpu.vmcr |= 3;
            cpu.vmcr &= !(self.random.below(8) & self.random.below(4));
        }
    }

    /// Reads every word of every bank by vCPU `v`: the second time it is exact, whoever has it in list registers.
    fn read_all(&mut self, v: usize) {
        if self.model.v2 {
            return self.read_all_v2(v);
        }
        for _ in 0..2 {
            for vcpu in 0..self.stack.len() {
                let _ = self.guest.gicr_read(v, vcpu as u64 * GICR_STRIDE + SGI + 0x200);
            }
            let _ = self.guest.gicd_read(v, 0x204);
            self.guest.settle();
        }
        for register in WORDS {
            for vcpu in 0..self.stack.len() {
                let offset = vcpu as u64 * GICR_STRIDE + SGI + register;
                let read = self.guest.gicr_read(v, offset);
                let want = self.model.read_word(vcpu, 0, register);
                assert_eq!(read, want, "vCPU {v} read GICR{vcpu}+{register:#x}: {read:x} {want:x}");
            }
            let read = self.guest.gicd_read(v, register + 4);
            let want = self.model.read_word(v, 32, register);
            assert_eq!(read, want, "vCPU {v} read GICD+{register:#x}: {read:x} {want:x}");
        }
        self.guest.settle();
        assert_eq!(self.guest.gicd_read(v, 0), self.model.groups | 0x50);
    }

    /// As [`Pair::read_all`]: private interrupts can be read by their own vCPU only, and are exact at once.
    fn read_all_v2(&mut self, v: usize) {
        for _ in 0..2 {
            let _ = self.guest.gicd_read(v, 0x204);
            self.guest.settle();
        }
        for (register, first) in WORDS.into_iter().flat_map(|at| [(at, 0), (at, 32)]) {
            let read = self.guest.gicd_read(v, register + u64::from(first / 8));
            let want = self.model.read_word(v, first, register);
            assert_eq!(
                read, want,
                "vCPU {v} read GICD+{register:#x} of {first}: {read:x} {want:x}"
            );
        }
        for sgi in 0..16 {
            let word = self.guest.gicd_read(v, 0xf20 + u64::from(sgi & !3));
            let read = (word >> (8 * (sgi & 3))) as u8;
            assert_eq!(read, self.model.line(v, sgi).sources, "sources of SGI {sgi}");
        }
        self.guest.settle();
        assert_eq!(self.guest.gicd_read(v, 0), self.model.groups);
    }

    fn park(&mut self, v: usize) {
        let (me, lrs) = &mut self.guest.cpus[v];
        let kick = self.guest.vgic.park(me, lrs, false);
        self.guest.kicked = self.guest.kicked.union(kick);
        assert!(lrs.lr.iter().all(|lr| lr >> 62 == 0), "{:x?}", lrs.lr);
        self.guest.enter(v);
    }

    /// A physical interrupt is active exactly as long as the guest has it pending or active.
    fn collect(&mut self) {
        for v in 0..self.stack.len() {
            let mut ended = self.guest.ended(v);
            for id in self.guest.cpus[v].1.deactivated.drain(..) {
                ended |= 1 << id;
            }
            assert_eq!(ended & !self.physical[v], 0, "deactivated twice");
            self.physical[v] &= !ended;
            let want = (16..32).filter(|&id| {
                let line = self.model.line(v, id);
                line.hw_pending || line.hw_active
            });
            let want = want.fold(0, |set, id| set | 1 << id);
            assert_eq!(self.physical[v], want, "physical interrupts of core {v}");
        }
    }
}

#[test]
fn random_sequences_do_what_a_plain_controller_does() {
    compare(false);
}

#[test]
fn random_sequences_do_what_a_plain_gicv2_does() {
    compare(true);
}

fn compare(v2: bool) {
    let mut acknowledged = 0;
    for seed in 0..600 {
        let mut pair = Pair::new(seed, v2);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..400 {
                pair.step();
            }
            pair.acknowledged
        }));
        acknowledged += run.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(acknowledged > 10_000, "only {acknowledged} interrupts were taken");
}
