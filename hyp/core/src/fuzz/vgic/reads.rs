//! Reads of all registers, held against the plain controller.

use super::Pair;
use super::plain::WORDS;
use crate::vgic::fake::{GICR_STRIDE, SGI};

impl Pair<'_> {
    /// Reads every word of every bank by vCPU `v`: the second time it is exact, whoever has it in list registers.
    pub(super) fn read_all(&mut self, v: usize) {
        if self.plain.v2 {
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
                let want = self.plain.read_word(vcpu, 0, register);
                assert_eq!(read, want, "vCPU {v} read GICR{vcpu}+{register:#x}: {read:x} {want:x}");
            }
            let read = self.guest.gicd_read(v, register + 4);
            let want = self.plain.read_word(v, 32, register);
            assert_eq!(read, want, "vCPU {v} read GICD+{register:#x}: {read:x} {want:x}");
        }
        self.guest.settle();
        assert_eq!(self.guest.gicd_read(v, 0), self.plain.groups | 0x50);
        self.read_attributes(v);
    }

    /// As [`Pair::read_all`]: private interrupts can be read by their own vCPU only, and are exact at once.
    fn read_all_v2(&mut self, v: usize) {
        for _ in 0..2 {
            let _ = self.guest.gicd_read(v, 0x204);
            self.guest.settle();
        }
        for (register, first) in WORDS.into_iter().flat_map(|at| [(at, 0), (at, 32)]) {
            let read = self.guest.gicd_read(v, register + u64::from(first / 8));
            let want = self.plain.read_word(v, first, register);
            assert_eq!(
                read, want,
                "vCPU {v} read GICD+{register:#x} of {first}: {read:x} {want:x}"
            );
        }
        for sgi in 0..16 {
            let word = self.guest.gicd_read(v, 0xf20 + u64::from(sgi & !3));
            let read = (word >> (8 * (sgi & 3))) as u8;
            assert_eq!(read, self.plain.line(v, sgi).sources, "sources of SGI {sgi}");
        }
        self.guest.settle();
        assert_eq!(self.guest.gicd_read(v, 0), self.plain.groups);
        self.read_attributes(v);
    }

    /// Priorities, triggers and routes: what was written, as far as it is implemented.
    fn read_attributes(&mut self, v: usize) {
        let vcpus = self.stack.len();
        for id in 0..64 {
            let line = *self.plain.line(v, id);
            let (n, redistributor) = (u64::from(id), v as u64 * GICR_STRIDE + SGI);
            let private = id < 32 && !self.plain.v2;
            let priorities = match private {
                true => self.guest.gicr_read(v, redistributor + 0x400 + (n & !3)),
                false => self.guest.gicd_read(v, 0x400 + (n & !3)),
            };
            assert_eq!((priorities >> (8 * (n & 3))) as u8, line.priority, "priority of {id}");
            let config = match private {
                true => self.guest.gicr_read(v, redistributor + 0xc00 + 4 * (n / 16)),
                false => self.guest.gicd_read(v, 0xc00 + 4 * (n / 16)),
            };
            assert_eq!(config >> (2 * (n % 16) + 1) & 1 != 0, line.edge, "trigger of {id}");
            if id < 32 {
                continue;
            }
            if self.plain.v2 {
                let targets = self.guest.gicd_read_sized(v, 0x800 + n, 1) as u8;
                assert_eq!(targets, if vcpus > 1 { line.targets } else { 0 }, "targets of {id}");
            } else {
                let route = self.guest.gicd_read_sized(v, 0x6000 + 8 * n, 8);
                assert_eq!(route, line.route, "route of {id}");
            }
        }
    }
}
