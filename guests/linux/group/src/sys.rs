//! The few calls of Linux that the program needs (`asm-generic/unistd.h`).

use core::arch::asm;
use core::ffi::CStr;
use core::fmt;

use crate::Trouble;

const IOCTL: u64 = 29;
const OPENAT: u64 = 56;
const CLOSE: u64 = 57;
const READ: u64 = 63;
const WRITE: u64 = 64;
const EXIT: u64 = 93;
const CLOCK_GETTIME: u64 = 113;
const MMAP: u64 = 222;

/// The directory of the process, for names that do not begin with `/`.
const AT_FDCWD: i64 = -100;
/// For reading alone, and for both.
pub const READ_ONLY: u64 = 0;
pub const READ_WRITE: u64 = 2;
/// What a page may be used for.
const PROT_READ: u64 = 1;
const PROT_WRITE: u64 = 2;
const MAP_SHARED: u64 = 1;
const CLOCK_MONOTONIC: u64 = 1;

/// A file that is open.
pub struct File(i64);

impl File {
    /// Opens it, [`READ_ONLY`] or [`READ_WRITE`].
    pub fn open(path: &CStr, flags: u64) -> Result<Self, Trouble> {
        // SAFETY: the path is a string that ends with a zero, and nothing is written.
        let got = unsafe { call(OPENAT, [AT_FDCWD as u64, path.as_ptr() as u64, flags, 0, 0, 0]) };
        checked(got, "cannot open a file of the group").map(|fd| Self(fd as i64))
    }

    /// A file that the kernel opened.
    pub fn of_kernel(number: i32) -> Self {
        Self(number.into())
    }

    /// Reads what there is, waiting for some.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, Trouble> {
        let (at, len) = (into.as_mut_ptr() as u64, into.len() as u64);
        // SAFETY: the kernel writes at most `len` bytes, which are the caller's.
        let got = unsafe { call(READ, [self.0 as u64, at, len, 0, 0, 0]) };
        checked(got, "cannot read").map(|count| count as usize)
    }

    /// Writes all of it at once.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Trouble> {
        let (at, len) = (bytes.as_ptr() as u64, bytes.len() as u64);
        // SAFETY: the kernel reads `len` bytes, which are the caller's.
        let got = unsafe { call(WRITE, [self.0 as u64, at, len, 0, 0, 0]) };
        checked(got, "cannot write").map(|_| ())
    }

    /// Asks the driver of the file for `what`, whose number says the size of `about`.
    pub fn ask<T>(&self, what: u64, about: &mut T) -> Result<(), Trouble> {
        assert!(what >> 16 & 0x3fff == size_of::<T>() as u64, "a request about something else");
        // SAFETY: the driver reads and writes as much as the request's number says, which is `about`.
        let got = unsafe { call(IOCTL, [self.0 as u64, what, (about as *mut T) as u64, 0, 0, 0]) };
        checked(got, "the GPIO refuses").map(|_| ())
    }

    /// Maps `bytes` from `offset` on, shared, for as long as the program runs.
    pub fn map(&self, offset: u64, bytes: u64, writable: bool) -> Result<u64, Trouble> {
        let access = if writable { PROT_READ | PROT_WRITE } else { PROT_READ };
        // SAFETY: the kernel chooses a place where nothing is.
        let got = unsafe { call(MMAP, [0, bytes, access, MAP_SHARED, self.0 as u64, offset]) };
        checked(got, "cannot map the group's memory")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: nobody else has the file.
        let _ = unsafe { call(CLOSE, [self.0 as u64, 0, 0, 0, 0, 0]) };
    }
}

/// Standard output.
pub struct Output;

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the kernel reads as many bytes as the text has.
        let got = unsafe { call(WRITE, [1, text.as_ptr() as u64, text.len() as u64, 0, 0, 0]) };
        if got == text.len() as i64 { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Nanoseconds since some moment.
pub fn nanoseconds() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: the kernel writes seconds and nanoseconds, a word each.
    let _ = unsafe { call(CLOCK_GETTIME, [CLOCK_MONOTONIC, time.as_mut_ptr() as u64, 0, 0, 0, 0]) };
    time[0] * 1_000_000_000 + time[1]
}

/// Ends the program.
pub fn exit(status: u64) -> ! {
    loop {
        // SAFETY: it does not come back.
        let _ = unsafe { call(EXIT, [status, 0, 0, 0, 0, 0]) };
    }
}

/// The kernel's answers from -4095 to -1 are errors.
fn checked(answer: i64, what: &'static str) -> Result<u64, Trouble> {
    if (-4095..0).contains(&answer) { Err(Trouble(what, -answer)) } else { Ok(answer as u64) }
}

/// A call of the kernel.
///
/// # Safety
/// The arguments are what the call wants: memory that it reads or writes is the caller's.
unsafe fn call(number: u64, arguments: [u64; 6]) -> i64 {
    let answer;
    // SAFETY: Linux keeps all registers but x0, and the memory is as the caller says.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") arguments[0] => answer,
            in("x1") arguments[1], in("x2") arguments[2], in("x3") arguments[3],
            in("x4") arguments[4], in("x5") arguments[5],
            options(nostack),
        );
    }
    answer
}
