//! The board, as its device tree tells: memory, cores, interrupt controller, console, disks, what the loader passed.
//!
//! One walk over the tree collects everything; what must be there and is not is an error that names the node. Addresses
//! are translated through the buses' `ranges`, interrupts are read as the GIC's three cells
//! (Linux Documentation/devicetree/bindings/interrupt-controller/arm,gic-v3.yaml).

use alloc::vec::Vec;
use core::fmt;

use crate::addr::{IntId, Pa};
use crate::fdt::{Fdt, Node, Property, Visit, Walk};

/// A range of physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub start: Pa,
    /// Bytes.
    pub len: u64,
}

impl Range {
    /// The first byte behind the range.
    pub fn end(self) -> Pa {
        Pa(self.start.0.saturating_add(self.len))
    }
}

/// How the firmware is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// By SMC, to EL3.
    Smc,
    /// By HVC: the firmware is a hypervisor, so we do not run at EL2.
    Hvc,
}

/// The interrupt controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gic {
    /// GICv3 or later.
    V3 {
        /// Distributor.
        gicd: Range,
        /// First region of redistributors.
        gicr: Range,
    },
}

/// A serial port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uart {
    /// Registers: a PL011.
    pub registers: Range,
    /// Its interrupt, where the tree tells one.
    pub interrupt: Option<IntId>,
}

/// A virtio-mmio transport, which may have a device or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VirtioMmio {
    /// Registers.
    pub registers: Range,
    /// Its interrupt.
    pub interrupt: IntId,
}

/// What is on the board.
#[derive(Clone, Debug, Default)]
pub struct Board<'a> {
    /// RAM.
    pub memory: Vec<Range>,
    /// RAM that firmware keeps.
    pub reserved: Vec<Range>,
    /// MPIDR affinity of each core that can be started, the boot core among them.
    pub cpus: Vec<u64>,
    /// Firmware with PSCI.
    pub psci: Option<Conduit>,
    /// Interrupt controller.
    pub gic: Option<Gic>,
    /// The console of `stdout-path`, or the first PL011.
    pub uart: Option<Uart>,
    /// virtio-mmio transports, in the order of the tree.
    pub virtio: Vec<VirtioMmio>,
    /// What the loader put into memory as the initial ramdisk: the bundle.
    pub initrd: Option<Range>,
    /// Command line.
    pub bootargs: &'a str,
    /// Random bytes of the loader.
    pub rng_seed: &'a [u8],
}

/// What a board cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoardError {
    /// No `memory` node with a `reg`.
    NoMemory,
    /// No core in `/cpus`.
    NoCpus,
    /// No interrupt controller that Tessera drives.
    NoGic,
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "the board's device tree has no usable memory node: check the DTB",
            Self::NoCpus => "the board's device tree has no usable core in /cpus: check the DTB",
            Self::NoGic => {
                "the board's device tree has no arm,gic-v3 interrupt controller with a distributor \
                 and redistributors; on QEMU use -M virt,virtualization=on,gic-version=3"
            }
        })
    }
}

impl<'a> Board<'a> {
    /// Reads the board's tree.
    pub fn discover(fdt: &Fdt<'a>) -> Self {
        let mut board = Self::default();
        let mut found = Found::default();
        board
            .reserved
            .extend(fdt.reservations().map(|(start, len)| Range { start: Pa(start), len }));
        let mut walk = fdt.walk();
        let mut in_reserved = false;
        let mut facts = Facts::NONE;
        while let Some(visit) = walk.next_with(|property| facts.note(property)) {
            let facts = core::mem::replace(&mut facts, Facts::NONE);
            if visit.depth == 1 {
                in_reserved = visit.node.is_called("reserved-memory");
            }
            let place = Place { visit, walk: &walk, in_reserved };
            board.node(&place, &facts, &mut found);
        }
        board.uart = found.console(fdt);
        board
    }

    /// Whether everything is there that Tessera cannot run without.
    pub fn check(&self) -> Result<Gic, BoardError> {
        if self.memory.is_empty() {
            return Err(BoardError::NoMemory);
        }
        if self.cpus.is_empty() {
            return Err(BoardError::NoCpus);
        }
        self.gic.ok_or(BoardError::NoGic)
    }

    fn node(&mut self, place: &Place<'_, 'a>, facts: &Facts<'a>, found: &mut Found<'a>) {
        let visit = &place.visit;
        if visit.depth == 1 && visit.node.is_called("chosen") {
            found.stdout = visit.node.property("stdout-path").and_then(|path| path.str());
            return self.chosen(visit.node);
        }
        if !facts.okay {
            return;
        }
        match facts.device_type {
            b"memory\0" if visit.depth == 1 => {
                let all = facts.reg.into_iter().flat_map(|reg| reg.regs(visit.cells));
                let ranges = all.map(|(start, len)| Range { start: Pa(start), len });
                return self.memory.extend(ranges.filter(|range| range.len > 0));
            }
            b"cpu\0" => return self.cpu(facts, visit),
            _ => {}
        }
        // A child of /reserved-memory with a place of its own (DTSpec 3.5).
        if place.in_reserved && visit.depth == 2 {
            return self.reserved.extend(place.range(facts, 0));
        }
        for name in facts.compatible.into_iter().flat_map(|property| property.byte_strs()) {
            self.device(name, facts, place, found);
        }
    }

    fn device(
        &mut self,
        compatible: &[u8],
        facts: &Facts<'a>,
        place: &Place<'_, 'a>,
        found: &mut Found<'a>,
    ) {
        let range = |n| place.range(facts, n);
        match compatible {
            b"virtio,mmio" => {
                if let (Some(registers), Some(interrupt)) = (range(0), facts.interrupt()) {
                    self.virtio.push(VirtioMmio { registers, interrupt });
                }
            }
            b"arm,pl011" => {
                if let Some(registers) = range(0) {
                    let uart = Uart { registers, interrupt: facts.interrupt() };
                    found.uarts.push((place.visit, uart));
                }
            }
            b"arm,gic-v3" => {
                if let (Some(gicd), Some(gicr)) = (range(0), range(1)) {
                    self.gic = Some(Gic::V3 { gicd, gicr });
                }
            }
            b"arm,psci-0.2" | b"arm,psci-1.0" => {
                let method = place.visit.node.property("method");
                self.psci = match method.map(|method| method.value()) {
                    Some(b"smc\0") => Some(Conduit::Smc),
                    Some(b"hvc\0") => Some(Conduit::Hvc),
                    _ => self.psci,
                };
            }
            _ => {}
        }
    }

    fn cpu(&mut self, facts: &Facts<'a>, visit: &Visit<'a>) {
        if let Some((affinity, _)) = facts.reg.and_then(|reg| reg.regs(visit.cells).next()) {
            self.cpus.push(affinity);
        }
    }

    fn chosen(&mut self, node: Node<'a>) {
        let number = |name: &str| {
            let property = node.property(name)?;
            property.u64().or_else(|| property.u32().map(u64::from))
        };
        if let (Some(start), Some(end)) = (number("linux,initrd-start"), number("linux,initrd-end"))
        {
            let len = end.saturating_sub(start);
            self.initrd = (len > 0).then_some(Range { start: Pa(start), len });
        }
        self.bootargs = node.property("bootargs").and_then(|args| args.str()).unwrap_or("");
        self.rng_seed = node.property("rng-seed").map_or(&[], |seed| seed.value());
    }
}

/// The properties of a node that matter here, from one pass over them.
#[derive(Clone, Copy)]
struct Facts<'a> {
    compatible: Option<Property<'a>>,
    reg: Option<Property<'a>>,
    interrupts: Option<Property<'a>>,
    device_type: &'a [u8],
    okay: bool,
}

impl<'a> Facts<'a> {
    const NONE: Self =
        Self { compatible: None, reg: None, interrupts: None, device_type: &[], okay: true };

    #[inline(always)]
    fn note(&mut self, property: Property<'a>) {
        // Most properties are none of these, which their first letter tells.
        match property.initial() {
            Some(b'c') if property.is("compatible") => self.compatible = Some(property),
            Some(b'r') if property.is("reg") => self.reg = Some(property),
            Some(b'i') if property.is("interrupts") => self.interrupts = Some(property),
            Some(b'd') if property.is("device_type") => self.device_type = property.value(),
            Some(b's') if property.is("status") => {
                self.okay = matches!(property.value(), b"okay\0" | b"ok\0");
            }
            _ => {}
        }
    }

    /// The first interrupt, in three cells: kind (0 SPI, 1 PPI), number, flags.
    fn interrupt(&self) -> Option<IntId> {
        let mut cells = self.interrupts?.cells();
        let (kind, number) = (cells.next()?, cells.next()?);
        match kind {
            0 if number < 988 => Some(IntId(32 + number)),
            1 if number < 16 => Some(IntId(16 + number)),
            _ => None,
        }
    }
}

/// What the walk collects for the choice of the console: `/chosen` may be before the UARTs or behind them.
#[derive(Default)]
struct Found<'a> {
    stdout: Option<&'a str>,
    uarts: Vec<(Visit<'a>, Uart)>,
}

impl Found<'_> {
    /// The PL011 of `stdout-path`; the first one where there is no such path, or it leads nowhere.
    fn console(&self, fdt: &Fdt<'_>) -> Option<Uart> {
        let first = self.uarts.first().map(|&(_, uart)| uart);
        let Some(path) = self.stdout else { return first };
        // Nearly always it is a child of the root, and no second walk is needed.
        let below_root = path.split(':').next().and_then(|path| path.strip_prefix('/'));
        let is_it = |(visit, _): &&(Visit<'_>, Uart)| {
            visit.depth == 1 && Some(visit.node.name()) == below_root
        };
        if let Some(&(_, uart)) = self.uarts.iter().find(is_it) {
            return Some(uart);
        }
        let Some(node) = fdt.resolve(path) else { return first };
        // Names are slices of one blob, so the same slice is the same node.
        let is_it = |(visit, _): &&(Visit<'_>, Uart)| core::ptr::eq(visit.node.name(), node.name());
        self.uarts.iter().find(is_it).map(|&(_, uart)| uart)
    }
}

/// A node on the walk, with what surrounds it.
struct Place<'w, 'a> {
    visit: Visit<'a>,
    walk: &'w Walk<'a>,
    in_reserved: bool,
}

impl Place<'_, '_> {
    /// The `n`th range of `reg`, as the cores see it.
    fn range(&self, facts: &Facts<'_>, n: usize) -> Option<Range> {
        let (start, len) = facts.reg?.regs(self.visit.cells).nth(n)?;
        Some(Range { start: Pa(self.walk.translate(start)?), len })
    }
}

#[cfg(test)]
mod tests {
    use vm_fdt::FdtWriter;

    use super::*;

    fn qemu_like() -> std::vec::Vec<u8> {
        let mut w = FdtWriter::new().unwrap();
        let root = w.begin_node("").unwrap();
        w.property_u32("#address-cells", 2).unwrap();
        w.property_u32("#size-cells", 2).unwrap();
        let chosen = w.begin_node("chosen").unwrap();
        w.property_string("stdout-path", "/pl011@9000000").unwrap();
        w.property_u64("linux,initrd-start", 0x4800_0000).unwrap();
        w.property_u64("linux,initrd-end", 0x4810_0000).unwrap();
        w.end_node(chosen).unwrap();
        for place in [0x0904_0000u64, 0x0900_0000] {
            let node = w.begin_node(&std::format!("pl011@{place:x}")).unwrap();
            w.property_string("compatible", "arm,pl011").unwrap();
            w.property_array_u64("reg", &[place, 0x1000]).unwrap();
            w.property_array_u32("interrupts", &[0, 1, 4]).unwrap();
            w.end_node(node).unwrap();
        }
        let cpus = w.begin_node("cpus").unwrap();
        w.property_u32("#address-cells", 1).unwrap();
        w.property_u32("#size-cells", 0).unwrap();
        for n in 0..2 {
            let cpu = w.begin_node(&std::format!("cpu@{n}")).unwrap();
            w.property_string("device_type", "cpu").unwrap();
            w.property_u32("reg", n).unwrap();
            w.end_node(cpu).unwrap();
        }
        w.end_node(cpus).unwrap();
        let gic = w.begin_node("intc@8000000").unwrap();
        w.property_string("compatible", "arm,gic-v3").unwrap();
        w.property_array_u64("reg", &[0x0800_0000, 0x1_0000, 0x080a_0000, 0xf6_0000]).unwrap();
        w.end_node(gic).unwrap();
        let memory = w.begin_node("memory@40000000").unwrap();
        w.property_string("device_type", "memory").unwrap();
        w.property_array_u64("reg", &[0x4000_0000, 0x8000_0000]).unwrap();
        w.end_node(memory).unwrap();
        w.end_node(root).unwrap();
        w.finish().unwrap()
    }

    #[test]
    fn a_virt_board_is_read_in_one_walk() {
        let blob = qemu_like();
        let fdt = Fdt::new(&blob).unwrap();
        let board = Board::discover(&fdt);
        assert_eq!(board.memory, [Range { start: Pa(0x4000_0000), len: 0x8000_0000 }]);
        assert_eq!(board.cpus, [0, 1]);
        let uart = board.uart.unwrap();
        assert_eq!(uart.registers.start, Pa(0x0900_0000), "stdout-path names the second UART");
        assert_eq!(uart.interrupt, Some(IntId(33)));
        assert_eq!(board.initrd.unwrap().len, 0x10_0000);
        assert!(matches!(board.check(), Ok(Gic::V3 { gicr, .. }) if gicr.start == Pa(0x080a_0000)));
    }

    #[test]
    fn a_board_without_an_interrupt_controller_is_refused_with_advice() {
        let mut w = FdtWriter::new().unwrap();
        let root = w.begin_node("").unwrap();
        w.end_node(root).unwrap();
        let blob = w.finish().unwrap();
        let mut board = Board::discover(&Fdt::new(&blob).unwrap());
        assert_eq!(board.check(), Err(BoardError::NoMemory));
        board.memory.push(Range { start: Pa(0), len: 1 << 30 });
        assert_eq!(board.check(), Err(BoardError::NoCpus));
        board.cpus.push(0);
        let error = board.check().unwrap_err();
        assert!(std::format!("{error}").contains("gic-version=3"));
    }

    #[test]
    fn no_damaged_tree_makes_discovery_panic() {
        let good = qemu_like();
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut bad = good.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bad.len();
                bad[at] = (seed >> 20) as u8;
            }
            if let Ok(fdt) = Fdt::new(&bad) {
                let _ = Board::discover(&fdt).check();
            }
        }
    }
}
