//! A group as a guest finds it: from the device tree, and mapped through `/dev/mem`.
//!
//! Linux maps what is not its RAM as device memory, so all accesses here are whole words at their own alignment, one at a time.

use core::arch::asm;
use core::ffi::CStr;

use tessera_abi::group::{doorbell, membership};
use tessera_abi::layout;

use crate::Trouble;
use crate::sys::{File, READ_ONLY, READ_WRITE};

/// Most bytes of a group's name, with a zero behind it.
const NAME: usize = 32;

/// A group, mapped.
pub struct Group {
    slot: u8,
    name: [u8; NAME],
    doorbell: u64,
    membership: u64,
    region: u64,
    bytes: u64,
}

impl Group {
    /// The group of this name, or the first.
    pub fn find(name: Option<&str>) -> Result<Self, Trouble> {
        for slot in 0..layout::MAX_GROUPS as u8 {
            let mut label = [0; NAME];
            let Ok(length) = property(slot, "label", &mut label) else { break };
            // A string of a device tree ends with a zero.
            let own = length.checked_sub(1).and_then(|end| label.get(..end));
            if name.is_none_or(|name| own == Some(name.as_bytes())) {
                return Self::map(slot, label);
            }
        }
        Err(Trouble("this guest has no such group", 0))
    }

    fn map(slot: u8, name: [u8; NAME]) -> Result<Self, Trouble> {
        let mut reg = [[0; 8]; 6];
        property(slot, "reg", reg.as_flattened_mut())?;
        let [doorbell, bell_bytes, membership, page_bytes, region, bytes] =
            reg.map(u64::from_be_bytes);
        let memory = File::open(c"/dev/mem", READ_WRITE)?;
        let doorbell = memory.map(doorbell, bell_bytes, true)?;
        let writable = load(doorbell + doorbell::WRITABLE) != 0;
        Ok(Self {
            slot,
            name,
            doorbell,
            membership: memory.map(membership, page_bytes, false)?,
            region: memory.map(region, bytes, writable)?,
            bytes,
        })
    }

    /// Which of the guest's groups it is, which is its line of the GPIO too.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let name = CStr::from_bytes_until_nul(&self.name).unwrap_or_default();
        name.to_str().unwrap_or_default()
    }

    /// Loads a register of the doorbell.
    pub fn load(&self, register: u64) -> u32 {
        load(self.doorbell + register)
    }

    /// Rings a member, which sees all that was stored before.
    pub fn ring(&self, index: u32) {
        // SAFETY: a barrier has no effect on memory.
        unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
        let at = self.doorbell + doorbell::RING;
        // SAFETY: a register of the doorbell, which is mapped.
        unsafe { asm!("str {:w}, [{}]", in(reg) index, in(reg) at, options(nostack)) };
    }

    /// A member's word on the membership page.
    pub fn word(&self, index: u32) -> u64 {
        let at = self.membership + membership::WORDS + 8 * u64::from(index % 32);
        // SAFETY: a word of the page, which is mapped.
        unsafe { (at as *const u64).read_volatile() }
    }

    /// How many words the region has.
    pub fn words(&self) -> u64 {
        self.bytes / 8
    }

    /// Loads word `n` of the region.
    ///
    /// # Panics
    ///
    /// The region has no such word.
    #[inline(always)]
    pub fn get(&self, n: u64) -> u64 {
        assert!(n < self.words(), "a word behind the region");
        // SAFETY: inside the region, which is mapped.
        unsafe { (self.region as *const u64).wrapping_add(n as usize).read_volatile() }
    }

    /// Stores to word `n` of the region.
    ///
    /// # Panics
    ///
    /// The region has no such word.
    #[inline(always)]
    pub fn put(&self, n: u64, value: u64) {
        assert!(n < self.words(), "a word behind the region");
        // SAFETY: inside the region, which is mapped and nobody's but for such words.
        unsafe { (self.region as *mut u64).wrapping_add(n as usize).write_volatile(value) };
    }
}

fn load(at: u64) -> u32 {
    let value: u32;
    // SAFETY: a register of the doorbell, which is mapped.
    unsafe { asm!("ldr {:w}, [{}]", out(reg) value, in(reg) at, options(nostack)) };
    value
}

/// Reads a property of the group in `slot`: how many bytes.
fn property(slot: u8, name: &str, into: &mut [u8]) -> Result<usize, Trouble> {
    const PATH: &str = "/proc/device-tree/group@b00x000/";
    let mut path = [0; 64];
    path[..PATH.len()].copy_from_slice(PATH.as_bytes());
    path[PATH.len() - 5] = b'0' + slot;
    path[PATH.len()..][..name.len()].copy_from_slice(name.as_bytes());
    let path = CStr::from_bytes_until_nul(&path).unwrap_or_default();
    File::open(path, READ_ONLY)?.read(into)
}
