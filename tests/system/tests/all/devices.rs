//! Devices of a guest beside its disks and its console, with the drivers of a stock kernel.

use tessera_system_tests::{Guest, Machine, Scene, VIRT, tests};

tests! {
    VIRT:
        a_guest_that_feeds_its_watchdog_lives_and_one_that_stops_to_is_reset_alone,
        a_guest_with_a_control_port_stops_its_neighbour_which_has_none;
}

fn a_guest_that_feeds_its_watchdog_lives_and_one_that_stops_to_is_reset_alone(machine: Machine) {
    let scene = Scene::new(machine, "watchdog");
    let web = Guest::debian("web", &[0, 1]).with("watchdog = \"reset\";");
    let mut target = scene.start(&[web, Guest::debian("db", &[2])], &[]);
    target.prompt("web");
    let driver = "cd /sys/class/watchdog/watchdog0; cat identity timeout bootstatus | tr '\\n' ' '";
    assert_eq!(target.shell("web", driver).trim(), "SBSA Generic Watchdog 10 0");
    // Longer than its time.
    let feed = "exec 3>/dev/watchdog; for n in $(seq 15); do echo >&3; sleep 1; done; echo fed";
    assert_eq!(target.shell("web", feed), "fed");
    assert!(!target.said("tessera").contains("starts anew"));
    target.prompt("db");
    let (status, _) = target.try_shell("db", "ls /dev/watchdog /proc/device-tree/watchdog*");
    assert_ne!(status, 0, "db has a watchdog that nobody gave it");
    let why = target.line("tessera", "web starts anew");
    assert!(why.contains("its watchdog was not fed"), "{why}");
    target.line("web", "GUEST-READY web");
    assert_eq!(target.said("db").matches("GUEST-READY").count(), 1);
}

fn a_guest_with_a_control_port_stops_its_neighbour_which_has_none(machine: Machine) {
    let scene = Scene::new(machine, "control-port");
    let web = Guest::debian("web", &[0, 1]).with("control;");
    let mut target = scene.start(&[web, Guest::debian("db", &[2])], &[]);
    // Keys that are typed before there are guests choose none.
    target.prompt("web");
    target.prompt("db");
    let (status, _) = target.try_shell("db", "ls /dev/vport*");
    assert_ne!(status, 0, "db has a port that nobody gave it");
    target.focus("web");
    let open = "name=$(grep -l org.tessera.control /sys/class/virtio-ports/*/name); \
                exec 3<>/dev/$(basename $(dirname $name))";
    target.shell("web", open);
    let ask = |what: &str| format!("echo {what} >&3; read -r answer <&3; echo \"$answer\"");
    let nobody = target.shell("web", &ask("1 vm stop wbe"));
    assert!(nobody.starts_with("{\"id\":1,\"ok\":false"), "{nobody}");
    let stopping = target.shell("web", &ask("2 vm stop db"));
    assert!(stopping.contains("\"name\":\"db\",\"state\":\"stopping\""), "{stopping}");
    let end = "read -r answer <&3; echo \"$answer\"";
    assert_eq!(target.shell("web", end), "{\"id\":2,\"ok\":true}");
    target.line("db", "the power button was pressed");
    target.line("tessera", "db stopped: it switched itself off");
}
