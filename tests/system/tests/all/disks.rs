//! Which disks a guest sees, and what it may do with them.

use tessera_system_tests::artefacts::read;
use tessera_system_tests::{Guest, Partition, Qemu, Scene, Target};

#[test]
fn a_read_only_disk_can_be_read_by_two_guests_and_written_by_none() {
    let scene = Scene::new("read-only");
    let (disk, made) = scene.disk(&[Partition::ext4("base", 16, "shared")]);
    let before = read(&disk);
    let by_id = format!("PARTUUID={}", made[0].partuuid);
    let bundle = Some(scene.bundle(&[
        Guest::debian("web", &[0]).read_only_disk("base"),
        Guest::debian("db", &[1]).read_only_disk(&by_id),
    ]));
    let qemu = Qemu { bundle, disk: Some(disk.clone()), ..Qemu::default() };
    let mut target = Target::start(qemu.board(), &["web", "db"]);
    for guest in ["web", "db"] {
        target.prompt(guest);
        assert_eq!(target.shell(guest, "cat /sys/block/vda/ro"), "1");
        assert_eq!(target.shell(guest, "cat /mnt/marker"), "shared");
        let (status, _) = target.try_shell(guest, "dd if=/dev/zero of=/dev/vda count=1");
        assert_ne!(status, 0, "{guest} wrote to its read-only disk");
    }
    drop(target);
    assert!(read(&disk) == before, "the disk has changed");
}

#[test]
fn a_guest_has_its_disks_in_the_order_of_the_configuration() {
    let scene = Scene::new("several-disks");
    let web = Guest::debian("web", &[0]).disk("c").disk("a").read_only_disk("b").memory("96M");
    let bundle = Some(scene.bundle(&[web]));
    let partitions = [("a", 3), ("b", 5), ("c", 7)].map(|(name, mib)| Partition::empty(name, mib));
    let (disk, _) = scene.disk(&partitions);
    let qemu = Qemu { bundle, disk: Some(disk), ..Qemu::default() };
    let mut target = Target::start(qemu.board(), &["web"]);
    target.prompt("web");
    let sizes = target.shell("web", "cat /sys/block/vd[abc]/size | tr '\\n' ' '");
    assert_eq!(sizes.trim(), format!("{} {} {}", 7 << 11, 3 << 11, 5 << 11));
    assert_eq!(target.shell("web", "cat /sys/block/vd[abc]/serial"), "cab");
    assert_eq!(target.shell("web", "cat /sys/block/vd[abc]/ro | tr '\\n' ' '").trim(), "0 0 1");
}

#[test]
fn what_a_guest_writes_lands_in_its_partition_and_nowhere_else() {
    let scene = Scene::new("partition");
    let partitions =
        [Partition::empty("before", 4), Partition::empty("mine", 4), Partition::empty("behind", 4)];
    let (disk, made) = scene.disk(&partitions);
    let before = read(&disk);
    let bundle = Some(scene.bundle(&[Guest::debian("web", &[0]).disk("mine")]));
    let qemu = Qemu { bundle, disk: Some(disk.clone()), ..Qemu::default() };
    let mut target = Target::start(qemu.board(), &["web"]);
    target.prompt("web");
    // dd ends at the end of the disk with an error, which is the point.
    let fill =
        "yes tessera | dd of=/dev/vda bs=64k 2>/dev/null; sync; blockdev --getsize64 /dev/vda";
    assert_eq!(target.shell("web", fill), (4 << 20).to_string());
    drop(target);
    let after = read(&disk);
    let (start, end) = (made[1].start as usize, (made[1].start + made[1].bytes) as usize);
    assert!(before[..start] == after[..start] && before[end..] == after[end..]);
    assert!(after[start..end].chunks(8).all(|text| text == b"tessera\n"));
}

#[test]
fn a_partition_that_is_not_there_costs_only_the_guest_that_wants_it() {
    let scene = Scene::new("no-partition");
    let guests = [
        Guest::probe("web", &[0]).disk("wbe").bootargs("probe.only=ids"),
        Guest::probe("db", &[1]).disk("db").bootargs("probe.only=ids"),
    ];
    let (disk, _) = scene.disk(&[Partition::empty("web", 2), Partition::empty("db", 2)]);
    let bundle = Some(scene.bundle(&guests));
    let qemu = Qemu { bundle, disk: Some(disk), ..Qemu::default() };
    let mut target = Target::start(qemu.board(), &["db"]);
    let problem = target.line("tessera", "web/disk-0/partition:");
    assert!(problem.contains("wbe") && problem.contains("\"web\", \"db\""), "{problem}");
    target.expect("db", "PROBE-DONE");
}

#[test]
fn a_partition_that_is_given_twice_by_different_names_has_the_first_guest() {
    let scene = Scene::new("partition-twice");
    let (disk, made) = scene.disk(&[Partition::empty("web", 2)]);
    let by_id = format!("PARTUUID={}", made[0].partuuid);
    let bundle = Some(scene.bundle(&[
        Guest::probe("web", &[0]).disk("web").bootargs("probe.only=ids"),
        Guest::probe("db", &[1]).disk(&by_id),
    ]));
    let qemu = Qemu { bundle, disk: Some(disk), ..Qemu::default() };
    let mut target = Target::start(qemu.board(), &["web"]);
    let problem = target.line("tessera", "db");
    assert!(problem.contains("web") || problem.contains("guest 0"), "{problem}");
    target.expect("web", "PROBE-DONE");
    assert!(!target.said("tessera").contains("db: 1 vCPU"));
}
