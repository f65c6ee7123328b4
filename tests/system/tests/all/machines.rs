//! Boards and guests of other sizes than the sample's.

use std::process::Command;

use tessera_system_tests::artefacts::{Artefact, run};
use tessera_system_tests::{Boot, EVERY, GICV3, Guest, Machine, Qemu, Scene, Target, VIRT, tests};

use crate::{number, partitions, promises_are_kept, web_and_db};

tests! {
    EVERY:
        a_guest_may_have_all_four_cores,
        debian_finds_what_it_was_promised_and_complains_of_nothing,
        guests_of_the_same_kernel_with_a_core_each_run_side_by_side;
    VIRT:
        a_guest_whose_cores_the_board_does_not_have_is_left_out_and_the_other_starts,
        a_small_board_with_one_core_runs_a_guest,
        eight_guests_with_a_core_each_fill_a_board;
    GICV3:
        a_kernel_packed_with_gzip_is_unpacked,
        a_guest_may_have_memory_beyond_the_first_four_gigabytes;
}

fn a_guest_may_have_all_four_cores(machine: Machine) {
    let scene = Scene::new(machine, "four");
    let guest = Guest::debian("web", &[3, 1, 0, 2]).disk("web");
    let mut target = scene.start(&[guest], &partitions());
    assert_eq!(number(&target.line("web", "GUEST-READY"), "cpus"), 4);
    target.prompt("web");
    // Each of them takes work and its own timer's interrupts.
    let work =
        "for cpu in 0 1 2 3; do taskset -p $((1<<cpu)) $$ >/dev/null && usleep 30000 || exit; done";
    target.shell("web", &format!("sh -c '{work}'"));
    let ticks = target.shell("web", "grep arch_timer /proc/interrupts");
    let counts = ticks.split_whitespace().skip(1).take(4);
    assert!(counts.clone().all(|count| count.parse::<u64>().is_ok_and(|n| n > 0)), "{ticks}");
    assert_eq!(counts.count(), 4);
    // Linux takes the others away and back by PSCI, the boot CPU too.
    let unplug = "for n in 1 2 3 4 5; do for cpu in 0 1 2 3; do \
        cd /sys/devices/system/cpu/cpu$cpu && echo 0 >online && echo 1 >online || exit; done; done";
    target.shell("web", &format!("sh -c '{unplug}'"));
    assert_eq!(target.shell("web", "nproc"), "4");
}

fn debian_finds_what_it_was_promised_and_complains_of_nothing(machine: Machine) {
    let scene = Scene::new(machine, "dmesg");
    let guest = Guest::debian("web", &[2, 3]).disk("web").bootargs("earlycon");
    let mut target = scene.start(&[guest], &partitions());
    target.prompt("web");
    let log = target.shell("web", "dmesg");
    for found in [
        "earlycon: pl11 at MMIO 0x0000000009000000",
        "psci: PSCIv1.1 detected",
        "psci: SMC Calling Convention v1.1",
        "MHz (virt)",
        "ttyAMA0 at MMIO 0x9000000",
        "smp: Brought up 1 node, 2 CPUs",
        "CPU: All CPU(s) started at EL1",
        "virtio_blk virtio0: [vda]",
        "armv8_pmuv3",
    ] {
        assert!(log.contains(found), "no `{found}` in:\n{log}");
    }
    let frequency = "arch_timer: cp15 timer(s) running at 62.50MHz";
    assert!(log.contains(frequency) || machine == Machine::Shelf, "{log}");
    // Linux numbers controllers that it has no better name for.
    let controller = if machine == Machine::VirtGicv3 { "GICv3" } else { "GIC-0" };
    let interrupts = target.shell("web", "cat /proc/interrupts");
    assert!(interrupts.contains(controller), "{interrupts}");
    for trouble in ["WARNING", "BUG", "Oops", "Unexpected", "unhandled", "error", "stall"] {
        assert!(!log.contains(trouble), "`{trouble}` in:\n{log}");
    }
}

fn a_kernel_packed_with_gzip_is_unpacked(machine: Machine) {
    let scene = Scene::new(machine, "gzip");
    let packed = scene.path("vmlinuz.gz");
    let shell =
        format!("gzip -1 -c '{}' >'{}'", Artefact::Kernel.path().display(), packed.display());
    run(Command::new("sh").args(["-c", &shell]));
    let guest = Guest::debian("web", &[0]).kernel(packed).disk("web");
    let mut target = scene.start(&[guest], &partitions());
    target.line("web", "GUEST-READY web cpus=1 ");
    // And again from the same bundle.
    target.prompt("web");
    target.send("reboot -f\n");
    target.line("web", "GUEST-READY web cpus=1 ");
}

fn a_guest_whose_cores_the_board_does_not_have_is_left_out_and_the_other_starts(machine: Machine) {
    let scene = Scene::new(machine, "two-cores");
    let bundle = Some(scene.bundle(&web_and_db()));
    let (disk, _) = scene.disk(&partitions());
    let qemu = Qemu { cores: 2, ..Qemu::new(machine) };
    let boot = Boot { bundle, disk: Some(disk) };
    let mut target = Target::start(qemu.board(&boot), &["web"]);
    let problem = target.line("tessera", "db/cpus:");
    assert!(problem.contains("core 2"), "{problem}");
    target.line("web", "GUEST-READY web cpus=2 ");
}

fn a_guest_may_have_memory_beyond_the_first_four_gigabytes(machine: Machine) {
    // From 1 GiB on. All of it is cleared, so this host has to have it.
    const MIB: u64 = 3328;
    let available = host_memory_mib();
    if available < 2 * MIB {
        return eprintln!("left out: this host has {available} MiB, too little for such a guest");
    }
    let scene = Scene::new(machine, "big-guest");
    let guest = Guest::debian("web", &[0, 1, 2, 3]).memory(&format!("{MIB}M"));
    let boot = Boot { bundle: Some(scene.bundle(&[guest])), disk: None };
    let qemu = Qemu { memory: "8G".into(), ..Qemu::new(machine) };
    let mut target = Target::start(qemu.board(&boot), &["web"]);
    target.be_patient(2);
    let mem = number(&target.line("web", "GUEST-READY"), "mem") >> 10;
    assert!((MIB - 200..MIB).contains(&mem), "{mem}");
}

/// MemAvailable of the machine that runs the tests.
fn host_memory_mib() -> u64 {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

fn guests_of_the_same_kernel_with_a_core_each_run_side_by_side(machine: Machine) {
    let scene = Scene::new(machine, "four-guests");
    let names = ["a", "b", "c", "d"];
    let guests = [0, 1, 2, 3].map(|n| Guest::debian(names[n as usize], &[n]).memory("96M"));
    let mut target = scene.start(&guests, &[]);
    target.be_patient(2);
    for name in names {
        let ready = target.line(name, "GUEST-READY");
        assert_eq!((number(&ready, "cpus"), number(&ready, "disk")), (1, 0), "{ready}");
    }
    for name in names {
        target.prompt(name);
        assert_eq!(target.shell(name, "hostname"), name);
    }
}

fn a_small_board_with_one_core_runs_a_guest(machine: Machine) {
    let scene = Scene::new(machine, "small");
    let bundle = Some(scene.bundle(&[Guest::debian("web", &[0]).memory("64M").disk("web")]));
    let (disk, _) = scene.disk(&partitions());
    let qemu = Qemu { cores: 1, memory: "192M".into(), ..Qemu::new(machine) };
    let boot = Boot { bundle, disk: Some(disk) };
    let mut target = Target::start(qemu.board(&boot), &["web"]);
    let ready = target.line("web", "GUEST-READY");
    assert_eq!(number(&ready, "cpus"), 1, "{ready}");
    target.prompt("web");
    assert_eq!(target.shell("web", "cat /mnt/marker"), "this is web");
    // A core that is alone has to tell itself that its guest is to stop.
    target.ask("vm kill web");
    target.wait_state("web", "stopped");
}

fn eight_guests_with_a_core_each_fill_a_board(machine: Machine) {
    let scene = Scene::new(machine, "eight");
    let names: Vec<String> = (0..8).map(|n| format!("guest{n}")).collect();
    let guest = |(n, name): (usize, &String)| {
        Guest::probe(name, &[n as u32]).memory("16M").bootargs("probe.only=ids,gic,memory,aborts")
    };
    let guests: Vec<Guest> = names.iter().enumerate().map(guest).collect();
    let bundle = Some(scene.bundle(&guests));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let qemu = Qemu { cores: 8, ..Qemu::new(machine) };
    let mut target = Target::start(qemu.board(&Boot { bundle, disk: None }), &names);
    for name in names {
        promises_are_kept(&mut target, name);
    }
}
