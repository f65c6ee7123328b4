//! Links the guest as a position-independent arm64 Image with the run-time's linker script.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../rt/image.ld");
    println!("cargo:rerun-if-changed={script}");
    // The code is position independent without being asked (AArch64 addresses are PC-relative); `-pie` makes the linker
    // list the pointers in data that are not, and the entry code adds the load address to them.
    for arg in ["-pie", "-znotext", "-znorelro", "--no-dynamic-linker", "--build-id=none"] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rustc-link-arg-bins=-T{script}");
}
