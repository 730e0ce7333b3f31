//! How the program is linked, and the kernels for NVIDIA GPUs where the feature `cuda` wants them.

use std::path::PathBuf;
use std::process::Command;

/// Cards that get machine code of their own: Ampere, Ada, Hopper and Blackwell.
const CAPABILITIES: [&str; 6] = ["80", "86", "89", "90", "100", "120"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Line tables for backtraces would double the size of the program.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compile_kernels(HEADERS, "kernels.fatbin");
        compile_kernels(TRAINING, "training.fatbin");
    }
}

/// Where `gpu.h` lies.
const HEADERS: &str = "src/backend/cuda";

/// Where the kernels of training lie.
const TRAINING: &str = "src/ops/cuda";

/// Compiles the kernels of a folder to a file of the build's folder.
fn compile_kernels(folder: &str, product: &str) {
    let source = format!("{folder}/kernels.cu");
    for folder in [folder, HEADERS] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|ending| ending == "cu" || ending == "h")
            {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
    }
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let nvcc = match std::env::var_os("CUDA_HOME") {
        Some(home) => PathBuf::from(home).join("bin/nvcc"),
        None => PathBuf::from("nvcc"),
    };
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut command = Command::new(&nvcc);
    command.args(["-fatbin", "-std=c++17", "-O3", "--threads", "0"]);
    for capability in CAPABILITIES {
        command.arg(format!(
            "-gencode=arch=compute_{capability},code=sm_{capability}"
        ));
    }
    // PTX of the oldest runs on every card, those between two of the list included.
    command.arg("-gencode=arch=compute_80,code=compute_80");
    command
        .args(["-I", HEADERS, &source])
        .arg("-o")
        .arg(out.join(product));
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("nvcc could not compile {source}: {status}"),
        Err(error) => panic!(
            "could not run {}: {error}; install the CUDA toolkit, set CUDA_HOME to its folder, or \
             build without the feature `cuda`",
            nvcc.display()
        ),
    }
}
