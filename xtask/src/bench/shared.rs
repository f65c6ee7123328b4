//! What sharing cores costs: the same guest with vCPUs that share theirs, on boards of its own.
//!
//! Alone on two cores, two vCPUs wake each other; on one core they hand it to each other, and one makes exits beside the
//! other. What exits cost is counted once with the guest alone on four cores and once with 31 others, which wake up every
//! 10 ms.

use std::fmt::Write;

use anyhow::Result;

use super::board::Board;
use super::rows::Measured;
use super::{MEMORY, bundled, measure};
use crate::images::Image;
use crate::progress::step;
use crate::workspace::Workspace;

/// The row that is made of two boards' numbers.
pub const GROWTH: &str = "exit_growth_32_percent";
/// Guests beside the one that counts.
const OTHERS: usize = 31;

/// Counts on all of these boards.
pub fn run(workspace: &Workspace, board: Board) -> Result<Measured> {
    let mut measured = count(workspace, board, "wake", ("2", 2), 0)?;
    measured.extend(count(workspace, board, "switch", ("1", 2), 0)?);
    let alone = count(workspace, board, "exits", ("4", 1), 0)?;
    let among = count(workspace, board, "exits", ("4", 1), OTHERS)?;
    measured.extend(growth(&alone, &among).map(|percent| (GROWTH.to_string(), percent)));
    Ok(measured)
}

/// What the exit costs that grew most, in percent of what it cost alone.
pub fn growth(alone: &Measured, among: &Measured) -> Option<u64> {
    let both = alone.iter().filter_map(|(name, one)| Some((*one, *among.get(name)?)));
    both.map(|(one, many)| (100 * many).div_ceil(one.max(1))).max()
}

/// What the guest counts, with vCPUs that share the first `cores` of the board.
fn count(
    workspace: &Workspace,
    board: Board,
    what: &str,
    (cores, vcpus): (&str, usize),
    others: usize,
) -> Result<Measured> {
    let name = format!("bench-shared-{what}{}", if others > 0 { "-among" } else { "" });
    let bundle = bundled(workspace, &name, &configuration(what, cores, vcpus, others))?;
    step(&format!("counting {what} of shared cores on {}, beside {others}", board.name()), || {
        measure(board.tessera(workspace, cores, MEMORY)?.arg("-initrd").arg(bundle))
    })
}

fn configuration(what: &str, cores: &str, vcpus: usize, others: usize) -> String {
    let cores = (0..cores.parse().unwrap_or(1)).map(|core: u32| core.to_string());
    let cores = cores.collect::<Vec<_>>().join(" ");
    let mut guests = String::new();
    let mut guest = |name: &str, vcpus: usize, image: Image, bootargs: &str| {
        let image = if image == Image::Bench { "bench" } else { "load" };
        let _ = writeln!(
            guests,
            "\t{name} {{\n\t\tcompatible = \"tessera,vm\";\n\t\tvcpus = <{vcpus}>;\n\t\tcpus = <{cores}>;\n\
             \t\tcpu-policy = \"shared\";\n\t\tmemory = \"4M\";\n\t\tkernel = \"{image}.img\";\n\
             \t\tbootargs = \"{bootargs}\";\n\t}};"
        );
    };
    guest("bench", vcpus, Image::Bench, &format!("bench.shared={what}"));
    for n in 1..=others {
        guest(&format!("other{n}"), 1, Image::Load, "load=interactive load.wakes=4000");
    }
    format!("/dts-v1/;\n/ {{\n\tcompatible = \"tessera,config\";\n{guests}}};\n")
}
