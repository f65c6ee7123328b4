//! The sample configuration of the README, as it is in the tree, on the boards that it has to run on.

use tessera_system_tests::artefacts::root;
use tessera_system_tests::{Partition, Qemu, Scene, Target};

use crate::number;

const WEB_MIB: u64 = 16;
const DB_MIB: u64 = 24;

/// Boots the sample and looks at each guest's machine from inside.
fn both_guests_see_just_their_own(name: &str, qemu: Qemu) {
    let scene = Scene::new(name);
    let bundle = Some(scene.bundle_of(&root().join("platforms/qemu-virt/tessera.dts")));
    let web = Partition::ext4("web", WEB_MIB, "this is web");
    let (disk, _) = scene.disk(&[web, Partition::ext4("db", DB_MIB, "this is db")]);
    let qemu = Qemu { bundle, disk: Some(disk), ..qemu };
    let mut target = Target::start(qemu.board(), &["web", "db"]);
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

#[test]
fn both_debian_guests_reach_their_shell_and_see_just_their_own_cpus_ram_and_disk() {
    both_guests_see_just_their_own("sample", Qemu::default());
}

#[test]
fn the_sample_runs_on_a_core_with_everything_that_there_is() {
    both_guests_see_just_their_own("sample-max", Qemu { cpu: "max".into(), ..Qemu::default() });
}

#[test]
fn the_sample_runs_on_a_board_with_eight_gigabytes() {
    both_guests_see_just_their_own("sample-8g", Qemu { memory: "8G".into(), ..Qemu::default() });
}
