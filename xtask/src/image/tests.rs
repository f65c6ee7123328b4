use std::fs;
use std::os::unix::fs::MetadataExt;

use gpt::mbr::ProtectiveMBR;

use super::card::{SECTOR, Table};
use super::*;
use crate::platform::{CardFile, CardSource};

const MIB: u64 = 1 << 20;

/// A directory that is removed with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tessera-image-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The names of the files, sorted.
    fn list(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Content that is unlike itself everywhere.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn files() -> Vec<fat::File> {
    vec![
        ("config.txt".into(), b"kernel=tessera.img\n".to_vec()),
        ("tessera.itb".into(), noise(300_001, 7)),
        ("bcm2711-rpi-4-b.dtb".into(), noise(27_386, 8)),
        ("overlays/disable-bt.dtbo".into(), noise(1073, 9)),
    ]
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn sizes(sizes: &[(&str, u64)]) -> Vec<(String, u64)> {
    sizes.iter().map(|(name, bytes)| (name.to_string(), *bytes)).collect()
}

/// The boot partition of a card, by the driver of another implementation's table.
fn boot_volume(card: &Path) -> Vec<u8> {
    let bytes = fs::read(card).unwrap();
    let mbr = ProtectiveMBR::from_bytes(&bytes[..512], gpt::disk::LogicalBlockSize::Lb512).unwrap();
    let boot = mbr.partition(0).unwrap();
    let start = boot.lb_start as usize * 512;
    bytes[start..start + boot.lb_size as usize * 512].to_vec()
}

fn read_file(volume: &[u8], name: &str) -> Vec<u8> {
    let mut volume = volume.to_vec();
    let options = fatfs::FsOptions::new();
    let system = fatfs::FileSystem::new(std::io::Cursor::new(&mut volume), options).unwrap();
    assert_eq!(system.fat_type(), fatfs::FatType::Fat32);
    let mut content = Vec::new();
    let mut file = system.root_dir().open_file(name).unwrap();
    std::io::Read::read_to_end(&mut file, &mut content).unwrap();
    content
}

#[test]
fn loaders_find_the_boot_partition_in_the_mbr_and_all_others_find_a_gpt() {
    let place = Place::new("tables");
    let card = place.path("sd.img");
    card::make(&card, &plan(files(), &names(&["web", "db"]), &[], &[]).unwrap()).unwrap();
    let bytes = fs::read(&card).unwrap();
    let mbr = ProtectiveMBR::from_bytes(&bytes[..512], gpt::disk::LogicalBlockSize::Lb512).unwrap();
    let [boot, gpt, none, last] = [0, 1, 2, 3].map(|index| mbr.partition(index).unwrap());
    assert_eq!((boot.os_type, gpt.os_type), (0x0c, 0xee));
    assert_eq!((boot.lb_start, boot.lb_size), (2048, 64 * 2048));
    assert_eq!((gpt.lb_start, gpt.lb_size), (1, 2047), "up to the boot partition");
    assert_eq!((none.os_type, last.os_type), (0, 0));
    let table = Table::read(&card).unwrap();
    let found: Vec<_> =
        table.places.iter().map(|place| (place.name.as_str(), place.start, place.bytes)).collect();
    let wanted =
        [("boot", MIB, 64 * MIB), ("web", 65 * MIB, 64 * MIB), ("db", 129 * MIB, 64 * MIB)];
    assert_eq!(found, wanted);
    for (name, start, _) in &wanted[1..] {
        let magic = *start as usize + 1024 + 56;
        assert_eq!(bytes[magic..magic + 2], [0x53, 0xef], "{name} is ext4");
    }
}

/// The board's own reader of partition tables, on a file.
struct Disk(Vec<u8>);

impl tessera_core::disk::partitions::BlockRead for Disk {
    type Error = &'static str;

    fn sectors(&self) -> u64 {
        self.0.len() as u64 / SECTOR
    }

    fn read(
        &mut self,
        sector: u64,
        into: &mut [tessera_core::disk::Sector],
    ) -> Result<(), Self::Error> {
        let from = (sector * SECTOR) as usize;
        for (sector, bytes) in into.iter_mut().zip(self.0[from..].chunks_exact(512)) {
            sector.0.copy_from_slice(bytes);
        }
        Ok(())
    }
}

#[test]
fn the_board_reads_the_table_as_it_was_meant() {
    let place = Place::new("board");
    let card = place.path("sd.img");
    card::make(&card, &plan(files(), &names(&["web"]), &[], &[]).unwrap()).unwrap();
    let mut disk = Disk(fs::read(&card).unwrap());
    let table = tessera_core::disk::partitions::Partitions::read(&mut disk).unwrap();
    assert!(!table.from_backup);
    let found: Vec<_> = table
        .partitions
        .iter()
        .map(|part| (part.label.as_str(), part.first, part.sectors))
        .collect();
    assert_eq!(found, [("boot", 2048, 64 * 2048), ("web", 65 * 2048, 64 * 2048)]);
}

#[test]
fn the_boot_partition_has_each_file_as_it_was() {
    let place = Place::new("files");
    let card = place.path("sd.img");
    card::make(&card, &plan(files(), &[], &[], &[]).unwrap()).unwrap();
    let mut volume = boot_volume(&card);
    for (name, content) in files() {
        assert!(read_file(&volume, &name) == content, "{name}");
    }
    let mut listed = fat::names(&mut volume).unwrap();
    let mut wanted: Vec<String> = files().into_iter().map(|(name, _)| name).collect();
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted);
}

#[test]
fn a_fat32_volume_has_as_many_clusters_as_make_it_one() {
    for bytes in [fat::LEAST_BYTES, 64 * MIB, 300 * MIB] {
        let volume = fat::volume(bytes, 1, &files()).unwrap();
        let field = |at: usize, length: usize| -> u64 {
            let bytes = volume[at..at + length].iter().rev();
            bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        // Microsoft FAT specification 1.03: BPB_SecPerClus, BPB_RsvdSecCnt, BPB_NumFATs, BPB_TotSec32, BPB_FATSz32.
        let (cluster, reserved, tables) = (field(13, 1), field(14, 2), field(16, 1));
        let (sectors, table) = (field(32, 4), field(36, 4));
        let clusters = (sectors - reserved - tables * table) / cluster;
        assert_eq!(sectors * SECTOR, bytes);
        assert!(clusters >= 65525, "{clusters} clusters in {bytes} bytes are FAT16");
        assert!(table * SECTOR / 4 >= clusters + 2, "the table has an entry for each");
    }
}

#[test]
fn the_image_is_sparse_and_its_size_a_power_of_two() {
    let place = Place::new("sparse");
    let card = place.path("sd.img");
    for (web, all) in [(64 * MIB, 256 * MIB), (512 * MIB, 1 << 30), (8 << 30, 16 << 30)] {
        let partitions = plan(files(), &names(&["web"]), &sizes(&[("web", web)]), &[]).unwrap();
        card::make(&card, &partitions).unwrap();
        let found = card.metadata().unwrap();
        let web = Table::read(&card).unwrap().find("web").unwrap().bytes;
        assert_eq!((found.len() >= web, found.len() <= all), (true, true));
        assert!(found.len().is_power_of_two());
        assert!(found.blocks() * 512 < found.len() / 2, "{} blocks", found.blocks());
    }
}

#[test]
fn an_update_leaves_guests_and_foreign_files_alone_and_a_second_one_changes_nothing() {
    let place = Place::new("update");
    let card = place.path("sd.img");
    let root = place.put("root.img", &noise(3 * MIB as usize, 3));
    let contents = [("web".to_string(), root.clone())];
    card::make(&card, &plan(files(), &names(&["web"]), &[], &contents).unwrap()).unwrap();
    let by_hand = [("start4.elf".to_string(), noise(5000, 4))];
    card::update(&card, BOOT, &by_hand).unwrap();
    let mut newer = files();
    newer[1].1 = noise(2 * MIB as usize, 5);
    newer[2].1 = b"shorter".to_vec();
    let there = card::update(&card, BOOT, &newer).unwrap();
    assert!(there.contains(&"start4.elf".to_string()), "{there:?}");
    let volume = boot_volume(&card);
    for (name, content) in newer.iter().chain(&by_hand) {
        assert!(read_file(&volume, name) == *content, "{name}");
    }
    let web = Table::read(&card).unwrap().find("web").unwrap().clone();
    let once = fs::read(&card).unwrap();
    assert!(once[web.start as usize..][..3 * MIB as usize] == fs::read(&root).unwrap());
    card::update(&card, BOOT, &newer).unwrap();
    assert!(fs::read(&card).unwrap() == once, "a second update changes no byte");
}

#[test]
fn an_update_without_room_says_so_and_writes_nothing() {
    let place = Place::new("room");
    let card = place.path("sd.img");
    card::make(&card, &plan(files(), &[], &sizes(&[("boot", fat::LEAST_BYTES)]), &[]).unwrap())
        .unwrap();
    let before = fs::read(&card).unwrap();
    let large = [("tessera.itb".to_string(), vec![2; 50 * MIB as usize])];
    let error = format!("{:#}", card::update(&card, BOOT, &large).unwrap_err());
    assert!(error.contains("the partition `boot`"), "{error}");
    assert!(error.contains("cannot write tessera.itb, 52428800 bytes"), "{error}");
    assert!(fs::read(&card).unwrap() == before);
    let error = card::update(&card, "other", &[]).unwrap_err().to_string();
    assert!(error.ends_with("sd.img has no partition `other`"), "{error}");
}

#[test]
fn a_failed_image_leaves_the_old_one_and_nothing_else() {
    let place = Place::new("failed");
    let card = place.put("sd.img", b"old");
    let contents = [("web".to_string(), place.put("root.img", b"x"))];
    let partitions = plan(files(), &[], &[], &contents).unwrap();
    fs::remove_file(place.path("root.img")).unwrap();
    let error = format!("{:#}", card::make(&card, &partitions).unwrap_err());
    assert!(error.contains("the partition `web`: cannot open"), "{error}");
    assert_eq!(fs::read(&card).unwrap(), b"old");
    assert_eq!(place.list(), ["sd.img"]);
}

#[test]
fn a_partition_is_as_large_as_its_file_or_as_was_said() {
    let place = Place::new("sizes");
    let root = place.put("root.img", &[1; 1000]);
    let contents = [("web".to_string(), root.clone()), ("more".to_string(), root)];
    let named = names(&["web", "db"]);
    let partitions = plan(files(), &named, &sizes(&[("web", MIB), ("db", 2 * MIB)]), &contents);
    let found: Vec<_> =
        partitions.unwrap().into_iter().map(|part| (part.name, part.bytes)).collect();
    let wanted = sizes(&[("boot", 64 * MIB), ("web", MIB), ("db", 2 * MIB), ("more", 1024)]);
    assert_eq!(found, wanted);
    let error = plan(files(), &named, &sizes(&[("web", 512)]), &contents).unwrap_err().to_string();
    assert!(
        error.ends_with("root.img has 1000 bytes, and the partition `web` only 512"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_made_is_refused_with_a_reason() {
    let none: [(String, PathBuf); 0] = [];
    let error = |named: &[&str], given: &[(&str, u64)]| {
        let planned = plan(files(), &names(named), &sizes(given), &none);
        let made =
            planned.and_then(|partitions| card::make(Path::new("/nonexistent"), &partitions));
        format!("{:#}", made.unwrap_err())
    };
    assert_eq!(error(&["boot"], &[]), "the partition `boot` is the board's own: name another one");
    assert_eq!(
        error(&["web"], &[("wbe", MIB)]),
        "--size wbe=…: there is no such partition; there are boot, web"
    );
    assert!(error(&["PARTUUID=3a9f"], &[]).contains("name a label instead"));
    let long = "ä".repeat(37);
    let said = error(&[&long], &[]);
    assert!(said.contains("is too long: 37 UTF-16 units, where GPT has 36"), "{said}");
    assert!(error(&[&"𝄞".repeat(19)], &[]).contains("38 UTF-16 units"));
    assert_eq!(error(&[""], &[]), "a partition has no name");
    assert!(error(&["web"], &[("web", 3 << 40)]).contains("too large for a card"));
}

#[test]
fn the_longest_label_is_whole() {
    let place = Place::new("label");
    let card = place.path("sd.img");
    let name = "ä".repeat(36);
    card::make(&card, &[empty(&name, Some(MIB))]).unwrap();
    assert!(Table::read(&card).unwrap().find(&name).is_some());
}

#[test]
fn a_card_for_guests_without_disks_has_a_boot_partition_only() {
    let place = Place::new("none");
    let card = place.path("sd.img");
    card::make(&card, &plan(files(), &[], &[], &[]).unwrap()).unwrap();
    let places = Table::read(&card).unwrap().places;
    assert_eq!(places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>(), ["boot"]);
}

#[test]
fn a_boot_partition_that_is_too_small_says_what_it_takes() {
    let place = Place::new("small");
    let card = place.path("sd.img");
    let error = |bytes| {
        let partitions = plan(files(), &[], &sizes(&[("boot", bytes)]), &[]).unwrap();
        format!("{:#}", card::make(&card, &partitions).unwrap_err())
    };
    assert_eq!(
        error(8 * MIB),
        "the partition `boot`: give it another size: `--size boot=256M`: 8 MiB is no size for its file system: between \
         40 and 2048 MiB"
    );
    let mut large = files();
    large[1].1 = vec![1; 60 * MIB as usize];
    let error = fat::volume(fat::LEAST_BYTES, 1, &large).unwrap_err().to_string();
    assert!(error.starts_with("40 MiB is too small for 63 MiB of files"), "{error}");
    assert_eq!(fat::comfortable_size(&large), 128 * MIB);
}

#[test]
fn sizes_and_contents_are_read_as_they_are_written() {
    assert_eq!(parse_size("web=512M").unwrap(), ("web".into(), 512 * MIB));
    assert_eq!(parse_size("web=1G").unwrap().1, 1 << 30);
    assert_eq!(parse_size("web=4096").unwrap().1, 4096);
    for wrong in
        ["web", "web=", "web=M", "web=1T", "web=0", "web=1000", "web=-1M", "web=99999999999G"]
    {
        assert!(parse_size(wrong).is_err(), "{wrong}");
    }
    assert_eq!(parse_content("a=b=c").unwrap(), ("a".into(), "b=c".into()));
    assert!(parse_content("a").is_err());
}

#[test]
fn a_device_is_not_taken_for_a_file() {
    let error = check_output(Path::new("/dev/null"), false).unwrap_err().to_string();
    assert!(error.starts_with("/dev/null is not a file. Write the image to a file"), "{error}");
    assert!(check_output(Path::new("/nonexistent.img"), false).is_ok());
    let error = check_output(Path::new("/nonexistent.img"), true).unwrap_err().to_string();
    assert!(error.contains("no /nonexistent.img to update"), "{error}");
}

/// A firmware directory and the parts of a card.
struct Board {
    place: Place,
    platform: Platform,
}

impl Board {
    fn new(name: &str) -> Self {
        let place = Place::new(name);
        for part in ["tessera.img", "tessera.itb", "debian.dtb"] {
            place.put(part, part.as_bytes());
        }
        for part in ["start4.elf", "fixup4.dat"] {
            place.put(&format!("firmware/{part}"), part.as_bytes());
        }
        let workspace = Workspace::find().unwrap();
        Board { place, platform: Platform::find(&workspace, "rpi4").unwrap() }
    }

    fn collect(&self, firmware: bool) -> boot::Boot {
        let directory = self.place.path("firmware");
        let parts = boot::Parts {
            image: &self.place.path("tessera.img"),
            bundle: &self.place.path("tessera.itb"),
            firmware: firmware.then_some(&directory),
            device_tree: Some(&self.place.path("debian.dtb")),
        };
        boot::collect(&self.platform, &self.platform.card_files().unwrap().unwrap(), &parts)
            .unwrap()
    }
}

fn content(boot: &boot::Boot, name: &str) -> Option<String> {
    let (_, content) = boot.files.iter().find(|(found, _)| found == name)?;
    Some(String::from_utf8(content.clone()).unwrap())
}

#[test]
fn a_card_without_firmware_says_which_files_it_lacks() {
    let board = Board::new("lacking");
    let boot = board.collect(false);
    let lacks = ["start4.elf", "fixup4.dat"];
    assert_eq!(boot.missing, lacks);
    let advice = firmware::advice(&boot.missing, Path::new("sd.img"));
    assert!(advice.starts_with("sd.img has no firmware"), "{advice}");
    assert!(lacks.iter().all(|name| advice.contains(name)), "{advice}");
    fs::remove_file(board.place.path("firmware/fixup4.dat")).unwrap();
    assert_eq!(board.collect(true).missing, ["fixup4.dat"]);
}

#[test]
fn the_firmwares_tree_and_overlays_come_together_or_not_at_all() {
    const LINE: &str = "\ndtoverlay=disable-bt\n";
    let board = Board::new("together");
    board.place.put("firmware/overlays/disable-bt.dtbo", b"overlay");
    let boot = board.collect(true);
    assert_eq!(boot.missing, [""; 0]);
    assert_eq!(content(&boot, "bcm2711-rpi-4-b.dtb").as_deref(), Some("debian.dtb"));
    assert_eq!(content(&boot, "overlays/disable-bt.dtbo"), None);
    let config = content(&boot, "config.txt").unwrap();
    assert!(!config.contains(LINE), "{config}");
    assert!(
        config.contains("# overlays/disable-bt.dtbo is not on this card: dtoverlay=disable-bt")
    );

    board.place.put("firmware/bcm2711-rpi-4-b.dtb", b"vendor");
    let boot = board.collect(true);
    assert_eq!(content(&boot, "bcm2711-rpi-4-b.dtb").as_deref(), Some("vendor"));
    assert_eq!(content(&boot, "overlays/disable-bt.dtbo").as_deref(), Some("overlay"));
    assert!(content(&boot, "config.txt").unwrap().contains(LINE));
}

#[test]
fn another_stub_is_asked_for_only_where_it_is() {
    const LINE: &str = "\narmstub=bl31.bin\n";
    let board = Board::new("stub");
    assert!(!content(&board.collect(true), "config.txt").unwrap().contains(LINE));
    board.place.put("firmware/bl31.bin", b"stub");
    let boot = board.collect(true);
    assert_eq!(content(&boot, "bl31.bin").as_deref(), Some("stub"));
    assert!(content(&boot, "config.txt").unwrap().contains(LINE));
}

#[test]
fn every_name_in_the_boards_config_txt_is_on_its_card() {
    let board = Board::new("names");
    let listed: Vec<CardFile> = board.platform.card_files().unwrap().unwrap();
    let config = fs::read_to_string(board.platform.path("config.txt")).unwrap();
    let source = |name: &str| listed.iter().find(|file| file.name == name).map(|file| file.source);
    for line in config.lines() {
        if let Some(name) = line.strip_prefix("kernel=") {
            assert_eq!(source(name), Some(CardSource::Image));
        } else if let Some(rest) = line.strip_prefix("initramfs ") {
            assert_eq!(source(rest.split(' ').next().unwrap()), Some(CardSource::Bundle));
        }
        assert!(line.len() <= 98, "the firmware reads 98 characters of a line: {line}");
    }
}

#[test]
fn a_part_that_is_missing_or_empty_is_named() {
    let board = Board::new("empty");
    board.place.put("tessera.itb", b"");
    let parts = boot::Parts {
        image: &board.place.path("tessera.img"),
        bundle: &board.place.path("tessera.itb"),
        firmware: None,
        device_tree: None,
    };
    let listed = board.platform.card_files().unwrap().unwrap();
    let error = boot::collect(&board.platform, &listed, &parts).unwrap_err().to_string();
    assert!(error.ends_with("tessera.itb is empty"), "{error}");
    let parts = boot::Parts { image: Path::new("/nonexistent"), ..parts };
    let error = boot::collect(&board.platform, &listed, &parts).unwrap_err().to_string();
    assert_eq!(error, "cannot read /nonexistent");
}

#[test]
fn a_file_that_is_no_bundle_names_no_partitions() {
    let place = Place::new("nobundle");
    assert_eq!(partitions_of(&place.put("x.itb", b"nothing")).unwrap(), [""; 0]);
    assert!(partitions_of(&place.path("none")).is_err());
}

#[test]
fn a_disk_that_is_no_card_is_refused() {
    let place = Place::new("nocard");
    let path = place.put("x.img", &[0; 4096]);
    let error = card::update(&path, BOOT, &[]).unwrap_err().to_string();
    assert!(error.ends_with("x.img has no partition table that can be read"), "{error}");
    card::make(&path, &[empty(BOOT, Some(4 * MIB))]).unwrap();
    let error = format!("{:#}", card::update(&path, BOOT, &[]).unwrap_err());
    assert!(error.contains("no FAT file system that can be read"), "{error}");
}
