use std::process::Command;

use super::*;

/// A directory with a kernel and a ramdisk, removed with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tessera-bundle-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let place = Self(path);
        place.put("vmlinuz", &kernel());
        place.put("initrd.img", b"070701 a ramdisk");
        place
    }

    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn build(&self, dts: &str) -> Result<Vec<u8>> {
        let config = self.put("tessera.dts", dts.as_bytes());
        let out = self.0.join("tessera.itb");
        build(&config, &out, Path::new("dtc"))?;
        Ok(fs::read(out)?)
    }

    /// The error of a configuration, without the directory's name.
    #[track_caller]
    fn error(&self, dts: &str) -> String {
        let error = self.build(dts).expect_err("refused").to_string();
        error.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kernel() -> Vec<u8> {
    let mut kernel = vec![0; 8192];
    kernel[16..24].copy_from_slice(&(1u64 << 20).to_le_bytes());
    kernel[56..60].copy_from_slice(b"ARM\x64");
    kernel[4096..].fill(7);
    kernel
}

/// A configuration with the guests' bodies.
fn dts(guests: &[(&str, &str)]) -> String {
    let mut text = String::from("/dts-v1/;\n/ {\n\tcompatible = \"tessera,config\";\n");
    for (name, body) in guests {
        writeln!(text, "\t{name} {{\n\t\tcompatible = \"tessera,vm\";\n{body}\t}};").unwrap();
    }
    text + "};\n"
}

fn body(core: u32, more: &str) -> String {
    format!(
        "\t\tvcpus = <1>; cpus = <{core}>;\n\t\tmemory = \"64M\";\n\t\tkernel = \"vmlinuz\";\n{more}"
    )
}

#[test]
fn a_bundle_has_the_configuration_and_each_content_once() {
    let place = Place::new("once");
    place.put("same", &kernel());
    let a = body(0, "\t\tramdisk = \"initrd.img\";\n\t\tdisk { partition = \"a\"; };\n");
    let b = body(1, "").replace("vmlinuz", "same");
    let blob = place.build(&dts(&[("a", &a), ("b", &b)])).unwrap();
    let bundle = Bundle::parse(&blob).unwrap();
    assert_eq!(bundle.files().count(), 3);
    let config = config::parse(&bundle.config().unwrap());
    assert_eq!((config.vms.len(), config.problems.len()), (2, 0));
    let data = |name| bundle.file(name).unwrap().data().to_vec();
    assert_eq!(data("vmlinuz"), kernel());
    assert_eq!(data("same"), kernel());
    assert_eq!(data("initrd.img"), b"070701 a ramdisk");
    assert_eq!(bundle.file("same").unwrap().name(), "vmlinuz");
    assert_eq!(place.build(&dts(&[("a", &a), ("b", &b)])).unwrap(), blob, "the same every time");
    let left = fs::read_dir(&place.0).unwrap().count();
    assert_eq!(left, 5, "no temporary file is left");
}

#[test]
fn dumpimage_lists_a_bundle() {
    let place = Place::new("dumpimage");
    place.build(&dts(&[("web", &body(0, "\t\tramdisk = \"initrd.img\";\n"))])).unwrap();
    let output =
        Command::new("dumpimage").arg("-l").arg(place.0.join("tessera.itb")).output().unwrap();
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).unwrap();
    for word in ["Tessera bundle", "vmlinuz", "initrd.img", "sha256", "guest web", "AArch64"] {
        assert!(list.contains(word), "no {word} in:\n{list}");
    }
}

#[test]
fn gzip_kernels_are_unpacked_to_see_that_they_can_be() {
    let place = Place::new("gzip");
    let gzip = Command::new("gzip").arg("-k").arg(place.0.join("vmlinuz")).status().unwrap();
    assert!(gzip.success());
    let config = dts(&[("web", &body(0, "").replace("vmlinuz", "vmlinuz.gz"))]);
    let blob = place.build(&config).unwrap();
    let file = Bundle::parse(&blob).unwrap().file("vmlinuz.gz").unwrap();
    assert_eq!(file.compression(), tessera_core::bundle::Compression::Gzip);

    let mut spoiled = fs::read(place.0.join("vmlinuz.gz")).unwrap();
    let crc = spoiled.len() - 8;
    spoiled[crc] ^= 1;
    place.put("vmlinuz.gz", &spoiled);
    let error = place.error(&config);
    assert!(error.contains("tessera.dts:8: web/kernel: vmlinuz.gz: its content is not"), "{error}");
    // Nor is the length believed that it claims.
    spoiled[crc..].fill(0xff);
    place.put("vmlinuz.gz", &spoiled);
    let error = place.error(&config);
    assert!(error.contains("web/kernel: vmlinuz.gz: its content is not"), "{error}");
    assert!(!error.contains("web/memory"), "{error}");
}

#[test]
fn problems_name_file_and_line_and_show_them() {
    let place = Place::new("lines");
    let web = body(1, "\t\tmemmory = \"1G\";\n");
    let db = body(1, "\t\tdisk {\n\t\t\tpartition = <1>;\n\t\t};\n")
        .replace("1>;\n", "1>; ramdisk = \"x\";\n");
    let error = place.error(&dts(&[("web", &web), ("db", &db)]));
    let want = r#"the configuration has 3 problems
tessera.dts:9: web/memmory: is unknown; did you mean `memory`?
  9 | ..memmory = "1G";
    | ..^^^^^^^^^^^^^^^
tessera.dts:17: db/disk/ramdisk: is unknown; known are `partition`, `read-only`
  17 | ...partition = <1>; ramdisk = "x";
     | ...                 ^^^^^^^^^^^^^^
tessera.dts:17: db/disk/partition: is not a text of up to 255 characters; write partition = "…"
  17 | ...partition = <1>; ramdisk = "x";
     | ...^^^^^^^^^^^^^^^^"#;
    assert_eq!(error.replace('\t', "."), want);
}

#[test]
fn what_is_missing_is_shown_at_its_node() {
    let place = Place::new("missing");
    let error =
        place.error(&dts(&[("web", "\t\tvcpus = <1>; cpus = <0>; kernel = \"vmlinuz\";\n")]));
    assert!(error.contains("tessera.dts:4: web/memory: is missing"), "{error}");
}

#[test]
fn files_that_are_missing_or_no_kernels_are_named() {
    let place = Place::new("files");
    place.put("bzImage", b"MZ\0\0zimg");
    let of = |kernel: &str| dts(&[("web", &body(0, "").replace("vmlinuz", kernel))]);
    let error = place.error(&of("nowhere/vmlinuz"));
    let want = "tessera.dts:8: web/kernel: cannot read nowhere/vmlinuz: no such file or directory";
    assert!(error.contains(want), "{error}");
    let error = place.error(&of("bzImage"));
    assert!(error.contains("tessera.dts:8: web/kernel: bzImage: an EFI zboot kernel"), "{error}");
    place.put("short", &kernel()[..60]);
    let error = place.error(&of("short"));
    assert!(error.contains("web/kernel: short: truncated: 60 of 64 bytes"), "{error}");
    place.put("empty", b"");
    let error = place.error(&of("empty"));
    assert!(error.contains("web/kernel: empty is empty"), "{error}");
    let small = dts(&[("web", &body(0, "").replace("64M", "1M"))]);
    let error = place.error(&small);
    assert!(
        error.contains("tessera.dts:7: web/memory: kernel, ramdisk and device tree"),
        "{error}"
    );
}

#[test]
fn a_syntax_error_is_dtcs_own_with_file_and_line() {
    let place = Place::new("syntax");
    let error = place.error("/dts-v1/;\n/ {\n\tweb { vcpus = <2> };\n};\n");
    assert!(error.contains("tessera.dts:3.20-21 syntax error"), "{error}");
    let error = place.error("");
    assert!(error.contains("tessera.dts:0.0 syntax error"), "{error}");
}

#[test]
fn a_failed_build_leaves_the_old_bundle_alone() {
    let place = Place::new("atomic");
    let blob = place.build(&dts(&[("web", &body(0, ""))])).unwrap();
    place.error(&dts(&[("web", &body(0, "\t\tnonsense;\n"))]));
    assert_eq!(fs::read(place.0.join("tessera.itb")).unwrap(), blob);
}

#[test]
fn included_files_are_named_as_what_they_are() {
    let place = Place::new("include");
    place.put("guest.dtsi", b"\t\tmemory = \"12\";\n\t\tvcpus = <1>;\n\t\tcpus = <0>;\n");
    let web = "\t\t/include/ \"guest.dtsi\"\n\t\tkernel = \"vmlinuz\";\n";
    let error = place.error(&dts(&[("web", web)]));
    assert!(error.contains("guest.dtsi:1: web/memory: \"12\" is not a size"), "{error}");
}
