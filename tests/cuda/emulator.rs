//! The emulator of a GPU: kernels compiled as C++ and run thread by thread.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

#[path = "compile.rs"]
mod compile;

use compile::compile;

/// Shared memory that a block can have on the cards that have least of it (compute capability 8.6, 8.9
/// and 12.0: GeForce RTX 30, 40 and 50), in bytes.
const SHARED: u32 = 99 << 10;

/// One kernel to run; `arguments` are the bytes of its `Layer`.
pub struct Launch<'a> {
    pub kernel: &'a str,
    pub grid: [u32; 3],
    pub threads: u32,
    pub shared: u32,
    pub arguments: Vec<u8>,
}

/// Runs launches of the `kernels.cu` in `folder`, of the repository, over `arena`, and returns what it
/// is then. `backwards`: lanes and warps run in the other order.
pub fn run(folder: &str, arena: &[u8], launches: &[Launch], backwards: bool) -> Vec<u8> {
    let mut bytes = (arena.len() as u64).to_le_bytes().to_vec();
    bytes.extend(arena);
    let number = |value: usize| (value as u32).to_le_bytes();
    bytes.extend(number(
        launches.first().map_or(0, |launch| launch.arguments.len()),
    ));
    bytes.extend(number(launches.len()));
    for launch in launches {
        let (kernel, shared) = (launch.kernel, launch.shared);
        assert!(
            shared <= SHARED,
            "{kernel}: {shared} bytes of shared memory"
        );
        bytes.extend(number(launch.kernel.len()));
        bytes.extend(launch.kernel.as_bytes());
        let [x, y, z] = launch.grid;
        for value in [x, y, z, launch.threads, launch.shared] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(&launch.arguments);
    }
    let mut command = Command::new(program(folder));
    if backwards {
        command.env("REPAINT_EMULATOR_BACKWARDS", "1");
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&bytes).unwrap();
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "the emulator's words are above");
    done.stdout
}

/// The emulator with these kernels in it, compiled once.
fn program(folder: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    let known = built.entry(folder.to_string());
    let product = format!("emulator-{}", folder.replace('/', "-"));
    let compiled = known.or_insert_with(|| compile(folder, "main.cpp", &product, &[]));
    compiled.clone()
}
