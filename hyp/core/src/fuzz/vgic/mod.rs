//! The interrupt controller of a guest, beside a plain one without list registers: what the guest acknowledges and what
//! it reads must be the same at every step, and a physical interrupt is active exactly as long as its virtual one.
//!
//! An input is a program: accesses of the guest's vCPUs, lines and physical interrupts that come, acknowledgements and
//! ends, vCPUs that move, go off and on, and resets of the guest.

mod accesses;
mod plain;
mod reads;
mod steps;

use alloc::vec;
use alloc::vec::Vec;

use self::plain::{NOBODY, Plain};
use super::{Choices, Random};
use crate::addr::{VcpuId, VcpuSet};
use crate::vgic::fake::{FakeCpu, GICR_STRIDE, Guest, SGI};
use crate::vgic::{VgicCpu, vmcr};

pub use accesses::any_accesses;

/// A program for a GICv3. Returns how many interrupts were taken.
pub fn v3(bytes: &[u8]) -> usize {
    compare(bytes, false)
}

/// A program for a GICv2.
pub fn v2(bytes: &[u8]) -> usize {
    compare(bytes, true)
}

fn compare(bytes: &[u8], v2: bool) -> usize {
    let mut pair = Pair::new(Choices::new(bytes), v2);
    while !pair.choices.is_over() {
        pair.step();
    }
    pair.read_all(0);
    pair.acknowledged
}

pub fn seeds() -> Vec<Vec<u8>> {
    (1..5).map(|seed| Random(seed).bytes(400)).collect()
}

/// Both controllers, and what software on each vCPU has under way.
struct Pair<'a> {
    guest: Guest,
    plain: Plain,
    choices: Choices<'a>,
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

impl<'a> Pair<'a> {
    fn new(mut choices: Choices<'a>, v2: bool) -> Self {
        let vcpus = 1 + choices.below(4) as usize;
        let how = choices.byte();
        let count = if how & 3 == 0 { 1 + usize::from(how >> 5) } else { 4 };
        let split = how & 4 != 0;
        let new = if v2 { Guest::v2_after_reset } else { Guest::after_reset };
        let mut pair = Self {
            guest: new(vcpus, count),
            plain: Plain::new(vcpus, v2),
            choices,
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
        let mut random = Random(u64::from(self.choices.word()));
        for (_, cpu) in &mut self.guest.cpus {
            cpu.vmcr |= if self.split { vmcr::VEOIM } else { 0 };
        }
        self.groups(3);
        for (vcpu, first) in (0..vcpus).map(|v| (v, 0)).chain([(0, 32)]) {
            let group = random.next() as u32 | random.next() as u32;
            self.write_word(vcpu, first, 0x80, group);
            let enable = random.next() as u32 | random.next() as u32;
            self.write_word(vcpu, first, 0x100, enable);
            for n in 0..32 {
                self.write_priority(vcpu, first + n, random.next() as u8);
                if self.plain.v2 {
                    self.write_route(first + n, random.next() as u8 & random.next() as u8);
                }
            }
        }
        self.guest.settle();
    }

    /// The guest starts anew: all that was is gone.
    fn reset(&mut self) {
        for v in 0..self.stack.len() {
            self.switch_off(v);
        }
        self.guest.vgic.reset();
        self.guest.kicked = VcpuSet::EMPTY;
        for (_, cpu) in &mut self.guest.cpus {
            *cpu = FakeCpu { v2: cpu.v2, ..FakeCpu::new(cpu.lr.len()) };
        }
        self.plain = Plain::new(self.stack.len(), self.plain.v2);
        self.read_all(0);
        self.set_up();
    }

    /// A vCPU goes off, as CPU_OFF or the end of its guest makes it: its core takes back all that the guest left there.
    fn switch_off(&mut self, v: usize) {
        let (me, cpu) = &mut self.guest.cpus[v];
        let kick = self.guest.vgic.park(me, cpu, true);
        assert!(cpu.lr.iter().all(|lr| lr >> 62 == 0), "{:x?}", cpu.lr);
        self.guest.kicked = self.guest.kicked.union(kick);
        self.guest.note_deactivations(v);
        self.guest.cpus[v].0 = VgicCpu::new(VcpuId(v as u8));
        self.guest.cpus[v].1.running.clear();
        self.guest.cpus[v].1.hcr = 0;
        self.plain.switch_off(v);
        self.stack[v].clear();
        self.dropped[v].clear();
        self.collect();
    }

    fn groups(&mut self, groups: u64) {
        self.plain.groups = groups;
        let _ = self.guest.gicd(0, groups);
    }

    fn write_word(&mut self, vcpu: usize, first: u32, register: u64, value: u32) {
        self.plain.write_word(vcpu, first, register, value);
        if first == 0 && self.plain.v2 {
            let _ = self.guest.gicd_by(vcpu, register, 4, value.into());
        } else if first == 0 {
            let base = vcpu as u64 * GICR_STRIDE + SGI;
            let _ = self.guest.gicr(base + register, value.into());
        } else {
            let _ = self.guest.gicd(register + 4, value.into());
        }
    }

    fn write_priority(&mut self, vcpu: usize, id: u32, priority: u8) {
        self.plain.line(vcpu, id).priority = priority & 0xf8;
        let offset = 0x400 + u64::from(id);
        if id < 32 && !self.plain.v2 {
            let base = vcpu as u64 * GICR_STRIDE + SGI;
            let _ = self.guest.gicr_sized(base + offset, 1, priority.into());
        } else {
            let _ = self.guest.gicd_by(vcpu, offset, 1, priority.into());
        }
    }

    /// Routes an interrupt; that of a private one cannot be changed.
    fn write_route(&mut self, id: u32, to: u8) {
        let vcpus = self.stack.len();
        if !self.plain.v2 {
            let route = u64::from(to % 5);
            self.plain.line(0, id).route = route;
            let _ = self.guest.gicd_sized(0x6000 + 8 * u64::from(id), 8, route);
            return;
        }
        let _ = self.guest.gicd_by(0, 0x800 + u64::from(id), 1, to.into());
        if id >= 32 && vcpus > 1 {
            let targets = to & ((1u16 << vcpus) - 1) as u8;
            let lowest = u64::from(targets.trailing_zeros());
            let line = self.plain.line(0, id);
            line.targets = targets;
            line.route = if targets != 0 { lowest } else { NOBODY };
        }
    }

    /// Which of 16 interrupts from `first` on are edges, for PPIs those of one vCPU.
    fn write_config(&mut self, vcpu: usize, first: u32, config: u32) {
        for n in 0..16 {
            self.plain.line(vcpu, first + n).edge = config >> (2 * n + 1) & 1 != 0;
        }
        let offset = 0xc00 + u64::from(first) / 4;
        if first < 32 && !self.plain.v2 {
            let base = vcpu as u64 * GICR_STRIDE + SGI;
            let _ = self.guest.gicr(base + offset, config.into());
        } else {
            let _ = self.guest.gicd_by(vcpu, offset, 4, config.into());
        }
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
                let line = self.plain.line(v, id);
                line.hw_pending || line.hw_active
            });
            let want = want.fold(0, |set, id| set | 1 << id);
            assert_eq!(self.physical[v], want, "physical interrupts of core {v}");
        }
    }
}
