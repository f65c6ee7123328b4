use vm_fdt::FdtWriter;

use super::*;
use crate::fdt::Fdt;

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
    assert_eq!(board.cpus.iter().map(|cpu| cpu.mpidr).collect::<Vec<_>>(), [0, 1]);
    let uart = board.uart.unwrap();
    assert_eq!(uart.registers.start, Pa(0x0900_0000), "stdout-path names the second UART");
    assert_eq!(uart.interrupt, Some(IntId(33)));
    assert_eq!(board.initrd.unwrap().len, 0x10_0000);
    assert!(matches!(board.check(), Ok(Gic::V3 { gicr, .. }) if gicr.start == Pa(0x080a_0000)));
}

/// What of a Raspberry Pi 4's tree matters here, in its own words.
fn pi_like(bootargs: &str) -> std::vec::Vec<u8> {
    let mut w = FdtWriter::new().unwrap();
    let root = w.begin_node("").unwrap();
    w.property_u32("#address-cells", 2).unwrap();
    w.property_u32("#size-cells", 1).unwrap();
    let aliases = w.begin_node("aliases").unwrap();
    w.property_string("serial0", "/soc/serial@7e201000").unwrap();
    w.property_string("serial1", "/soc/serial@7e215040").unwrap();
    w.end_node(aliases).unwrap();
    let chosen = w.begin_node("chosen").unwrap();
    w.property_string("stdout-path", "serial1:115200n8").unwrap();
    w.property_string("bootargs", bootargs).unwrap();
    w.end_node(chosen).unwrap();
    let reserved = w.begin_node("reserved-memory").unwrap();
    w.property_u32("#address-cells", 2).unwrap();
    w.property_u32("#size-cells", 1).unwrap();
    w.property_null("ranges").unwrap();
    for (name, at, kept) in [("kept@1000", 0x1000, false), ("secret@2000", 0x2000, true)] {
        let node = w.begin_node(name).unwrap();
        w.property_array_u32("reg", &[0, at, 0x1000, 0, at + 0x1_0000, 0x1000]).unwrap();
        if kept {
            w.property_null("no-map").unwrap();
        }
        w.end_node(node).unwrap();
    }
    w.end_node(reserved).unwrap();
    let cpus = w.begin_node("cpus").unwrap();
    w.property_u32("#address-cells", 1).unwrap();
    w.property_u32("#size-cells", 0).unwrap();
    for (n, method) in ["spin-table", "psci", "brcm,bcm2836-smp"].iter().enumerate() {
        let cpu = w.begin_node(&std::format!("cpu@{n}")).unwrap();
        w.property_string("device_type", "cpu").unwrap();
        w.property_string("enable-method", method).unwrap();
        w.property_u64("cpu-release-addr", 0xd8 + 8 * n as u64).unwrap();
        w.property_u32("reg", n as u32).unwrap();
        w.end_node(cpu).unwrap();
    }
    w.end_node(cpus).unwrap();
    let pmu = w.begin_node("arm-pmu").unwrap();
    w.property_string_list(
        "compatible",
        std::vec!["arm,cortex-a72-pmu".into(), "arm,armv8-pmuv3".into()],
    )
    .unwrap();
    w.property_array_u32("interrupts", &[0, 16, 4, 0, 17, 4]).unwrap();
    w.end_node(pmu).unwrap();
    let soc = w.begin_node("soc").unwrap();
    w.property_u32("#address-cells", 1).unwrap();
    w.property_u32("#size-cells", 1).unwrap();
    let windows = [0x7e00_0000, 0, 0xfe00_0000, 0x180_0000, 0x4000_0000, 0, 0xff80_0000];
    w.property_array_u32("ranges", &[&windows[..], &[0x80_0000]].concat()).unwrap();
    let gic = w.begin_node("interrupt-controller@40041000").unwrap();
    w.property_string("compatible", "arm,gic-400").unwrap();
    let places = [0x4004_1000, 0x1000, 0x4004_2000, 0x2000];
    let virtual_places = [0x4004_4000, 0x2000, 0x4004_6000, 0x2000];
    w.property_array_u32("reg", &[places, virtual_places].concat()).unwrap();
    w.end_node(gic).unwrap();
    let uart = w.begin_node("serial@7e201000").unwrap();
    w.property_string("compatible", "arm,pl011").unwrap();
    w.property_array_u32("reg", &[0x7e20_1000, 0x200]).unwrap();
    w.end_node(uart).unwrap();
    let uart = w.begin_node("serial@7e215040").unwrap();
    w.property_string("compatible", "brcm,bcm2835-aux-uart").unwrap();
    w.property_array_u32("reg", &[0x7e21_5040, 0x40]).unwrap();
    w.property_array_u32("interrupts", &[0, 93, 4]).unwrap();
    w.end_node(uart).unwrap();
    w.end_node(soc).unwrap();
    let bus = w.begin_node("emmc2bus").unwrap();
    w.property_u32("#address-cells", 2).unwrap();
    w.property_u32("#size-cells", 1).unwrap();
    w.property_array_u32("ranges", &[0, 0x7e00_0000, 0, 0xfe00_0000, 0x180_0000]).unwrap();
    w.property_array_u32("dma-ranges", &[0, 0xc000_0000, 0, 0, 0x4000_0000]).unwrap();
    let card = w.begin_node("mmc@7e340000").unwrap();
    w.property_string("compatible", "brcm,bcm2711-emmc2").unwrap();
    w.property_array_u32("reg", &[0, 0x7e34_0000, 0x100]).unwrap();
    w.property_array_u32("interrupts", &[0, 126, 4]).unwrap();
    w.end_node(card).unwrap();
    w.end_node(bus).unwrap();
    w.end_node(root).unwrap();
    w.finish().unwrap()
}

#[test]
fn a_pi_is_read_with_its_windows_its_cores_and_its_mini_uart() {
    let blob = pi_like("");
    let board = Board::discover(&Fdt::new(&blob).unwrap());
    let starts: Vec<_> = board.cpus.iter().map(|cpu| cpu.start).collect();
    assert_eq!(starts, [CpuStart::SpinTable(Pa(0xd8)), CpuStart::Psci, CpuStart::Unknown]);
    let Some(Gic::V2 { gicd, gicv, .. }) = board.gic else { panic!("{:?}", board.gic) };
    assert_eq!((gicd.start, gicv.start), (Pa(0xff84_1000), Pa(0xff84_6000)));
    let uart = board.uart.unwrap();
    assert_eq!((uart.kind, uart.registers.start), (UartKind::MiniUart, Pa(0xfe21_5040)));
    let host = board.sd_host.as_ref().unwrap();
    assert_eq!((host.registers.start, host.interrupt), (Pa(0xfe34_0000), IntId(158)));
    assert_eq!(host.dma, [DmaWindow { cpu: Pa(0), bus: 0xc000_0000, len: 0x4000_0000 }]);
    assert!(!host.coherent);
    let secret = [0x2000, 0x1_2000].map(|start| Range { start: Pa(start), len: 0x1000 });
    assert_eq!(board.no_map, secret, "all ranges of a node");
    assert_eq!(board.pmu, Some(IntId(48)), "an SPI, as no core's own");
    let places: Vec<_> = board.reserved.iter().map(|range| range.start.0).collect();
    assert_eq!(places, [0x1000, 0x1_1000, 0x2000, 0x1_2000, 0xd8], "the spin table is kept too");
}

#[test]
fn the_command_line_chooses_another_uart_than_the_tree_by_alias_or_path() {
    for (console, kind) in [
        ("a=b tessera.console=serial0", UartKind::Pl011),
        ("tessera.console=/soc/serial@7e201000:115200 quiet", UartKind::Pl011),
        ("tessera.console=serial1", UartKind::MiniUart),
        // Nowhere: better some console than none.
        ("tessera.console=serial7", UartKind::Pl011),
        ("quiet", UartKind::MiniUart),
    ] {
        let blob = pi_like(console);
        let board = Board::discover(&Fdt::new(&blob).unwrap());
        assert_eq!(board.uart.unwrap().kind, kind, "{console}");
    }
}

#[test]
fn a_gicv2_whose_parts_are_too_small_to_be_shared_out_is_refused() {
    let blob = pi_like("");
    let mut board = Board::discover(&Fdt::new(&blob).unwrap());
    board.memory.push(Range { start: Pa(0), len: 1 << 30 });
    let Ok(Gic::V2 { gicd, gicc, gich, gicv }) = board.check() else { panic!("{:?}", board.gic) };
    let small = |range: Range| Range { len: range.len / 2, ..range };
    let moved = Range { start: gicv.start.offset(0x800), ..gicv };
    for gic in [
        Gic::V2 { gicd, gicc: small(gicc), gich, gicv },
        Gic::V2 { gicd, gicc, gich, gicv: small(gicv) },
        Gic::V2 { gicd, gicc, gich, gicv: moved },
        Gic::V2 { gicd, gicc, gich: Range { len: 0x100, ..gich }, gicv },
    ] {
        board.gic = Some(gic);
        assert_eq!(board.check(), Err(BoardError::BadGic));
    }
}

#[test]
fn memory_without_holes_is_what_is_in_none_of_them() {
    let range = |start, len| Range { start: Pa(start), len };
    let ram = range(0x1000, 0x9000);
    assert_eq!(ram.without(&[]), [ram]);
    let inner = [range(0x3000, 0x1000), range(0x5000, 0x1000)];
    let pieces = ram.without(&inner);
    assert_eq!(pieces, [range(0x6000, 0x4000), range(0x4000, 0x1000), range(0x1000, 0x2000)]);
    assert_eq!(ram.without(&[range(0, 0x2000)]), [range(0x2000, 0x8000)]);
    assert_eq!(ram.without(&[range(0x9000, u64::MAX)]), [range(0x1000, 0x8000)]);
    assert_eq!(ram.without(&[range(0, u64::MAX)]), []);
    assert_eq!(ram.without(&[range(0x2_0000, 0x1000)]), [ram]);
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
    board.cpus.push(Cpu { mpidr: 0, start: CpuStart::Psci });
    let error = board.check().unwrap_err();
    assert!(std::format!("{error}").contains("gic-version"));
}
