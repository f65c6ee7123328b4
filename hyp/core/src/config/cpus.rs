//! The cores of a guest: `vcpus`, `cpus`, `cpu-policy` and what only guests with shared cores have.

use alloc::format;
use alloc::vec::Vec;

use tessera_abi::layout;

use super::reader::Reader;
use super::{VmConfig, lifecycle};
use crate::addr::CpuId;

/// Shares of a guest of which nothing else is said.
const SHARES: u32 = 100;
/// Microseconds after which a vCPU that wakes runs, where nothing else is said.
pub(super) const WAKE_LATENCY: u32 = 1000;

/// What each vCPU of a guest with shared cores gets of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sharing {
    /// Its part of a core for which several compete, against theirs.
    pub shares: u32,
    /// Percent of a core that it never gets more than.
    pub cap: Option<u8>,
    /// Percent of a core that it gets whenever it wants them.
    pub reserve: Option<u8>,
}

/// What a guest's node says of its cores.
#[derive(Default)]
pub(super) struct Cores {
    pub(super) vcpus: usize,
    /// The core of each vCPU; of a guest with shared cores those that it names.
    pub(super) cpus: Vec<CpuId>,
    pub(super) sharing: Option<Sharing>,
}

/// How vCPUs and cores go together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// A core for each vCPU, which nobody else runs on.
    Dedicated,
    /// vCPUs take turns.
    Shared,
}

/// What a guest's node may have.
pub(super) const PROPERTIES: [&str; 6] =
    ["vcpus", "cpus", "cpu-policy", "cpu-shares", "cpu-cap", "cpu-reserve"];
/// What the root may have.
pub(super) const LATENCY: &str = "wake-latency";

/// Reads a guest's.
pub(super) fn parse(reader: &mut Reader<'_, '_>) -> Cores {
    let known = [("dedicated", Policy::Dedicated), ("shared", Policy::Shared)];
    let policy = lifecycle::one_of(reader, "cpu-policy", &known).unwrap_or(Policy::Dedicated);
    let most = layout::MAX_VCPUS as u32;
    let vcpus = reader.number("vcpus", "vcpus = <2>");
    let vcpus = vcpus.and_then(|vcpus| in_range(reader, "vcpus", vcpus, 1..=most, ""));
    match policy {
        Policy::Dedicated => {
            for property in ["cpu-shares", "cpu-cap", "cpu-reserve"] {
                if reader.has(property) {
                    let what = "is for guests that share cores; take it out, or write cpu-policy = \"shared\"";
                    reader.problem(Some(property), what.into());
                }
            }
            let cpus = dedicated(reader, vcpus);
            Cores { vcpus: cpus.len(), cpus, sharing: None }
        }
        Policy::Shared => {
            let cells = reader.optional_cells("cpus", "cpus = <0 1>");
            let cpus = cells.map(|cells| {
                // Of more, one is there twice.
                distinct(reader, cells.take(1 + usize::from(u8::MAX)), "keep one")
            });
            Cores {
                vcpus: vcpus.unwrap_or(0) as usize,
                cpus: cpus.unwrap_or_default(),
                sharing: Some(sharing(reader)),
            }
        }
    }
}

/// `cpus` of a guest with cores of its own, held against `vcpus`.
fn dedicated(reader: &mut Reader<'_, '_>, vcpus: Option<u32>) -> Vec<CpuId> {
    let Some(cells) = reader.cells("cpus", "cpus = <0 1>") else { return Vec::new() };
    if let Some(vcpus) = vcpus.filter(|&vcpus| vcpus as usize != cells.len()) {
        let cores = cells.len();
        let what = format!(
            "{cores} for {vcpus} vCPUs; a guest with dedicated cores names one core for each vCPU"
        );
        reader.problem(Some("cpus"), what);
    }
    distinct(reader, cells.take(layout::MAX_VCPUS), "each vCPU has its own")
}

/// The cores that `cells` name, each once.
fn distinct(
    reader: &mut Reader<'_, '_>,
    cells: impl Iterator<Item = u32>,
    advice: &str,
) -> Vec<CpuId> {
    let mut cpus = Vec::new();
    for cell in cells {
        let Ok(core) = u8::try_from(cell) else {
            reader.problem(Some("cpus"), format!("core {cell} is on no board; cores count from 0"));
            continue;
        };
        if cpus.contains(&CpuId(core)) {
            reader.problem(Some("cpus"), format!("core {core} is there twice; {advice}"));
        } else {
            cpus.push(CpuId(core));
        }
    }
    cpus
}

fn sharing(reader: &mut Reader<'_, '_>) -> Sharing {
    let shares = ranged(reader, "cpu-shares", "cpu-shares = <100>", 1..=10_000, "");
    let cap = ranged(reader, "cpu-cap", "cpu-cap = <40>", 1..=100, " percent of a core");
    let reserve =
        ranged(reader, "cpu-reserve", "cpu-reserve = <20>", 1..=100, " percent of a core");
    if let (Some(cap), Some(reserve)) = (cap, reserve)
        && cap < reserve
    {
        let what =
            format!("{cap} % is below the {reserve} % of `cpu-reserve`; raise it, or lower that");
        reader.problem(Some("cpu-cap"), what);
    }
    Sharing {
        shares: shares.unwrap_or(SHARES),
        cap: cap.map(|percent| percent as u8),
        reserve: reserve.map(|percent| percent as u8),
    }
}

/// Reads the root's `wake-latency`, in microseconds.
pub(super) fn parse_latency(reader: &mut Reader<'_, '_>) -> u32 {
    let latency = ranged(reader, LATENCY, "wake-latency = <1000>", 100..=100_000, " microseconds");
    latency.unwrap_or(WAKE_LATENCY)
}

/// A number, where there is one.
fn ranged(
    reader: &mut Reader<'_, '_>,
    property: &'static str,
    example: &str,
    range: core::ops::RangeInclusive<u32>,
    unit: &str,
) -> Option<u32> {
    let number = reader.optional_number(property, example)?;
    in_range(reader, property, number, range, unit)
}

fn in_range(
    reader: &mut Reader<'_, '_>,
    property: &'static str,
    number: u32,
    range: core::ops::RangeInclusive<u32>,
    unit: &str,
) -> Option<u32> {
    if range.contains(&number) {
        return Some(number);
    }
    let (least, most) = (range.start(), range.end());
    reader.problem(Some(property), format!("{number} is not from {least} to {most}{unit}"));
    None
}

/// Notes cores of this guest that others have too, and not all of them to share.
pub(super) fn check_claims(reader: &mut Reader<'_, '_>, cores: &Cores, others: &[VmConfig]) {
    for core in &cores.cpus {
        let shared = cores.sharing.is_some();
        let clash = |vm: &&VmConfig| vm.cpus.contains(core) && !(shared && vm.sharing.is_some());
        let Some(other) = others.iter().find(clash) else { continue };
        let name = &other.name;
        let what = match (shared, other.sharing.is_some()) {
            (true, _) => {
                format!("core {core} is `{name}`'s alone; take it out, or have `{name}` share it")
            }
            (false, true) => format!(
                "core {core} is shared by `{name}`; choose another, or take it out of `{name}`'s `cpus`"
            ),
            (false, false) => {
                format!("core {core} is claimed by `{name}` too; give one of them another")
            }
        };
        reader.problem(Some("cpus"), what);
    }
}
