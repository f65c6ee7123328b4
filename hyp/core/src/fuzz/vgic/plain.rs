//! A plain interrupt controller, which knows no list registers: a state for each interrupt, and what the architecture
//! says of it.

use alloc::vec;
use alloc::vec::Vec;

use crate::vgic::fake::INTID;

/// An interrupt.
#[derive(Clone, Copy, Default, Debug)]
pub struct Line {
    pub group: bool,
    pub enabled: bool,
    pub latch: bool,
    pub line: bool,
    pub edge: bool,
    pub active: bool,
    /// The vCPU whose end of interrupt deactivates it.
    pub active_on: Option<usize>,
    pub priority: u8,
    /// Pending by its physical twin.
    pub hw_pending: bool,
    /// Active, and to be deactivated with its physical twin.
    pub hw_active: bool,
    /// The vCPU that an SPI goes to.
    pub route: u64,
    /// GICv2: the vCPUs that an SPI may go to, as the register says.
    pub targets: u8,
    /// GICv2: the vCPUs that an SGI is pending from.
    pub sources: u8,
}

impl Line {
    pub fn pending(&self) -> bool {
        self.latch || self.hw_pending || self.line && !self.edge || self.sources != 0
    }
    pub fn drive(&mut self, high: bool) {
        self.latch |= high && !self.line && self.edge;
        self.line = high;
    }
    pub fn deactivate(&mut self) {
        (self.active, self.active_on, self.hw_active) = (false, None, false);
    }
}

/// The controller: private interrupts of each vCPU, then the SPIs.
pub struct Plain {
    pub v2: bool,
    pub groups: u64,
    pub private: Vec<[Line; 32]>,
    pub spis: [Line; 32],
}

/// A route that leads nowhere.
pub const NOBODY: u64 = 99;

/// The registers of a bit an interrupt, by offset.
pub const WORDS: [u64; 7] = [0x80, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380];

impl Plain {
    pub fn new(vcpus: usize, v2: bool) -> Self {
        let mut private = [Line::default(); 32];
        for (id, line) in private.iter_mut().enumerate() {
            (line.edge, line.enabled) = (id < 16, id < 16 && v2);
        }
        let route = if v2 && vcpus > 1 { NOBODY } else { 0 };
        let spis = [Line { route, ..Line::default() }; 32];
        Self { v2, groups: 0, private: vec![private; vcpus], spis }
    }

    pub fn line(&mut self, vcpu: usize, id: u32) -> &mut Line {
        match (id & INTID).checked_sub(32) {
            None => &mut self.private[vcpu][(id & INTID) as usize],
            Some(n) => &mut self.spis[n as usize],
        }
    }

    /// vCPU `vcpu` is switched off: of its own interrupts none stays active, its lines and physical interrupts are gone.
    /// SPIs stay active, until somebody says otherwise.
    pub fn switch_off(&mut self, vcpu: usize) {
        for line in &mut self.private[vcpu] {
            line.deactivate();
            (line.line, line.hw_pending) = (false, false);
        }
        for line in self.spis.iter_mut().filter(|line| line.active_on == Some(vcpu)) {
            line.active_on = None;
        }
    }

    /// The interrupts that may be acknowledged next: the most urgent ones.
    pub fn best(&mut self, vcpu: usize, veng: u64, below: u16) -> Vec<u32> {
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

    pub fn acknowledge(&mut self, vcpu: usize, id: u32) {
        let line = self.line(vcpu, id);
        line.latch = false;
        line.sources &= !(1 << (id >> 10));
        line.hw_active = line.hw_pending;
        line.hw_pending = false;
        (line.active, line.active_on) = (true, Some(vcpu));
    }

    pub fn write_word(&mut self, vcpu: usize, first: u32, register: u64, value: u32) {
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

    pub fn read_word(&mut self, vcpu: usize, first: u32, register: u64) -> u64 {
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
