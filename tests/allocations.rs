//! The CPU engine allocates nothing per frame once it has seen a size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use repaint::backend::Backend;
use repaint::backend::check::random_frame;
use repaint::backend::cpu::Cpu;
use repaint::frame::{Carried, Frame};
use repaint::kernels::Level;
use repaint::model::Model;
use repaint::network::{Network, Width};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The only test of this binary: another one's allocations would be counted too.
#[test]
fn painting_allocates_nothing_after_the_first_frame() {
    let model = Model::random(Network::from(Width::Small).with_memory(), 1).unwrap();
    let input = random_frame(160, 121);
    let last = Carried {
        width: 160,
        height: 121,
        pixels: input.pixels.clone(),
        valid: vec![255; 160 * 121],
    };
    for level in Level::all_supported() {
        for threads in [1, 3] {
            let mut engine = Cpu::new(Some(threads), Some(level)).unwrap();
            engine.load(&model).unwrap();
            let mut output = Frame::default();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            engine.stylize(&input, &mut output).unwrap();
            let first = ALLOCATIONS.load(Ordering::Relaxed);
            assert!(first > before, "the first frame makes the plan");
            for _ in 0..20 {
                engine
                    .stylize_after(Some(&last), &input, &mut output)
                    .unwrap();
            }
            let later = ALLOCATIONS.load(Ordering::Relaxed) - first;
            assert_eq!(later, 0, "allocations at {level:?} with {threads} threads");
        }
    }
}
