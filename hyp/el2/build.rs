//! Links the image by its own linker script.

fn main() {
    println!("cargo:rerun-if-changed=image.ld");
    let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-bins=-T{dir}/image.ld");
    for arg in ["--no-dynamic-linker", "-zmax-page-size=4096", "--build-id=none", "-n", "--icf=all"]
    {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
