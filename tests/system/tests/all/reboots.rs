//! Guests that stop, start again or crash, each alone.

use crate::{partitions, web_and_db};
use tessera_system_tests::checksums::{check_checksums, start_checksums};
use tessera_system_tests::{EMULATED, EVERY, Machine, Scene, VIRT, tests};

tests! {
    EVERY:
        what_was_written_and_synced_is_there_after_a_reboot_and_in_no_other_guests_disk,
        one_guest_computes_undisturbed_while_the_other_reboots_ten_times,
        a_guest_that_resets_amid_its_disk_traffic_harms_neither_its_disk_nor_the_other;
    EMULATED:
        a_guest_that_powers_off_leaves_the_other_and_the_last_one_turns_the_board_off;
    VIRT:
        a_guest_whose_kernel_panics_starts_again_alone;
}

fn what_was_written_and_synced_is_there_after_a_reboot_and_in_no_other_guests_disk(
    machine: Machine,
) {
    let scene = Scene::new(machine, "reboot");
    let mut target = scene.start(&web_and_db(), &partitions());
    target.prompt("web");
    target.shell("web", "echo kept >/mnt/note && md5sum /bin/busybox >/mnt/sum && sync");
    target.send("reboot -f\n");
    target.line("tessera", "web starts anew");
    target.line("web", "GUEST-READY web");
    target.prompt("web");
    assert_eq!(target.shell("web", "cat /mnt/note"), "kept");
    target.shell("web", "md5sum -c /mnt/sum");
    target.prompt("db");
    let (status, _) = target.try_shell("db", "test -e /mnt/note");
    assert_eq!(status, 1, "db sees web's file");
    assert_eq!(target.said("db").matches("GUEST-READY").count(), 1);
}

fn one_guest_computes_undisturbed_while_the_other_reboots_ten_times(machine: Machine) {
    let scene = Scene::new(machine, "reboots");
    let [web, db] = web_and_db();
    let mut target = scene.start(&[web.bootargs("t.end=reboot"), db], &partitions());
    start_checksums(machine, &mut target);
    for _ in 0..=10 {
        target.line("web", "GUEST-READY web cpus=2 ");
    }
    check_checksums(&mut target);
    assert!(target.said("tessera").matches("web starts anew").count() >= 10);
}

fn a_guest_that_resets_amid_its_disk_traffic_harms_neither_its_disk_nor_the_other(
    machine: Machine,
) {
    let scene = Scene::new(machine, "traffic");
    let [web, db] = web_and_db();
    // Reads and writes are under way, and a vCPU is in each, when the reset comes; no sync.
    let script = "dd if=/dev/vda of=/dev/null bs=1M & \
                  (while :; do dd if=/dev/zero of=/mnt/new bs=64k count=64; done) & \
                  usleep 150000; echo b >/proc/sysrq-trigger; sleep 9";
    let mut target = scene.start(&[web.script(script), db], &partitions());
    start_checksums(machine, &mut target);
    for _ in 0..5 {
        target.line("web", "GUEST-READY web cpus=2 ");
    }
    check_checksums(&mut target);
    assert!(!target.said("web").contains("cannot mount"), "{}", target.said("web"));
}

fn a_guest_whose_kernel_panics_starts_again_alone(machine: Machine) {
    let scene = Scene::new(machine, "panic");
    let [web, db] = web_and_db();
    let mut target = scene.start(&[web.bootargs("panic=1"), db], &partitions());
    start_checksums(machine, &mut target);
    target.prompt("web");
    target.send("echo c >/proc/sysrq-trigger\n");
    target.line("tessera", "web starts anew");
    target.line("web", "GUEST-READY web");
    check_checksums(&mut target);
}

fn a_guest_that_powers_off_leaves_the_other_and_the_last_one_turns_the_board_off(machine: Machine) {
    let scene = Scene::new(machine, "poweroff");
    let mut target = scene.start(&web_and_db(), &partitions());
    target.prompt("web");
    target.send("poweroff -f\n");
    target.line("tessera", "web stopped: it switched itself off");
    target.prompt("db");
    assert_eq!(target.shell("db", "cat /mnt/marker"), "this is db");
    target.send("sync; poweroff -f\n");
    target.line("tessera", "db stopped: it switched itself off");
    target.line("tessera", "all guests have stopped");
    assert_eq!(target.end(), 0);
}
