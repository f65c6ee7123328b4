//! What cannot work is said, with what to do about it, and the board ends with a failure.

use std::path::{Path, PathBuf};

use tessera_system_tests::artefacts::{Artefact, read};
use tessera_system_tests::config::dts;
use tessera_system_tests::scene::try_bundle;
use tessera_system_tests::{Boot, GICV3, Guest, Machine, Qemu, Scene, Target, tests};

tests! {
    GICV3:
        without_a_bundle_the_message_says_how_to_make_one,
        an_initrd_that_is_no_bundle_is_told_from_one,
        a_truncated_bundle_is_refused_wherever_it_ends,
        a_damaged_configuration_is_refused,
        a_damaged_kernel_costs_only_its_own_guest,
        a_damaged_file_of_a_group_costs_only_its_members,
        a_file_that_does_not_fit_its_groups_region_is_refused_with_its_line,
        entered_without_el2_the_message_says_how_to_get_it,
        memory_that_the_board_does_not_have_costs_only_its_own_guest,
        a_board_on_which_no_guest_can_start_ends_with_a_failure,
        what_is_wrong_in_a_configuration_is_said_with_its_line,
        a_bundle_is_listed_by_other_tools;
}

fn probe() -> Guest {
    Guest::probe("web", &[0]).bootargs("probe.only=ids")
}

/// Starts a board that has to end with a failure, and returns Tessera's line with `what`.
#[track_caller]
fn refused(machine: Machine, boot: &Boot, what: &str) -> String {
    let qemu = Qemu { semihosting: true, ..Qemu::new(machine) };
    let mut target = Target::start(qemu.board(boot), &[]);
    let line = target.line("tessera", what);
    let status = target.end();
    assert_eq!(status, 1, "the exit status tells of no failure");
    line
}

fn with(bundle: impl Into<PathBuf>) -> Boot {
    Boot { bundle: Some(bundle.into()), disk: None }
}

/// Where `part` is in `whole`.
#[track_caller]
fn position(whole: &[u8], part: &[u8]) -> usize {
    whole.windows(part.len()).position(|window| window == part).expect("it is in there")
}

fn without_a_bundle_the_message_says_how_to_make_one(machine: Machine) {
    let line = refused(machine, &Boot::default(), "no bundle");
    assert!(line.contains("cargo xtask bundle"), "{line}");
}

fn an_initrd_that_is_no_bundle_is_told_from_one(machine: Machine) {
    let line = refused(machine, &with(Artefact::Ramdisk.path()), "bundle");
    assert!(line.contains("cargo xtask bundle"), "{line}");
}

fn a_truncated_bundle_is_refused_wherever_it_ends(machine: Machine) {
    let scene = Scene::new(machine, "truncated");
    let whole = read(&scene.bundle(&[probe()]));
    for length in [100, whole.len() / 2, whole.len() - 1] {
        let bundle = scene.file("truncated.itb", &whole[..length]);
        let line = refused(machine, &with(bundle), "bundle:");
        assert!(line.contains("truncated") || line.contains("bytes"), "{line}");
    }
}

fn a_damaged_configuration_is_refused(machine: Machine) {
    let scene = Scene::new(machine, "bad-config");
    let mut bytes = read(&scene.bundle(&[probe()]));
    let at = position(&bytes, b"probe.only=ids");
    bytes[at] ^= 0x20;
    let line = refused(machine, &with(scene.file("damaged.itb", &bytes)), "bundle:");
    assert!(line.contains("config") && line.contains("sha256"), "{line}");
}

fn a_damaged_kernel_costs_only_its_own_guest(machine: Machine) {
    let scene = Scene::new(machine, "bad-hash");
    let rogue = Guest::rogue("web", &[0]);
    let db = Guest::probe("db", &[1]).bootargs("probe.only=ids");
    let mut bytes = read(&scene.bundle(&[rogue, db]));
    let at = position(&bytes, &Artefact::Rogue.bytes()[..4096]);
    bytes[at + 2048] ^= 1;
    let boot = with(scene.file("damaged.itb", &bytes));
    let mut target = Target::start(machine.board(&boot), &["db"]);
    let line = target.line("tessera", "sha256");
    assert!(line.contains("rogue.img"), "{line}");
    target.line("db", "PROBE-DONE");
    assert!(!target.said("tessera").contains("web: 1 vCPU"));
}

/// A guest in a group whose region begins with `bytes`, and one in none.
fn with_a_region(scene: &Scene, bytes: &[u8]) -> [Guest; 2] {
    let initial = scene.file("data", bytes).display().to_string();
    let group = format!("size = \"64K\"; initial = \"{initial}\";");
    let db = Guest::probe("db", &[1]).bootargs("probe.only=ids");
    [probe().group("ring", &["web"], &group), db]
}

fn a_damaged_file_of_a_group_costs_only_its_members(machine: Machine) {
    let scene = Scene::new(machine, "bad-region");
    let data: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let mut bytes = read(&scene.bundle(&with_a_region(&scene, &data)));
    let at = position(&bytes, &data);
    bytes[at + 4999] ^= 1;
    let boot = with(scene.file("damaged.itb", &bytes));
    let mut target = Target::start(machine.board(&boot), &["db"]);
    let line = target.line("tessera", "sha256");
    assert!(line.contains("data"), "{line}");
    let line = target.line("tessera", "ring/initial: ");
    assert!(line.contains("data is not in the bundle, or is damaged"), "{line}");
    target.line("tessera", "web: is left out, for its group `ring` is");
    target.line("db", "PROBE-DONE");
    assert!(!target.said("tessera").contains("web: 1 vCPU"));
}

fn a_file_that_does_not_fit_its_groups_region_is_refused_with_its_line(machine: Machine) {
    let scene = Scene::new(machine, "long-region");
    let fits = dts(&with_a_region(&scene, &[1; 64 << 10]));
    scene.bundle_of(&scene.file("fits.dts", fits.as_bytes()));
    let long = dts(&with_a_region(&scene, &[1; (64 << 10) + 1]));
    let said = not_packed(&scene, &long);
    let place =
        format!("refused.dts:{}: ring/initial: 65537 bytes do not fit", line_of(&long, "initial"));
    assert!(said.contains(&place), "{said}");
}

fn entered_without_el2_the_message_says_how_to_get_it(machine: Machine) {
    for options in ["virt,gic-version=3", "virt,gic-version=2"] {
        let qemu = Qemu { machine: options.into(), ..Qemu::new(machine) };
        let mut target = Target::start(qemu.board(&Boot::default()), &[]);
        target.line("tessera", "entered at EL1");
        target.line("tessera", "virtualization=on");
        target.end();
    }
}

fn memory_that_the_board_does_not_have_costs_only_its_own_guest(machine: Machine) {
    let scene = Scene::new(machine, "memory");
    let web = Guest::probe("web", &[0]).memory("4G");
    let db = Guest::probe("db", &[1]).bootargs("probe.only=ids");
    let bundle = scene.bundle(&[web, db]);
    let mut target = Target::start(machine.board(&with(bundle)), &["db"]);
    let line = target.line("tessera", "web/memory:");
    assert!(line.contains('M') || line.contains("MiB"), "{line}");
    target.line("db", "PROBE-DONE");
}

fn a_board_on_which_no_guest_can_start_ends_with_a_failure(machine: Machine) {
    let scene = Scene::new(machine, "nobody");
    let bundle = scene.bundle(&[Guest::probe("web", &[7]).disk("web")]);
    let line = refused(machine, &with(bundle), "no guest can be started");
    assert!(line.contains("configuration"), "{line}");
}

/// Packs what cannot be packed, and returns what is said about it.
#[track_caller]
fn not_packed(scene: &Scene, config: &str) -> String {
    let bundle = scene.path("refused.itb");
    let output = try_bundle(&scene.file("refused.dts", config.as_bytes()), &bundle);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it was packed: {config}");
    assert!(!bundle.exists(), "a bundle was written in spite of: {said}");
    said
}

/// The number, from 1, of the line of `text` that contains `what`.
fn line_of(text: &str, what: &str) -> usize {
    text.lines().position(|line| line.contains(what)).expect("it is in there") + 1
}

fn what_is_wrong_in_a_configuration_is_said_with_its_line(machine: Machine) {
    let scene = Scene::new(machine, "bundle");
    let good = dts(&[probe(), Guest::probe("db", &[1])]);
    let elf = scene.file("kernel.elf", b"\x7fELF and more");
    let kernel = format!("kernel = \"{}\"", Artefact::Probe.path().display());
    for (from, to, word) in [
        ("memory = \"32M\"", "memmory = \"32M\"", "memory"),
        ("memory = \"32M\"", "memory = <32>", "text"),
        ("memory = \"32M\"", "memory = \"4K\"", "memory"),
        ("cpus = <0>", "cpus = <1>", "core 1"),
        ("cpus = <0>", "cpus = <0 3>", "cpus"),
        (&kernel, "kernel = \"nowhere.img\"", "nowhere.img"),
        (&kernel, &format!("kernel = \"{}\"", elf.display()), "ELF"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from} is not in there");
        let said = not_packed(&scene, &bad);
        assert!(said.contains(word), "`{to}`: {said}");
        // The core that two guests claim is said of the second.
        let line = if word == "core 1" { 2 * line_of(&bad, to) } else { line_of(&bad, to) };
        let place = |line: usize| said.contains(&format!("refused.dts:{line}:"));
        assert!(place(line) || word == "core 1", "`{to}` is in line {line}: {said}");
        assert!(said.contains("refused.dts:"), "{said}");
    }
    assert!(not_packed(&scene, "/dts-v1/;\n/ { web { \n").contains("refused.dts:"));
}

fn a_bundle_is_listed_by_other_tools(machine: Machine) {
    let scene = Scene::new(machine, "dumpimage");
    let bundle = scene.bundle(&[probe()]);
    let listed = list(&bundle);
    for word in ["config", "file-1", "AArch64", "sha256"] {
        assert!(listed.contains(word), "{listed}");
    }
}

fn list(bundle: &Path) -> String {
    let output = std::process::Command::new("dumpimage").arg("-l").arg(bundle).output();
    let output = output.expect("dumpimage is among the tools that `cargo xtask setup` installs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
