//! What it costs to ring a member of a group: one that runs on a core of its own, and one that sleeps on a shared core.

use anyhow::Result;

use super::board::Board;
use super::rows::Measured;
use super::{MEMORY, bundled, measure};
use crate::progress::step;
use crate::workspace::Workspace;

/// Who rings, who is awake, who sleeps, each on a core.
const CONFIGURATION: &str = r#"/dts-v1/;
/ {
	compatible = "tessera,config";
	bench {
		compatible = "tessera,vm"; vcpus = <1>; cpus = <0>; memory = "4M"; kernel = "bench.img";
		bootargs = "bench.group=ring";
	};
	awake {
		compatible = "tessera,vm"; vcpus = <1>; cpus = <1>; memory = "4M"; kernel = "bench.img";
		bootargs = "bench.group=spin";
	};
	asleep {
		compatible = "tessera,vm"; vcpus = <1>; cpus = <2>; cpu-policy = "shared"; memory = "4M";
		kernel = "bench.img"; bootargs = "bench.group=wait";
	};
	running { compatible = "tessera,group"; size = "64K"; members = <&{/bench} &{/awake}>; };
	blocked { compatible = "tessera,group"; size = "64K"; members = <&{/bench} &{/asleep}>; };
};
"#;

/// Counts it.
pub fn run(workspace: &Workspace, board: Board) -> Result<Measured> {
    let bundle = bundled(workspace, "bench-group", CONFIGURATION)?;
    step(&format!("counting rings on {}", board.name()), || {
        measure(board.tessera(workspace, "3", MEMORY)?.arg("-initrd").arg(bundle))
    })
}
