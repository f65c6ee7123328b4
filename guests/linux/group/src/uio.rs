//! The driver `uio_pdrv_genirq`, where the kernel has it and it was told to take `generic-uio`: then no `/dev/mem` is needed, and no GPIO.
//!
//! Such a device's maps are the group's `reg`, in its order; a `read` waits for its interrupt, which the driver disables each time
//! that it comes (Linux `driver-api/uio-howto.rst`).

use core::ffi::CStr;

use crate::sys::{File, READ_ONLY, READ_WRITE};

/// Bytes by which the maps of a device lie apart: the kernel's page, where it has pages as small as the registers'.
pub const MAP: u64 = 4096;
/// What enables the interrupt.
pub const ENABLE: u32 = 1;
/// Bytes of what a `read` gives: how many interrupts there were.
pub const COUNT: usize = 4;
/// How many devices are looked at.
const DEVICES: u8 = 10;

/// The device whose first map is this doorbell.
pub fn open(doorbell: u64) -> Option<File> {
    (0..DEVICES).find_map(|n| {
        let mut address = *b"/sys/class/uio/uioN/maps/map0/addr\0";
        address[18] = b'0' + n;
        let mut text = [0; 32];
        let length = read(&address, &mut text)?;
        if hexadecimal(text.get(..length)?)? != doorbell {
            return None;
        }
        let mut path = *b"/dev/uioN\0";
        path[8] = b'0' + n;
        File::open(CStr::from_bytes_with_nul(&path).ok()?, READ_WRITE).ok()
    })
}

fn read(path: &[u8], into: &mut [u8]) -> Option<usize> {
    File::open(CStr::from_bytes_with_nul(path).ok()?, READ_ONLY).ok()?.read(into).ok()
}

/// `0x000000000b000000` and the end of the line.
fn hexadecimal(line: &[u8]) -> Option<u64> {
    let digits = core::str::from_utf8(line).ok()?.trim_end().strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}
