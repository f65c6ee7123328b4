//! A Debian guest `db` that works, and whose work is checked: what the other guest does must not be seen in it.

use crate::machine::Machine;
use crate::target::Target;

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

/// The number of `key=N` in a line.
#[track_caller]
pub fn number(line: &str, key: &str) -> u64 {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let value = value.unwrap_or_else(|| panic!("no {key}= in `{line}`"));
    value.parse().unwrap_or_else(|_| panic!("{key}={value} is no number"))
}
