//! The CUDA engine as a whole without a GPU: with a driver made for the tests (tests/cuda/driver.cpp) in the
//! place of NVIDIA's, which runs the kernels in the emulator, in any order that the engine allows.

#[path = "cuda/compile.rs"]
mod compile;
#[path = "common/films.rs"]
mod films;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::os::unix::Library;
use repaint::backend::check::difference;
use repaint::backend::cpu::Cpu;
use repaint::backend::cuda::Cuda;
use repaint::backend::{self, Backend, Device};
use repaint::frame::Frame;
use repaint::model::Model;
use repaint::network::Network;
use repaint::steady::{Seen, Steadier};

use compile::compile;
use films::{carried, film, paint, paint_film, picture, watched};

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
            let flags = ["-fPIC", "-shared", "-Wl,-soname,libcuda.so.1"];
            let product = "emulated-libcuda.so.1";
            let place = compile("src/backend/cuda", "driver.cpp", product, &flags);
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
    let film = watched(&film((40, 24), 4));
    let mut cpu = Cpu::new(None, None).unwrap();
    cpu.load(&model).unwrap();
    let expected = paint_film(&mut cpu, &film, |_| true);
    let first = paint_film(&mut engine(&model), &film, |_| false);
    let found = largest_difference(&first, &expected);
    println!("{found}/255");
    assert!(found <= 6, "{found}/255");
    for seed in 2..10 {
        card.set(seed, 8 << 30);
        let ahead = |i: usize| seed < 8 || i.is_multiple_of(2);
        let again = paint_film(&mut engine(&model), &film, ahead);
        assert!(again == first, "chance {seed}");
    }
}

#[test]
fn a_film_begins_anew_after_another_picture() {
    let _card = Card::open();
    let mut engine = engine(&random([8, 16, 32]));
    let film = watched(&film((40, 24), 4));
    let [mut painting, mut alone] = [Frame::default(), Frame::default()];
    let mut next = |engine: &mut Cuda, frame: usize, next: Option<&Seen>| {
        let seen = &film[frame];
        engine.stylize(seen.held().unwrap(), &mut alone).unwrap();
        let steadier = &mut Steadier::default();
        let painted = engine.stylize_next(seen, next, steadier, &mut painting);
        painted.unwrap();
        painting == alone
    };
    assert!(next(&mut engine, 0, None), "the first frame");
    assert!(next(&mut engine, 1, Some(&film[2])), "after a still");
    assert!(next(&mut engine, 2, None), "after a still, begun before it");
    // Without a still between them.
    let follow = |engine: &mut Cuda, frame: usize, next: Option<&Seen>| {
        let (mut painting, steadier) = (Frame::default(), &mut Steadier::default());
        let painted = engine.stylize_next(&film[frame], next, steadier, &mut painting);
        painted.unwrap();
        painting
    };
    let steadied = follow(&mut engine, 3, None);
    follow(&mut engine, 1, Some(&film[2]));
    let anew = follow(&mut engine, 3, None);
    let mut alone = Frame::default();
    let held = film[3].held().unwrap();
    engine.stylize(held, &mut alone).unwrap();
    assert!(
        anew == alone,
        "after a frame that was begun and did not come"
    );
    assert!(steadied != alone, "after the frame before");
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
    card.set(1, 65 << 20); // 64 MiB are left alone
    let error = engine.stylize(&picture(640, 480, 1), &mut Frame::default());
    let words = format!("{:#}", error.unwrap_err());
    assert!(words.contains("a frame of 640x480 needs"), "{words}");
    assert!(words.contains("paint at most about "), "{words}");
    let mut painted = Frame::default();
    engine.stylize(&picture(40, 30, 1), &mut painted).unwrap();
    assert_eq!((painted.width, painted.height), (40, 30));
}
