//! How fast one Debian guest sends to another from user space: 1 GiB of numbers with a checksum, through a group's region that both
//! map by `/dev/mem` (`guests/linux/group`).
//!
//! The guests' clock goes by instructions, of all cores together: a second is 10^9 of them.

use anyhow::Result;

use super::board::Board;
use super::rows::Measured;
use super::{MEMORY, bundled, measure};
use crate::guests::Guests;
use crate::progress::step;
use crate::workspace::Workspace;

/// The row's name, which is in the script below, too.
pub const ROW: &str = "debian_exchange_mib_per_s";

/// `init` runs what the receiver's `t.run` says in base64: `group receive 0 >/tmp/got && sed -n
/// 's/.*mib_per_s=\([0-9]*\).*/BENCH debian_exchange_mib_per_s \1/p' /tmp/got; echo BENCH-DONE`. And the sender's: `group send 1 1024`.
const CONFIGURATION: &str = r#"/dts-v1/;
/ {
	compatible = "tessera,config";
	sender {
		compatible = "tessera,vm"; vcpus = <1>; cpus = <0>; memory = "128M"; kernel = "debian/vmlinuz";
		ramdisk = "debian/initrd.img"; bootargs = "console=ttyAMA0 quiet t.run=Z3JvdXAgc2VuZCAxIDEwMjQ=";
	};
	receiver {
		compatible = "tessera,vm"; vcpus = <1>; cpus = <1>; memory = "128M"; kernel = "debian/vmlinuz";
		ramdisk = "debian/initrd.img"; bootargs = "console=ttyAMA0 quiet t.run=Z3JvdXAgcmVjZWl2ZSAwID4vdG1wL2dvdCAmJiBzZWQgLW4gJ3MvLiptaWJfcGVyX3M9XChbMC05XSpcKS4qL0JFTkNIIGRlYmlhbl9leGNoYW5nZV9taWJfcGVyX3MgXDEvcCcgL3RtcC9nb3Q7IGVjaG8gQkVOQ0gtRE9ORQ==";
	};
	exchange { compatible = "tessera,group"; size = "16M"; members = <&{/sender} &{/receiver}>; };
};
"#;

/// Sends it.
pub fn run(workspace: &Workspace, board: Board) -> Result<Measured> {
    Guests::new(workspace).ensure(workspace, false)?;
    let bundle = bundled(workspace, "bench-exchange", CONFIGURATION)?;
    step(&format!("sending 1 GiB between Debian guests on {}", board.name()), || {
        measure(board.tessera(workspace, "2", MEMORY)?.arg("-initrd").arg(bundle))
    })
}
