use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use miniz_oxide::deflate::compress_to_vec;

use super::*;
use crate::addr::Ipa;

/// A kernel with an `Image` header and a PE header whose only section ends at `len`.
fn kernel(len: usize) -> Vec<u8> {
    let mut seed = 7u32;
    let mut image: Vec<u8> = (0..len)
        .map(|at| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at / 512 % 2 == 0 { (seed >> 24) as u8 } else { at as u8 & 3 }
        })
        .collect();
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ\0\0\0\0\0\0");
    put(8, &0u64.to_le_bytes());
    put(16, &0x20_0000u64.to_le_bytes());
    put(24, &0xau64.to_le_bytes());
    put(56, b"ARM\x64");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x46, &1u16.to_le_bytes());
    put(0x54, &0xa0u16.to_le_bytes());
    put(0x40 + 24 + 0xa0 + 16, &(len as u32 - 0x1000).to_le_bytes());
    put(0x40 + 24 + 0xa0 + 20, &0x1000u32.to_le_bytes());
    image
}

/// A gzip stream with all optional header fields.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 2, 3];
    stream.extend([3, 0, b'e', b'x', b't']);
    stream.extend(b"vmlinux\0a comment\0hc");
    stream.extend(compress_to_vec(content, 6));
    let crc = content.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xedb8_8320 * (crc & 1)))
    });
    stream.extend((!crc).to_le_bytes());
    stream.extend((content.len() as u32).to_le_bytes());
    stream
}

fn unpacked(kernel: &Kernel<'_>, limit: u64) -> Result<Vec<u8>, ImageError> {
    let mut content = Vec::new();
    let len = kernel.unpack(limit, |piece| content.extend_from_slice(piece))?;
    assert_eq!(len, content.len() as u64);
    Ok(content)
}

#[test]
fn a_plain_kernel_is_taken_as_it_is() {
    let image = kernel(200_000);
    let kernel = Kernel::open(&image).unwrap();
    assert_eq!(kernel.header, Header { text_offset: 0, image_size: 0x20_0000, flags: 0xa });
    assert_eq!((kernel.content_bytes(), kernel.memory_bytes()), (200_000, 0x20_0000));
    assert_eq!(kernel.plain(), Some(&image[..]));
    assert_eq!(unpacked(&kernel, 200_000).unwrap(), image);
    assert_eq!(unpacked(&kernel, 199_999), Err(ImageError::TooLarge { limit: 199_999 }));
}

#[test]
fn a_packed_kernel_comes_out_as_it_went_in() {
    let image = kernel(200_000);
    let file = gzip(&image);
    let kernel = Kernel::open(&file).unwrap();
    assert!(kernel.is_packed() && kernel.plain().is_none());
    assert_eq!(kernel.content_bytes(), 200_000);
    assert_eq!(unpacked(&kernel, 200_000).unwrap(), image);
    assert_eq!(unpacked(&kernel, 199_999), Err(ImageError::TooLarge { limit: 199_999 }));
}

#[test]
fn a_truncated_kernel_is_refused_by_what_its_sections_say() {
    let image = kernel(200_000);
    let want = ImageError::Truncated { promised: 200_000, present: 199_999 };
    assert_eq!(Kernel::open(&image[..199_999]).err(), Some(want));
    let file = gzip(&image[..199_999]);
    assert_eq!(Kernel::open(&file).err(), Some(want));
    for len in 0..HEADER_BYTES {
        assert!(Kernel::open(&image[..len]).is_err());
    }
}

#[test]
fn a_gzip_stream_cut_anywhere_or_with_a_wrong_checksum_is_refused() {
    let image = kernel(5_000);
    let file = gzip(&image);
    for len in 0..file.len() {
        let content = Kernel::open(&file[..len]).and_then(|kernel| unpacked(&kernel, 1 << 30));
        assert!(content.is_err(), "{len} bytes of {}", file.len());
    }
    for from_end in 5..=8 {
        let mut spoiled = file.clone();
        spoiled[file.len() - from_end] ^= 0x10;
        let content = unpacked(&Kernel::open(&spoiled).unwrap(), 1 << 30);
        assert_eq!(content, Err(ImageError::GzipChecksum));
    }
}

#[test]
fn a_kernel_comes_in_pieces_that_are_no_longer_than_asked_and_make_up_all_of_it() {
    let image = kernel(200_000);
    let file = gzip(&image);
    for (data, most, longest) in [(&image, 4096, 4096), (&file, 4096, 32 << 10)] {
        let mut content = Kernel::open(data).unwrap().content(1 << 30).unwrap();
        let mut got = Vec::new();
        while let Some(piece) = content.piece(most).unwrap() {
            assert!(piece.len() <= longest, "{} bytes", piece.len());
            got.extend_from_slice(piece);
        }
        assert_eq!(got, image);
        assert_eq!(content.piece(most), Ok(None), "behind its end nothing follows");
    }
}

#[test]
fn what_is_no_arm64_kernel_is_called_by_its_name() {
    let error = |bytes: &[u8]| Kernel::open(bytes).err().unwrap().to_string();
    assert!(error(b"\x7fELF\x02\x01\x01").starts_with("an ELF file"));
    assert!(error(b"").starts_with("an empty file"));
    assert!(error(b"MZ\0\0zimg").contains("zboot"));
    assert!(error(&gzip(b"070701 a packed ramdisk")).starts_with("a ramdisk"));
    let mut bz_image = [0; 0x210];
    bz_image[0x202..0x206].copy_from_slice(b"HdrS");
    assert!(error(&bz_image).contains("x86"));
}

#[test]
fn an_old_kernel_without_a_size_goes_where_old_kernels_want_to_be() {
    let mut image = kernel(8192);
    image[16..24].fill(0);
    let kernel = Kernel::open(&image).unwrap();
    assert_eq!(kernel.header.text_offset, 0x8_0000);
    assert_eq!(kernel.memory_bytes(), 8192);
    let placement = place(Ipa(0x4000_0000), 16 << 20, &kernel, 0, 0x1000).unwrap();
    assert_eq!(placement.kernel, Ipa(0x4008_0000));
}

#[test]
fn kernel_tree_and_ramdisk_do_not_overlap_and_memory_that_is_too_small_is_told() {
    let image = kernel(200_000);
    let kernel = Kernel::open(&image).unwrap();
    let base = Ipa(0x4000_0000);
    let placement = place(base, 4 << 20, &kernel, 1_234_567, 0x1800).unwrap();
    assert_eq!(placement.kernel, base);
    assert_eq!(placement.tree, Ipa(0x4020_0000));
    assert_eq!(placement.ramdisk, Ipa(0x4020_2000));
    let need = 0x20_2000 + 1_234_567;
    let error = place(base, need - 1, &kernel, 1_234_567, 0x1800);
    assert_eq!(error, Err(ImageError::NoRoom { need, have: need - 1 }));
    assert!(place(base, need, &kernel, 1_234_567, 0x1800).is_ok());
    assert!(place(base, u64::MAX, &kernel, u64::MAX, 0x1800).is_err());
    assert!(place(Ipa(u64::MAX), u64::MAX, &kernel, 0, 0).is_err());
}

#[test]
fn spoiled_kernels_end_in_an_error_or_in_bounded_content() {
    let plain = kernel(5_000);
    let packed = gzip(&plain);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    for round in 0..1_000 {
        let mut file = if round % 4 == 0 { plain.clone() } else { packed.clone() };
        for _ in 0..1 + random() % 4 {
            let range = if random() % 2 == 0 { file.len() } else { 64 };
            let at = random() % range;
            file[at] = random() as u8;
        }
        let limit = 100_000;
        let Ok(kernel) = Kernel::open(&file) else { continue };
        let mut total = 0;
        let _ = kernel.unpack(limit, |piece| total += piece.len() as u64);
        assert!(total <= limit);
        let _ = place(Ipa(0x4000_0000), random() as u64, &kernel, random() as u64, 4096);
    }
}
