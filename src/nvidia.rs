//! NVIDIA's libraries, looked for when they are first wanted: a program built for GPUs starts, and paints
//! on the CPU, where there are none.
//!
//! candle has its binding link them. The functions that the program calls are defined here instead, each a
//! jump to the one of its name in the library, so that the linker has nothing to take from the library and
//! leaves it out. A function that is not in the list brings its library back; a test says so.
//!
//! The names are hidden from libraries that are loaded later: NVIDIA's own decoder, which calls the driver
//! too, must find the driver's functions and not these.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use anyhow::{Context, Result, anyhow};
use libloading::Library;

/// What a function returns whose library has not been loaded: of the driver CUDA_ERROR_NO_DEVICE.
const MISSING: c_int = 100;

extern "C" fn missing() -> c_int {
    MISSING
}

/// Where a function lies; [`missing`] until its library has been loaded.
type Place = AtomicPtr<c_void>;

/// Defines functions under their names in a library, and the list of their places.
macro_rules! forward {
    ($list:ident, $places:ident: $($name:ident)*) => {
        #[allow(non_upper_case_globals, reason = "the names are NVIDIA's")]
        mod $places {
            use super::*;
            $(pub static $name: Place = Place::new(missing as *mut c_void);)*
        }

        const $list: &[(&str, &Place)] = &[$((stringify!($name), &$places::$name)),*];

        $(
            #[allow(non_snake_case, reason = "the names are NVIDIA's")]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                std::arch::naked_asm!(
                    concat!(".hidden ", stringify!($name)),
                    "jmp qword ptr [rip + {}]",
                    sym $places::$name,
                );
                #[cfg(target_arch = "aarch64")]
                std::arch::naked_asm!(
                    concat!(".hidden ", stringify!($name)),
                    "adrp x16, {place}",
                    "ldr x16, [x16, :lo12:{place}]",
                    "br x16",
                    place = sym $places::$name,
                );
            }
        )*
    };
}

forward! { DRIVER, driver:
    cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuCtxSynchronize cuDeviceGet
    cuDeviceGetAttribute cuDeviceGetDefaultMemPool cuDeviceGetName cuDevicePrimaryCtxRelease_v2
    cuDevicePrimaryCtxRetain cuEventCreate cuEventDestroy_v2 cuEventElapsedTime_v2 cuEventRecord
    cuEventSynchronize cuFuncSetAttribute cuGetErrorString cuGraphDestroy cuGraphExecDestroy
    cuGraphInstantiateWithFlags cuGraphLaunch cuInit cuLaunchKernel cuMemAlloc_v2 cuMemAllocAsync
    cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync cuMemFree_v2
    cuMemFreeAsync cuMemFreeHost cuMemGetInfo_v2 cuMemHostAlloc cuMemPoolSetAttribute
    cuMemsetD8Async cuModuleGetFunction cuModuleLoad cuModuleLoadData cuModuleUnload
    cuStreamBeginCapture_v2 cuStreamCreate cuStreamDestroy_v2 cuStreamEndCapture cuStreamIsCapturing
    cuStreamSynchronize cuStreamWaitEvent
}

forward! { PRODUCTS, products:
    cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmStridedBatchedEx
    cublasSetStream_v2
}

forward! { NUMBERS, numbers:
    curandCreateGenerator curandDestroyGenerator curandSetPseudoRandomGeneratorSeed curandSetStream
}

/// Loads the driver, once. Fails where it is not installed, or too old for a function.
pub fn load_driver() -> Result<()> {
    static LOADED: OnceLock<Result<Library, String>> = OnceLock::new();
    loaded(&LOADED, &["libcuda.so.1"], DRIVER)
}

/// Loads the driver and what else candle opens with a GPU: cuBLAS and cuRAND of the CUDA toolkit. Fails
/// where they are not installed.
pub fn load_toolkit() -> Result<()> {
    static PRODUCTS_LOADED: OnceLock<Result<Library, String>> = OnceLock::new();
    static NUMBERS_LOADED: OnceLock<Result<Library, String>> = OnceLock::new();
    load_driver()?;
    loaded(
        &PRODUCTS_LOADED,
        &["libcublas.so.13", "libcublas.so.12"],
        PRODUCTS,
    )
    .and_then(|()| loaded(&NUMBERS_LOADED, &["libcurand.so.10"], NUMBERS))
    .context("this needs cuBLAS and cuRAND of the CUDA toolkit")
}

fn loaded(
    library: &'static OnceLock<Result<Library, String>>,
    files: &[&str],
    functions: &[(&str, &Place)],
) -> Result<()> {
    let loaded = library.get_or_init(|| load(files, functions));
    loaded
        .as_ref()
        .map(drop)
        .map_err(|error| anyhow!("{error}"))
}

/// Why `file` could not be loaded: it is missing, or what it needs itself is.
fn why_not(file: &str, error: Option<libloading::Error>) -> String {
    use std::error::Error;

    let cause = error.as_ref().and_then(Error::source);
    let reason = cause.map(ToString::to_string).unwrap_or_default();
    match reason.is_empty() || reason.starts_with(file) {
        true => format!("{file} is not installed"),
        false => format!("{file} could not be loaded: {reason}"),
    }
}

/// Loads the first of `files` that is there and finds the functions in it.
fn load(files: &[&str], functions: &[(&str, &Place)]) -> Result<Library, String> {
    // SAFETY: loading runs the library's own start-up code; these are NVIDIA's, as linking them would.
    let open = |file: &&str| unsafe { Library::new(*file) };
    let library = files.iter().find_map(|file| open(file).ok());
    let library = library.ok_or_else(|| why_not(files[0], open(&files[0]).err()))?;
    let found = functions.iter().map(|(name, place)| {
        // SAFETY: the symbol is only kept as an address, as long as the library, which is never
        // dropped; who calls it, through the declarations of the binding, knows its type.
        let address = unsafe {
            let symbol = library.get::<*mut c_void>(*name);
            symbol.map(|symbol| symbol.into_raw().as_raw_ptr())
        };
        let address = address.map_err(|_| format!("{} is too old, it lacks {name}", files[0]))?;
        Ok((*place, address))
    });
    // Only a library that has them all is used.
    for (place, address) in found.collect::<Result<Vec<_>, String>>()? {
        place.store(address, Ordering::Release);
    }
    Ok(library)
}
