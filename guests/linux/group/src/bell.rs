//! Sleeping until somebody rings: by the group's UIO device, or where it has none its line of the GPIO, by the kernel's character device
//! (`linux/gpio.h`).

use core::ffi::CStr;

use tessera_abi::group::doorbell;

use crate::device::Group;
use crate::sys::{File, READ_WRITE};
use crate::{Trouble, uio};

/// `_IOWR(0xb4, 5, struct gpio_v2_line_info)` and `_IOWR(0xb4, 7, struct gpio_v2_line_request)`.
const GET_LINE_INFO: u64 = 0xc100_b405;
const GET_LINE: u64 = 0xc250_b407;
/// `GPIO_V2_LINE_FLAG_INPUT` and `GPIO_V2_LINE_FLAG_EDGE_RISING`.
const RISING_INPUT: u64 = 1 << 2 | 1 << 4;
/// Bytes of `struct gpio_v2_line_event`, and how many the kernel keeps for a line unless it is asked for more.
const EVENTS: usize = 48 * 16;
/// How many GPIO devices are looked at.
const CHIPS: u8 = 10;

/// `struct gpio_v2_line_info`.
#[repr(C)]
struct LineInfo {
    name: [u8; 32],
    consumer: [u8; 32],
    offset: u32,
    attributes: u32,
    flags: u64,
    rest: [u64; 22],
}

/// `struct gpio_v2_line_request`.
#[repr(C)]
struct LineRequest {
    offsets: [u32; 64],
    consumer: [u8; 32],
    flags: u64,
    attributes: [u64; 33],
    lines: u32,
    events: u32,
    padding: [u32; 5],
    file: i32,
}

/// What happened.
#[derive(Clone, Copy, Default)]
pub struct News {
    /// Who rang, a bit each.
    pub rang: u32,
    /// The membership page has changed.
    pub changed: bool,
}

/// What tells of a group's interrupts.
enum Source<'a> {
    /// Its UIO device.
    Device(&'a File),
    /// Its line, of whose rises the kernel tells.
    Line(File),
}

/// Tells when there is news.
pub struct Bell<'a> {
    source: Source<'a>,
    slept: u64,
}

impl<'a> Bell<'a> {
    /// Takes the group's device, or asks the kernel for the line that has its name.
    pub fn open(group: &'a Group) -> Result<Self, Trouble> {
        let source = match group.uio() {
            Some(device) => Source::Device(device),
            None => Source::Line(line(group)?),
        };
        Ok(Self { source, slept: 0 })
    }

    /// Waits for news. As the doorbell's rule has it: both registers are asked, and it sleeps only when there was nothing.
    pub fn wait(&mut self, group: &Group) -> Result<News, Trouble> {
        loop {
            if let Source::Device(device) = self.source {
                device.write(&uio::ENABLE.to_ne_bytes())?;
            }
            let rang = group.load(doorbell::PENDING);
            let changed = group.load(doorbell::CHANGED) != 0;
            if rang != 0 || changed {
                return Ok(News { rang, changed });
            }
            self.slept += 1;
            // How many interrupts there were, and which rises, does not matter.
            match &self.source {
                Source::Device(device) => device.read(&mut [0; uio::COUNT])?,
                Source::Line(line) => line.read(&mut [0; EVENTS])?,
            };
        }
    }

    /// How often it slept, or found a rise that it had seen the reason of before.
    pub fn slept(&self) -> u64 {
        self.slept
    }
}

fn line(group: &Group) -> Result<File, Trouble> {
    let chip = (0..CHIPS).find_map(|n| chip(n, group));
    let chip = chip.ok_or(Trouble("no GPIO has a line for the group", 0))?;
    let mut request = LineRequest {
        offsets: [0; 64],
        consumer: [0; 32],
        flags: RISING_INPUT,
        attributes: [0; 33],
        lines: 1,
        events: 0,
        padding: [0; 5],
        file: 0,
    };
    request.offsets[0] = group.slot().into();
    request.consumer[..5].copy_from_slice(b"group");
    chip.ask(GET_LINE, &mut request)?;
    Ok(File::of_kernel(request.file))
}

/// `/dev/gpiochipN`, if its line is the group's.
fn chip(n: u8, group: &Group) -> Option<File> {
    let mut path = *b"/dev/gpiochipN\0";
    path[13] = b'0' + n;
    let file = File::open(CStr::from_bytes_with_nul(&path).ok()?, READ_WRITE).ok()?;
    let mut info = LineInfo {
        name: [0; 32],
        consumer: [0; 32],
        offset: group.slot().into(),
        attributes: 0,
        flags: 0,
        rest: [0; 22],
    };
    file.ask(GET_LINE_INFO, &mut info).ok()?;
    let name = CStr::from_bytes_until_nul(&info.name).ok()?;
    (name.to_bytes() == group.name().as_bytes()).then_some(file)
}
