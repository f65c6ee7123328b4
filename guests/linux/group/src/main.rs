//! Uses a group from a Linux guest's user space: no libraries, no driver, nothing but `/dev/mem` and a GPIO line; or by UIO alone,
//! where the kernel has a driver for it.
//!
//! It is for tests, for the bench, and to be read: [`device`] finds the group and has its registers, [`bell`] sleeps until somebody
//! rings, [`channel`] moves data. `docs/groups.md`, "From Linux", says what this way of mapping the region is good for.
//!
//! ```text
//! group [-n NAME] state            who is up
//! group [-n NAME] ring INDEX|all   rings
//! group [-n NAME] wait             sleeps until somebody rings or a member's state changes
//! group [-n NAME] send INDEX MIB   sends so much to a member
//! group [-n NAME] receive INDEX    takes what a member sends
//! ```
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "calls of the kernel, and memory that it maps")]

mod bell;
mod channel;
mod device;
mod sys;
mod uio;

use core::arch::global_asm;
use core::fmt::Arguments;

use tessera_abi::group::doorbell;
use tessera_abi::group::membership::LIVES_SHIFT;

use bell::Bell;
use device::Group;

global_asm!(include_str!("start.s"));

/// What goes wrong: what was tried, and the kernel's error number where it has one.
#[derive(Clone, Copy, Debug)]
pub struct Trouble(&'static str, i64);

const USAGE: Trouble = Trouble(
    "usage: group [-n NAME] state | ring INDEX|all | wait | send INDEX MIB | receive INDEX",
    0,
);

/// Most arguments, with the program's name and nothing behind them.
const MOST: usize = 6;

/// The first Rust that runs. `stack` is as Linux left it.
#[unsafe(no_mangle)]
extern "C" fn enter(stack: *const usize) -> ! {
    let mut words = [""; MOST];
    // SAFETY: the first word of a new program's stack counts its arguments.
    let count = unsafe { stack.read() };
    for (n, word) in words.iter_mut().enumerate().take(count) {
        // SAFETY: as many pointers follow.
        let text = unsafe { stack.wrapping_add(1 + n).read() } as *const core::ffi::c_char;
        // SAFETY: each points to a string that ends with a zero and stays as long as the program.
        *word = unsafe { core::ffi::CStr::from_ptr(text) }.to_str().unwrap_or_default();
    }
    let words = words.get(1..count.min(MOST)).unwrap_or_default();
    match run(words) {
        Ok(()) => sys::exit(0),
        Err(Trouble(what, 0)) => say(format_args!("group: {what}")),
        Err(Trouble(what, errno)) => say(format_args!("group: {what}: error {errno}")),
    }
    sys::exit(1)
}

/// Prints a line.
fn say(line: Arguments<'_>) {
    // There is nobody to tell of a console that takes nothing.
    let _ = core::fmt::write(&mut sys::Output, format_args!("{line}\n"));
}

fn run(words: &[&str]) -> Result<(), Trouble> {
    let (name, words) = match words {
        ["-n", name, rest @ ..] => (Some(*name), rest),
        _ => (None, words),
    };
    match words {
        ["state"] => state(&Group::find(name)?),
        ["ring", "all"] => Group::find(name)?.ring(doorbell::ALL),
        ["ring", index] => Group::find(name)?.ring(number(index)?),
        ["wait"] => wait(&Group::find(name)?)?,
        ["send", index, mib] => channel::send(&Group::find(name)?, number(index)?, number(mib)?)?,
        ["receive", index] => channel::receive(&Group::find(name)?, number(index)?)?,
        _ => return Err(USAGE),
    }
    Ok(())
}

fn number(word: &str) -> Result<u32, Trouble> {
    word.parse().map_err(|_| USAGE)
}

fn state(group: &Group) {
    let (index, members) = (group.load(doorbell::INDEX), group.load(doorbell::MEMBERS));
    let writable = group.load(doorbell::WRITABLE);
    say(format_args!("GROUP {} index={index} members={members} writable={writable}", group.name()));
    for member in 0..members {
        let word = group.word(member);
        let (state, lives) = (word & ((1 << LIVES_SHIFT) - 1), word >> LIVES_SHIFT);
        say(format_args!("GROUP-MEMBER {member} state={state} lives={lives}"));
    }
}

fn wait(group: &Group) -> Result<(), Trouble> {
    let mut bell = Bell::open(group)?;
    say(format_args!("GROUP-WAITS"));
    let news = bell.wait(group)?;
    let (by, changed) = (news.rang, u32::from(news.changed));
    say(format_args!("GROUP-RUNG by={by:#x} changed={changed} slept={}", bell.slept()));
    Ok(())
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(format_args!("group: {info}"));
    sys::exit(101)
}
