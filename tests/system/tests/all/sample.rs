//! The sample configuration of the README, as it is in the tree, on the boards that it has to run on.

use tessera_system_tests::{
    Board, Boot, EVERY, GICV3, Machine, Partition, Qemu, Scene, Target, VIRT, tests,
};

use crate::number;

tests! {
    EVERY:
        both_debian_guests_reach_their_shell_and_see_just_their_own_cpus_ram_and_disk;
    VIRT:
        the_sample_runs_on_a_core_with_everything_that_there_is;
    GICV3:
        the_sample_runs_on_a_board_with_eight_gigabytes;
}

const WEB_MIB: u64 = 16;
const DB_MIB: u64 = 24;

/// Boots the sample and looks at each guest's machine from inside.
fn both_guests_see_just_their_own(
    machine: Machine,
    name: &str,
    board: impl Fn(&Boot) -> Box<dyn Board>,
) {
    let scene = Scene::new(machine, name);
    let bundle = Some(scene.bundle_of(&machine.sample()));
    let web = Partition::ext4("web", WEB_MIB, "this is web");
    let (disk, _) = scene.disk(&[web, Partition::ext4("db", DB_MIB, "this is db")]);
    let boot = Boot { bundle, disk: Some(disk) };
    let mut target = Target::start(board(&boot), &["web", "db"]);
    for (guest, mib) in [("web", WEB_MIB), ("db", DB_MIB)] {
        let ready = target.line(guest, "GUEST-READY");
        assert!(ready.contains(&format!("GUEST-READY {guest} ")), "{ready}");
        assert_eq!(number(&ready, "cpus"), 2, "{ready}");
        assert_eq!(number(&ready, "disk"), mib << 20, "{ready}");
        // Of its 256 MiB the kernel keeps some for itself.
        let mem = number(&ready, "mem") >> 10;
        assert!((180..256).contains(&mem), "{ready}");
    }
    for guest in ["web", "db"] {
        target.prompt(guest);
        assert_eq!(target.shell(guest, "hostname"), guest);
        assert_eq!(target.shell(guest, "nproc"), "2");
        assert_eq!(target.shell(guest, "cat /mnt/marker"), format!("this is {guest}"));
        assert_eq!(target.shell(guest, "ls /sys/block | grep vd"), "vda");
        let root = target.shell(guest, "cat /proc/device-tree/compatible | tr '\\0' ' '");
        assert!(root.contains("tessera,vm"), "{root}");
        let cpus = target.shell(guest, "ls /proc/device-tree/cpus | grep -c cpu@");
        assert_eq!(cpus, "2");
    }
}

fn both_debian_guests_reach_their_shell_and_see_just_their_own_cpus_ram_and_disk(machine: Machine) {
    both_guests_see_just_their_own(machine, "sample", |boot| machine.board(boot));
}

fn the_sample_runs_on_a_core_with_everything_that_there_is(machine: Machine) {
    let qemu = Qemu { cpu: "max".into(), ..Qemu::new(machine) };
    both_guests_see_just_their_own(machine, "sample-max", |boot| qemu.board(boot));
}

fn the_sample_runs_on_a_board_with_eight_gigabytes(machine: Machine) {
    let qemu = Qemu { memory: "8G".into(), ..Qemu::new(machine) };
    both_guests_see_just_their_own(machine, "sample-8g", |boot| qemu.board(boot));
}
