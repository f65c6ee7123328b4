//! Guests that stop, start again or crash, each alone.

use crate::{number, partitions, web_and_db};
use tessera_system_tests::{EMULATED, EVERY, Machine, Scene, Target, VIRT, tests};

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

/// Lets `db` check its disk's content over and over, one line a round: `SUM n=N hash`. It leaves the host some time for the
/// other guest, too.
pub fn start_checksums(machine: Machine, target: &mut Target) {
    target.line("db", "GUEST-READY db");
    target.prompt("db");
    // An emulated card is driven word by word, which takes the host's time from the other guest.
    let blocks = if machine.has_a_card() { 4 } else { 32 };
    let make = format!("dd if=/dev/urandom of=/mnt/blob bs=64k count={blocks} 2>/dev/null && sync");
    target.shell("db", &make);
    target.send(
        "n=0; while :; do n=$((n+1)); echo 3 >/proc/sys/vm/drop_caches; \
         set -- $(md5sum /mnt/blob); echo S''UM n=$n $1; usleep 100000; done\n",
    );
    target.line("db", "SUM n=1 ");
}

/// Waits until `db` has gone on by some rounds, and checks that nothing came between since the loop began.
#[track_caller]
pub fn check_checksums(target: &mut Target) {
    let so_far = sums(&target.said("db")).len();
    target.expect("db", &format!("SUM n={} ", so_far + 3));
    let said = target.said("db");
    let sums = sums(&said);
    for (place, line) in sums.iter().enumerate() {
        assert_eq!(number(line, "n"), place as u64 + 1, "a round is missing before `{line}`");
        assert_eq!(line.split(' ').next_back(), sums[0].split(' ').next_back(), "{line}");
    }
    for trouble in ["soft lockup", "rcu:", "Oops", "I/O error", "Kernel panic", "GUEST-READY"] {
        let times = said.matches(trouble).count();
        assert_eq!(times, usize::from(trouble == "GUEST-READY"), "db says `{trouble}`");
    }
}

/// The lines of the loop, those that are whole.
fn sums(said: &str) -> Vec<&str> {
    let lines = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.filter(|line| line.starts_with("SUM n=")).collect()
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
