//! Device trees: the board's from firmware, the bundle and the configuration from a user.

mod built;

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use built::Words;
use sha2::{Digest, Sha256};

use super::Choices;
use crate::addr::CpuId;
use crate::board::{Board, Range};
use crate::bundle::{Bundle, CONFIG, PATH, PIECES, piece_hashes};
use crate::config::groups::GROUP_PROPERTIES;
use crate::config::{
    BoardFacts, DISK_PROPERTIES, GUEST_PROPERTIES, MAX_GUESTS, PartitionFacts, ROOT_PROPERTIES,
    VmConfig, check_board, check_files, parse,
};
use crate::fdt::{Fdt, Writer};

/// What a board's tree may have.
const BOARD: Words = Words {
    nodes: &[
        "chosen",
        "aliases",
        "cpus",
        "cpu@0",
        "cpu@1",
        "memory@40000000",
        "reserved-memory",
        "soc",
        "serial@0",
        "intc@1",
        "timer",
        "pmu",
        "mmc@2",
        "virtio_mmio@3",
        "mailbox@4",
        "watchdog@5",
        "psci",
        "fw@6",
    ],
    properties: &[&[
        "#address-cells",
        "#size-cells",
        "compatible",
        "device_type",
        "reg",
        "ranges",
        "dma-ranges",
        "interrupts",
        "status",
        "stdout-path",
        "bootargs",
        "linux,initrd-start",
        "linux,initrd-end",
        "serial0",
        "method",
        "enable-method",
        "cpu-release-addr",
        "no-map",
        "rng-seed",
        "dma-coherent",
    ]],
    texts: &[
        "memory",
        "cpu",
        "psci",
        "spin-table",
        "smc",
        "hvc",
        "okay",
        "disabled",
        "arm,pl011",
        "arm,gic-v3",
        "arm,gic-400",
        "arm,cortex-a15-gic",
        "arm,psci-1.0",
        "arm,armv8-timer",
        "arm,armv8-pmuv3",
        "virtio,mmio",
        "brcm,bcm2711-emmc2",
        "brcm,bcm2835-aux-uart",
        "brcm,bcm2835-mbox",
        "brcm,bcm2835-pm-wdt",
        "brcm,bcm2835-pm",
        "/soc/serial@0",
        "serial0",
        "tessera.console=serial0 quiet",
    ],
    cells: &[0, 1, 2, 3, 4, 0x1000, 0x1_0000, 0x4000_0000, 0x8000_0000, 0xffff_ffff],
};

/// What a configuration may have.
const CONFIGURATION: Words = Words {
    nodes: &["web", "db", "group", "disk", "disk-base", "tessera", "a name", "net"],
    properties: &[&ROOT_PROPERTIES, &GUEST_PROPERTIES, &DISK_PROPERTIES, &GROUP_PROPERTIES],
    texts: &[
        "tessera,config",
        "tessera,vm",
        "tessera,group",
        "read-write",
        "read-only",
        "256M",
        "64M",
        "1K",
        "99999999999G",
        "vmlinuz",
        "initrd",
        "web",
        "db",
        "PARTUUID=",
        "PARTUUID=1234",
        "dedicated",
        "shared",
        "pl011",
        "none",
        "never",
        "on-crash",
        "always",
        "yes",
        "no",
        "reset",
        "stop",
        "^\\",
        "^]",
        "^A",
        "",
        "a b",
    ],
    cells: &[0, 1, 2, 3, 4, 8, 9, 30, 60, 100, 255, 256, 10_000, 0xffff_ffff],
};

/// Any device tree: it is refused, or read in a time that goes with its size.
pub fn fdt(bytes: &[u8]) -> usize {
    let blob = built::tree(bytes, &BOARD);
    let Ok(fdt) = Fdt::new(&blob) else { return 0 };
    let seen = read_all(&fdt);
    assert!(seen < 200 * blob.len(), "{seen} things in {} bytes", blob.len());
    1
}

/// Reads everything there is to read, and counts it.
pub fn read_all(fdt: &Fdt<'_>) -> usize {
    let mut seen = fdt.reservations().count();
    let mut walk = fdt.walk();
    while let Some(visit) = walk.next() {
        for (address, _) in visit.reg() {
            seen += usize::from(walk.translate(address).is_some());
        }
        for property in visit.node.properties() {
            seen += property.name().len() + property.cells().count() + property.strs().count();
            seen += usize::from(property.str().is_some() && property.u64().is_some());
        }
        seen += visit.node.name().len() + visit.node.children().count();
        seen += visit.node.compatible().count() + usize::from(visit.node.is_okay());
    }
    for path in ["/", "/cpus/cpu@1", "serial0", "/soc/serial", "//x"] {
        seen += usize::from(fdt.find(path).is_some()) + usize::from(fdt.resolve(path).is_some());
    }
    seen
}

/// The board's own tree: whatever it says, there is an answer, and no memory is used that is reserved.
pub fn board(bytes: &[u8]) -> usize {
    let blob = built::tree(bytes, &BOARD);
    let Ok(fdt) = Fdt::new(&blob) else { return 0 };
    let board = Board::discover(&fdt);
    for ram in &board.memory {
        for piece in ram.without(&board.reserved) {
            assert!(piece.len > 0 && ram.start <= piece.start && piece.end() <= ram.end());
            let meets = |hole: &&Range| hole.start < piece.end() && piece.start < hole.end();
            assert_eq!(board.reserved.iter().find(meets), None, "{piece:?}");
        }
    }
    match board.check() {
        Ok(gic) => assert_eq!(board.gic, Some(gic)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    1
}

pub fn board_seeds() -> Vec<Vec<u8>> {
    let tree = Writer::tree(0, |root| {
        root.cells("#address-cells", &[2]);
        root.cells("#size-cells", &[2]);
        root.node("chosen", |chosen| {
            chosen.text("stdout-path", "serial0:115200n8");
            chosen.pairs("linux,initrd-start", &[0x4800_0000]);
            chosen.pairs("linux,initrd-end", &[0x4810_0000]);
        });
        root.node("aliases", |aliases| aliases.text("serial0", "/soc/serial@1000"));
        root.node("cpus", |cpus| {
            cpus.cells("#address-cells", &[1]);
            cpus.cells("#size-cells", &[0]);
            cpus.node_at("cpu", 0, |cpu| {
                cpu.text("device_type", "cpu");
                cpu.cells("reg", &[0]);
                cpu.text("enable-method", "spin-table");
                cpu.pairs("cpu-release-addr", &[0xd8]);
            });
        });
        root.node_at("memory", 0x4000_0000, |memory| {
            memory.text("device_type", "memory");
            memory.pairs("reg", &[0x4000_0000, 0x8000_0000]);
        });
        root.node("soc", |soc| {
            soc.cells("#address-cells", &[1]);
            soc.cells("#size-cells", &[1]);
            soc.cells("ranges", &[0, 0, 0xfe00_0000, 0x180_0000]);
            soc.node_at("serial", 0x1000, |serial| {
                serial.texts("compatible", &["arm,pl011", "arm,primecell"]);
                serial.cells("reg", &[0x1000, 0x200]);
                serial.cells("interrupts", &[0, 1, 4]);
            });
            soc.node_at("intc", 0x2000, |gic| {
                gic.text("compatible", "arm,gic-400");
                gic.cells("reg", &[0x2000, 0x1000, 0x4000, 0x2000, 0x6000, 0x2000, 0x8000, 0x2000]);
            });
        });
    });
    built::inputs(&tree)
}

/// A configuration: guests that are kept are within all bounds, and each problem can be read.
pub fn config(bytes: &[u8]) -> usize {
    let blob = built::tree(bytes, &CONFIGURATION);
    let Ok(fdt) = Fdt::new(&blob) else { return 0 };
    let mut config = parse(&fdt);
    let parsed = config.vms.len();
    assert!(parsed <= MAX_GUESTS);
    let partitions = [PartitionFacts { label: "web", partuuid: "1234" }];
    let facts = BoardFacts { cpus: 4, memory: 1 << 30, partitions: Some(&partitions) };
    config.reject(check_board(&config, &facts));
    config.reject(check_files(&config, |name| {
        if name == "vmlinuz" { Ok(&blob[..]) } else { Err("is not in the bundle".to_string()) }
    }));
    config.resolve(facts.cpus);
    assert!(config.vms.len() <= parsed);
    assert!((100..=100_000).contains(&config.wake_latency_us));
    for problem in &config.problems {
        let words = problem.to_string();
        assert!(words.len() < 1000, "{words}");
        assert!(!words.chars().any(char::is_control), "{words:?}");
    }
    for (at, vm) in config.vms.iter().enumerate() {
        assert!((1..=8).contains(&vm.vcpus()) && vm.memory > 0 && !vm.kernel.is_empty());
        assert!(config.vms[..at].iter().all(|other| other.name != vm.name));
        assert!(vm.cpus.iter().all(|core| usize::from(core.0) < facts.cpus));
        assert_eq!(vm.homes.len(), vm.vcpus());
        assert!(vm.homes.iter().all(|home| vm.cpus.contains(home)));
    }
    check_sharing(&config.vms, facts.cpus);
    1 + parsed
}

/// Whoever owns a core has it alone, and nobody is promised more of one than there is.
fn check_sharing(vms: &[VmConfig], cores: usize) {
    for core in (0..cores as u8).map(CpuId) {
        let users = vms.iter().filter(|vm| vm.cpus.contains(&core));
        let owners = users.clone().filter(|vm| vm.sharing.is_none()).count();
        assert!(owners == 0 || users.count() == 1);
        let promised = vms.iter().map(|vm| {
            let reserve = vm.sharing.and_then(|sharing| sharing.reserve).unwrap_or(0);
            vm.homes.iter().filter(|home| **home == core).count() * usize::from(reserve)
        });
        assert!(promised.sum::<usize>() <= 100);
    }
}

fn two_guests() -> Vec<u8> {
    Writer::tree(0, |root| {
        root.text("compatible", "tessera,config");
        root.cells("wake-latency", &[1000]);
        root.node("db", |db| {
            db.text("compatible", "tessera,vm");
            db.cells("vcpus", &[3]);
            db.text("cpu-policy", "shared");
            db.cells("cpu-shares", &[300]);
            db.cells("cpu-cap", &[80]);
            db.cells("cpu-reserve", &[60]);
            db.text("memory", "64M");
            db.text("kernel", "vmlinuz");
        });
        root.node("web", |web| {
            web.text("compatible", "tessera,vm");
            web.cells("vcpus", &[2]);
            web.cells("cpus", &[0, 1]);
            web.cells("phandle", &[1]);
            web.text("memory", "256M");
            web.text("kernel", "vmlinuz");
            web.text("ramdisk", "initrd");
            web.text("bootargs", "console=ttyAMA0");
            web.node("disk", |disk| {
                disk.text("partition", "web");
                disk.flag("read-only");
            });
        });
        root.node("group", |group| {
            group.text("compatible", "tessera,group");
            group.text("size", "64M");
            group.cells("members", &[1]);
            group.text("access", "read-only");
            group.text("initial", "initrd");
        });
    })
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    built::inputs(&two_guests())
}

/// A bundle: a file that passes for whole has the bytes of the hash beside it. The input's first bytes say which hashes
/// are put right before, for no fuzzer finds one.
pub fn bundle(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let mend = choices.byte();
    let mut blob = choices.rest().to_vec();
    mend_hashes(&mut blob, mend);
    let Ok(bundle) = Bundle::parse(&blob) else { return 0 };
    let mut whole = 0;
    for file in bundle.files().take(64) {
        let digest = Sha256::digest(file.data());
        let right = file.sha256().is_some_and(|hash| hash[..] == digest[..]);
        // An image may also have no data at all.
        let is_there = !file.data().is_empty();
        assert_eq!(file.verify().is_ok(), right && (is_there || file.verify().is_ok()));
        whole += usize::from(right);
        for piece in 0..file.pieces() {
            let _ = file.verify_piece(piece);
        }
        assert!(file.paths().count() <= blob.len());
        let _ = (file.kind(), file.compression());
    }
    if let Ok(config) = bundle.config() {
        let config = parse(&config);
        assert!(config.vms.iter().all(|vm| bundle.file(&vm.kernel).is_none_or(|f| f.pieces() > 0)));
    }
    whole
}

/// Writes the right hash into each image whose bit is set.
fn mend_hashes(blob: &mut [u8], images: u8) {
    let Ok(bundle) = Bundle::parse(blob) else { return };
    let place = |at: &[u8]| at.as_ptr().addr() - blob.as_ptr().addr();
    let chosen = (0..8).zip(bundle.files()).filter(|(n, _)| images >> n & 1 != 0);
    let hashes: Vec<_> = chosen
        .filter_map(|(_, file)| Some((place(file.sha256()?), Sha256::digest(file.data()))))
        .collect();
    for (at, hash) in hashes {
        blob[at..at + hash.len()].copy_from_slice(&hash);
    }
}

pub fn bundle_seeds() -> Vec<Vec<u8>> {
    let image = |images: &mut Writer, node: &str, path: &str, data: &[u8]| {
        images.node(node, |image| {
            image.text(PATH, path);
            image.property("data", data);
            image.text("type", "kernel");
            image.text("compression", "none");
            image.property(PIECES, &piece_hashes(data));
            image.node("hash-1", |hash| {
                hash.property("value", &Sha256::digest(data));
                hash.text("algo", "sha256");
            });
        });
    };
    let tree = Writer::tree(0, |root| {
        root.node("images", |images| {
            image(images, CONFIG, "config", &two_guests());
            image(images, "file-1", "vmlinuz", b"a kernel of sorts");
        });
    });
    let mended = |mend: u8| [&[mend], &tree[..]].concat();
    vec![mended(0), mended(0xff)]
}
