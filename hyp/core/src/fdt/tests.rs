use alloc::vec::Vec;

use vm_fdt::FdtWriter;

use super::*;

/// A board with what boards have: nested buses, lists, strings, reservations.
fn board() -> Vec<u8> {
    let reserve = [vm_fdt::FdtReserveEntry::new(0x1000, 0x2000).unwrap()];
    let mut fdt = FdtWriter::new_with_mem_reserv(&reserve).unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 2).unwrap();
    fdt.property_string("compatible", "linux,dummy-virt").unwrap();

    let chosen = fdt.begin_node("chosen").unwrap();
    fdt.property_string("stdout-path", "serial0:115200n8").unwrap();
    fdt.property_u64("linux,initrd-start", 0x1_4800_0000).unwrap();
    fdt.property_u32("linux,initrd-end", 0x4900_0000).unwrap();
    fdt.end_node(chosen).unwrap();
    let aliases = fdt.begin_node("aliases").unwrap();
    fdt.property_string("serial0", "/soc/serial@201000").unwrap();
    fdt.end_node(aliases).unwrap();

    let cpus = fdt.begin_node("cpus").unwrap();
    fdt.property_u32("#address-cells", 1).unwrap();
    fdt.property_u32("#size-cells", 0).unwrap();
    for n in 0..2 {
        let cpu = fdt.begin_node(&alloc::format!("cpu@{n}")).unwrap();
        fdt.property_u32("reg", n).unwrap();
        fdt.end_node(cpu).unwrap();
    }
    fdt.end_node(cpus).unwrap();

    let memory = fdt.begin_node("memory@40000000").unwrap();
    fdt.property_array_u64("reg", &[0x4000_0000, 0x8000_0000, 0x1_0000_0000, 0x4000_0000]).unwrap();
    fdt.end_node(memory).unwrap();

    let soc = fdt.begin_node("soc").unwrap();
    fdt.property_u32("#address-cells", 1).unwrap();
    fdt.property_u32("#size-cells", 1).unwrap();
    fdt.property_array_u32("ranges", &[0x7e00_0000, 0, 0xfe00_0000, 0x180_0000]).unwrap();
    let serial = fdt.begin_node("serial@201000").unwrap();
    let names = ["arm,pl011", "arm,primecell"].map(Into::into);
    fdt.property_string_list("compatible", names.to_vec()).unwrap();
    fdt.property_array_u32("reg", &[0x7e20_1000, 0x200]).unwrap();
    fdt.property_string("status", "disabled").unwrap();
    fdt.property_null("dma-coherent").unwrap();
    fdt.end_node(serial).unwrap();
    fdt.end_node(soc).unwrap();
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}

#[test]
fn nodes_are_found_by_path_and_by_alias() {
    let blob = board();
    let fdt = Fdt::new(&blob).unwrap();
    assert_eq!(fdt.find("/cpus/cpu@1").unwrap().property("reg").unwrap().u32(), Some(1));
    assert_eq!(fdt.find("/soc/serial").unwrap().name(), "serial@201000");
    assert_eq!(fdt.find("/").unwrap().name(), "");
    assert!(fdt.find("/cpus/cpu@2").is_none());
    assert!(fdt.find("/cpu").is_none(), "a name is not its beginning");
    let stdout = fdt.find("/chosen").unwrap().property("stdout-path").unwrap().str().unwrap();
    assert_eq!(fdt.resolve(stdout).unwrap().name(), "serial@201000");
}

#[test]
fn values_are_read_as_what_they_are() {
    let blob = board();
    let fdt = Fdt::new(&blob).unwrap();
    let chosen = fdt.find("/chosen").unwrap();
    assert_eq!(chosen.property("linux,initrd-start").unwrap().u64(), Some(0x1_4800_0000));
    assert_eq!(chosen.property("linux,initrd-end").unwrap().u64(), Some(0x4900_0000));
    assert_eq!(chosen.property("linux,initrd-start").unwrap().u32(), None);
    assert_eq!(chosen.property("linux,initrd-end").unwrap().str(), None);
    let serial = fdt.find("/soc/serial").unwrap();
    assert!(serial.is_compatible("arm,primecell") && !serial.is_compatible("arm,prime"));
    assert_eq!(serial.property("compatible").unwrap().str(), None, "two strings are not one");
    assert!(!serial.is_okay() && chosen.is_okay());
    assert_eq!(serial.property("dma-coherent").unwrap().value(), b"");
    let memory = fdt.find("/memory").unwrap();
    let regs: Vec<_> = memory.reg(fdt.root().cells()).collect();
    assert_eq!(regs, [(0x4000_0000, 0x8000_0000), (0x1_0000_0000, 0x4000_0000)]);
    assert_eq!(fdt.reservations().collect::<Vec<_>>(), [(0x1000, 0x2000)]);
}

#[test]
fn a_walk_meets_every_node_with_its_parents_cells_and_translates_addresses() {
    let blob = board();
    let fdt = Fdt::new(&blob).unwrap();
    let mut walk = fdt.walk();
    let (mut names, mut serial, mut cpu) = (Vec::new(), None, None);
    while let Some(visit) = walk.next() {
        names.push((visit.depth, visit.node.name()));
        let first = visit.reg().next();
        match visit.node.name() {
            "serial@201000" => serial = first.map(|reg| (reg, walk.translate(reg.0))),
            "cpu@1" => cpu = first.map(|reg| (reg, walk.translate(reg.0))),
            "memory@40000000" => assert_eq!(walk.translate(first.unwrap().0), Some(0x4000_0000)),
            _ => {}
        }
    }
    let want = [
        (0, ""),
        (1, "chosen"),
        (1, "aliases"),
        (1, "cpus"),
        (2, "cpu@0"),
        (2, "cpu@1"),
        (1, "memory@40000000"),
        (1, "soc"),
        (2, "serial@201000"),
    ];
    // `ranges` of the board: one child cell, then two parent cells, then one size cell.
    assert_eq!(names, want);
    assert_eq!(serial, Some(((0x7e20_1000, 0x200), Some(0xfe20_1000))));
    assert_eq!(cpu, Some(((1, 0), None)));
}

#[test]
fn children_are_given_once_each_whatever_lies_below_them() {
    let blob = board();
    let fdt = Fdt::new(&blob).unwrap();
    let names: Vec<_> = fdt.root().children().map(|node| node.name()).collect();
    assert_eq!(names, ["chosen", "aliases", "cpus", "memory@40000000", "soc"]);
    let mut children = fdt.find("/chosen").unwrap().children();
    assert!(children.next().is_none() && children.next().is_none());
}

#[test]
fn a_tree_truncated_at_any_byte_is_refused() {
    let blob = board();
    for len in 0..blob.len() {
        let error = Fdt::new(&blob[..len]).err();
        assert!(matches!(error, Some(FdtError::Truncated { .. })), "{len}: {error:?}");
    }
}

#[test]
fn a_tree_whose_header_agrees_with_the_truncation_is_refused_too() {
    let blob = board();
    let base = word(&blob, 8).unwrap() as usize;
    let size = word(&blob, 36).unwrap() as usize;
    for len in 0..size {
        let mut cut = blob.clone();
        cut[36..40].copy_from_slice(&(len as u32).to_be_bytes());
        let error = Fdt::new(&cut).err().expect("refused");
        let FdtError::Overrun(at) = error else { panic!("{len}: {error}") };
        assert!(at >= base && at <= base + len.next_multiple_of(4));
    }
}

#[test]
fn properties_behind_a_subnode_are_refused_and_not_dropped() {
    let structure = [1, 0, 1, 0x6100_0000, 2, 3, 0, 0, 2, 9];
    let error = Fdt::new(&tree(&structure)).err();
    assert_eq!(error, Some(FdtError::Token(40 + 5 * 4)));
    let unclosed = [1, 0, 9];
    assert_eq!(Fdt::new(&tree(&unclosed)).err(), Some(FdtError::Token(40 + 2 * 4)));
    let second_root = [1, 0, 2, 1, 0, 2, 9];
    assert_eq!(Fdt::new(&tree(&second_root)).err(), Some(FdtError::Token(40 + 3 * 4)));
    let nops = [4, 1, 0, 4, 3, 0, 0, 4, 2, 4, 9];
    let blob = tree(&nops);
    assert_eq!(Fdt::new(&blob).unwrap().root().property("a").unwrap().value(), b"");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let mut structure: Vec<u32> = core::iter::repeat_n([1, 0], depth).flatten().collect();
        structure.extend(core::iter::repeat_n(2, depth));
        structure.push(9);
        tree(&structure)
    };
    let deepest = nested(MAX_DEPTH);
    assert_eq!(Fdt::new(&deepest).unwrap().walk().count(), MAX_DEPTH);
    assert!(matches!(Fdt::new(&nested(MAX_DEPTH + 1)).err(), Some(FdtError::TooDeep(_))));
}

/// A blob of these structure words, with one string, `a`.
fn tree(structure: &[u32]) -> Vec<u8> {
    let size = structure.len() as u32 * 4;
    let header = [MAGIC, 44 + size, 40, 40 + size, 40, 17, 16, 0, 2, size];
    let words = header.iter().chain(structure).copied();
    let mut blob: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
    blob.extend(b"a\0\0\0");
    blob
}

#[test]
fn what_is_written_is_read_back_as_by_the_other_writer() {
    let blob = Writer::tree(0, |root| {
        root.cells("#address-cells", &[2]);
        root.texts("compatible", &["a,b", "c\0hidden"]);
        root.node_at("memory", 0x4000_0000, |memory| {
            memory.pairs("reg", &[0x4000_0000, 0x1_0000_0000]);
            memory.flag("hotpluggable");
        });
        root.node_at("cpu", 0, |cpu| cpu.text("compatible", "arm,armv8"));
        root.node("chosen", |chosen| chosen.property("rng-seed", &[1, 2, 3]));
    });
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_string_list("compatible", ["a,b", "c"].map(Into::into).to_vec()).unwrap();
    let memory = fdt.begin_node("memory@40000000").unwrap();
    fdt.property_array_u64("reg", &[0x4000_0000, 0x1_0000_0000]).unwrap();
    fdt.property_null("hotpluggable").unwrap();
    fdt.end_node(memory).unwrap();
    let cpu = fdt.begin_node("cpu@0").unwrap();
    fdt.property_string("compatible", "arm,armv8").unwrap();
    fdt.end_node(cpu).unwrap();
    let chosen = fdt.begin_node("chosen").unwrap();
    fdt.property("rng-seed", &[1, 2, 3]).unwrap();
    fdt.end_node(chosen).unwrap();
    fdt.end_node(root).unwrap();
    let other = fdt.finish().unwrap();
    let dump = |blob| {
        let nodes = Fdt::new(blob).unwrap().walk();
        let properties = |node: Node<'_>| {
            let pair = |property: Property<'_>| (property.name().into(), property.value().to_vec());
            node.properties().map(pair).collect::<Vec<(alloc::string::String, _)>>()
        };
        let entry = |visit: Visit<'_>| {
            (visit.depth, alloc::string::String::from(visit.node.name()), properties(visit.node))
        };
        nodes.map(entry).collect::<Vec<_>>()
    };
    assert_eq!(dump(&blob), dump(&other));
}
