//! The device tree that a guest is started with: what it has, and nothing else.
//!
//! Problem: an unmodified kernel learns its machine from one blob, in which everything must be right at once. Idea: the
//! tree is made from the same constants that the emulated devices answer at ([`tessera_abi::layout`]), in the shape of
//! the smallest tree that stock Debian kernels boot with, so nothing in it can disagree with the machine. Idea not
//! taken: to edit the board's own tree, of which a guest may see next to nothing.

use alloc::vec::Vec;

use crate::addr::Ipa;
use crate::fdt::Writer;
use crate::vgic::Model;
use tessera_abi::group::{COMPATIBLE, READ_ONLY_REGION};
use tessera_abi::layout;

/// Most bytes that a tree takes besides `bootargs` and groups: what to leave room for before it is made.
pub const MAX_BYTES: u64 = 0x1000;
/// Most bytes that a group takes.
pub const GROUP_BYTES: u64 = 0x200;

/// `interrupts` of the GIC binding: kind, number within the kind, trigger (Linux `arm,gic-v3.yaml`).
mod irq {
    pub const SPI: u32 = 0;
    pub const PPI: u32 = 1;
    pub const EDGE_RISING: u32 = 1;
    pub const LEVEL_HIGH: u32 = 4;
    /// GICv2: from here on a bit for each CPU that a PPI is wired to (Linux `arm,gic.yaml`).
    pub const CPUS_SHIFT: u32 = 8;
    /// First interrupt number of each kind (IHI 0069 2.2).
    pub const FIRST_SPI: u32 = 32;
    pub const FIRST_PPI: u32 = 16;
}

/// The secure EL1 timer comes first in the timer binding; guests do not have it (Linux `arm,arch_timer.yaml`).
const SECURE_TIMER_INTID: u32 = 29;
const GIC_PHANDLE: u32 = 1;
const CLOCK_PHANDLE: u32 = 2;
/// The clock of the PL011 and the PL061: any rate does, nothing is sent over a wire.
const UART_CLOCK_HZ: u32 = 24_000_000;
/// Whole, as Linux does not find a node without its unit address.
const UART_PATH: &str = "/pl011@9000000";

/// Random bytes for a guest: 8 for its address layout, the rest for its pool.
pub type Seed = [u8; 40];

/// What a guest has.
#[derive(Clone, Copy, Debug)]
pub struct GuestDt<'a> {
    /// vCPUs, with affinities 0, 1, …
    pub vcpus: usize,
    /// Its interrupt controller.
    pub gic: Model,
    /// Bytes of memory, from [`layout::RAM_BASE`] on.
    pub memory: u64,
    /// The kernel's command line.
    pub bootargs: &'a str,
    /// The ramdisk's first byte and its length.
    pub ramdisk: Option<(Ipa, u64)>,
    /// There is a PL011, and it is the console.
    pub uart: bool,
    /// There is a watchdog.
    pub watchdog: bool,
    /// There is a control port.
    pub control: bool,
    /// virtio block devices, from slot 0 on.
    pub disks: usize,
    /// Performance monitors.
    pub pmu: Pmu,
    /// Its groups, each with the doorbell of its place here.
    pub groups: &'a [GroupDt<'a>],
    /// For `kaslr-seed` and `rng-seed`.
    pub seed: Option<Seed>,
}

/// A group that a guest is in.
#[derive(Clone, Copy, Debug)]
pub struct GroupDt<'a> {
    /// Its name.
    pub name: &'a str,
    /// The region's first byte and its length.
    pub region: (Ipa, u64),
    /// The guest's index.
    pub index: u8,
    /// How many members there are.
    pub members: usize,
    /// The guest may write to the region.
    pub writable: bool,
}

/// What a guest has of performance monitors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pmu {
    /// None.
    None,
    /// Counters, whose overflow the board does not tell by a PPI: Linux counts, and refuses to sample.
    Counting,
    /// Counters with their interrupt.
    Interrupting,
}

/// Makes the tree.
pub fn build(guest: &GuestDt<'_>) -> Vec<u8> {
    let capacity =
        MAX_BYTES as usize + guest.bootargs.len() + guest.groups.len() * GROUP_BYTES as usize;
    Writer::tree(capacity, |root| {
        root.texts("compatible", &["tessera,vm", "linux,dummy-virt"]);
        root.text("model", "Tessera");
        root.cells("interrupt-parent", &[GIC_PHANDLE]);
        root.cells("#address-cells", &[2]);
        root.cells("#size-cells", &[2]);
        root.node("chosen", |node| chosen(node, guest));
        root.node("cpus", |node| cpus(node, guest.vcpus));
        root.node("psci", psci);
        root.node_at("memory", layout::RAM_BASE, |node| {
            node.text("device_type", "memory");
            node.pairs("reg", &[layout::RAM_BASE, guest.memory]);
        });
        root.node("timer", |node| timer(node, guest));
        if guest.pmu != Pmu::None {
            root.node("pmu", |node| pmu(node, guest));
        }
        root.node_at("interrupt-controller", layout::GICD_BASE, |node| gic(node, guest));
        if guest.uart || !guest.groups.is_empty() {
            root.node("clock", clock);
        }
        if guest.uart {
            root.node_at("pl011", layout::UART_BASE, uart);
        }
        if guest.watchdog {
            root.node_at("watchdog", layout::WATCHDOG_BASE + layout::WATCHDOG_FRAME_SIZE, watchdog);
        }
        for slot in (0..layout::DISK_SLOTS).take(guest.disks) {
            virtio(root, slot);
        }
        virtio(root, layout::POWER_BUTTON_SLOT);
        if guest.control {
            virtio(root, layout::CONTROL_SLOT);
        }
        if !guest.groups.is_empty() {
            root.node_at("gpio", layout::GPIO_BASE, |node| gpio(node, guest.groups));
        }
        for (slot, one) in (0..layout::MAX_GROUPS as u64).zip(guest.groups) {
            group(root, slot, one);
        }
    })
}

/// DTSpec 3.6, and what Linux adds to it.
fn chosen(node: &mut Writer, guest: &GuestDt<'_>) {
    node.text("bootargs", guest.bootargs);
    if guest.uart {
        node.text("stdout-path", UART_PATH);
    }
    if let Some((start, bytes)) = guest.ramdisk {
        node.pairs("linux,initrd-start", &[start.0]);
        node.pairs("linux,initrd-end", &[start.offset(bytes).0]);
    }
    if let Some(seed) = &guest.seed {
        let (kaslr, rng) = seed.split_at(8);
        node.property("kaslr-seed", kaslr);
        node.property("rng-seed", rng);
    }
}

/// The vCPUs, started by PSCI (DTSpec 3.8, Linux `cpus.yaml`).
fn cpus(node: &mut Writer, vcpus: usize) {
    node.cells("#address-cells", &[1]);
    node.cells("#size-cells", &[0]);
    for affinity in (0..layout::MAX_VCPUS as u32).take(vcpus) {
        node.node_at("cpu", affinity.into(), |cpu| {
            cpu.text("device_type", "cpu");
            cpu.text("compatible", "arm,armv8");
            cpu.cells("reg", &[affinity]);
            cpu.text("enable-method", "psci");
        });
    }
}

/// Linux `psci.yaml`.
fn psci(node: &mut Writer) {
    node.texts("compatible", &["arm,psci-1.0", "arm,psci-0.2"]);
    node.text("method", "hvc");
}

/// Linux `arm,arch_timer.yaml`: secure, non-secure and virtual timer, in this order.
fn timer(node: &mut Writer, guest: &GuestDt<'_>) {
    let intids = [SECURE_TIMER_INTID, layout::PTIMER_INTID, layout::VTIMER_INTID];
    node.text("compatible", "arm,armv8-timer");
    node.cells("interrupts", intids.map(|intid| ppi(intid, guest)).as_flattened());
    node.flag("always-on");
}

/// Linux `pmu.yaml`.
fn pmu(node: &mut Writer, guest: &GuestDt<'_>) {
    node.text("compatible", "arm,armv8-pmuv3");
    if guest.pmu == Pmu::Interrupting {
        node.cells("interrupts", &ppi(layout::PMU_INTID, guest));
    }
}

/// Linux `arm,gic-v3.yaml`: distributor and redistributors. `arm,gic.yaml`: distributor and CPU interface.
fn gic(node: &mut Writer, guest: &GuestDt<'_>) {
    let redistributors = guest.vcpus.min(layout::MAX_VCPUS) as u64 * layout::GICR_STRIDE;
    let (compatible, reg) = match guest.gic {
        Model::V3 => (
            "arm,gic-v3",
            [layout::GICD_BASE, layout::GICD_SIZE, layout::GICR_BASE, redistributors],
        ),
        Model::V2 => (
            "arm,gic-400",
            [layout::GICD_BASE, layout::GICD_V2_SIZE, layout::GICC_BASE, layout::GICC_SIZE],
        ),
    };
    node.text("compatible", compatible);
    node.flag("interrupt-controller");
    node.cells("#interrupt-cells", &[3]);
    node.cells("#address-cells", &[0]);
    node.pairs("reg", &reg);
    node.cells("phandle", &[GIC_PHANDLE]);
}

fn clock(node: &mut Writer) {
    node.text("compatible", "fixed-clock");
    node.cells("#clock-cells", &[0]);
    node.cells("clock-frequency", &[UART_CLOCK_HZ]);
    node.cells("phandle", &[CLOCK_PHANDLE]);
}

/// Linux `pl011.yaml`, with the clocks that it wants.
fn uart(node: &mut Writer) {
    node.texts("compatible", &["arm,pl011", "arm,primecell"]);
    node.pairs("reg", &[layout::UART_BASE, layout::UART_SIZE]);
    node.cells("interrupts", &spi(layout::UART_INTID, irq::LEVEL_HIGH));
    node.cells("clocks", &[CLOCK_PHANDLE, CLOCK_PHANDLE]);
    node.texts("clock-names", &["uartclk", "apb_pclk"]);
}

/// Linux `arm,sbsa-gwdt.yaml`: the control frame comes first.
fn watchdog(node: &mut Writer) {
    let (refresh, bytes) = (layout::WATCHDOG_BASE, layout::WATCHDOG_FRAME_SIZE);
    node.text("compatible", "arm,sbsa-gwdt");
    node.pairs("reg", &[refresh + bytes, bytes, refresh, bytes]);
    node.cells("interrupts", &spi(layout::WATCHDOG_INTID, irq::LEVEL_HIGH));
}

/// Linux `virtio/mmio.yaml`.
fn virtio(root: &mut Writer, slot: u64) {
    let base = layout::VIRTIO_BASE + slot * layout::VIRTIO_STRIDE;
    root.node_at("virtio_mmio", base, |node| {
        node.text("compatible", "virtio,mmio");
        node.pairs("reg", &[base, layout::VIRTIO_STRIDE]);
        node.cells("interrupts", &spi(layout::VIRTIO_INTID + slot as u32, irq::EDGE_RISING));
        node.flag("dma-coherent");
    });
}

/// Linux `pl061-gpio.yaml`: a line for each group, with its name.
fn gpio(node: &mut Writer, groups: &[GroupDt<'_>]) {
    let names: Vec<&str> = groups.iter().take(layout::MAX_GROUPS).map(|group| group.name).collect();
    node.texts("compatible", &["arm,pl061", "arm,primecell"]);
    node.pairs("reg", &[layout::GPIO_BASE, layout::GPIO_SIZE]);
    node.cells("interrupts", &spi(layout::GPIO_INTID, irq::LEVEL_HIGH));
    node.cells("clocks", &[CLOCK_PHANDLE]);
    node.text("clock-names", "apb_pclk");
    node.flag("gpio-controller");
    node.cells("#gpio-cells", &[2]);
    node.flag("interrupt-controller");
    node.cells("#interrupt-cells", &[2]);
    node.cells("#address-cells", &[0]);
    node.texts("gpio-line-names", &names);
}

/// A binding of our own (`docs/groups.md`), in which `uio_pdrv_genirq` finds what it needs; and the region once more, as Linux's
/// `pmem-region.txt` has it, so that a kernel without that driver maps it as it maps its own memory. That binding has no word for
/// memory that may only be read, and Linux faults where it writes to some: such a region has another name, by which only who asks
/// for it gets Linux's driver.
fn group(root: &mut Writer, slot: u64, group: &GroupDt<'_>) {
    let doorbell = layout::DOORBELL_BASE + slot * layout::DOORBELL_SIZE;
    let membership = layout::MEMBERSHIP_BASE + slot * layout::MEMBERSHIP_SIZE;
    let (region, bytes) = (group.region.0.0, group.region.1);
    root.node_at("group", doorbell, |node| {
        node.texts("compatible", &[COMPATIBLE, "generic-uio"]);
        let pages = [doorbell, layout::DOORBELL_SIZE, membership, layout::MEMBERSHIP_SIZE];
        node.pairs("reg", [pages.as_slice(), &[region, bytes]].concat().as_slice());
        node.texts("reg-names", &["doorbell", "membership", "region"]);
        node.cells("interrupts", &spi(layout::GROUP_INTID + slot as u32, irq::EDGE_RISING));
        node.text("label", group.name);
        node.cells("tessera,doorbell", &[slot as u32]);
        node.cells("tessera,index", &[group.index.into()]);
        node.cells("tessera,members", &[group.members as u32]);
        if !group.writable {
            node.flag("read-only");
        }
    });
    root.node_at("pmem", region, |node| {
        node.text("compatible", if group.writable { "pmem-region" } else { READ_ONLY_REGION });
        node.pairs("reg", &[region, bytes]);
        node.flag("volatile");
    });
}

fn ppi(intid: u32, guest: &GuestDt<'_>) -> [u32; 3] {
    let cpus = match guest.gic {
        Model::V3 => 0,
        Model::V2 => (1 << guest.vcpus.min(layout::MAX_VCPUS)) - 1,
    };
    [irq::PPI, intid - irq::FIRST_PPI, cpus << irq::CPUS_SHIFT | irq::LEVEL_HIGH]
}

fn spi(intid: u32, trigger: u32) -> [u32; 3] {
    [irq::SPI, intid - irq::FIRST_SPI, trigger]
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::fdt::{Fdt, Property};

    const GUEST: GuestDt<'static> = GuestDt {
        vcpus: 2,
        gic: Model::V3,
        memory: 256 << 20,
        bootargs: "console=ttyAMA0 root=/dev/vda",
        ramdisk: Some((Ipa(0x4400_0000), 0x12_3456)),
        uart: true,
        watchdog: true,
        control: true,
        disks: 2,
        pmu: Pmu::Interrupting,
        groups: &[],
        seed: Some([0x5a; 40]),
    };

    const GROUP: GroupDt<'static> = GroupDt {
        name: "ring",
        region: (Ipa(0x40_0000_0000), 16 << 20),
        index: 1,
        members: 3,
        writable: true,
    };

    #[test]
    fn a_guest_finds_its_groups_with_their_places_and_its_own_index() {
        let region = (Ipa(0x41_0000_0000), 2 << 20);
        let reader = GroupDt { name: "data", region, index: 2, writable: false, ..GROUP };
        let blob = build(&GuestDt { groups: &[GROUP, reader], ..GUEST });
        let fdt = Fdt::new(&blob).unwrap();
        let group = fdt.find("/group@b001000").unwrap();
        assert!(group.is_compatible("tessera,group") && group.is_compatible("generic-uio"));
        let reg: Vec<_> = group.reg(fdt.root().cells()).collect();
        let want = [(0x0b00_1000, 0x1000), (0x0b01_1000, 0x1000), (0x41_0000_0000, 2 << 20)];
        assert_eq!(reg, want);
        let cells = |name| property(&fdt, "/group@b001000", name).cells().collect::<Vec<_>>();
        assert_eq!(cells("interrupts"), [0, 9, 1]);
        assert_eq!(
            (cells("tessera,index"), cells("tessera,members")),
            (Vec::from([2]), Vec::from([3]))
        );
        assert_eq!(property(&fdt, "/group@b001000", "label").str(), Some("data"));
        assert!(group.property("read-only").is_some());
        assert!(fdt.find("/group@b000000").unwrap().property("read-only").is_none());
        assert!(fdt.find("/pmem@4000000000").unwrap().is_compatible("pmem-region"));
        let read_only = fdt.find("/pmem@4100000000").unwrap();
        assert!(read_only.is_compatible("tessera,read-only-region"));
        assert!(!read_only.is_compatible("pmem-region"), "Linux would write to it");
        let gpio = fdt.find("/gpio@9030000").unwrap();
        assert!(gpio.is_compatible("arm,pl061"));
        assert_eq!(gpio.property("gpio-line-names").unwrap().value(), b"ring\0data\0");
        assert_eq!(
            property(&fdt, "/gpio@9030000", "interrupts").cells().collect::<Vec<_>>(),
            [0, 7, 4]
        );
        let silent = build(&GuestDt { groups: &[GROUP], uart: false, ..GUEST });
        assert!(Fdt::new(&silent).unwrap().find("/clock").is_some(), "the GPIO has it too");
    }

    fn property<'a>(fdt: &Fdt<'a>, path: &str, name: &str) -> Property<'a> {
        let node = fdt.find(path).unwrap_or_else(|| panic!("no {path}"));
        node.property(name).unwrap_or_else(|| panic!("no {path}/{name}"))
    }

    #[test]
    fn a_guest_finds_what_it_has_where_it_is() {
        let blob = build(&GUEST);
        let fdt = Fdt::new(&blob).unwrap();
        let reg = |path| fdt.find(path).unwrap().reg(fdt.root().cells()).collect::<Vec<_>>();
        assert!(
            fdt.root().is_compatible("tessera,vm") && fdt.root().is_compatible("linux,dummy-virt")
        );
        assert_eq!(reg("/memory"), [(0x4000_0000, 256 << 20)]);
        assert_eq!(
            reg("/interrupt-controller"),
            [(0x0800_0000, 0x1_0000), (0x080a_0000, 0x4_0000)]
        );
        assert_eq!(reg("/virtio_mmio@a001000"), [(0x0a00_1000, 0x1000)]);
        assert_eq!(reg("/virtio_mmio@a008000"), [(0x0a00_8000, 0x1000)], "the power button");
        assert_eq!(reg("/virtio_mmio@a009000"), [(0x0a00_9000, 0x1000)], "the control port");
        let interrupts = |path| property(&fdt, path, "interrupts").cells().collect::<Vec<_>>();
        assert_eq!(interrupts("/virtio_mmio@a001000"), [0, 17, 1]);
        assert_eq!(interrupts("/virtio_mmio@a008000"), [0, 24, 1]);
        assert_eq!(interrupts("/pl011"), [0, 1, 4]);
        let watchdog = [(0x090c_1000, 0x1000), (0x090c_0000, 0x1000)];
        assert_eq!(reg("/watchdog"), watchdog);
        assert_eq!(interrupts("/watchdog"), [0, 2, 4]);
        assert_eq!(interrupts("/timer"), [1, 13, 4, 1, 14, 4, 1, 11, 4]);
        assert_eq!(interrupts("/pmu"), [1, 7, 4]);
        assert_eq!(property(&fdt, "/cpus/cpu@1", "reg").u32(), Some(1));
        assert_eq!(property(&fdt, "/psci", "method").str(), Some("hvc"));
        assert_eq!(property(&fdt, "/chosen", "bootargs").str(), Some(GUEST.bootargs));
        assert_eq!(property(&fdt, "/chosen", "linux,initrd-end").u64(), Some(0x4412_3456));
        let stdout = property(&fdt, "/chosen", "stdout-path").str().unwrap();
        assert!(fdt.resolve(stdout).unwrap().is_compatible("arm,pl011"));
        assert_eq!(property(&fdt, "/chosen", "kaslr-seed").value(), [0x5a; 8]);
        assert_eq!(property(&fdt, "/chosen", "rng-seed").value(), [0x5a; 32]);
    }

    #[test]
    fn a_guest_with_a_gicv2_finds_its_cpu_interface_and_all_its_cpus_at_a_private_interrupt() {
        let blob = build(&GuestDt { vcpus: 3, gic: Model::V2, ..GUEST });
        let fdt = Fdt::new(&blob).unwrap();
        let gic = fdt.find("/interrupt-controller").unwrap();
        assert!(gic.is_compatible("arm,gic-400") && !gic.is_compatible("arm,gic-v3"));
        let reg: Vec<_> = gic.reg(fdt.root().cells()).collect();
        assert_eq!(reg, [(0x0800_0000, 0x1000), (0x0801_0000, 0x2000)]);
        let interrupts = |path| property(&fdt, path, "interrupts").cells().collect::<Vec<_>>();
        assert_eq!(interrupts("/timer"), [1, 13, 0x704, 1, 14, 0x704, 1, 11, 0x704]);
        assert_eq!(interrupts("/pmu"), [1, 7, 0x704]);
        assert_eq!(interrupts("/pl011"), [0, 1, 4], "others have no such bits");
    }

    #[test]
    fn a_guest_finds_nothing_that_it_does_not_have() {
        let bare = GuestDt {
            vcpus: 1,
            ramdisk: None,
            uart: false,
            watchdog: false,
            control: false,
            disks: 0,
            pmu: Pmu::None,
            seed: None,
            ..GUEST
        };
        let blob = build(&bare);
        let fdt = Fdt::new(&blob).unwrap();
        let names: Vec<_> = fdt.walk().map(|visit| visit.node.name().to_string()).collect();
        let want = [
            "",
            "chosen",
            "cpus",
            "cpu@0",
            "psci",
            "memory@40000000",
            "timer",
            "interrupt-controller@8000000",
            "virtio_mmio@a008000",
        ];
        assert_eq!(names, want);
        let chosen = fdt.find("/chosen").unwrap();
        assert_eq!(
            chosen.properties().map(|property| property.name()).collect::<Vec<_>>(),
            ["bootargs"]
        );
    }

    #[test]
    fn the_largest_tree_is_no_larger_than_what_is_left_for_it() {
        const NAME: &str = "a-name-of-twenty-four-let";
        let groups = [GroupDt { name: NAME, ..GROUP }; layout::MAX_GROUPS + 1];
        let most = GuestDt { vcpus: 99, disks: 99, memory: u64::MAX, groups: &groups, ..GUEST };
        let blob = build(&most);
        let fdt = Fdt::new(&blob).unwrap();
        assert_eq!(fdt.find("/cpus").unwrap().children().count(), layout::MAX_VCPUS);
        assert!(blob.len() as u64 <= MAX_BYTES + 8 * GROUP_BYTES, "{}", blob.len());
        let blob = build(&GuestDt { groups: &groups[..1], ..most });
        assert!(blob.len() as u64 <= MAX_BYTES + GROUP_BYTES, "{}", blob.len());
    }

    #[test]
    fn the_device_tree_compiler_finds_nothing_to_complain_about() {
        let groups: &[GroupDt<'_>] = &[GROUP];
        for (gic, groups) in [(Model::V3, &[][..]), (Model::V2, &[]), (Model::V3, groups)] {
            let mut dtc = Command::new("dtc")
                .args(["-I", "dtb", "-O", "dts", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("dtc is installed by `cargo xtask run`");
            dtc.stdin.take().unwrap().write_all(&build(&GuestDt { gic, groups, ..GUEST })).unwrap();
            let output = dtc.wait_with_output().unwrap();
            assert!(output.status.success());
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        }
    }
}
