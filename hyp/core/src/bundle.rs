//! The bundle: the configuration and every file that it names, in one Flattened Image Tree (FIT).
//!
//! Problem: a boot loader hands over one blob, and what is in it must be found, and known to be whole, before anything
//! runs. Idea: the FIT of U-Boot, a device tree whose nodes under `/images` carry a file each as their property `data`
//! with its hash beside it, so that `dumpimage -l` lists a bundle and no parser but [`crate::fdt`] is needed. The name
//! by which the configuration knows a file is its property `tessera,path`; a file known by two names is there once.
//!
//! Hashing costs far more than the rest of a boot, and one kernel is most of a bundle. So a file has hashes of its pieces
//! too, and each core of a board can check other pieces with [`File::verify_piece`]. Idea not taken: one hash over
//! everything, which could not say what is broken, nor be shared out.

use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};

use crate::fdt::{Children, Fdt, FdtError, Node};

/// Image node of the configuration.
pub const CONFIG: &str = "config";
/// Property with the names by which the configuration knows an image.
pub const PATH: &str = "tessera,path";

/// Property with the sha256 of each piece of an image, one behind the other.
pub const PIECES: &str = "tessera,pieces";
/// Bytes of a piece; the last of an image has what is left.
pub const PIECE_BYTES: usize = 1 << 20;

/// Why a bundle cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BundleError<'a> {
    /// The blob ends too early.
    Truncated {
        /// Bytes that the header promises.
        promised: usize,
        /// Bytes that are there.
        present: usize,
    },
    /// The blob is no device tree.
    Malformed(FdtError),
    /// A device tree, but without the node `/images/config`.
    NotABundle,
    /// The image in this node has no bytes.
    NoData(&'a str),
    /// The image in this node has no sha256.
    NoHash(&'a str),
    /// The bytes of this file are not those that were packed.
    WrongHash(&'a str),
    /// The configuration is no device tree.
    Config(FdtError),
}

impl fmt::Display for BundleError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { promised, present } => write!(
                f,
                "the bundle is truncated: {present} of {promised} bytes are there; copy it again"
            ),
            Self::Malformed(FdtError::NoMagic) => f.write_str(
                "the initrd is not a Tessera bundle; make one with `cargo xtask bundle FILE.dts`",
            ),
            Self::Malformed(error) => {
                write!(f, "the bundle is damaged ({error}); copy it again or make it anew")
            }
            Self::NotABundle => f.write_str(
                "the initrd is a device tree without /images/config; make a bundle of it with \
                 `cargo xtask bundle FILE.dts`",
            ),
            Self::NoData(file) => write!(f, "{file}: no data in the bundle; make the bundle anew"),
            Self::NoHash(file) => {
                write!(f, "{file}: no sha256 in the bundle; make the bundle anew")
            }
            Self::WrongHash(file) => {
                write!(f, "{file}: its sha256 is not the one in the bundle; copy the bundle again")
            }
            Self::Config(error) => {
                write!(f, "the configuration in the bundle is damaged ({error}); make it anew")
            }
        }
    }
}

impl core::error::Error for BundleError<'_> {}

/// A bundle whose structure was checked. The hashes were not: see [`File::verify`].
#[derive(Clone, Copy)]
pub struct Bundle<'a> {
    images: Node<'a>,
    config: File<'a>,
}

impl<'a> Bundle<'a> {
    /// Reads the bundle at the start of `bytes`: first that all of it is there, then its structure.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BundleError<'a>> {
        let fdt = Fdt::new(bytes).map_err(|error| match error {
            FdtError::Truncated { promised, present } => {
                BundleError::Truncated { promised, present }
            }
            other => BundleError::Malformed(other),
        })?;
        let images = fdt.find("/images").ok_or(BundleError::NotABundle)?;
        let config = images.child(CONFIG).ok_or(BundleError::NotABundle)?;
        Ok(Self { images, config: File { node: config } })
    }

    /// Checks the hash of the configuration: it is small, and decides which files matter.
    pub fn verify_config(&self) -> Result<VerifiedConfig<'a>, BundleError<'a>> {
        self.config.verify().map(|()| VerifiedConfig(self.config))
    }

    /// The configuration, after its hash was checked.
    pub fn config(&self) -> Result<Fdt<'a>, BundleError<'a>> {
        self.verify_config()?.tree()
    }

    /// The file that the configuration calls `path`.
    pub fn file(&self, path: &str) -> Option<File<'a>> {
        self.files().find(|file| file.paths().any(|name| name == path))
    }

    /// All files, the configuration among them.
    pub fn files(&self) -> Files<'a> {
        Files { images: self.images.children() }
    }
}

/// The configuration, whose hash was checked.
#[derive(Clone, Copy)]
pub struct VerifiedConfig<'a>(File<'a>);

impl<'a> VerifiedConfig<'a> {
    /// The configuration itself.
    pub fn tree(&self) -> Result<Fdt<'a>, BundleError<'a>> {
        Fdt::new(self.0.data()).map_err(BundleError::Config)
    }
}

/// The files of a bundle.
#[derive(Clone)]
pub struct Files<'a> {
    images: Children<'a>,
}

impl<'a> Iterator for Files<'a> {
    type Item = File<'a>;

    fn next(&mut self) -> Option<File<'a>> {
        self.images.next().map(|node| File { node })
    }
}

/// How a file is packed, as its property `compression` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip.
    Gzip,
    /// In a way that Tessera does not unpack.
    Other,
}

/// A file in a bundle.
#[derive(Clone, Copy)]
pub struct File<'a> {
    node: Node<'a>,
}

impl<'a> File<'a> {
    /// What to call the file in a message: its first path, or its node where it has none.
    pub fn name(&self) -> &'a str {
        self.paths().next().unwrap_or_else(|| self.node.name())
    }

    /// The names by which the configuration knows the file.
    pub fn paths(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.node.property(PATH).into_iter().flat_map(|paths| paths.strs())
    }

    /// The bytes; none where the image has no property `data`.
    pub fn data(&self) -> &'a [u8] {
        self.node.property("data").map_or(&[], |data| data.value())
    }

    /// `type` of the image: `kernel`, `ramdisk` or `flat_dt`.
    pub fn kind(&self) -> Option<&'a str> {
        self.node.property("type")?.str()
    }

    /// `compression` of the image.
    pub fn compression(&self) -> Compression {
        match self.node.property("compression").map(|value| value.value()) {
            None | Some(b"none\0") => Compression::None,
            Some(b"gzip\0") => Compression::Gzip,
            Some(_) => Compression::Other,
        }
    }

    /// The sha256 that was computed when the file was packed.
    pub fn sha256(&self) -> Option<&'a [u8; 32]> {
        let hash = self.node.child("hash-1")?;
        let sha256 = hash.property("algo")?.value() == b"sha256\0";
        hash.property("value")?.value().try_into().ok().filter(|_| sha256)
    }

    /// Hashes the bytes and compares.
    pub fn verify(&self) -> Result<(), BundleError<'a>> {
        let data = self.node.property("data").ok_or(BundleError::NoData(self.name()))?;
        self.compare(data.value(), self.sha256())
    }

    /// In how many pieces the file can be checked, with [`File::verify_piece`] for each.
    pub fn pieces(&self) -> usize {
        match self.node.property(PIECES) {
            Some(_) => self.data().len().div_ceil(PIECE_BYTES).max(1),
            None => 1,
        }
    }

    /// Hashes one piece and compares. A file all of whose pieces are right is right.
    pub fn verify_piece(&self, piece: usize) -> Result<(), BundleError<'a>> {
        // A bundle of another maker: the hash of the whole is all there is.
        let Some(hashes) = self.node.property(PIECES) else { return self.verify() };
        let data = self.node.property("data").ok_or(BundleError::NoData(self.name()))?;
        let data = data.value().chunks(PIECE_BYTES).nth(piece).unwrap_or(&[]);
        self.compare(data, hashes.value().as_chunks().0.get(piece))
    }

    fn compare(&self, data: &[u8], want: Option<&[u8; 32]>) -> Result<(), BundleError<'a>> {
        let want = want.ok_or(BundleError::NoHash(self.name()))?;
        let is = Sha256::digest(data);
        if is[..] == want[..] { Ok(()) } else { Err(BundleError::WrongHash(self.name())) }
    }
}

/// The sha256 of each piece of `data`, as the property [`PIECES`] has them.
pub fn piece_hashes(data: &[u8]) -> Vec<u8> {
    data.chunks(PIECE_BYTES).flat_map(Sha256::digest).collect()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use vm_fdt::FdtWriter;

    use super::*;
    use crate::fdt::Writer;

    fn empty_tree() -> Vec<u8> {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    fn image(fdt: &mut FdtWriter, node: &str, paths: &[&str], data: &[u8]) {
        let node = fdt.begin_node(node).unwrap();
        let paths = paths.iter().map(|path| path.to_string()).collect();
        fdt.property_string_list(PATH, paths).unwrap();
        fdt.property("data", data).unwrap();
        fdt.property_string("type", "kernel").unwrap();
        fdt.property_string("compression", "gzip").unwrap();
        let hash = fdt.begin_node("hash-1").unwrap();
        fdt.property("value", &Sha256::digest(data)).unwrap();
        fdt.property_string("algo", "sha256").unwrap();
        fdt.end_node(hash).unwrap();
        fdt.end_node(node).unwrap();
    }

    fn bundle() -> Vec<u8> {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        let images = fdt.begin_node("images").unwrap();
        image(&mut fdt, "config", &[], &empty_tree());
        image(&mut fdt, "file-1", &["linux/vmlinuz", "other/name"], b"a kernel of sorts");
        image(&mut fdt, "file-2", &["initrd.img"], b"a ramdisk");
        fdt.end_node(images).unwrap();
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    fn position(blob: &[u8], what: &[u8]) -> usize {
        blob.windows(what.len()).position(|window| window == what).unwrap()
    }

    #[test]
    fn files_are_found_by_each_of_their_paths() {
        let blob = bundle();
        let bundle = Bundle::parse(&blob).unwrap();
        let kernel = bundle.file("linux/vmlinuz").unwrap();
        assert_eq!(kernel.data(), b"a kernel of sorts");
        assert_eq!(kernel.data(), bundle.file("other/name").unwrap().data());
        assert_eq!((kernel.kind(), kernel.compression()), (Some("kernel"), Compression::Gzip));
        assert!(bundle.file("linux").is_none() && bundle.file("").is_none());
        assert_eq!(bundle.files().count(), 3);
        assert!(bundle.files().all(|file| file.verify().is_ok()));
        assert_eq!(bundle.config().unwrap().root().children().count(), 0);
    }

    #[test]
    fn a_bundle_truncated_at_any_byte_is_refused_and_says_so() {
        let blob = bundle();
        for len in 8..blob.len() {
            let error = Bundle::parse(&blob[..len]).err().unwrap();
            assert_eq!(error, BundleError::Truncated { promised: blob.len(), present: len });
        }
        for len in 0..8 {
            assert!(matches!(Bundle::parse(&blob[..len]), Err(BundleError::Truncated { .. })));
        }
    }

    #[test]
    fn a_wrong_hash_names_the_file() {
        let mut blob = bundle();
        let at = position(&blob, b"a ramdisk");
        blob[at] ^= 1;
        let bundle = Bundle::parse(&blob).unwrap();
        let error = bundle.file("initrd.img").unwrap().verify().unwrap_err();
        assert_eq!(error, BundleError::WrongHash("initrd.img"));
        assert!(error.to_string().starts_with("initrd.img: its sha256"));
        assert!(bundle.file("other/name").unwrap().verify().is_ok());
    }

    #[test]
    fn a_file_can_be_checked_in_pieces() {
        let mut data: Vec<u8> = (0..PIECE_BYTES * 2 + 5).map(|at| (at >> 8) as u8).collect();
        let tree = |data: &[u8], hashes: &[u8]| {
            Writer::tree(data.len() + 1000, |root| {
                root.node("images", |images| {
                    images.node(CONFIG, |_| ());
                    images.node("file-1", |image| {
                        image.text(PATH, "vmlinuz");
                        image.property("data", data);
                        image.property(PIECES, hashes);
                    });
                });
            })
        };
        let hashes = piece_hashes(&data);
        let check = |data: &[u8], hashes: &[u8]| {
            let blob = tree(data, hashes);
            let file = Bundle::parse(&blob).unwrap().file("vmlinuz").unwrap();
            let wrong = |piece: &usize| file.verify_piece(*piece).is_err();
            (file.pieces(), (0..file.pieces()).filter(wrong).collect::<Vec<_>>())
        };
        assert_eq!(check(&data, &hashes), (3, Vec::new()));
        assert_eq!(check(&data, &hashes[..64]), (3, Vec::from([2])));
        assert_eq!(check(&data, &[]), (3, Vec::from([0, 1, 2])));
        assert_eq!(check(&[], &hashes), (1, Vec::from([0])), "an empty file has a piece, too");
        data[PIECE_BYTES] ^= 1;
        assert_eq!(check(&data, &hashes), (3, Vec::from([1])));
        data.pop();
        assert_eq!(check(&data, &hashes), (3, Vec::from([1, 2])));
        let blob = bundle();
        let other = Bundle::parse(&blob).unwrap().file("initrd.img").unwrap();
        assert_eq!((other.pieces(), other.verify_piece(0)), (1, Ok(())));
    }

    #[test]
    fn a_spoiled_configuration_is_not_given_out() {
        let mut blob = bundle();
        let config = position(&blob, b"config\0");
        let inner = position(&blob[config..], &[0xd0, 0x0d, 0xfe, 0xed]) + config;
        blob[inner + 16] ^= 1;
        let bundle = Bundle::parse(&blob).unwrap();
        assert_eq!(bundle.config().err(), Some(BundleError::WrongHash("config")));
    }

    #[test]
    fn other_trees_and_other_bytes_are_no_bundle() {
        assert_eq!(Bundle::parse(&empty_tree()).err(), Some(BundleError::NotABundle));
        let cpio = Bundle::parse(b"070701 a ramdisk of the usual kind").err().unwrap();
        assert!(cpio.to_string().contains("cargo xtask bundle"), "{cpio}");
    }
}
