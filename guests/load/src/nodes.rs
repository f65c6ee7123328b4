//! Guests of a group that compute one result: in how many ways queens stand on a board without attacking each other.
//!
//! `nodes.queens` (11) is the size of the board, and `nodes.way` says how:
//!
//! - `messages`: a multicomputer. The first member sends the others pieces of the work through rings, and they send back what they
//!   found. With `nodes.cores=N` the members of each of N cores have their turn alone, so that an emulator which runs one core
//!   after the other counts what each core has to do.
//! - `arrays`: a multiprocessor. In each step, a place of the first queen, all count their part into a shared array; a barrier follows. Members before
//!   `nodes.first` (0) are others, and only in the barriers. In its first life, a member ends at the step `nodes.ends`, and is
//!   late for ever in the step `nodes.stays`.
//! - `alone`: one guest without a group.

use core::hint::black_box;
use core::sync::atomic::Ordering::Relaxed;

use tessera_ring::{Barrier, Broken, LINE, Mesh, Peers, SendError};
use tessera_rt::abi::group::membership::LIVES_SHIFT;
use tessera_rt::group::Member;
use tessera_rt::{Machine, cpu, println, psci, timer};

use crate::number;

/// Most of the board's rows and columns: a row is 16 bits of a piece.
const LARGEST: u64 = 16;
/// Rows whose queens a piece of the work has.
const ROWS: u32 = 3;
/// Words of a ring.
const SLOTS: usize = 128;
/// In how many ways, from four queens on (OEIS A000170).
const KNOWN: [u64; 10] = [2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712];

/// Runs it.
pub fn run(machine: &Machine) {
    let queens = number(machine, "nodes.queens", 11).clamp(4, LARGEST);
    let board = Rows { all: (1 << queens) - 1, columns: 0, left: 0, right: 0 };
    let way = machine.arg("nodes.way").unwrap_or("alone");
    let member = machine.groups().first().map(Member::new);
    let found = match (way, &member) {
        ("messages", Some(member)) => messages(machine, member, board),
        ("arrays", Some(member)) => arrays(machine, member, board, queens),
        _ => alone(board),
    };
    let Some(found) = found else { return };
    if KNOWN.get(queens as usize - 4) != Some(&found) {
        println!("not ok - {queens} queens stand in other than {found} ways");
    }
    println!("LOAD nodes way={way} queens={queens} found={found}");
    println!("BENCH-DONE");
}

/// A board with queens in its first rows: the columns that they attack, directly and by either diagonal, in the next row.
#[derive(Clone, Copy)]
struct Rows {
    all: u32,
    columns: u32,
    left: u32,
    right: u32,
}

impl Rows {
    /// The boards with one queen more.
    fn next(self) -> impl Iterator<Item = Self> {
        let mut free = self.all & !(self.columns | self.left | self.right);
        core::iter::from_fn(move || {
            let queen = free & free.wrapping_neg();
            free ^= queen;
            let (left, right) = ((self.left | queen) << 1 & self.all, (self.right | queen) >> 1);
            (queen != 0).then_some(Self { columns: self.columns | queen, left, right, ..self })
        })
    }

    /// In how many ways the rest can be filled.
    fn count(self) -> u64 {
        if self.columns == self.all { 1 } else { self.next().map(Self::count).sum() }
    }

    /// The boards with [`ROWS`] queens that this can become.
    fn pieces(self, piece: &mut impl FnMut(Self)) {
        if self.columns.count_ones() == ROWS {
            return piece(self);
        }
        self.next().for_each(|rows| rows.pieces(piece));
    }

    fn packed(self) -> u64 {
        u64::from(self.columns) | u64::from(self.left) << 16 | u64::from(self.right) << 32
    }

    fn unpacked(self, word: u64) -> Self {
        let row = |at: u32| (word >> at) as u32 & self.all;
        Self { columns: row(0), left: row(16), right: row(32), ..self }
    }
}

fn alone(board: Rows) -> Option<u64> {
    let began = timer::now();
    let mut found = 0;
    board.pieces(&mut |piece| found += black_box(piece.count()));
    println!("BENCH nodes {}", timer::now() - began);
    Some(found)
}

/// The first member gives the result.
fn messages(machine: &Machine, peers: &Member, board: Rows) -> Option<u64> {
    let mut mesh = Mesh::new(peers.words(), SLOTS, peers)?;
    if peers.me() != 0 {
        serve(peers, &mut mesh, board);
        return None;
    }
    // All say that they are there, or a core that is not to have its turn yet would still start one.
    let there = collect(peers, &mut mesh, peers.members() - 1);
    let cores = number(machine, "nodes.cores", 1).max(1) as usize;
    let (mut found, mut longest, mut handed) = (there, 0, 0);
    for core in 0..cores {
        let began = timer::now();
        let whose = |member: usize| member % cores == core;
        hand_out(peers, &mut mesh, board, whose);
        handed += timer::now() - began;
        let others = || (1..peers.members()).filter(|member| whose(*member));
        others().for_each(|member| peers.ring(member));
        if whose(0) {
            found += own(peers, board);
        }
        found += collect(peers, &mut mesh, others().count());
        longest = longest.max(timer::now() - began);
    }
    println!("BENCH nodes {}", longest + handed);
    Some(found)
}

/// Sends the pieces of these members, and to each of them an empty message behind them.
fn hand_out(peers: &Member, mesh: &mut Mesh<'_>, board: Rows, whose: impl Fn(usize) -> bool) {
    let members = peers.members();
    let mut send = |to: usize, message: &[u64]| {
        while to != 0 && whose(to) && mesh.send(to, message) == Err(SendError::Full) {
            peers.ring(to);
            cpu::give_way();
        }
    };
    let mut number = 0;
    board.pieces(&mut |piece| {
        send(number % members, &[piece.packed()]);
        number += 1;
    });
    (1..members).for_each(|to| send(to, &[]));
}

/// The first member's own pieces.
fn own(peers: &Member, board: Rows) -> u64 {
    let (mut number, mut found) = (0, 0);
    board.pieces(&mut |piece| {
        if number % peers.members() == 0 {
            found += black_box(piece.count());
        }
        number += 1;
    });
    found
}

/// Takes so many messages, and gives the sum of their words.
fn collect(peers: &Member, mesh: &mut Mesh<'_>, messages: usize) -> u64 {
    let (mut heard, mut sum) = (0, 0);
    while heard < messages {
        let mut word = [0];
        match mesh.receive(&mut word) {
            Ok(Some(_)) => {
                sum += word[0];
                heard += 1;
            }
            Ok(None) => _ = peers.pause(),
            Err((from, error)) => {
                println!("not ok - the ring of {from}: {error:?}");
                mesh.skip(from);
            }
        }
    }
    sum
}

/// The life of any other member: it says that it is there, takes pieces, and sends what it found.
fn serve(peers: &Member, mesh: &mut Mesh<'_>, board: Rows) {
    let tell = |mesh: &mut Mesh<'_>, found: u64| {
        if let Err(error) = mesh.send(0, &[found]) {
            println!("not ok - the ring to the first: {error:?}");
        }
        peers.ring(0);
    };
    tell(mesh, 0);
    let (mut found, mut pieces) = (0, 0);
    loop {
        let mut word = [0];
        match mesh.receive_from(0, &mut word) {
            Ok(None) => _ = peers.pause(),
            Ok(Some(1)) => {
                found += black_box(board.unpacked(word[0]).count());
                pieces += 1;
            }
            Ok(Some(_)) => break,
            Err(error) => return println!("not ok - the ring of the first: {error:?}"),
        }
    }
    tell(mesh, found);
    println!("LOAD node pieces={pieces} found={found}");
}

/// Each member gives the result.
fn arrays(machine: &Machine, peers: &Member, board: Rows, queens: u64) -> Option<u64> {
    let (me, members) = (peers.me(), peers.members());
    let first = number(machine, "nodes.first", 0) as usize;
    let (mine, workers) = (me.checked_sub(first)?, members - first);
    let (lines, array) = peers.words().split_at_checked(members * LINE)?;
    let array = array.get(..queens as usize * members)?;
    let mut barrier = Barrier::new(lines, peers)?;
    let first_life = peers.word(me) >> LIVES_SHIFT == 1;
    let here = |step: u64, word: &str| first_life && number(machine, word, u64::MAX) == step;
    let everyone = u32::MAX >> (32 - members);
    // Who was away has nothing to say of how far the others are.
    let mut step = if first_life { 0 } else { u64::MAX };
    loop {
        let joined = barrier.join(everyone, step).ok()?;
        step = if joined.least == u64::MAX { 0 } else { joined.least };
        println!("NODES joined step={step}");
        while step < queens {
            if here(step, "nodes.ends") {
                psci::reset();
            }
            if here(step, "nodes.stays") {
                println!("NODES stays step={step}");
                return None;
            }
            let row = array.chunks(members).nth(step as usize)?;
            row.get(me)?.store(part(board, step, mine, workers), Relaxed);
            match barrier.wait(step) {
                Ok(_) => step += 1,
                Err(Broken::Changed { gone, came }) => {
                    println!("NODES gone={gone:#x} came={came:#x} step={step}");
                    break;
                }
                Err(_) => return None,
            }
        }
        if step == queens {
            return Some(array.iter().map(|word| word.load(Relaxed)).sum());
        }
    }
}

/// What one of so many members finds in a step.
fn part(board: Rows, step: u64, me: usize, members: usize) -> u64 {
    let (mut number, mut found) = (0, 0);
    if let Some(rows) = board.next().nth(step as usize) {
        rows.pieces(&mut |piece| {
            if number % members == me {
                found += black_box(piece.count());
            }
            number += 1;
        });
    }
    found
}
