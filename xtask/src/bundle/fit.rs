//! Writes the bundle: a Flattened Image Tree as U-Boot's `doc/usage/fit/source_file_format.rst` has it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};
use tessera_core::bundle::{CONFIG, PATH, PIECES, piece_hashes};
use tessera_core::config::Config;
use tessera_core::fdt::Writer;
use tessera_core::image::Kernel;

use super::Files;

/// What the nodes of a bundle take besides the files, by a wide margin.
const NODE_BYTES: usize = 1 << 20;

/// An image to be written: one content, whatever names it has.
struct Image<'a> {
    node: String,
    names: Vec<&'a str>,
    data: &'a [u8],
    hash: [u8; 32],
    kind: Kind,
}

/// What an image is to its user, as U-Boot calls it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kernel,
    Ramdisk,
    /// What the region of a group begins with.
    Data,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ramdisk => "ramdisk",
            Self::Data => "firmware",
        }
    }
}

/// The bundle of `config`, whose compiled tree is `tree`.
pub fn write(tree: &[u8], config: &Config, files: &Files) -> Result<Vec<u8>> {
    let images = images(config, files);
    let bytes =
        NODE_BYTES + tree.len() + images.iter().map(|image| image.data.len()).sum::<usize>();
    ensure!(
        u32::try_from(bytes).is_ok(),
        "the files are over 4 GiB together: a bundle cannot hold them"
    );
    Ok(Writer::tree(bytes, |root| {
        root.text("description", "Tessera bundle");
        // No time: the same files make the same bundle.
        root.cells("timestamp", &[0]);
        root.cells("#address-cells", &[1]);
        root.node("images", |node| {
            node.node(CONFIG, |image| {
                image.text("description", "configuration");
                image.text("type", "flat_dt");
                image.text("arch", "arm64");
                image.text("compression", "none");
                image.property("data", tree);
                hash(image, &Sha256::digest(tree).into());
            });
            for image in &images {
                node.node(&image.node, |node| write_image(node, image));
            }
        });
        root.node("configurations", |node| configurations(node, config, &images));
    }))
}

/// The files in the order of the configuration, each content once.
fn images<'a>(config: &'a Config, files: &'a Files) -> Vec<Image<'a>> {
    let mut images: Vec<Image<'a>> = Vec::new();
    let mut by_hash: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    let kernels = config.vms.iter().map(|vm| (&vm.kernel, Kind::Kernel));
    let ramdisks =
        config.vms.iter().flat_map(|vm| vm.ramdisk.iter().map(|name| (name, Kind::Ramdisk)));
    let initial = config.groups.iter().flat_map(|group| &group.initial);
    let data = initial.map(|name| (name, Kind::Data));
    for (name, kind) in kernels.chain(ramdisks).chain(data) {
        if images.iter().any(|image| image.names.contains(&name.as_str())) {
            continue;
        }
        let Some(Ok(data)) = files.get(name) else { continue };
        let hash = Sha256::digest(data).into();
        let index = *by_hash.entry(hash).or_insert_with(|| {
            let node = format!("file-{}", images.len() + 1);
            images.push(Image { node, names: Vec::new(), data, hash, kind });
            images.len() - 1
        });
        images[index].names.push(name);
    }
    images
}

fn write_image(node: &mut Writer, image: &Image<'_>) {
    let packed = image.kind == Kind::Kernel
        && Kernel::open(image.data).is_ok_and(|kernel| kernel.is_packed());
    node.text("description", &image.names.join(", "));
    node.texts(PATH, &image.names);
    node.text("type", image.kind.name());
    node.text("arch", "arm64");
    node.text("os", "linux");
    node.text("compression", if packed { "gzip" } else { "none" });
    node.property("data", image.data);
    node.property(PIECES, &piece_hashes(image.data));
    hash(node, &image.hash);
}

fn hash(image: &mut Writer, value: &[u8; 32]) {
    image.node("hash-1", |hash| {
        hash.text("algo", "sha256");
        hash.property("value", value);
    });
}

/// One for each guest, which other tools show; Tessera itself goes by the configuration.
fn configurations(node: &mut Writer, config: &Config, images: &[Image<'_>]) {
    let image = |name: &str| {
        let found = images.iter().find(|image| image.names.contains(&name));
        found.map_or("", |image| image.node.as_str())
    };
    if let Some(first) = config.vms.first() {
        node.text("default", &first.name);
    }
    for vm in &config.vms {
        node.node(&vm.name, |node| {
            node.text("description", &format!("guest {}", vm.name));
            node.text("fdt", CONFIG);
            node.text("kernel", image(&vm.kernel));
            if let Some(ramdisk) = &vm.ramdisk {
                node.text("ramdisk", image(ramdisk));
            }
        });
    }
}
