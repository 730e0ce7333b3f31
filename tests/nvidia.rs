//! A program built for GPUs starts where nothing of NVIDIA's is installed, and keeps out of the way of
//! what is.
#![cfg(all(feature = "cuda", target_os = "linux"))]

use std::process::Command;

#[test]
fn the_program_wants_no_library_of_the_driver_to_start() {
    let listed = Command::new("readelf")
        .args(["--dynamic", env!("CARGO_BIN_EXE_repaint")])
        .output()
        .expect("readelf, of the linker's package");
    let listed = String::from_utf8_lossy(&listed.stdout);
    let wanted = |line: &&str| line.contains("(NEEDED)");
    let libraries: Vec<&str> = listed.lines().filter(wanted).collect();
    assert!(!libraries.is_empty(), "no list of libraries: {listed}");
    let mut absent = vec!["libcuda.so", "libcublas.so", "libcurand.so", "libnvrtc.so"];
    if cfg!(not(debug_assertions)) {
        absent.push("libcudart.so"); // a development build keeps kernels of candle's that nobody calls
    }
    for name in absent {
        let found = libraries.iter().find(|line| line.contains(name));
        assert!(
            found.is_none(),
            "{name} is linked: a function of it is missing in src/nvidia.rs"
        );
    }
}

#[test]
fn libraries_loaded_later_do_not_meet_the_names_of_the_driver() {
    let listed = Command::new("readelf")
        .args(["--dyn-syms", "--wide", env!("CARGO_BIN_EXE_repaint")])
        .output()
        .expect("readelf, of the linker's package");
    let listed = String::from_utf8_lossy(&listed.stdout);
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7));
    let names: Vec<&str> = names.collect();
    assert!(names.iter().any(|name| name.contains("malloc")), "{listed}");
    for start in ["cuInit", "cuCtx", "cuMem", "cuStream", "cublas", "curand"] {
        let found = names.iter().find(|name| name.starts_with(start));
        assert!(found.is_none(), "{found:?} is visible");
    }
}
