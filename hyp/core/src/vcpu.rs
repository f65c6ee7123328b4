//! A virtual CPU: what belongs to it alone. One physical core owns it at a time, as `&mut Vcpu`.

/// A guest's general-purpose registers, laid out for the way in and out of a guest (`vectors.S`).
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct Registers {
    /// X0 to X30.
    pub x: [u64; 31],
    /// Where the host's stack pointer waits while the guest runs; meaningless otherwise.
    pub host_sp: u64,
}

impl Registers {
    /// All zero.
    pub const fn new() -> Self {
        Self { x: [0; 31], host_sp: 0 }
    }

    /// General-purpose register `rt` of an instruction, where 31 is XZR.
    #[inline(always)]
    pub fn read(&self, rt: u8) -> u64 {
        self.x.get(usize::from(rt)).copied().unwrap_or(0)
    }

    /// Writes general-purpose register `rt` of an instruction; a write to 31, XZR, is lost.
    #[inline(always)]
    pub fn write(&mut self, rt: u8, value: u64) {
        if let Some(x) = self.x.get_mut(usize::from(rt)) {
            *x = value;
        }
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}
