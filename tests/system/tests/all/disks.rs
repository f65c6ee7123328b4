//! Which disks a guest sees, and what it may do with them.

use tessera_control::Value;
use tessera_system_tests::artefacts::{read, write};
use tessera_system_tests::{
    Boot, DiskFault, EMULATED, EVERY, GICV3, Guest, Machine, Partition, Qemu, Scene, Target, VIRT,
    tests,
};

use crate::{partitions, promises_are_kept, web_and_db};

tests! {
    EVERY:
        a_guest_has_its_disks_in_the_order_of_the_configuration,
        two_guests_write_and_read_back_at_the_same_time;
    EMULATED:
        a_read_only_disk_can_be_read_by_two_guests_and_written_by_none,
        what_a_guest_writes_lands_in_its_partition_and_nowhere_else,
        a_partition_that_is_given_twice_by_different_names_has_the_first_guest,
        a_damaged_partition_table_is_replaced_by_its_backup_and_said_so,
        who_uses_the_disk_is_who_it_interrupts,
        a_board_without_a_disk_starts_the_guests_that_want_none;
    VIRT:
        // A card is made with all partitions that its bundle names.
        a_partition_that_is_not_there_costs_only_the_guest_that_wants_it;
    GICV3:
        a_legacy_disk_of_the_board_serves_as_well,
        a_sector_that_cannot_be_read_is_an_error_of_that_request_alone,
        a_disk_that_falls_silent_is_given_up_while_guests_run;
}

fn a_read_only_disk_can_be_read_by_two_guests_and_written_by_none(machine: Machine) {
    let scene = Scene::new(machine, "read-only");
    let by_label = Guest::debian("web", &[0]).read_only_disk("base");
    scene.bundle(std::slice::from_ref(&by_label));
    let (disk, made) = scene.disk(&[Partition::ext4("base", 16, "shared")]);
    let before = read(&disk);
    let by_id = format!("PARTUUID={}", made[0].partuuid);
    let bundle = Some(scene.bundle(&[by_label, Guest::debian("db", &[1]).read_only_disk(&by_id)]));
    let boot = Boot { bundle, disk: Some(disk.clone()) };
    let mut target = Target::start(machine.board(&boot), &["web", "db"]);
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

fn a_guest_has_its_disks_in_the_order_of_the_configuration(machine: Machine) {
    let scene = Scene::new(machine, "several-disks");
    let web = Guest::debian("web", &[0]).disk("c").disk("a").read_only_disk("b").memory("96M");
    let partitions = [("a", 3), ("b", 5), ("c", 7)].map(|(name, mib)| Partition::empty(name, mib));
    let mut target = scene.start(&[web], &partitions);
    target.prompt("web");
    let sizes = target.shell("web", "cat /sys/block/vd[abc]/size | tr '\\n' ' '");
    assert_eq!(sizes.trim(), format!("{} {} {}", 7 << 11, 3 << 11, 5 << 11));
    assert_eq!(target.shell("web", "cat /sys/block/vd[abc]/serial"), "cab");
    assert_eq!(target.shell("web", "cat /sys/block/vd[abc]/ro | tr '\\n' ' '").trim(), "0 0 1");
}

fn what_a_guest_writes_lands_in_its_partition_and_nowhere_else(machine: Machine) {
    let scene = Scene::new(machine, "partition");
    let partitions =
        [Partition::empty("before", 4), Partition::empty("mine", 4), Partition::empty("behind", 4)];
    let bundle = Some(scene.bundle(&[Guest::debian("web", &[0]).disk("mine")]));
    let (disk, made) = scene.disk(&partitions);
    let before = read(&disk);
    let boot = Boot { bundle, disk: Some(disk.clone()) };
    let mut target = Target::start(machine.board(&boot), &["web"]);
    target.prompt("web");
    // It ends at the end of the disk with an error, which is the point.
    let fill = "tr '\\0' T </dev/zero 2>/dev/null >/dev/vda; sync; blockdev --getsize64 /dev/vda";
    assert_eq!(target.shell("web", fill), (4 << 20).to_string());
    drop(target);
    let after = read(&disk);
    let (start, end) = (made[1].start as usize, (made[1].start + made[1].bytes) as usize);
    assert!(before[..start] == after[..start] && before[end..] == after[end..]);
    assert!(after[start..end].iter().all(|&byte| byte == b'T'));
}

fn a_partition_that_is_not_there_costs_only_the_guest_that_wants_it(machine: Machine) {
    let scene = Scene::new(machine, "no-partition");
    let guests = [
        Guest::probe("web", &[0]).disk("wbe").bootargs("probe.only=ids"),
        Guest::probe("db", &[1]).disk("db").bootargs("probe.only=ids"),
    ];
    let partitions = [Partition::empty("web", 2), Partition::empty("db", 2)];
    let mut target = scene.start_only(&["db"], &guests, &partitions);
    let problem = target.line("tessera", "web/disk-0/partition:");
    assert!(problem.contains("wbe") && problem.contains("\"web\", \"db\""), "{problem}");
    target.expect("db", "PROBE-DONE");
}

fn a_partition_that_is_given_twice_by_different_names_has_the_first_guest(machine: Machine) {
    let scene = Scene::new(machine, "partition-twice");
    let by_label = Guest::probe("web", &[0]).disk("web").bootargs("probe.only=ids");
    scene.bundle(std::slice::from_ref(&by_label));
    let (disk, made) = scene.disk(&[Partition::empty("web", 2)]);
    let by_id = format!("PARTUUID={}", made[0].partuuid);
    let bundle = Some(scene.bundle(&[by_label, Guest::probe("db", &[1]).disk(&by_id)]));
    let boot = Boot { bundle, disk: Some(disk) };
    let mut target = Target::start(machine.board(&boot), &["web"]);
    let problem = target.line("tessera", "db");
    assert!(problem.contains("web") || problem.contains("guest 0"), "{problem}");
    target.expect("web", "PROBE-DONE");
    assert!(!target.said("tessera").contains("db: 1 vCPU"));
}

fn two_guests_write_and_read_back_at_the_same_time(machine: Machine) {
    let scene = Scene::new(machine, "both-write");
    let mut target = scene.start(&web_and_db(), &partitions());
    let work = "for n in 1 2 3 4; do \
        dd if=/dev/urandom of=/mnt/$n bs=256k count=12 2>/dev/null; md5sum /mnt/$n >/tmp/sum; \
        sync; echo 3 >/proc/sys/vm/drop_caches; md5sum -c /tmp/sum >/dev/null || echo BAD; \
        rm /mnt/$n; done; echo WORK-DO''NE\n";
    for guest in ["web", "db"] {
        target.prompt(guest);
        target.send(work);
    }
    for guest in ["web", "db"] {
        target.line(guest, "WORK-DONE");
        assert!(!target.said(guest).contains("BAD\n"), "{guest} read what it did not write");
        let log =
            target.shell(guest, "dmesg | grep -E 'I/O error|EXT4-fs (error|warning)' || true");
        assert_eq!(log, "");
    }
}

fn who_uses_the_disk_is_who_it_interrupts(machine: Machine) {
    let scene = Scene::new(machine, "interrupted");
    // The one that has no disk has the core that Tessera was started on.
    let guests = [Guest::debian("web", &[0]), Guest::debian("db", &[1]).disk("db")];
    let mut target = scene.start(&guests, &[Partition::ext4("db", 16, "db")]);
    for guest in ["web", "db"] {
        target.prompt(guest);
    }
    target.shell("web", "(while :; do :; done) & true");
    let write = "(while :; do dd if=/dev/zero of=/mnt/f bs=4k count=64 conv=fsync 2>/dev/null; done) & true";
    target.shell("db", write);
    let device = |load: &[Value], name| {
        let row = load.iter().find(|row| row["record"] == "exits" && row["name"] == name);
        row.and_then(|row| row["device"].as_u64()).expect("`top` counts the exits of each guest")
    };
    // What is counted in a second depends on the host; a few interrupts are of the console's UART.
    let (mut web, mut db) = (0, 0);
    for _ in 0..60 {
        let load = target.ask("top");
        web += device(&load, "web");
        db += device(&load, "db");
        if web + db > 200 {
            break;
        }
    }
    assert!(web < db / 4, "{web} interrupts of devices on web's core, {db} on db's");
}

fn a_legacy_disk_of_the_board_serves_as_well(machine: Machine) {
    let scene = Scene::new(machine, "legacy");
    let (disk, _) = scene.disk(&[Partition::ext4("web", 16, "old but good")]);
    let bundle = Some(scene.bundle(&[Guest::debian("web", &[1]).disk("web")]));
    let qemu = Qemu { legacy_disk: true, ..Qemu::new(machine) };
    let boot = Boot { bundle, disk: Some(disk) };
    let mut target = Target::start(qemu.board(&boot), &["web"]);
    target.prompt("web");
    assert_eq!(target.shell("web", "cat /mnt/marker"), "old but good");
    target.shell("web", "cp /bin/busybox /mnt && sync && echo 3 >/proc/sys/vm/drop_caches");
    target.shell("web", "cmp /bin/busybox /mnt/busybox");
}

fn a_sector_that_cannot_be_read_is_an_error_of_that_request_alone(machine: Machine) {
    let scene = Scene::new(machine, "bad-sector");
    let bundle = Some(scene.bundle(&[Guest::debian("web", &[0]).disk("web")]));
    let (disk, made) = scene.disk(&[Partition::empty("web", 8)]);
    let bad = (made[0].start + (4 << 20)) / 512;
    let qemu = Qemu { fault: Some(DiskFault::Unreadable(bad)), ..Qemu::new(machine) };
    let mut target = Target::start(qemu.board(&Boot { bundle, disk: Some(disk) }), &["web"]);
    target.prompt("web");
    let read = |target: &mut Target, mib: u32| {
        let dd = format!("dd if=/dev/vda of=/dev/null bs=1M count=1 skip={mib} 2>&1");
        target.try_shell("web", &dd)
    };
    assert_eq!(read(&mut target, 3).0, 0);
    let (status, said) = read(&mut target, 4);
    assert!(status != 0 && said.contains("rror"), "{said}");
    target.line("tessera", "the disk failed a request of web");
    assert_eq!(read(&mut target, 5).0, 0, "the sectors behind it can be read");
}

fn a_disk_that_falls_silent_is_given_up_while_guests_run(machine: Machine) {
    let scene = Scene::new(machine, "silent");
    let guests = [Guest::debian("web", &[0]).disk("web"), Guest::debian("db", &[1])];
    let bundle = Some(scene.bundle(&guests));
    let (disk, _) = scene.disk(&[Partition::empty("web", 32)]);
    let qemu = Qemu { fault: Some(DiskFault::SilentAfter(8 << 20)), ..Qemu::new(machine) };
    let boot = Boot { bundle, disk: Some(disk) };
    let mut target = Target::start(qemu.board(&boot), &["web", "db"]);
    target.prompt("web");
    target.prompt("db");
    target.focus("web");
    // Nobody waits for the disk but the guest's own request.
    let (status, said) = target.try_shell("web", "dd if=/dev/vda of=/dev/null bs=1M 2>&1");
    assert!(status != 0 && said.contains("rror"), "{said}");
    target.line("tessera", "the disk answers no more");
    assert_eq!(target.shell("db", "echo still'' here"), "still here");
    let (status, _) = target.try_shell("web", "dd if=/dev/vda of=/dev/null count=1 skip=60000");
    assert_ne!(status, 0, "a disk that was given up is asked again");
}

fn a_damaged_partition_table_is_replaced_by_its_backup_and_said_so(machine: Machine) {
    let scene = Scene::new(machine, "backup-table");
    let guest = Guest::probe("web", &[0]).disk("web").bootargs("probe.only=disk");
    let bundle = Some(scene.bundle(&[guest]));
    let (disk, _) = scene.disk(&[Partition::empty("web", 2)]);
    let mut bytes = read(&disk);
    bytes[512..1024].fill(0xee);
    write(&disk, &bytes);
    let boot = Boot { bundle, disk: Some(disk) };
    let mut target = Target::start(machine.board(&boot), &["web"]);
    target.line("tessera", "backup");
    promises_are_kept(&mut target, "web");
}

fn a_board_without_a_disk_starts_the_guests_that_want_none(machine: Machine) {
    let scene = Scene::new(machine, "no-disk");
    let web = Guest::probe("web", &[0]).disk("web");
    let db = Guest::probe("db", &[1]).bootargs("probe.only=ids");
    let mut target = scene.start_only(&["db"], &[web, db], &[]);
    let problem = target.line("tessera", "web");
    assert!(problem.contains("disk"), "{problem}");
    target.line("db", "PROBE-DONE");
}
