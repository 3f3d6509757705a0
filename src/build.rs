//! Rebuilds the library when a file of the embedded Python packages is added, changed or removed:
//! `include_dir!` alone notices changes of the files it knew.

fn main() {
    println!("cargo::rerun-if-changed=src/python");
}
