//! `cargo xtask hil`: the tests run on a board that is known by its serial port and its power switch only.
//!
//! The board is a stand-in: QEMU behind a pseudo-terminal, started and killed by a script, as `stand-in/board` says.

use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use tessera_system_tests::artefacts::{read, root, run, xtask};
use tessera_system_tests::{GICV3, Machine, RASPI4B, Scene, qemu, tests};

tests! {
    RASPI4B:
        the_sample_the_probe_and_a_reboot_run_on_a_board_behind_a_serial_port;
    GICV3:
        a_board_that_cannot_be_tested_is_refused_with_what_to_do;
}

/// How long a program may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program that keeps the serial port, and the board that may still be on when a test fails.
struct Cable<'a> {
    program: Child,
    directory: &'a Path,
}

impl<'a> Cable<'a> {
    fn plug(directory: &'a Path) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_serial-cable")).arg(directory).spawn();
        let cable = Self { program: program.expect("the cable's program starts"), directory };
        let end = Instant::now() + PATIENCE;
        while !directory.join("tty").exists() {
            assert!(Instant::now() < end, "there is no serial port");
            thread::sleep(Duration::from_millis(20));
        }
        cable
    }
}

impl Drop for Cable<'_> {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &switch(self.directory, "off")]).status();
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn switch(directory: &Path, what: &str) -> String {
    let program = root().join("tests/system/stand-in/board");
    format!("'{}' '{}' {what}", program.display(), directory.display())
}

fn the_sample_the_probe_and_a_reboot_run_on_a_board_behind_a_serial_port(machine: Machine) {
    let scene = Scene::new(machine, "shelf");
    // The board is QEMU, whoever starts it.
    let _turn = qemu::take_turn();
    let directory = scene.path("");
    let _cable = Cable::plug(&directory);
    for test in [
        "sample::both_debian_guests_reach_their_shell_and_see_just_their_own_cpus_ram_and_disk",
        "probe::every_promise_is_kept",
        "reboots::what_was_written_and_synced_is_there_after_a_reboot_and_in_no_other_guests_disk",
    ] {
        let report = scene.path("junit.xml");
        let mut hil = xtask();
        hil.arg("hil").arg("--serial").arg(scene.path("tty")).arg("--junit").arg(&report);
        hil.args(["--power-on", &switch(&directory, "on")]);
        hil.args(["--power-off", &switch(&directory, "off")]);
        run(hil.args(["--flash", &switch(&directory, "flash"), test]));
        let report = String::from_utf8(read(&report)).expect("XML is text");
        let sum = r#"<testsuite name="rpi4" tests="1" skipped="0" errors="0" failures="0">"#;
        let (file, sentence) = test.split_once("::").expect("it has a file");
        let case = format!(r#"<testcase name="{sentence}" classname="system::{file}" time=""#);
        assert!(report.contains(sum) && report.contains(&case), "{report}");
    }
}

/// Runs `cargo xtask hil` with no terminal and these arguments.
fn hil(arguments: &[&str]) -> Output {
    let mut hil = xtask();
    hil.arg("hil").args(arguments).stdin(std::process::Stdio::null());
    hil.output().expect("xtask can be run")
}

fn a_board_that_cannot_be_tested_is_refused_with_what_to_do(machine: Machine) {
    let scene = Scene::new(machine, "no-shelf");
    let directory = scene.path("");
    let _cable = Cable::plug(&directory);
    let tty = directory.join("tty").display().to_string();
    for (arguments, words) in [
        (["--serial", "/dev/ttyNONE", "--power-on", "true"], "is the adapter plugged in?"),
        (["--serial", "/dev/null", "--power-on", "true"], "/dev/null is no serial port"),
        (["--serial", &tty, "--power-on", "true"], "no --power-off and no --flash was given"),
        (["--serial", &tty, "--board", "rpi9"], "there is no platform `rpi9`"),
    ] {
        let output = hil(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{arguments:?}: {said}");
    }
}
