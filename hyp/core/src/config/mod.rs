//! The configuration: what guests there are, from the device tree that `tessera.dts` becomes.
//!
//! Problem: people write this file, and learn from what it answers. Idea: one reader for both times it is read, when a
//! bundle is made and when a board boots, that says of each thing wrong the node, the property and what to do about it
//! ([`Problem`]), and goes on: a guest with a problem is left out, the others are not touched. [`parse`] says what can be
//! known from the text alone, [`check_files`] what takes the kernels and ramdisks, [`check_board`] what takes the board.
//! What is unknown is refused rather than ignored, so that a misspelt `read-only` cannot cost a partition. The number and
//! length of everything kept is bounded, for the bytes may be anyone's.
//!
//! `docs/configuration.md` lists the properties for people.

mod check;
mod cpus;
mod disks;
pub(crate) mod groups;
mod homes;
mod keys;
mod lifecycle;
mod problem;
mod reader;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::addr::{CpuId, PAGE_SIZE};
use crate::console::ConsoleKeys;
use crate::fdt::{Fdt, Node};
use crate::life::StopReason;

pub use check::{
    BoardFacts, PartitionFacts, PartitionLookup, check_board, check_files, find_partition,
};
pub use cpus::Sharing;
pub use groups::{GroupConfig, MAX_BOARD_GROUPS, MemberConfig};
pub use lifecycle::Lifecycle;
pub use problem::Problem;
use problem::Problems;
use reader::Reader;

/// Most guests of a board.
pub const MAX_GUESTS: usize = 32;
/// Longest name of a guest: it labels each line of its output.
pub const MAX_NAME: usize = 24;
/// Longest `kernel`, `ramdisk` and `partition`.
const MAX_PATH: usize = 255;
/// Longest `bootargs`: Linux takes 2047 characters and a NUL (COMMAND_LINE_SIZE of arm64).
const MAX_BOOTARGS: usize = 2047;
/// The name that Tessera's own lines carry on the console.
const OWN_NAME: &str = "tessera";

/// What a configuration says.
#[derive(Clone, Debug)]
pub struct Config {
    /// Guests that can be started as far as is known, in the order of the file.
    pub vms: Vec<VmConfig>,
    /// Groups of them, in the order of the file. A member may be missing in `vms`.
    pub groups: Vec<GroupConfig>,
    /// Keys of the board's terminal that no guest gets.
    pub keys: ConsoleKeys,
    /// Microseconds after which a vCPU that wakes on a shared core runs at the latest, where it is not held back by what is
    /// its due.
    pub wake_latency_us: u32,
    /// What is wrong, in the order of the file. A guest with a problem is not in `vms`.
    pub problems: Vec<Problem>,
}

impl Config {
    /// Adds problems that were found later, and leaves out the guests that they are about, and those that wait for them.
    pub fn reject(&mut self, problems: Vec<Problem>) {
        self.leave_out(problems);
        self.leave_out(lifecycle::orphans(&self.vms));
    }

    /// Settles which of the board's `cores` cores each guest with shared ones has, and where its vCPUs are at home, once it is
    /// known which guests there are. A guest for which nothing is left is left out.
    pub fn resolve(&mut self, cores: usize) {
        // Whoever is left out makes room, and each round but the last leaves one out.
        for _ in 0..=MAX_GUESTS {
            match homes::settle(&self.vms, cores) {
                Ok(settled) => {
                    let sharers = self.vms.iter_mut().filter(|vm| vm.sharing.is_some());
                    for (vm, place) in sharers.zip(settled) {
                        (vm.cpus, vm.homes) = (place.cpus, place.homes);
                    }
                    return;
                }
                Err(problems) => self.reject(problems),
            }
        }
    }

    fn leave_out(&mut self, mut problems: Vec<Problem>) {
        let wrong = |name: &str| problems.iter().any(|problem| problem.guest() == name);
        let (left_out, groups): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.groups).into_iter().partition(|group| wrong(&group.name));
        self.groups = groups;
        for group in &left_out {
            let members = self.vms.iter().filter(|vm| group.has(&vm.name));
            problems.extend(members.map(|vm| groups::without_group(&vm.name, &group.name)));
        }
        self.vms.retain(|vm| problems.iter().all(|problem| problem.guest() != vm.name));
        self.problems.extend(problems);
    }
}

/// A guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VmConfig {
    /// Name of its node.
    pub name: String,
    /// How many vCPUs it has.
    pub vcpus: usize,
    /// Dedicated: the core of each vCPU, each owned by this guest alone. Shared: the cores on which its vCPUs may run; before
    /// [`Config::resolve`] none where the file names none.
    pub cpus: Vec<CpuId>,
    /// What it gets of cores that it shares; `None` where it owns them.
    pub sharing: Option<Sharing>,
    /// The core on which each vCPU starts. Dedicated: as `cpus`. Shared: known from [`Config::resolve`] on.
    pub homes: Vec<CpuId>,
    /// Bytes of memory, a multiple of the page size.
    pub memory: u64,
    /// The kernel's path, as the bundle has it.
    pub kernel: String,
    /// The ramdisk's path.
    pub ramdisk: Option<String>,
    /// The kernel's command line.
    pub bootargs: String,
    /// Disks in the order of the file.
    pub disks: Vec<DiskConfig>,
    /// The guest's console.
    pub console: ConsoleKind,
    /// What happens when its watchdog is not fed, where it has one.
    pub watchdog: Option<StopReason>,
    /// It may look after the other guests, by a control port.
    pub control: bool,
    /// When it starts, and when again.
    pub life: Lifecycle,
}

impl VmConfig {
    /// How many vCPUs the guest has.
    pub fn vcpus(&self) -> usize {
        self.vcpus
    }
}

/// A disk of a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskConfig {
    /// Name of its node.
    pub name: String,
    /// GPT label or `PARTUUID=…` of what backs it.
    pub partition: String,
    /// The guest may not write.
    pub read_only: bool,
}

/// What a guest has for a console.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ConsoleKind {
    /// An emulated PL011.
    #[default]
    Pl011,
    /// Nothing: no device, and no place in the console's round.
    None,
}

/// Reads a configuration.
pub fn parse(fdt: &Fdt<'_>) -> Config {
    let mut problems = Problems::default();
    let root = fdt.root();
    let mut reader = Reader::new(root, &mut problems);
    reader.only(&ROOT_PROPERTIES);
    if !root.is_compatible("tessera,config") {
        reader.problem(
            Some("compatible"),
            "is not a configuration; write compatible = \"tessera,config\"".into(),
        );
    }
    let keys = keys::parse(&mut reader);
    let wake_latency_us = cpus::parse_latency(&mut reader);
    if root.children().next().is_none() {
        let what = "has no guest; add a node with compatible = \"tessera,vm\"";
        reader.problem(None, what.into());
    }
    let mut vms: Vec<VmConfig> = Vec::new();
    let (mut groups, mut without) = (Vec::new(), Vec::new());
    let mut guests = 0;
    for node in root.children().take(MAX_GUESTS + MAX_BOARD_GROUPS + 1) {
        let mut reader = reader.below(node);
        if groups::is_group(&node) {
            without.extend(groups::parse(&mut reader, root, node, &mut groups));
            continue;
        }
        guests += 1;
        if guests > MAX_GUESTS {
            if guests == MAX_GUESTS + 1 {
                let what = format!("is one guest too many; a board has at most {MAX_GUESTS}");
                reader.problem(None, what);
            }
            // Groups may come behind it.
            continue;
        }
        if let Some(vm) = parse_vm(&mut reader, node, &vms) {
            vms.push(vm);
        }
    }
    let guests = root.children().filter(|node| !groups::is_group(node));
    let names: Vec<&str> = guests.map(|node| node.name()).take(MAX_GUESTS).collect();
    let waits = lifecycle::check_dependencies(&vms, &names);
    let mut config = Config { vms, groups, keys, wake_latency_us, problems: problems.into_vec() };
    config.leave_out(without);
    config.reject(waits);
    config.reject(homes::check(&config.vms));
    config
}

/// What the root may have.
pub(crate) const ROOT_PROPERTIES: [&str; 7] = [
    "compatible",
    "#address-cells",
    "#size-cells",
    "model",
    keys::SWITCH,
    keys::MONITOR,
    cpus::LATENCY,
];

/// What a guest's node may have.
pub(crate) const GUEST_PROPERTIES: [&str; 20] = {
    let [vcpus, cpus, policy, shares, cap, reserve] = cpus::PROPERTIES;
    let [autostart, depends_on, restart, restart_limit, stop_timeout] = lifecycle::PROPERTIES;
    [
        "compatible",
        // The compiler's, of a node that something refers to.
        "phandle",
        vcpus,
        cpus,
        policy,
        shares,
        cap,
        reserve,
        "memory",
        "kernel",
        "ramdisk",
        "bootargs",
        "console",
        "watchdog",
        "control",
        autostart,
        depends_on,
        restart,
        restart_limit,
        stop_timeout,
    ]
};

/// What a disk's node may have.
pub(crate) const DISK_PROPERTIES: [&str; 2] = ["partition", "read-only"];

/// Reads one guest; all its problems are noted, not just the first.
fn parse_vm<'a>(
    reader: &mut Reader<'a, '_>,
    node: Node<'a>,
    others: &[VmConfig],
) -> Option<VmConfig> {
    if !node.is_compatible("tessera,vm") {
        let what = "is not a guest; write compatible = \"tessera,vm\", or take the node out";
        reader.problem(None, what.into());
        return None;
    }
    reader.only(&GUEST_PROPERTIES);
    check_name(reader, node.name(), others);
    let cores = cpus::parse(reader);
    let memory = reader.required_text("memory", MAX_PATH, "memory = \"256M\"");
    let memory =
        memory.and_then(|text| parse_bytes(reader, "memory", text, "a small Linux takes 64M"));
    let kernel = parse_path(reader, "kernel", true);
    let ramdisk = parse_path(reader, "ramdisk", false);
    let bootargs = reader.text("bootargs", MAX_BOOTARGS).unwrap_or_default();
    let console = parse_console(reader);
    let watchdog = parse_watchdog(reader);
    let control = reader.flag("control");
    let life = lifecycle::parse(reader);
    let disks = disks::parse(reader, node);
    cpus::check_claims(reader, &cores, others);
    check::shared_partitions(reader, &disks, others);
    let vm = VmConfig {
        name: node.name().into(),
        vcpus: cores.vcpus,
        homes: if cores.sharing.is_none() { cores.cpus.clone() } else { Vec::new() },
        cpus: cores.cpus,
        sharing: cores.sharing,
        memory: memory.unwrap_or(0),
        kernel: kernel.unwrap_or_default().into(),
        ramdisk: ramdisk.map(Into::into),
        bootargs: bootargs.into(),
        disks,
        console,
        watchdog,
        control,
        life,
    };
    reader.is_clean().then_some(vm)
}

/// Whether `name` can label lines.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(plain)
}

fn check_name(reader: &mut Reader<'_, '_>, name: &str, others: &[VmConfig]) {
    if !is_plain(name) {
        let what = "cannot be a guest's name; use up to";
        reader.problem(None, format!("{what} {MAX_NAME} letters, digits and `-_.+`"));
    } else if name == OWN_NAME {
        reader.problem(None, "is the name of Tessera's own lines; choose another".into());
    } else if others.iter().any(|vm| vm.name == name) {
        reader.problem(None, "is there twice; give each guest its own name".into());
    }
}

/// Bytes of `text`, such as `"256M"`; `least` says what to write in place of none.
fn parse_bytes(
    reader: &mut Reader<'_, '_>,
    property: &'static str,
    text: &str,
    least: &str,
) -> Option<u64> {
    let bytes = parse_size(text);
    let shown = problem::short(text);
    match bytes {
        None => reader.problem(
            Some(property),
            format!("\"{shown}\" is not a size; write a number with K, M or G, such as \"256M\""),
        ),
        Some(0) => reader.problem(Some(property), format!("\"{shown}\" is none; {least}")),
        Some(bytes) if !bytes.is_multiple_of(PAGE_SIZE) => {
            reader.problem(Some(property), format!("\"{shown}\" is not a multiple of 4K"));
        }
        Some(bytes) => return Some(bytes),
    }
    None
}

/// A number with the suffix K, M or G. Without one it is refused: 256 of what?
fn parse_size(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()? {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn parse_path<'a>(
    reader: &mut Reader<'a, '_>,
    property: &'static str,
    required: bool,
) -> Option<&'a str> {
    let path = match required {
        true => reader.required_text(property, MAX_PATH, "kernel = \"debian/vmlinuz\""),
        false => reader.text(property, MAX_PATH),
    };
    if path == Some("") {
        reader.problem(Some(property), "is empty; write the name of a file".into());
        return None;
    }
    path
}

fn parse_console(reader: &mut Reader<'_, '_>) -> ConsoleKind {
    let known = [("pl011", ConsoleKind::Pl011), ("none", ConsoleKind::None)];
    lifecycle::one_of(reader, "console", &known).unwrap_or_default()
}

fn parse_watchdog(reader: &mut Reader<'_, '_>) -> Option<StopReason> {
    let known = [
        ("none", None),
        ("reset", Some(StopReason::WatchdogReset)),
        ("stop", Some(StopReason::WatchdogStop)),
    ];
    lifecycle::one_of(reader, "watchdog", &known).flatten()
}
