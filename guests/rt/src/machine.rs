//! What the device tree says of the machine.

use tessera_abi::group::COMPATIBLE;
use tessera_abi::layout::MAX_GROUPS;

use crate::fdt::{self, Fdt, Item};
use crate::gic::Version;

/// Most CPUs that a guest uses.
pub const MAX_CPUS: usize = 8;
/// Most virtio-mmio windows that are looked at (QEMU has 32).
pub const MAX_VIRTIO: usize = 32;
/// Nodes deeper than this are not looked into.
const DEPTH: usize = 8;

/// How PSCI is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Conduit {
    /// By HVC.
    #[default]
    Hvc,
    /// By SMC.
    Smc,
}

/// A virtio-mmio window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VirtioNode {
    /// First register.
    pub base: u64,
    /// Its interrupt.
    pub intid: u32,
    /// The interrupt is an edge, or a level where `false`.
    pub edge: bool,
}

/// A group of guests that share memory (`tessera_abi::group`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupNode {
    /// Its name.
    pub name: &'static str,
    /// The first register of its doorbell.
    pub doorbell: u64,
    /// The doorbell's number, for hypercalls.
    pub number: u32,
    /// The first byte of its membership page.
    pub membership: u64,
    /// The region: its first byte and its length.
    pub region: (u64, u64),
    /// Its interrupt, an edge.
    pub intid: u32,
    /// The own index.
    pub index: u32,
    /// How many members there are.
    pub members: u32,
    /// The region may only be read.
    pub read_only: bool,
}

/// The machine, as told.
#[derive(Clone, Copy, Default)]
pub struct Machine {
    /// Tessera made the tree.
    pub tessera: bool,
    /// How PSCI is called.
    pub conduit: Conduit,
    /// Architecture of the interrupt controller.
    pub gic: Version,
    /// Its first two windows: the distributor, and the CPU interface or the redistributors; first register and bytes.
    pub gic_windows: [(u64, u64); 2],
    /// The watchdog's pages: the one by which it is set up, and the one by which it is refreshed.
    pub watchdog: Option<[u64; 2]>,
    /// The first register of the interrupt controller that the guest did not find as reset leaves it.
    pub gic_not_reset: Option<u64>,
    /// First byte of RAM.
    pub ram_base: u64,
    /// Bytes of RAM.
    pub ram_size: u64,
    cpu_list: [u64; MAX_CPUS],
    cpu_count: usize,
    virtio_list: [VirtioNode; MAX_VIRTIO],
    virtio_count: usize,
    group_list: [GroupNode; MAX_GROUPS],
    group_count: usize,
    /// `/chosen` has a seed for randomness.
    pub has_seed: bool,
    /// The virtual counter at the first instruction.
    pub entered_at: u64,
    /// First and last byte of what is loaded: the guest's image with its BSS, and the device tree.
    pub loaded: [(u64, u64); 2],
    /// Kernel command line.
    pub bootargs: &'static str,
}

impl Machine {
    /// Reads the tree; what is missing keeps its default.
    pub fn from_tree(tree: &Fdt<'static>) -> Self {
        let mut machine = Self::default();
        let mut path = [""; DEPTH];
        let mut depth = 0;
        let mut node = Node::default();
        for item in tree.items() {
            match item {
                Item::Node(name) => {
                    machine.learn(&path, depth, &core::mem::take(&mut node));
                    if let Some(place) = path.get_mut(depth) {
                        *place = name;
                    }
                    depth += 1;
                }
                Item::Prop(name, value) => node.set(name, value),
                Item::End => {
                    machine.learn(&path, depth, &core::mem::take(&mut node));
                    depth -= 1;
                }
            }
        }
        machine
    }

    /// Affinities of the CPUs, the boot CPU's first on both machines.
    pub fn cpus(&self) -> &[u64] {
        self.cpu_list.get(..self.cpu_count).unwrap_or(&[])
    }

    /// The virtio-mmio windows.
    pub fn virtio(&self) -> &[VirtioNode] {
        self.virtio_list.get(..self.virtio_count).unwrap_or(&[])
    }

    /// The groups that the guest is in.
    pub fn groups(&self) -> &[GroupNode] {
        self.group_list.get(..self.group_count).unwrap_or(&[])
    }

    /// End of RAM.
    pub fn ram_end(&self) -> u64 {
        self.ram_base + self.ram_size
    }

    /// The value of `name=value` on the command line; a bare `name` has the value "".
    pub fn arg(&self, name: &str) -> Option<&'static str> {
        self.bootargs.split_ascii_whitespace().find_map(|word| {
            let rest = word.strip_prefix(name)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix('=') }
        })
    }

    /// Takes in the properties of one node, collected until its first child or its end. Both trees have two address
    /// cells and two size cells at the root, and one or two address cells in `/cpus`, where the property's size tells.
    fn learn(&mut self, path: &[&str; DEPTH], depth: usize, node: &Node) {
        let name = depth.checked_sub(1).and_then(|last| path.get(last)).copied().unwrap_or("");
        let reg = |at| fdt::number(node.reg, at, 2);
        if depth == 1 {
            self.tessera |= fdt::has(node.compatible, "tessera,vm");
        } else if name == "chosen" {
            self.has_seed |= node.seed;
            if !node.bootargs.is_empty() {
                self.bootargs = node.bootargs;
            }
        } else if name == "psci" && node.method == "smc" {
            self.conduit = Conduit::Smc;
        } else if node.device_type == "memory" && self.ram_size == 0 {
            self.ram_base = reg(0).unwrap_or(0);
            self.ram_size = reg(2).unwrap_or(0);
        } else if node.device_type == "cpu" {
            let affinity = fdt::number(node.reg, 0, node.reg.len() / 4).unwrap_or(0);
            push(&mut self.cpu_list, &mut self.cpu_count, affinity);
        } else if let Some(version) = gic_version(node.compatible) {
            self.gic = version;
            self.gic_windows = [0, 4].map(|at| (reg(at).unwrap_or(0), reg(at + 2).unwrap_or(0)));
        } else if fdt::has(node.compatible, "arm,sbsa-gwdt") {
            self.watchdog = Some([0, 4].map(|at| reg(at).unwrap_or(0)));
        } else if fdt::has(node.compatible, COMPATIBLE) {
            let number = |at| reg(at).unwrap_or(0);
            let group = GroupNode {
                name: node.label,
                doorbell: number(0),
                number: fdt::word(node.doorbell, 0).unwrap_or(0),
                membership: number(4),
                region: (number(8), number(10)),
                intid: fdt::word(node.interrupts, 4).unwrap_or(0) + 32,
                index: fdt::word(node.index, 0).unwrap_or(0),
                members: fdt::word(node.members, 0).unwrap_or(0),
                read_only: node.read_only,
            };
            push(&mut self.group_list, &mut self.group_count, group);
        } else if fdt::has(node.compatible, "virtio,mmio") {
            let spi = fdt::word(node.interrupts, 4).unwrap_or(0);
            let kind = fdt::word(node.interrupts, 8).unwrap_or(0);
            let device =
                VirtioNode { base: reg(0).unwrap_or(0), intid: spi + 32, edge: kind & 3 != 0 };
            push(&mut self.virtio_list, &mut self.virtio_count, device);
        }
    }
}

fn gic_version(compatible: &[u8]) -> Option<Version> {
    let v2 = ["arm,gic-400", "arm,cortex-a15-gic"].iter().any(|name| fdt::has(compatible, name));
    let v3 = fdt::has(compatible, "arm,gic-v3").then_some(Version::V3);
    if v2 { Some(Version::V2) } else { v3 }
}

fn push<T>(list: &mut [T], count: &mut usize, value: T) {
    if let Some(place) = list.get_mut(*count) {
        *place = value;
        *count += 1;
    }
}

/// The properties of a node that matter here.
#[derive(Default)]
struct Node {
    compatible: &'static [u8],
    reg: &'static [u8],
    interrupts: &'static [u8],
    device_type: &'static str,
    method: &'static str,
    bootargs: &'static str,
    label: &'static str,
    doorbell: &'static [u8],
    index: &'static [u8],
    members: &'static [u8],
    read_only: bool,
    seed: bool,
}

impl Node {
    fn set(&mut self, name: &str, value: &'static [u8]) {
        match name {
            "compatible" => self.compatible = value,
            "reg" => self.reg = value,
            "interrupts" => self.interrupts = value,
            "device_type" => self.device_type = fdt::text(value),
            "method" => self.method = fdt::text(value),
            "bootargs" => self.bootargs = fdt::text(value),
            "label" => self.label = fdt::text(value),
            "tessera,doorbell" => self.doorbell = value,
            "tessera,index" => self.index = value,
            "tessera,members" => self.members = value,
            "read-only" => self.read_only = true,
            "rng-seed" => self.seed = true,
            _ => {}
        }
    }
}
