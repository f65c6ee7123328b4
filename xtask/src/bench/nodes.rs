//! What a group is good for: bytes through a ring of messages, and a computation of 32 guests against that of one.

use std::fmt::Write;

use anyhow::Result;

use super::board::Board;
use super::rows::Measured;
use super::{MEMORY, bundled, measure};
use crate::progress::step;
use crate::workspace::Workspace;

/// Guests that compute.
const NODES: usize = 32;
/// Cores that they share, and the rows about these.
const CORES: [(usize, &str); 3] =
    [(1, "speedup_1_core"), (2, "speedup_2_cores"), (4, "speedup_4_cores")];
/// The instructions of the computation, as the guest names them.
const NAME: &str = "nodes";
/// What is computed: long enough that what it takes to begin and to end is little.
const QUEENS: u64 = 13;

/// Who sends and who receives, each on a core of its own.
const RING: &str = r#"/dts-v1/;
/ {
	compatible = "tessera,config";
	bench {
		compatible = "tessera,vm"; vcpus = <1>; cpus = <0>; memory = "4M"; kernel = "bench.img";
		bootargs = "bench.group=send";
	};
	receiver {
		compatible = "tessera,vm"; vcpus = <1>; cpus = <1>; memory = "4M"; kernel = "bench.img";
		bootargs = "bench.group=receive";
	};
	ring { compatible = "tessera,group"; size = "1M"; members = <&{/bench} &{/receiver}>; };
};
"#;

/// Counts on all of these boards.
pub fn run(workspace: &Workspace, board: Board) -> Result<Measured> {
    let count = |name: &str, cores: usize, configuration: &str| {
        let bundle = bundled(workspace, &format!("bench-{name}"), configuration)?;
        step(&format!("counting {name} on {}", board.name()), || {
            let mut qemu = board.tessera(workspace, &cores.to_string(), MEMORY)?;
            measure(qemu.arg("-initrd").arg(bundle))
        })
    };
    let mut measured = count("ring", 2, RING)?;
    let alone = count("node", 1, &alone())?;
    for (cores, row) in CORES {
        let together = count(&format!("nodes-{cores}"), cores, &together(cores))?;
        measured.extend(speedup(&alone, &together).map(|speedup| (row.to_string(), speedup)));
    }
    Ok(measured)
}

/// How many times faster, in hundredths.
pub fn speedup(alone: &Measured, together: &Measured) -> Option<u64> {
    (100 * alone.get(NAME)?).checked_div(*together.get(NAME)?)
}

fn guest(name: &str, core: usize, more: &str) -> String {
    format!(
        "\t{name} {{\n\t\tcompatible = \"tessera,vm\"; vcpus = <1>; cpus = <{core}>; memory = \"4M\";\n\
         \t\tkernel = \"load.img\"; {more}\n\t}};\n"
    )
}

fn bootargs(more: &str) -> String {
    format!("bootargs = \"load=nodes nodes.queens={QUEENS} {more}\";")
}

fn configuration(nodes: &str) -> String {
    format!("/dts-v1/;\n/ {{\n\tcompatible = \"tessera,config\";\n{nodes}}};\n")
}

/// One guest with a core of its own.
fn alone() -> String {
    configuration(&guest("node", 0, &bootargs("nodes.way=alone")))
}

/// As many on each core, in the order in which the guest counts them.
fn together(cores: usize) -> String {
    let more = bootargs(&format!("nodes.way=messages nodes.cores={cores}"));
    let mut nodes = String::new();
    let mut members = String::new();
    for node in 0..NODES {
        let more = format!("cpu-policy = \"shared\"; {more}");
        nodes += &guest(&format!("node{node}"), node % cores, &more);
        let _ = write!(members, " &{{/node{node}}}");
    }
    let group = "compatible = \"tessera,group\"; size = \"2M\"; members = <";
    configuration(&format!("{nodes}\tall {{ {group}{}>; }};\n", members.trim_start()))
}
