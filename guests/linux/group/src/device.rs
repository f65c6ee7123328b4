//! A group as a guest finds it: from the device tree, and mapped through its UIO device, or where it has none through `/dev/mem`.
//!
//! Linux maps what is not its RAM as device memory, so all accesses here are whole words at their own alignment, one at a time.

use core::arch::asm;
use core::ffi::CStr;
use core::slice;
use core::sync::atomic::AtomicU64;

use tessera_abi::group::{doorbell, membership};
use tessera_abi::layout;

use crate::sys::{File, READ_ONLY, READ_WRITE};
use crate::{Trouble, uio};

/// Most bytes of a group's name, with a zero behind it.
const NAME: usize = 32;

/// A group, mapped.
pub struct Group {
    slot: u8,
    name: [u8; NAME],
    uio: Option<File>,
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
        let uio = uio::open(doorbell);
        let mem;
        let (file, [doorbell, membership, region]) = match &uio {
            Some(device) => (device, [0, uio::MAP, 2 * uio::MAP]),
            None => {
                mem = File::open(c"/dev/mem", READ_WRITE)?;
                (&mem, [doorbell, membership, region])
            }
        };
        let doorbell = file.map(doorbell, bell_bytes, true)?;
        let writable = load(doorbell + doorbell::WRITABLE) != 0;
        let membership = file.map(membership, page_bytes, false)?;
        let region = file.map(region, bytes, writable)?;
        Ok(Self { slot, name, uio, doorbell, membership, region, bytes })
    }

    /// Which of the guest's groups it is, which is its line of the GPIO too.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Its UIO device, whose `read` waits for the group's interrupt, where the guest has that.
    pub fn uio(&self) -> Option<&File> {
        self.uio.as_ref()
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

    /// Whether the guest may store to the region.
    pub fn is_writable(&self) -> bool {
        self.load(doorbell::WRITABLE) != 0
    }

    /// The region. Stores to it end the program where the guest may only read.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: it is mapped as long as the program runs, and others change it by whole words only, as atomics may be changed.
        unsafe { slice::from_raw_parts(self.region as *const AtomicU64, self.bytes as usize / 8) }
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
