//! Checks across guests, and those that need the files or the board.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use tessera_abi::layout;

use super::problem::{Problem, short};
use super::reader::Reader;
use super::{Config, DiskConfig, GroupConfig, MAX_BOOTARGS, VmConfig};
use crate::addr::Ipa;
use crate::guest_dt::{GROUP_BYTES, MAX_BYTES};
use crate::image::{Kernel, place};

/// How a partition is named by its own identity, as Linux does.
pub(super) const PARTUUID: &str = "PARTUUID=";
/// What a guest's device tree takes at most, in no group.
const TREE_BYTES: u64 = MAX_BYTES + MAX_BOOTARGS as u64;

/// What only the board knows.
#[derive(Clone, Copy, Debug)]
pub struct BoardFacts<'a> {
    /// Cores that run, numbered from 0.
    pub cpus: usize,
    /// Bytes of memory that guests can have.
    pub memory: u64,
    /// Partitions of the board's disk; `None` where there is no disk that can be read.
    pub partitions: Option<&'a [PartitionFacts<'a>]>,
}

/// A partition as the board's disk has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionFacts<'a> {
    /// Its GPT name.
    pub label: &'a str,
    /// Its unique GUID as text, with dashes.
    pub partuuid: &'a str,
}

/// What a name finds among partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionLookup {
    /// This one.
    Found(usize),
    /// None.
    Missing,
    /// Several of this label.
    Ambiguous,
}

/// The partition that `name` means: `PARTUUID=…` or a label.
pub fn find_partition(name: &str, partitions: &[PartitionFacts<'_>]) -> PartitionLookup {
    let is_it = |partition: &PartitionFacts<'_>| match name.strip_prefix(PARTUUID) {
        Some(uuid) => partition.partuuid.eq_ignore_ascii_case(uuid),
        None => partition.label == name,
    };
    let mut found = (0..).zip(partitions).filter(|(_, partition)| is_it(partition));
    match (found.next(), found.next()) {
        (Some((index, _)), None) => PartitionLookup::Found(index),
        (None, _) => PartitionLookup::Missing,
        (Some(_), Some(_)) => PartitionLookup::Ambiguous,
    }
}

/// Notes partitions of this guest that others have too, and not all of them for reading only.
pub(super) fn shared_partitions(
    reader: &mut Reader<'_, '_>,
    disks: &[DiskConfig],
    others: &[VmConfig],
) {
    let same = |a: &DiskConfig, b: &DiskConfig| match a.partition.strip_prefix(PARTUUID) {
        Some(_) => a.partition.eq_ignore_ascii_case(&b.partition),
        None => a.partition == b.partition,
    };
    let own_name = String::from(reader.guest());
    for (index, disk) in disks.iter().enumerate() {
        let before = disks.iter().take(index).map(|other| (&own_name, other));
        let all = others.iter().flat_map(|vm| vm.disks.iter().map(move |other| (&vm.name, other)));
        let clash = |&(_, other): &(&String, &DiskConfig)| {
            same(disk, other) && !(disk.read_only && other.read_only)
        };
        if let Some((owner, _)) = all.chain(before).find(clash) {
            let problem = partition_clash(&own_name, disk, owner);
            reader.note(problem);
        }
    }
}

fn partition_clash(guest: &str, disk: &DiskConfig, owner: &str) -> Problem {
    let name = short(&disk.partition);
    let what = format!(
        "partition \"{name}\" is given to `{owner}` too; choose another, or make both `read-only`"
    );
    Problem { node: format!("/{guest}/{}", disk.name), property: Some("partition".into()), what }
}

/// Holds the guests against their files, which `file` finds by the names in the configuration.
pub fn check_files<'a, E: fmt::Display>(
    config: &Config,
    file: impl Fn(&str) -> Result<&'a [u8], E>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for vm in &config.vms {
        let mut problem = |property: &str, what: String| {
            problems.push(about(vm, property, what));
        };
        let kernel = file(&vm.kernel).map_err(|error| format!("{error}")).and_then(|data| {
            Kernel::open(data).map_err(|error| format!("{}: {error}", short(&vm.kernel)))
        });
        let ramdisk = vm.ramdisk.as_deref().map(&file).transpose();
        match (kernel, ramdisk) {
            (Ok(kernel), Ok(ramdisk)) => {
                let ramdisk_bytes = ramdisk.map_or(0, |data| data.len() as u64);
                let base = Ipa(layout::RAM_BASE);
                let groups = config.groups.iter().filter(|group| group.has(&vm.name)).count();
                let tree = TREE_BYTES + groups as u64 * GROUP_BYTES;
                if let Err(error) = place(base, vm.memory, &kernel, ramdisk_bytes, tree) {
                    problem("memory", format!("{error}; give it more"));
                }
            }
            (kernel, ramdisk) => {
                if let Err(error) = kernel {
                    problem("kernel", error);
                }
                if let Err(error) = ramdisk {
                    problem("ramdisk", format!("{error}"));
                }
            }
        }
    }
    for group in &config.groups {
        let Some(initial) = &group.initial else { continue };
        match file(initial) {
            Err(error) => problems.push(of_group(group, "initial", format!("{error}"))),
            Ok(data) if data.len() as u64 > group.size => {
                let bytes = data.len();
                let what = format!("{bytes} bytes do not fit; make `size` larger");
                problems.push(of_group(group, "initial", what));
            }
            Ok(_) => {}
        }
    }
    problems
}

/// A problem of `group`.
fn of_group(group: &GroupConfig, property: &str, what: String) -> Problem {
    Problem { node: format!("/{}", group.name), property: Some(property.into()), what }
}

/// Holds the guests against the board: cores, memory, partitions. Groups are served first, then guests in the order of the file.
pub fn check_board(config: &Config, board: &BoardFacts<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut memory_left = board.memory;
    for group in &config.groups {
        match memory_left.checked_sub(group.size) {
            Some(left) => memory_left = left,
            None => {
                let (asked, left) = (Mib(group.size), Mib(memory_left));
                let what = format!(
                    "{asked} is more than the {left} that this board has left; make it smaller"
                );
                problems.push(of_group(group, "size", what));
            }
        }
    }
    // Which guest has which partition, by its place on the disk: a label and a PARTUUID may mean the same one.
    let mut taken: Vec<(usize, bool, &str)> = Vec::new();
    for vm in &config.vms {
        let found_before = problems.len();
        check_cores(vm, board, &mut problems);
        let mine = check_partitions(vm, board, &taken, &mut problems);
        if vm.memory > memory_left {
            let (asked, left) = (Mib(vm.memory), Mib(memory_left));
            let what =
                format!("{asked} is more than the {left} that this board has left; give it less");
            problems.push(about(vm, "memory", what));
        }
        // A guest that is left out takes nothing away from those behind it.
        if problems.len() == found_before {
            memory_left -= vm.memory;
            taken.extend(mine);
        }
    }
    problems
}

fn check_cores(vm: &VmConfig, board: &BoardFacts<'_>, problems: &mut Vec<Problem>) {
    for core in vm.cpus.iter().filter(|core| usize::from(core.0) >= board.cpus) {
        let last = board.cpus.saturating_sub(1);
        let what = format!("core {core} is not there; this board has cores 0 to {last}");
        problems.push(about(vm, "cpus", what));
    }
}

fn check_partitions<'c>(
    vm: &'c VmConfig,
    board: &BoardFacts<'_>,
    taken: &[(usize, bool, &str)],
    problems: &mut Vec<Problem>,
) -> Vec<(usize, bool, &'c str)> {
    let mut mine: Vec<(usize, bool, &str)> = Vec::new();
    for disk in &vm.disks {
        let name = short(&disk.partition);
        let mut problem = |what: String| {
            let node = format!("/{}/{}", vm.name, disk.name);
            problems.push(Problem { node, property: Some("partition".into()), what });
        };
        let Some(partitions) = board.partitions else {
            problem(
                "this board has no disk with partitions that Tessera can read; attach one".into(),
            );
            continue;
        };
        match find_partition(&disk.partition, partitions) {
            PartitionLookup::Missing => problem(format!(
                "there is no partition \"{name}\"; the disk has {}",
                Labels(partitions)
            )),
            PartitionLookup::Ambiguous => {
                problem(format!("several partitions are called \"{name}\"; name one by PARTUUID=…"))
            }
            PartitionLookup::Found(index) => {
                let clash =
                    |other: &&(usize, bool, &str)| other.0 == index && !(other.1 && disk.read_only);
                if let Some((_, _, owner)) = taken.iter().chain(&mine).find(clash) {
                    problems.push(partition_clash(&vm.name, disk, owner));
                } else {
                    mine.push((index, disk.read_only, &vm.name));
                }
            }
        }
    }
    mine
}

/// A problem of `vm`.
pub(super) fn about(vm: &VmConfig, property: &str, what: String) -> Problem {
    Problem { node: format!("/{}", vm.name), property: Some(property.into()), what }
}

/// Bytes as people read them.
struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0 >> 20)
    }
}

/// The first names of a disk's partitions.
struct Labels<'a>(&'a [PartitionFacts<'a>]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 8;
        if self.0.is_empty() {
            return f.write_str("no partition");
        }
        for (index, partition) in self.0.iter().take(MOST).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            // An MBR has no labels.
            let (prefix, name) = match partition.label {
                "" => (PARTUUID, partition.partuuid),
                label => ("", label),
            };
            write!(f, "{separator}\"{prefix}{}\"", short(name))?;
        }
        if self.0.len() > MOST { f.write_str(", …") } else { Ok(()) }
    }
}
