//! What a user's disk and bundle bring: partition tables and kernels.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::{Choices, Random};
use crate::addr::Ipa;
use crate::disk::Sector;
use crate::disk::crc32::{crc32, update};
use crate::disk::partitions::{Partitions, SECTOR};
use crate::disk::sparse::SparseDisk;
use crate::image::{Kernel, place};

/// A kernel file. Where its first byte is odd, what follows is packed into a sound gzip stream first. What is unpacked is
/// never more than allowed, and a packed kernel is judged as an unpacked one. Returns whether it is a kernel.
pub fn kernel(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let (packed, limit) = (choices.byte() & 1 != 0, u64::from(choices.word() & 0x1_ffff));
    let content = choices.rest();
    let file = if packed { gzip(content) } else { content.to_vec() };
    let Ok(kernel) = Kernel::open(&file) else {
        assert!(!packed || Kernel::open(content).is_err() || content.starts_with(&[0x1f, 0x8b, 8]));
        return 0;
    };
    let mut total = 0;
    let result = kernel.unpack(limit, |piece| total += piece.len() as u64);
    assert!(total <= limit);
    if let Ok(len) = result {
        assert_eq!(len, total);
        assert!(!packed || len == content.len() as u64);
    }
    let (base, size) = (Ipa(0x4000_0000), limit << 12);
    if let Ok(placed) = place(base, size, &kernel, limit, 0x1000) {
        assert!(
            base <= placed.kernel && placed.kernel < placed.tree && placed.tree < placed.ramdisk
        );
        assert!(placed.ramdisk.0 + limit <= base.0 + size);
        assert!(placed.tree.0 - placed.kernel.0 >= kernel.memory_bytes());
    }
    1
}

/// `content` in one stored block (RFC 1951 3.2.4, RFC 1952), as far as that holds it.
fn gzip(content: &[u8]) -> Vec<u8> {
    let content = &content[..content.len().min(0xffff)];
    let len = content.len() as u16;
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    file.extend([len.to_le_bytes(), (!len).to_le_bytes()].concat());
    file.extend_from_slice(content);
    file.extend([(!update(!0, content)).to_le_bytes(), u32::from(len).to_le_bytes()].concat());
    file
}

pub fn kernel_seeds() -> Vec<Vec<u8>> {
    let mut image = vec![0; 0x200];
    image[..2].copy_from_slice(b"MZ");
    image[17] = 0x10;
    image[56..60].copy_from_slice(b"ARM\x64");
    image[0x3c] = 0x40;
    image[0x40..0x44].copy_from_slice(b"PE\0\0");
    image[0x46] = 1;
    image[0x40 + 24 + 17] = 1;
    let with = |how: u8| [&[how, 0, 0x10, 0, 0], &image[..]].concat();
    let packed = [&[0, 0, 0x10, 0, 0], &gzip(&image)[..]].concat();
    vec![with(0), with(1), packed]
}

/// Puts the checksums of the GPT whose header is at `header` right (UEFI 2.10 5.3.2).
fn mend(disk: &mut SparseDisk, header: u64, entries: u64) {
    let all: Vec<Sector> = (entries..entries + 32).map(|at| Sector(*disk.sector(at))).collect();
    let head = disk.sector(header);
    head[88..92].copy_from_slice(&crc32(&all, 32 * SECTOR).to_le_bytes());
    head[16..20].fill(0);
    let crc = !update(!0, &head[..92]);
    head[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// Places of the GPT that [`partitions`] begins with: header, entries, and both for the backup.
const LAST: u64 = 2047;
const TABLES: [(u64, u64); 2] = [(1, 2), (LAST, LAST - 32)];

/// A disk with an MBR or, where the first byte is odd, a GPT, and bytes changed in it. No partition leaves the disk or
/// meets another, after few reads. Returns how many partitions there are.
pub fn partitions(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let how = choices.byte();
    let mut disk = if how & 1 != 0 { gpt() } else { mbr() };
    while !choices.is_over() {
        let at = choices.pick(&[0, 0, 1, 1, 2, 3, LAST, LAST, LAST - 32, 100, 200]);
        let (offset, len) = (choices.below(SECTOR as u64) as usize, 1 + choices.below(4) as usize);
        let value = choices.take::<4>();
        let room = disk.sector(at)[offset..].iter_mut();
        room.zip(&value[..len]).for_each(|(byte, new)| *byte = *new);
    }
    if how & 2 != 0 {
        TABLES.iter().for_each(|&(header, entries)| mend(&mut disk, header, entries));
    }
    if how & 4 != 0 {
        disk.sectors = u64::from(how >> 3) * 80;
    }
    let read = Partitions::read(&mut disk);
    assert!(disk.reads <= 65, "{} reads", disk.reads);
    let Ok(found) = read else { return 0 };
    for (n, one) in found.partitions.iter().enumerate() {
        let end = one.first.checked_add(one.sectors).expect("a partition that wraps");
        assert!(one.first > 0 && one.sectors > 0 && end <= disk.sectors, "{one:?}");
        for other in &found.partitions[..n] {
            assert!(end <= other.first || other.first + other.sectors <= one.first, "{found:?}");
        }
        assert!(!one.partuuid.to_string().is_empty());
    }
    found.partitions.len()
}

fn mbr() -> SparseDisk {
    let mut disk = SparseDisk::new(LAST + 1);
    let mut entry = |sector: u64, n: usize, kind: u8, first: u32, count: u32| {
        let table = disk.sector(sector);
        let at = 446 + 16 * n;
        table[at + 4] = kind;
        table[at + 8..at + 16]
            .copy_from_slice(&[first.to_le_bytes(), count.to_le_bytes()].concat());
        table[510..].copy_from_slice(&[0x55, 0xaa]);
    };
    entry(0, 0, 0x83, 10, 50);
    entry(0, 1, 5, 100, 400);
    entry(100, 0, 0x83, 10, 50);
    entry(100, 1, 5, 100, 100);
    entry(200, 0, 0x83, 10, 50);
    disk
}

fn gpt() -> SparseDisk {
    let mut disk = SparseDisk::new(LAST + 1);
    let first = disk.sector(0);
    first[450] = 0xee;
    first[510..].copy_from_slice(&[0x55, 0xaa]);
    for (header, entries) in TABLES {
        for n in 0..2u64 {
            let entry = &mut disk.sector(entries)[128 * n as usize..][..128];
            entry[..16].fill(0x11);
            entry[16..32].fill(n as u8 + 1);
            entry[32..40].copy_from_slice(&(40 + 100 * n).to_le_bytes());
            entry[40..48].copy_from_slice(&(139 + 100 * n).to_le_bytes());
            entry[56] = b'a' + n as u8;
        }
        let other = LAST + 1 - header;
        let head = disk.sector(header);
        head[..8].copy_from_slice(b"EFI PART");
        head[10] = 1;
        head[12] = 92;
        for (at, value) in [(24, header), (32, other), (40, 34), (48, LAST - 33), (72, entries)] {
            head[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        (head[80], head[84]) = (128, 128);
        mend(&mut disk, header, entries);
    }
    disk
}

pub fn partition_seeds() -> Vec<Vec<u8>> {
    let noise = |how: u8, seed| [&[how], &Random(seed).bytes(24)[..]].concat();
    vec![vec![0], vec![1], noise(0, 1), noise(1, 2), noise(3, 3), noise(3, 4)]
}
