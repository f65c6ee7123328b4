//! What a core of the hypervisor does fits its stack.
//!
//! Problem: a guard page ends a stack that grows too long, and the board with it. Which calls meet below each other is
//! decided by whoever calls whom, and what a frame takes by what the compiler inlines into it: nobody sees either. Idea: read
//! both from the code that was built, and add up along the deepest way. A function takes all that it ever subtracts, whichever
//! way through it is taken. A jump to another function counts as a call, and so does the end of one that runs into the next.
//! What is called by a register (formatting, the logger) nobody knows: for that the deepest function has to fit too that nobody
//! calls otherwise. Recursion is taken for one round.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::{Effect, SP};

/// Bytes of a core's stack: `STACK_SIZE` of the hypervisor's `memory`.
const STACK: u64 = 0x4000;
/// Where a core begins, other than the first, which has the larger stack of the boot.
const ROOT: &str = "secondary_main";
/// Begin on an empty stack, or on one of their own.
const OTHER_ROOTS: [&str; 4] = ["primary_main", "el1_main", "overflow_from_nothing", ROOT];

/// A function, as far as it matters.
#[derive(Debug)]
struct Function<'a> {
    name: &'a str,
    bytes: u64,
    /// Their numbers.
    calls: BTreeSet<usize>,
}

/// Of a function, what the deepest way from it takes, and where that leads next.
type Known = BTreeMap<usize, (u64, Option<usize>)>;

/// Checks `code`, of which each function begins at the offset beside its name.
pub fn check(functions: &[(u64, &str)], code: &[u8]) -> Result<()> {
    let graph = read(functions, code);
    let Some(root) = graph.iter().position(|function| function.name == ROOT) else {
        return Ok(());
    };
    let called: BTreeSet<usize> = graph.iter().flat_map(|it| it.calls.iter().copied()).collect();
    let mut known = Known::new();
    let by_register = (0..graph.len())
        .filter(|n| !called.contains(n) && !OTHER_ROOTS.contains(&graph[*n].name))
        .map(|n| (deepest(&graph, n, &mut known), n))
        .max();
    let way = deepest(&graph, root, &mut known);
    let other = by_register.map_or(0, |(bytes, _)| bytes);
    ensure!(
        way + other <= STACK,
        "a core may need {way} bytes of its stack, and {other} for what is called by a register; it has {STACK}:\n{}{}",
        told(&graph, root, &known),
        by_register.map_or(String::new(), |(_, n)| told(&graph, n, &known))
    );
    Ok(())
}

/// What each function takes and calls.
fn read<'a>(functions: &[(u64, &'a str)], code: &[u8]) -> Vec<Function<'a>> {
    let number = |at: u64| functions.binary_search_by_key(&at, |(start, _)| *start).ok();
    let mut graph = Vec::with_capacity(functions.len());
    for (n, &(start, name)) in functions.iter().enumerate() {
        let end = functions.get(n + 1).map_or(code.len() as u64, |(next, _)| *next);
        let words = code.get(start as usize..end as usize).unwrap_or_default().chunks_exact(4);
        let words = words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let mut function = Function { name, bytes: 0, calls: BTreeSet::new() };
        // A copy of the stack pointer on its way down, and how far.
        let mut copy: Option<(u32, u64)> = None;
        let mut last = 0;
        for (at, word) in (start..).step_by(4).zip(words) {
            last = word;
            match Effect::of(word) {
                // In a probe's loop, which goes down as far as the copy is.
                Effect::Down(_) if copy.is_some_and(|(_, down)| down >= 4096) => {}
                Effect::Down(bytes) | Effect::Push(bytes) => function.bytes += bytes,
                Effect::Copy { register, down } => copy = Some((register, down)),
                Effect::Set { register } => function.bytes += taken(&mut copy, register),
                Effect::Align { register, bytes } => {
                    function.bytes += taken(&mut copy, register) + bytes - 1;
                }
                _ => lower(&mut copy, word),
            }
            function.calls.extend(target(at, word).and_then(number).filter(|&to| to != n));
        }
        if !leaves(last) && n + 1 < functions.len() {
            function.calls.insert(n + 1);
        }
        graph.push(function);
    }
    graph
}

/// How far the copy is down, where it is in `register` and becomes the stack pointer.
fn taken(copy: &mut Option<(u32, u64)>, register: u32) -> u64 {
    copy.take_if(|(it, _)| *it == register).map_or(0, |(_, down)| down)
}

/// Follows a copy of the stack pointer: SUB of a constant, and AND, which aligns it.
fn lower(copy: &mut Option<(u32, u64)>, word: u32) {
    let Some((register, down)) = copy else { return };
    if word & 31 != *register || word >> 5 & 31 != *register || *register == SP {
        return;
    }
    *down += match word & 0xff80_0000 {
        0xd100_0000 => u64::from(word >> 10 & 0xfff) << (12 * (word >> 22 & 1)),
        0x9200_0000 => (1 << (63 - (word >> 10 & 63))) - 1,
        _ => 0,
    };
}

/// Where BL or B at `at` leads.
fn target(at: u64, word: u32) -> Option<u64> {
    let branch = word & 0x7c00_0000 == 0x1400_0000;
    let offset = i64::from((word << 6) as i32 >> 6) * 4;
    branch.then(|| at.wrapping_add_signed(offset))
}

/// Whether nothing follows `word` at the end of a function: B, BL (of what does not return), BR, RET, ERET, BRK, UDF (DDI 0487
/// C4.1).
fn leaves(word: u32) -> bool {
    word & 0x7c00_0000 == 0x1400_0000
        || [0xd61f_0000, 0xd65f_0000, 0xd69f_0000].contains(&(word & 0xffff_fc1f))
        || word & 0xffe0_001f == 0xd420_0000
        || word >> 16 == 0
}

/// Bytes of the deepest way from function `n`.
fn deepest(graph: &[Function<'_>], n: usize, known: &mut Known) -> u64 {
    if let Some((bytes, _)) = known.get(&n) {
        return *bytes;
    }
    // For those that come back to it.
    known.insert(n, (0, None));
    let next = graph[n].calls.iter().map(|&to| (deepest(graph, to, known), to)).max();
    let bytes = graph[n].bytes + next.map_or(0, |(bytes, _)| bytes);
    known.insert(n, (bytes, next.map(|(_, to)| to)));
    bytes
}

/// The deepest way from function `n`, a line a function.
fn told(graph: &[Function<'_>], n: usize, known: &Known) -> String {
    let way = std::iter::successors(Some(n), |n| known.get(n)?.1).take(100);
    way.map(|n| format!("    {:6} {}\n", graph[n].bytes, graph[n].name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RET: u32 = 0xd65f_03c0;
    const BLR_X8: u32 = 0xd63f_0100;

    /// sub sp, sp, #`bytes`.
    fn sub(bytes: u32) -> u32 {
        0xd100_03ff | bytes << 10
    }

    /// bl, to this many words further.
    fn bl(words: u32) -> u32 {
        0x9400_0000 | words
    }

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn frames_add_up_along_the_deepest_way() {
        let functions = [(0, ROOT), (16, "a"), (32, "b")];
        let program = |calls_b: u32| {
            let a = [sub(4080), sub(4080), calls_b, RET];
            let code = [&[sub(4080), bl(3), bl(6), RET][..], &a, &[sub(4080), sub(80), RET]];
            check(&functions, &bytes(&code.concat()))
        };
        assert!(program(RET).is_ok(), "a and b are not below each other");
        let why = program(bl(2)).unwrap_err().to_string();
        assert!(why.contains("need 16400 bytes") && why.contains("4160 b"), "{why}");
    }

    #[test]
    fn what_is_called_by_a_register_comes_on_top_and_may_be_any_that_nobody_calls() {
        let functions = [(0, ROOT), (16, "formats"), (32, "runs into the next"), (40, "next")];
        let program = |next: u32| {
            let formats = [sub(4080), sub(16), BLR_X8, RET];
            let code = [&[sub(4080), sub(4080), sub(64), RET][..], &formats, &[sub(4080), BLR_X8]];
            check(&functions, &bytes(&[&code.concat()[..], &[sub(next), RET]].concat()))
        };
        assert!(program(4080).is_ok());
        assert!(program(4095).unwrap_err().to_string().contains("8175 for what"));
    }

    #[test]
    fn a_frame_that_is_probed_in_a_loop_counts_once() {
        // sub x9, sp, #2, lsl #12; sub x9, x9, #2336; and x9, x9, #~63; sub sp, sp, #1, lsl #12; cmp sp, x9; b.le;
        // str xzr, [sp]; b; mov sp, x9; ret.
        let words = [
            0xd140_0be9,
            0xd124_8129,
            0x927a_e529,
            0xd140_07ff,
            0xeb29_63ff,
            0x5400_006d,
            0xf900_03ff,
            0x17ff_fffc,
            0x9100_013f,
            RET,
        ];
        assert_eq!(read(&[(0, ROOT)], &bytes(&words))[0].bytes, 8192 + 2336 + 63);
    }
}
