//! No function of the hypervisor steps over the guard page below its stack.
//!
//! Problem: a guard page catches a stack that grows too long only if somebody touches it. A function whose frame is larger
//! may leave it untouched and write to whatever is behind. The compiler therefore touches large frames page by page (stack
//! probes), but whether it does is a property of the target, and assembly is nobody's but ours.
//!
//! Idea: read it from the code that was built. Wherever the stack pointer goes down, what lies between the last touch and
//! the new stack pointer is added up. It may never be more than the guard page, nor at a call more than the compiler's own
//! rule leaves to the callee (LLVM, `AArch64::StackProbeMaxUnprobedStack`). And nothing but a subtraction of a constant moves
//! the stack pointer down, except in a probe's loop. What all frames need together is in [`depth`].

mod depth;

use anyhow::{Context, Result, bail, ensure};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SymbolKind};

/// Bytes of a guard page.
const GUARD: u64 = 4096;
/// Bytes that may be untouched when another function begins.
const AT_A_CALL: u64 = 1024;

/// Checks all code of an arm64 ELF file.
pub fn check(file: &[u8]) -> Result<()> {
    let elf = ElfFile64::<Endianness>::parse(file).context("not a 64-bit ELF file")?;
    let text = elf.section_by_name(".text").context("no .text")?;
    let code = text.data().context("the .text section lies outside the file")?;
    let mut functions: Vec<(u64, &str)> = elf
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() >= text.address())
        .filter_map(|symbol| Some((symbol.address() - text.address(), symbol.name().ok()?)))
        .collect();
    functions.sort_unstable();
    functions.dedup_by_key(|(start, _)| *start);
    ensure!(functions.len() > 1, "no symbols of functions");
    depth::check(&functions, code)?;
    let ends = functions.iter().skip(1).map(|(start, _)| *start).chain([code.len() as u64]);
    for (&(start, name), end) in functions.iter().zip(ends) {
        let words = code.get(start as usize..end as usize).unwrap_or_default();
        let words = words.chunks_exact(4).map(|word| {
            u32::from_le_bytes(word.try_into().expect("chunks of four have four bytes"))
        });
        function(words).with_context(|| format!("the stack of {name}"))?;
    }
    Ok(())
}

fn function(words: impl Iterator<Item = u32>) -> Result<()> {
    let mut untouched = 0;
    // A copy of the stack pointer that is further down, and how far.
    let mut copy = None;
    for word in words {
        match Effect::of(word) {
            Effect::Down(bytes) => untouched += bytes,
            Effect::Copy { register, down } => copy = Some((register, down)),
            Effect::Align { register, bytes } => match copy {
                Some((other, down)) if other == register => untouched += down + bytes - 1,
                _ => bail!("it goes down to what is in a register ({word:#010x})"),
            },
            Effect::Push(bytes) => {
                ensure!(
                    untouched + bytes <= GUARD,
                    "a push {untouched} bytes below the last touch"
                );
                untouched = 0;
            }
            Effect::Touch(offset) => untouched = untouched.min(offset),
            Effect::Up | Effect::Set { .. } => untouched = 0,
            Effect::Call => ensure!(
                untouched <= AT_A_CALL,
                "a call with {untouched} bytes that nobody has touched, {AT_A_CALL} are the most"
            ),
            Effect::Unbounded => {
                bail!("it goes down by what is in a register ({word:#010x}), without probes")
            }
            Effect::None => {}
        }
        ensure!(
            untouched <= GUARD,
            "{untouched} bytes at once are more than the guard page of {GUARD}: are stack probes off?"
        );
    }
    Ok(())
}

/// What an instruction does with the stack pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    None,
    /// Lowers it.
    Down(u64),
    /// Lowers it and stores there.
    Push(u64),
    /// Raises it.
    Up,
    /// Accesses memory this far above it.
    Touch(u64),
    /// Calls a function.
    Call,
    /// Puts what is this far below it into a register.
    Copy {
        register: u32,
        down: u64,
    },
    /// Makes it what is in a register.
    Set {
        register: u32,
    },
    /// Makes it what is in a register, aligned down to so many bytes.
    Align {
        register: u32,
        bytes: u64,
    },
    /// Lowers it by nobody knows how much.
    Unbounded,
}

/// The number of SP where a base or a destination is meant.
const SP: u32 = 31;

impl Effect {
    /// Decodes an A64 instruction (DDI 0487 C4.1).
    fn of(word: u32) -> Self {
        let (rd, rn) = (word & 31, word >> 5 & 31);
        if word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000 {
            return Self::Call;
        }
        // ADD and SUB (immediate), with a shift by 12 where bit 22 is set.
        let immediate = u64::from(word >> 10 & 0xfff) << (12 * (word >> 22 & 1));
        match word & 0xff80_0000 {
            0xd100_0000 if rd == SP && rn == SP => return Self::Down(immediate),
            // From a copy: the end of a probe's loop, or the way back. The loop touches each page on its way.
            0x9100_0000 if rd == SP && rn != SP && immediate == 0 => {
                return Self::Set { register: rn };
            }
            0x9100_0000 if rd == SP => return Self::Up,
            0xd100_0000 if rd == SP => return Self::Up,
            0xd100_0000 if rn == SP => return Self::Copy { register: rd, down: immediate },
            // AND (immediate), of ones above zeros: rotated by as many as there are.
            0x9200_0000 if rd == SP => {
                let (rotation, ones) = (word >> 16 & 63, (word >> 10 & 63) + 1);
                let aligns = word >> 22 & 1 == 1 && rotation == ones;
                let aligned = || Self::Align { register: rn, bytes: 1 << (64 - ones) };
                return if aligns { aligned() } else { Self::Unbounded };
            }
            _ => {}
        }
        // ADD and SUB (extended register).
        match word & 0xffe0_0000 {
            0x8b20_0000 if rd == SP => return Self::Up,
            0xcb20_0000 if rd == SP => return Self::Unbounded,
            _ => {}
        }
        if rn == SP { Self::of_access(word) } else { Self::None }
    }

    /// A load or store with SP as its base.
    fn of_access(word: u32) -> Self {
        let simd = word >> 26 & 1 == 1;
        // Unsigned offset, in units of the access.
        if word & 0x3b00_0000 == 0x3900_0000 {
            let scale = if simd && word >> 23 & 1 == 1 { 4 } else { word >> 30 };
            return Self::Touch(u64::from(word >> 10 & 0xfff) << scale);
        }
        let signed =
            |value: u32, bits: u32| i64::from((value << (32 - bits)) as i32 >> (32 - bits));
        // One register, with a signed offset or a write-back.
        let (kind, offset) = if word & 0x3b20_0000 == 0x3800_0000 {
            let kinds = [Kind::Offset, Kind::Post, Kind::Offset, Kind::Pre];
            (kinds[(word >> 10 & 3) as usize], signed(word >> 12 & 0x1ff, 9))
        // A pair.
        } else if word & 0x3a00_0000 == 0x2800_0000 {
            let kinds = [Kind::Offset, Kind::Post, Kind::Offset, Kind::Pre];
            let scale = if simd { 2 + (word >> 30) } else { 2 + (word >> 31) };
            (kinds[(word >> 23 & 3) as usize], signed(word >> 15 & 0x7f, 7) << scale)
        } else {
            return Self::None;
        };
        match kind {
            Kind::Pre if offset < 0 => Self::Push(offset.unsigned_abs()),
            Kind::Pre => Self::Up,
            Kind::Post if offset < 0 => Self::Down(offset.unsigned_abs()),
            Kind::Post => Self::Up,
            Kind::Offset => Self::Touch(offset.max(0) as u64),
        }
    }
}

/// How an access uses its offset.
#[derive(Clone, Copy)]
enum Kind {
    Offset,
    Pre,
    Post,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sub sp, sp, #`bytes`.
    fn sub(bytes: u32) -> u32 {
        match bytes {
            0..4096 => 0xd100_03ff | bytes << 10,
            _ => 0xd140_03ff | bytes >> 12 << 10,
        }
    }
    const PUSH_96: u32 = 0xa9ba_7bfd; // stp x29, x30, [sp, #-96]!
    const TOUCH: u32 = 0xf900_03ff; // str xzr, [sp]
    const BL: u32 = 0x9400_0001;

    fn passes(words: &[u32]) -> bool {
        function(words.iter().copied()).is_ok()
    }

    #[test]
    fn what_moves_the_stack_pointer_is_decoded() {
        for (word, effect) in [
            (0xd140_07ff, Effect::Down(4096)), // sub sp, sp, #1, lsl #12
            (0xd131_c3ff, Effect::Down(3184)), // sub sp, sp, #3184
            (0x910f_03ff, Effect::Up),         // add sp, sp, #960
            (0x9100_03bf, Effect::Set { register: 29 }), // mov sp, x29
            (0xd100_0529, Effect::None),       // sub x9, x9, #1
            (0xd105_03e9, Effect::Copy { register: 9, down: 320 }), // sub x9, sp, #320
            (0x927a_e53f, Effect::Align { register: 9, bytes: 64 }), // and sp, x9, #~63
            (PUSH_96, Effect::Push(96)),
            (0xf81f_0ffe, Effect::Push(16)),  // str x30, [sp, #-16]!
            (0xa8c6_7bfd, Effect::Up),        // ldp x29, x30, [sp], #96
            (0xa901_6ffc, Effect::Touch(16)), // stp x28, x27, [sp, #16]
            (0xb940_0fe8, Effect::Touch(12)), // ldr w8, [sp, #12]
            (0x3dc0_07e0, Effect::Touch(16)), // ldr q0, [sp, #16]
            (0xf940_0108, Effect::None),      // ldr x8, [x8]
            (TOUCH, Effect::Touch(0)),
            (BL, Effect::Call),
            (0xd63f_0100, Effect::Call),      // blr x8
            (0xcb29_63ff, Effect::Unbounded), // sub sp, sp, x9
        ] {
            assert_eq!(Effect::of(word), effect, "{word:#010x}");
        }
    }

    #[test]
    fn a_frame_may_be_large_where_each_page_is_touched() {
        assert!(passes(&[PUSH_96, sub(1024), BL]));
        assert!(passes(&[PUSH_96, sub(3184), TOUCH, BL]));
        assert!(passes(&[PUSH_96, sub(4096), TOUCH, sub(4096), TOUCH, sub(512), BL]));
    }

    #[test]
    fn a_frame_that_could_step_over_the_guard_page_is_found() {
        assert!(!passes(&[PUSH_96, sub(4096), sub(16), TOUCH]));
        assert!(!passes(&[PUSH_96, sub(2048), BL]));
        assert!(!passes(&[PUSH_96, sub(8192), TOUCH]));
        assert!(!passes(&[PUSH_96, sub(4080), PUSH_96]));
        assert!(!passes(&[PUSH_96, 0xcb29_63ff]));
        // An alignment, of a copy that is near and of one that nobody knows.
        assert!(passes(&[PUSH_96, 0xd105_03e9, 0x927a_e53f, BL]));
        assert!(!passes(&[PUSH_96, 0x927a_e53f, BL]));
    }

    #[test]
    fn a_file_that_is_no_program_is_an_error() {
        assert!(check(b"").is_err());
        assert!(check(b"\x7fELF\x02\x01\x01").is_err());
    }
}
