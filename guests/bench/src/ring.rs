//! Bytes through a ring of messages, from a guest on one core to a guest on another, against the instructions of both.

use core::fmt::Debug;

use tessera_ring::{Mesh, Peers, SendError};
use tessera_rt::group::Member;
use tessera_rt::{Machine, cpu, println, timer};

/// Words of a ring, of a message, and how many of these are sent.
const SLOTS: usize = 8192;
const MESSAGE: usize = 512;
const MESSAGES: u64 = 256;

/// Does what `bench.group` says, where that is to send or to receive.
pub fn run(machine: &Machine) -> bool {
    let is_sender = match machine.arg("bench.group") {
        Some("send") => true,
        Some("receive") => false,
        _ => return false,
    };
    let Some(node) = machine.groups().first() else { return false };
    let member = Member::new(node);
    let Some(mut mesh) = Mesh::new(member.words(), SLOTS, &member) else { return false };
    let mut buffer = [0; MESSAGE];
    let other = 1 - member.me();
    if is_sender {
        send(&mut mesh, other, &mut buffer);
    } else {
        // It is there.
        put(&mut mesh, other, &[]);
        (0..MESSAGES).for_each(|_| take(&mut mesh, other, &mut buffer));
        put(&mut mesh, other, &[]);
        loop {
            cpu::wfi();
        }
    }
    true
}

fn send(mesh: &mut Mesh<'_>, other: usize, buffer: &mut [u64]) {
    take(mesh, other, buffer);
    let began = timer::now();
    (0..MESSAGES).for_each(|_| put(mesh, other, buffer));
    take(mesh, other, &mut []);
    let took = timer::now() - began;
    println!(
        "BENCH ring_bytes_per_instruction {}",
        100 * MESSAGES * MESSAGE as u64 * 8 / took.max(1)
    );
}

fn put(mesh: &mut Mesh<'_>, other: usize, message: &[u64]) {
    loop {
        match mesh.send(other, message) {
            Ok(()) => return,
            Err(SendError::Full) => cpu::give_way(),
            Err(error) => fail(other, error),
        }
    }
}

fn take(mesh: &mut Mesh<'_>, other: usize, buffer: &mut [u64]) {
    loop {
        match mesh.receive_from(other, buffer) {
            Ok(Some(_)) => return,
            Ok(None) => cpu::give_way(),
            Err(error) => fail(other, error),
        }
    }
}

/// What was measured until then is worth nothing.
fn fail(other: usize, error: impl Debug) -> ! {
    println!("not ok - a ring between this member and {other}: {error:?}");
    loop {
        cpu::wfi();
    }
}
