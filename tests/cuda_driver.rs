//! The CUDA engine as a whole without a GPU: with a driver made for the tests (tests/cuda/driver.cpp) in the
//! place of NVIDIA's, which runs the kernels in the emulator, in any order that the engine allows.

#[path = "common/films.rs"]
mod films;

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::os::unix::Library;
use repaint::backend::check::difference;
use repaint::backend::cpu::Cpu;
use repaint::backend::cuda::Cuda;
use repaint::backend::{self, Backend, Device};
use repaint::frame::Frame;
use repaint::model::Model;
use repaint::network::Network;
use repaint::steady::{Seen, Steadier, Watcher};

use films::{carried, film, paint, picture};

/// The emulated card, for one test at a time.
struct Card {
    _alone: MutexGuard<'static, ()>,
    set: unsafe extern "C" fn(u32, usize),
}

impl Card {
    /// Builds the driver and loads it under the name by which the engine looks for NVIDIA's.
    fn open() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        static DRIVER: OnceLock<Library> = OnceLock::new();
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let driver = DRIVER.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated-libcuda.so.1");
            let flags = "-std=c++17 -O2 -Wall -Wno-unknown-pragmas -Werror -fPIC -shared";
            let built = Command::new("c++")
                .args(flags.split(' '))
                .arg("-Wl,-soname,libcuda.so.1")
                .arg("-I")
                .arg(root.join("src/backend/cuda"))
                .arg("-I")
                .arg(root.join("tests/cuda"))
                .arg(root.join("tests/cuda/driver.cpp"))
                .arg("-o")
                .arg(&place)
                .status()
                .expect("c++ is there: setup.sh sees to it");
            assert!(built.success(), "the driver does not compile");
            // SAFETY: the library was built above; loading it makes empty maps.
            unsafe { Library::new(&place) }.expect("a driver")
        });
        // SAFETY: the function has this type in driver.cpp, and the library stays.
        let set = unsafe { driver.get(b"emulated_card\0") };
        let card = Self {
            _alone: alone,
            set: *set.expect("a function of the driver"),
        };
        card.set(1, 8 << 30);
        card
    }

    /// What chance begins with, and the memory that is left.
    fn set(&self, seed: u32, bytes: usize) {
        // SAFETY: the driver takes any numbers.
        unsafe { (self.set)(seed, bytes) }
    }
}

/// The engine with a model.
fn engine(model: &Model) -> Cuda {
    let mut engine = Cuda::new().unwrap();
    engine.load(model).unwrap();
    engine
}

fn random(channels: [usize; 3]) -> Model {
    Model::random(Network::new(channels).with_memory(), 21).unwrap()
}

/// A film as `engine` paints it, each frame in a thread of its own, as any may come from another one.
fn paint_film(engine: &mut dyn Backend, frames: &[Frame]) -> Vec<Frame> {
    let (mut watcher, mut seen) = (Watcher::new(0.5), Seen::default());
    let mut steadier = Steadier::default();
    let mut paint = |frame: &Frame| {
        watcher.look(frame, &mut seen);
        let held = seen.held().unwrap();
        let (mut painting, steadier) = (Frame::default(), &mut steadier);
        let painted = std::thread::scope(|scope| {
            let paint = || engine.stylize_next(&seen, held, steadier, &mut painting);
            scope.spawn(paint).join()
        });
        painted.unwrap().unwrap();
        painting
    };
    frames.iter().map(&mut paint).collect()
}

fn largest_difference(some: &[Frame], others: &[Frame]) -> u8 {
    assert_eq!(some.len(), others.len());
    let pairs = some.iter().zip(others);
    pairs.map(|(a, b)| difference(a, b)).max().unwrap()
}

#[test]
fn pictures_of_changing_sizes_are_painted() {
    let _card = Card::open();
    let model = random([8, 16, 32]);
    let mut engine = engine(&model);
    for (width, height) in [(40, 24), (21, 30), (40, 24)] {
        let (input, last) = (picture(width, height, 3), carried(width, height));
        for last in [None, Some(&last), None] {
            let mut painted = Frame::default();
            engine.stylize_after(last, &input, &mut painted).unwrap();
            let found = difference(&painted, &paint(&model, last, &input));
            assert!(found <= 2, "{width}x{height}: {found}/255");
        }
    }
}

#[test]
fn a_film_is_painted_as_on_the_cpu_in_whatever_order_the_card_works() {
    let card = Card::open();
    let model = random([8, 16, 32]);
    let frames = film((40, 24), 4);
    let mut cpu = Cpu::new(None, None).unwrap();
    cpu.load(&model).unwrap();
    let expected = paint_film(&mut cpu, &frames);
    let first = paint_film(&mut engine(&model), &frames);
    let found = largest_difference(&first, &expected);
    println!("{found}/255");
    assert!(found <= 6, "{found}/255");
    for seed in 2..6 {
        card.set(seed, 8 << 30);
        let again = paint_film(&mut engine(&model), &frames);
        assert_eq!(again, first, "chance {seed}");
    }
}

#[test]
fn a_film_begins_anew_after_a_still() {
    let _card = Card::open();
    let mut engine = engine(&random([8, 16, 32]));
    let (mut watcher, mut seen) = (Watcher::new(0.5), Seen::default());
    let [mut painting, mut alone] = [Frame::default(), Frame::default()];
    for (frame, anew) in film((40, 24), 3).iter().zip([true, true, false]) {
        watcher.look(frame, &mut seen);
        let held = seen.held().unwrap();
        if anew {
            engine.stylize(held, &mut alone).unwrap();
        }
        let steadier = &mut Steadier::default();
        let painted = engine.stylize_next(&seen, held, steadier, &mut painting);
        painted.unwrap();
        if !anew {
            engine.stylize(held, &mut alone).unwrap();
        }
        assert_eq!(painting == alone, anew, "frame {}", frame.index);
    }
}

#[test]
fn a_card_that_paints_as_the_cpu_does_is_trusted() {
    let _card = Card::open();
    let opened = backend::open(Device::Cuda, None, None).unwrap();
    assert_eq!(opened.engine.name(), "cuda");
}

#[test]
fn a_frame_that_does_not_fit_names_one_that_does() {
    let card = Card::open();
    let mut engine = engine(&random([8, 16, 32]));
    card.set(1, 1 << 20);
    let error = engine.stylize(&picture(640, 480, 1), &mut Frame::default());
    let words = format!("{:#}", error.unwrap_err());
    assert!(words.contains("a frame of 640x480 needs"), "{words}");
    assert!(words.contains("paint at most about "), "{words}");
    let mut painted = Frame::default();
    engine.stylize(&picture(40, 30, 1), &mut painted).unwrap();
    assert_eq!((painted.width, painted.height), (40, 30));
}
