//! Disks: nodes below a guest's.

use alloc::format;
use alloc::vec::Vec;

use tessera_abi::layout;

use super::problem::short;
use super::reader::Reader;
use super::{DISK_PROPERTIES, DiskConfig, MAX_PATH, check};
use crate::fdt::Node;

/// The subnodes: `disk`, or `disk-` and something where there are several.
pub(super) fn parse<'a>(reader: &mut Reader<'a, '_>, node: Node<'a>) -> Vec<DiskConfig> {
    let mut disks = Vec::new();
    for child in node.children() {
        let name = child.name();
        let mut reader = reader.below(child);
        if name != "disk" && !name.starts_with("disk-") {
            reader.problem(
                None,
                "is unknown; what a guest may have below it is `disk` or `disk-…`".into(),
            );
            continue;
        }
        if disks.len() as u64 == layout::DISK_SLOTS {
            reader.problem(
                None,
                format!("is one disk too many; a guest has at most {}", disks.len()),
            );
            break;
        }
        reader.only(&DISK_PROPERTIES);
        for below in child.children() {
            reader.below(below).problem(None, "is unknown; a disk has no nodes below it".into());
        }
        let partition = reader.required_text("partition", MAX_PATH, "partition = \"LABEL\"");
        if partition.is_some_and(|name| name.is_empty() || name == check::PARTUUID) {
            reader
                .problem(Some("partition"), "is empty; write a GPT label or \"PARTUUID=…\"".into());
        }
        let read_only = reader.flag("read-only");
        let partition = partition.unwrap_or_default().into();
        disks.push(DiskConfig { name: short(name).into(), partition, read_only });
    }
    disks
}
