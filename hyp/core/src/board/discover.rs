//! The walk over the board's tree.

use alloc::vec::Vec;

use super::{
    Board, Conduit, Cpu, CpuStart, DmaWindow, Gic, Range, SdHost, Uart, UartKind, VirtioMmio,
};
use crate::addr::{IntId, Pa};
use crate::fdt::{Fdt, Mapped, Node, Property, Visit, Walk};

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

    fn node(&mut self, place: &Place<'_, 'a>, facts: &Facts<'a>, found: &mut Found<'a>) {
        let visit = &place.visit;
        if visit.depth == 1 && visit.node.is_called("chosen") {
            found.stdout = visit.node.property("stdout-path").and_then(|path| path.str());
            self.chosen(visit.node);
            let words = self.bootargs.split(' ');
            found.wanted = words.into_iter().find_map(|word| word.strip_prefix("tessera.console="));
            return;
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
            let all = facts.reg.into_iter().flat_map(|reg| reg.regs(visit.cells));
            for (start, len) in all {
                // Where the parent forgot its `ranges`, they are the root's addresses all the same (DTSpec 3.5.3).
                let start = Pa(place.walk.translate(start).unwrap_or(start));
                self.reserved.push(Range { start, len });
                if facts.no_map {
                    self.no_map.push(Range { start, len });
                }
            }
            return;
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
            b"arm,pl011" => found.uart(place, facts, UartKind::Pl011),
            b"brcm,bcm2835-aux-uart" => found.uart(place, facts, UartKind::MiniUart),
            b"arm,gic-v3" => {
                if let (Some(gicd), Some(gicr)) = (range(0), range(1)) {
                    self.gic = Some(Gic::V3 { gicd, gicr });
                }
            }
            // The names that boards use for a GICv2 with virtualization (arm,gic.yaml).
            b"arm,gic-400" | b"arm,cortex-a15-gic" | b"arm,cortex-a7-gic" => {
                if let (Some(gicd), Some(gicc), Some(gich), Some(gicv)) =
                    (range(0), range(1), range(2), range(3))
                {
                    self.gic = Some(Gic::V2 { gicd, gicc, gich, gicv });
                }
            }
            b"arm,armv8-pmuv3" => self.pmu = facts.interrupt(),
            b"brcm,bcm2711-emmc2" if self.sd_host.is_none() => self.sd_host(facts, place),
            b"brcm,bcm2835-mbox" => self.mailbox = range(0),
            b"brcm,bcm2835-pm" | b"brcm,bcm2835-pm-wdt" => self.watchdog = range(0),
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
        let Some((mpidr, _)) = facts.reg.and_then(|reg| reg.regs(visit.cells).next()) else {
            return;
        };
        let start = match visit.node.property("enable-method").map(|method| method.value()) {
            Some(b"psci\0") => CpuStart::Psci,
            Some(b"spin-table\0") => visit
                .node
                .property("cpu-release-addr")
                .and_then(number)
                .map_or(CpuStart::Unknown, |at| CpuStart::SpinTable(Pa(at))),
            _ => CpuStart::Unknown,
        };
        if let CpuStart::SpinTable(at) = start {
            // Cores look at it until they are told to come.
            self.reserved.push(Range { start: at, len: 8 });
        }
        self.cpus.push(Cpu { mpidr, start });
    }

    fn sd_host(&mut self, facts: &Facts<'a>, place: &Place<'_, 'a>) {
        let (Some(registers), Some(interrupt)) = (place.range(facts, 0), facts.interrupt()) else {
            return;
        };
        let window =
            |range: Mapped| DmaWindow { cpu: Pa(range.parent), bus: range.child, len: range.len };
        let dma = place.walk.dma_ranges().map(window).collect();
        let coherent = place.visit.node.property("dma-coherent").is_some();
        self.sd_host = Some(SdHost { registers, interrupt, dma, coherent });
    }

    fn chosen(&mut self, node: Node<'a>) {
        let address = |name: &str| node.property(name).and_then(number);
        if let (Some(start), Some(end)) =
            (address("linux,initrd-start"), address("linux,initrd-end"))
        {
            let len = end.saturating_sub(start);
            self.initrd = (len > 0).then_some(Range { start: Pa(start), len });
        }
        self.bootargs = node.property("bootargs").and_then(|args| args.str()).unwrap_or("");
        self.rng_seed = node.property("rng-seed").map_or(&[], |seed| seed.value());
    }
}

/// A number of one cell or two.
fn number(property: Property<'_>) -> Option<u64> {
    property.u64().or_else(|| property.u32().map(u64::from))
}

/// The properties of a node that matter here, from one pass over them.
#[derive(Clone, Copy)]
struct Facts<'a> {
    compatible: Option<Property<'a>>,
    reg: Option<Property<'a>>,
    interrupts: Option<Property<'a>>,
    device_type: &'a [u8],
    okay: bool,
    no_map: bool,
}

impl<'a> Facts<'a> {
    const NONE: Self = Self {
        compatible: None,
        reg: None,
        interrupts: None,
        device_type: &[],
        okay: true,
        no_map: false,
    };

    #[inline(always)]
    fn note(&mut self, property: Property<'a>) {
        // Most properties are none of these, which their first letter tells.
        match property.initial() {
            Some(b'c') if property.is("compatible") => self.compatible = Some(property),
            Some(b'r') if property.is("reg") => self.reg = Some(property),
            Some(b'i') if property.is("interrupts") => self.interrupts = Some(property),
            Some(b'd') if property.is("device_type") => self.device_type = property.value(),
            Some(b'n') if property.is("no-map") => self.no_map = true,
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
    /// What the loader's command line says instead: `tessera.console=`, with a path or an alias.
    wanted: Option<&'a str>,
    uarts: Vec<(Visit<'a>, Uart)>,
}

impl<'a> Found<'a> {
    fn uart(&mut self, place: &Place<'_, 'a>, facts: &Facts<'a>, kind: UartKind) {
        if let Some(registers) = place.range(facts, 0) {
            let uart = Uart { kind, registers, interrupt: facts.interrupt() };
            self.uarts.push((place.visit, uart));
        }
    }

    /// The UART of `tessera.console=` or `stdout-path`; the first one where there is no such path, or it leads nowhere.
    fn console(&self, fdt: &Fdt<'_>) -> Option<Uart> {
        let first = self.uarts.first().map(|&(_, uart)| uart);
        let Some(path) = self.wanted.or(self.stdout) else { return first };
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
