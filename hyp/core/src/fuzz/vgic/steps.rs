//! The steps of a program.

use super::Pair;
use super::plain::{Line, WORDS};
use crate::addr::{IntId, VcpuId, VcpuSet};
use crate::vgic::fake::SPURIOUS;
use crate::vgic::hcr;

/// Interrupts with a physical twin: the PMU and the timers.
const TWINS: [u32; 3] = [23, 26, 27];

impl Pair<'_> {
    pub(super) fn step(&mut self) {
        let v = self.choices.below(self.stack.len() as u64) as usize;
        match self.choices.below(26) {
            0..=2 if self.plain.v2 => self.send_sgi_by_source(v),
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
            23 => self.park(v),
            24 => self.off_and_on(v),
            _ => {
                if self.choices.byte() & 7 == 0 {
                    self.reset();
                }
            }
        }
        self.guest.settle();
        self.collect();
        self.check_wake_up(v);
    }

    fn send_sgi(&mut self, v: usize) {
        let (id, group1) = (self.choices.below(16) as u32, self.choices.below(4) != 0);
        let list = self.choices.below(16);
        let irm = self.choices.below(8) == 0;
        let far = self.choices.below(8) == 0;
        for target in 0..self.stack.len() {
            let named = if irm { target != v } else { list >> target & 1 != 0 && !far };
            let line = self.plain.line(target, id);
            line.latch |= named && line.group == group1;
        }
        let value = u64::from(id) << 24 | list | (irm as u64) << 40 | (far as u64) << 16;
        let _ = if group1 { self.guest.sgi(v, value) } else { self.guest.sgi0(v, value) };
    }

    fn send_sgi_by_source(&mut self, v: usize) {
        let (id, vcpus) = (self.choices.below(16) as u32, self.stack.len());
        // Often the same, so that several sources meet.
        let id = if self.choices.below(2) == 0 { 3 } else { id };
        let sources = self.choices.byte() & self.choices.byte();
        let at = u64::from(id) + if self.choices.below(2) == 0 { 0xf10 } else { 0xf20 };
        match (self.choices.below(8), at >= 0xf20) {
            (0, true) => {
                self.plain.line(v, id).sources |= sources & ((1u16 << vcpus) - 1) as u8;
                let _ = self.guest.gicd_by(v, at, 1, sources.into());
            }
            (0, false) => {
                self.plain.line(v, id).sources &= !sources;
                let _ = self.guest.gicd_by(v, at, 1, sources.into());
            }
            _ => {
                let (filter, list) = (self.choices.below(4), self.choices.below(256));
                for target in 0..vcpus {
                    let named = [list >> target & 1 != 0, target != v, target == v, false];
                    if named[filter as usize] {
                        self.plain.line(target, id).sources |= 1 << v;
                    }
                }
                let nsatt = self.choices.below(2) << 15;
                let _ = self.guest.sgir(v, filter << 24 | list << 16 | nsatt | u64::from(id));
            }
        }
    }

    fn acknowledge(&mut self, v: usize) {
        let cpu = &self.guest.cpus[v].1;
        let running = cpu.running.last().copied().map_or(0x100, u16::from);
        let below = running.min(cpu.pmr.into());
        let veng = cpu.vmcr & 3;
        let best = self.plain.best(v, veng, below);
        let id = self.guest.cpus[v].1.acknowledge();
        if id == SPURIOUS {
            let lrs = &self.guest.cpus[v].1.lr;
            assert!(best.is_empty(), "vCPU {v}: {best:?} lost, list registers {lrs:x?}");
            return;
        }
        assert!(best.contains(&id), "vCPU {v} took {id}, not one of {best:?}");
        self.plain.acknowledge(v, id);
        self.stack[v].push(id);
        self.acknowledged += 1;
    }

    fn end(&mut self, v: usize) {
        let Some(id) = self.stack[v].pop() else { return };
        self.guest.cpus[v].1.end(id);
        if self.split {
            self.dropped[v].push(id);
        } else {
            self.plain.line(v, id).deactivate();
        }
    }

    fn deactivate(&mut self, v: usize) {
        if self.dropped[v].is_empty() {
            return;
        }
        let nth = self.choices.below(self.dropped[v].len() as u64) as usize;
        let id = self.dropped[v].swap_remove(nth);
        // Deactivated by register in between: the guest's software knows.
        if self.plain.line(v, id).active_on != Some(v) {
            return;
        }
        self.plain.line(v, id).deactivate();
        let (me, lrs) = &mut self.guest.cpus[v];
        if self.plain.v2 {
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
        let id = 32 + self.choices.below(32) as u32;
        match self.choices.below(3) {
            0 => {
                self.plain.line(0, id).latch = true;
                let _ = self.guest.pulse(id);
            }
            level => {
                self.plain.line(0, id).drive(level == 1);
                let _ = self.guest.spi(id, level == 1);
            }
        }
    }

    fn drive_ppi(&mut self, v: usize) {
        let (id, high) = (29 + self.choices.below(2) as u32, self.choices.below(2) == 0);
        self.plain.line(v, id).drive(high);
        let kick = self.guest.vgic.set_ppi_level(VcpuId(v as u8), IntId(id), high);
        self.guest.kicked = self.guest.kicked.union(kick);
    }

    fn fire_hw(&mut self, v: usize) {
        let id = self.choices.pick(&TWINS);
        // A physical interrupt that is active does not come again.
        if self.physical[v] >> id & 1 == 0 {
            self.physical[v] |= 1 << id;
            self.plain.line(v, id).hw_pending = true;
            self.guest.hw(v, id);
        }
    }

    fn withdraw(&mut self, v: usize) {
        let id = self.choices.pick(&TWINS);
        self.plain.line(v, id).hw_pending = false;
        let (me, lrs) = &mut self.guest.cpus[v];
        let kick = self.guest.vgic.withdraw_hw_ppi(me, lrs, IntId(id));
        self.guest.kicked = self.guest.kicked.union(kick);
    }

    fn write_random_word(&mut self, v: usize) {
        let first = if self.choices.below(2) == 0 { 0 } else { 32 };
        let register = self.choices.pick(&WORDS);
        let mut bits = self.some_bits();
        if register == 0x80 {
            bits ^= self.plain.read_word(v, first, 0x80) as u32;
        }
        if register >= 0x300 && !self.split {
            // Software of EOImode 0 that clears or sets active states under its own handlers gets what it deserves.
            return;
        }
        self.write_word(v, first, register, bits);
    }

    fn write_random_attribute(&mut self, v: usize) {
        let id = self.choices.below(64) as u32;
        match self.choices.below(4) {
            0 => {
                let priority = self.choices.byte();
                self.write_priority(v, id, priority);
            }
            1 => {
                let (first, config) = (self.choices.pick(&[16, 32, 48]), self.choices.word());
                self.write_config(v, first, config);
            }
            2 if id >= 32 || self.plain.v2 => {
                let to =
                    self.choices.byte() & if self.plain.v2 { self.choices.byte() } else { 0xff };
                self.write_route(id, to);
            }
            _ => {
                let groups = 3 & !(self.choices.below(8) & self.choices.below(4));
                self.groups(groups);
            }
        }
    }

    fn change_cpu_interface(&mut self, v: usize) {
        let cpu = &mut self.guest.cpus[v].1;
        if self.choices.below(2) == 0 {
            cpu.pmr = self.choices.byte() | self.choices.byte();
        } else {
            cpu.vmcr |= 3;
            cpu.vmcr &= !(self.choices.below(8) & self.choices.below(4));
        }
    }

    /// A few random bits, often few.
    fn some_bits(&mut self) -> u32 {
        let bits = self.choices.word();
        if self.choices.below(3) == 0 { bits } else { bits & 1 << self.choices.below(32) }
    }

    fn park(&mut self, v: usize) {
        let (me, lrs) = &mut self.guest.cpus[v];
        let kick = self.guest.vgic.park(me, lrs, false);
        self.guest.kicked = self.guest.kicked.union(kick);
        assert!(lrs.lr.iter().all(|lr| lr >> 62 == 0), "{:x?}", lrs.lr);
        self.guest.enter(v);
    }

    /// CPU_OFF, and some time later CPU_ON.
    fn off_and_on(&mut self, v: usize) {
        self.switch_off(v);
        self.guest.settle();
        if !self.split {
            // In EOImode 0 an end is taken for that of another interrupt if one that nobody will end is active.
            let ownerless = |(_, line): &(u32, &Line)| line.active && line.active_on.is_none();
            let ownerless = (0..).zip(&self.plain.spis).filter(ownerless);
            let bits = ownerless.fold(0, |bits, (n, _)| bits | 1 << n);
            self.write_word(v, 32, 0x380, bits);
        }
        self.guest.kicked = self.guest.kicked.union(VcpuSet::only(VcpuId(v as u8)));
    }

    /// A vCPU in WFI is woken by what it could take.
    fn check_wake_up(&mut self, v: usize) {
        let takeable = self.plain.best(v, 3, 0x100);
        let (me, cpu) = &self.guest.cpus[v];
        assert!(
            takeable.is_empty() || self.guest.vgic.has_pending(me, cpu),
            "vCPU {v} sleeps over {takeable:?}"
        );
    }
}
