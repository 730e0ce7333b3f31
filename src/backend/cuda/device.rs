//! The engine on the GPU itself: which frames go there, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use cudarc::driver::sys::CUfunction_attribute_enum as FunctionAttribute;
use cudarc::driver::sys::{CUdevice_attribute as Attribute, CUevent_flags as EventFlags};
use cudarc::driver::{CudaContext, CudaEvent, CudaFunction, CudaModule, CudaStream};
use cudarc::nvrtc::Ptx;

use super::Weights;
use super::bus::Bus;
use super::film::tell;
use super::graph::{Graph, OnCard};
use super::program::{Launch, Program, center};
use crate::backend::{Backend, Device, ensure_fits, held};
use crate::frame::{Carried, Frame};
use crate::model::Model;
use crate::steady::{Seen, Steadier};

/// `kernels.cu` for the cards of today, and as PTX for those to come; `build.rs` compiles it.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// The oldest cards whose tensor cores know the instructions.
const CAPABILITY: (i32, i32) = (8, 0);

/// The engine.
pub struct Cuda {
    card: String,
    context: Arc<CudaContext>,
    /// Everything but what crosses the bus happens on this one stream, in order.
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    weights: Option<Weights>,
    ready: Option<Ready>,
}

/// A program on the GPU, for one model and one size of frame.
struct Ready {
    /// The first to be dropped: it waits for what is under way.
    bus: Bus,
    size: (usize, usize),
    on_card: OnCard,
    still: Graph,
    /// Captured for the first frame of a film.
    film: Option<Graph>,
    /// Whether the frame begun last was one of a film: its painting stays on the card.
    in_film: bool,
    /// The number of a film's frame that was begun while the one before was painted.
    begun: Option<u64>,
    told: Vec<u8>,
}

/// Memory of a card that is left to graphs, to the driver, which hands it out in pages of 2 MiB, and to
/// decoders, in bytes.
const SLACK: usize = 64 << 20;

impl Cuda {
    /// Opens the first card. Fails where there is none, or one that is too old.
    pub fn new() -> Result<Self> {
        let refused = |reason: String| {
            anyhow!(
                "could not open the NVIDIA GPU ({reason}): check `nvidia-smi` or use --device cpu"
            )
        };
        #[cfg(target_os = "linux")]
        crate::nvidia::load_driver().map_err(|error| refused(format!("{error:#}")))?;
        let context = CudaContext::new(0).map_err(|error| refused(format!("{:?}", error.0)))?;
        let card = context.name()?;
        let (major, minor) = context.compute_capability()?;
        ensure!(
            (major, minor) >= CAPABILITY,
            "the {card} has compute capability {major}.{minor}, below {}.{}: use --device cpu",
            CAPABILITY.0,
            CAPABILITY.1
        );
        // SAFETY: the engine has one stream for all but what crosses the bus, which `Bus` orders.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        let module = context.load_module(Ptx::from_binary(KERNELS.to_vec()));
        let module = module.with_context(|| {
            format!(
                "could not load the kernels on the {card}: its driver may be too old, update it"
            )
        })?;
        Ok(Self {
            card,
            context,
            stream,
            module,
            weights: None,
            ready: None,
        })
    }

    /// The name of the card.
    pub fn card(&self) -> &str {
        &self.card
    }

    /// Paints the last frame again, without the bus, and says how long the GPU took.
    pub fn replay(&mut self) -> Result<Duration> {
        let ready = self.ready.as_ref().context("no frame was painted")?;
        let start = self.mark()?;
        match &ready.film {
            Some(film) if ready.in_film => film.launch()?,
            _ => ready.still.launch()?,
        }
        between(&start, &self.mark()?)
    }

    /// Name and time of each launch for the last frame, one after the other instead of as a graph.
    pub fn launch_times(&mut self) -> Result<Vec<(String, Duration)>> {
        let ready = self.ready.as_ref().context("no frame was painted")?;
        let program = &ready.on_card.program;
        let launches: Vec<_> = match ready.in_film {
            true => program.film().collect(),
            false => program.launches.iter().collect(),
        };
        let mut marks = vec![self.mark()?];
        for launch in &launches {
            ready.on_card.start(&self.stream, launch)?;
            marks.push(self.mark()?);
        }
        let times = launches.into_iter().zip(marks.iter().zip(&marks[1..]));
        let time =
            |(launch, (start, end)): (&Launch, _)| Ok((launch.name.clone(), between(start, end)?));
        times.map(time).collect()
    }

    /// A mark in the stream that keeps its time.
    fn mark(&self) -> Result<CudaEvent> {
        Ok(self
            .stream
            .record_event(Some(EventFlags::CU_EVENT_DEFAULT))?)
    }

    /// Paints with the program for frames of the size of `input`.
    fn with_ready(
        &mut self,
        input: &Frame,
        paint: impl FnOnce(&Arc<CudaStream>, &mut Ready) -> Result<()>,
    ) -> Result<()> {
        let weights = self.weights.as_ref().context("no model is loaded")?;
        let size = (input.width, input.height);
        self.context.bind_to_thread()?; // frames may come from any
        let mut ready = match self.ready.take() {
            Some(ready) if ready.size == size => ready,
            other => {
                drop(other); // its memory may be needed
                self.prepare(weights, size)?
            }
        };
        let painted = paint(&self.stream, &mut ready);
        self.ready = Some(ready);
        painted.with_context(|| format!("the {} failed", self.card))
    }

    /// Brings a program for frames of `size` to the GPU.
    fn prepare(&self, weights: &Weights, size: (usize, usize)) -> Result<Ready> {
        let program = Program::new(weights, size)?;
        let mut functions = BTreeMap::new();
        for launch in program.film() {
            if !functions.contains_key(&launch.kernel) {
                functions.insert(launch.kernel.clone(), self.function(launch)?);
            }
        }
        self.stream.synchronize()?; // what was dropped is free after this
        let (free, _) = self.context.mem_get_info()?;
        let Program { frame, center, .. } = &program;
        let still = program.carried.len() + program.valid.len();
        let sent = frame.len() + center.len() + still.max(program.told.len());
        let free = free.saturating_sub(SLACK);
        let needed = program.arena + sent + frame.len();
        ensure!(
            needed < free,
            "a frame of {}x{} needs {} MiB of the memory of the {}, {} are free: paint at most about {}x{}",
            size.0,
            size.1,
            needed >> 20,
            self.card,
            free >> 20,
            fitting(size.0, free, needed),
            fitting(size.1, free, needed),
        );
        // SAFETY: nothing reads the memory before it is written: weights below, frames by `paint`,
        // the rest by the launches in their order.
        let mut arena = unsafe { self.stream.alloc::<u8>(program.arena) }?;
        self.stream.memcpy_htod(weights.bytes(), &mut arena)?;
        let bus = Bus::new(&self.context, self.stream.clone(), sent, frame.len())?;
        self.stream.synchronize()?;

        let on_card = OnCard {
            program,
            functions,
            arena,
        };
        Ok(Ready {
            bus,
            size,
            still: on_card.capture(&self.stream, on_card.program.launches.iter())?,
            film: None,
            in_film: false,
            begun: None,
            on_card,
            told: Vec::new(),
        })
    }

    fn function(&self, launch: &Launch) -> Result<CudaFunction> {
        let most = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let most = self.context.attribute(most)?;
        ensure!(
            launch.shared <= most as u32,
            "the network is too wide for the {}: a block of `{}` needs {} bytes of shared memory, \
             it has {most}: use --device cpu",
            self.card,
            launch.kernel,
            launch.shared
        );
        let function = self.module.load_function(&launch.kernel)?;
        let shared = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(shared, most)?;
        Ok(function)
    }
}

impl Ready {
    /// Sends the frame and what is carried, runs the graph, fetches the painting.
    fn paint(
        &mut self,
        memory: bool,
        last: Option<&Carried>,
        input: &Frame,
        output: &mut Frame,
    ) -> Result<()> {
        (self.in_film, self.begun) = (false, None);
        let OnCard { program, arena, .. } = &mut self.on_card;
        let center = center(input);
        let mut parts = vec![
            (Some(&input.pixels[..]), &program.frame),
            (Some(&center), &program.center),
        ];
        if memory {
            let valid = last.map(|last| &last.valid[..]);
            parts.push((valid, &program.valid));
            parts.extend(last.map(|last| (Some(&last.pixels[..]), &program.carried)));
        }
        self.bus.send(&parts, arena)?;
        self.still.launch()?;
        self.bus.begin_fetch(arena, &program.painted)?;
        output.shape_like(input);
        self.bus.finish_fetch(&mut output.pixels)
    }

    /// As `paint`, for the frame of a film of which `seen` tells, which is steadied. While its painting
    /// is on its way back, the `next` frame is sent and begun.
    fn paint_next(
        &mut self,
        stream: &Arc<CudaStream>,
        seen: (&Seen, &Frame),
        next: Option<(&Seen, &Frame)>,
        output: &mut Frame,
    ) -> Result<()> {
        let (_, held) = seen;
        let begun = self.begun.take();
        if begun != Some(held.index) {
            // The painting of a frame that was begun and did not come took the last one's place.
            self.in_film &= begun.is_none();
            self.begin(stream, seen)?;
        }
        let OnCard { program, arena, .. } = &mut self.on_card;
        self.bus.begin_fetch(arena, &program.kept)?;
        if let Some(next) = next {
            self.begin(stream, next)?;
            self.begun = Some(next.1.index);
        }
        output.shape_like(held);
        self.bus.finish_fetch(&mut output.pixels)
    }

    /// Sends the frame of a film and runs the graph.
    fn begin(&mut self, stream: &Arc<CudaStream>, (seen, held): (&Seen, &Frame)) -> Result<()> {
        if self.film.is_none() {
            let launches = self.on_card.program.film();
            self.film = Some(self.on_card.capture(stream, launches)?);
        }
        tell(seen.follows().filter(|_| self.in_film), &mut self.told);
        self.in_film = false; // until this frame is begun
        let OnCard { program, arena, .. } = &mut self.on_card;
        let told = program.told.start..program.told.start + self.told.len();
        let center = center(held);
        let parts = [
            (Some(&held.pixels[..]), &program.frame),
            (Some(&center), &program.center),
            (Some(&self.told), &told),
        ];
        self.bus.send(&parts, arena)?;
        let graph = self.film.as_ref().context("no graph for a film")?;
        graph.launch()?;
        self.in_film = true;
        Ok(())
    }
}

impl Backend for Cuda {
    fn name(&self) -> &str {
        "cuda"
    }

    fn device(&self) -> Device {
        Device::Cuda
    }

    fn load(&mut self, model: &Model) -> Result<()> {
        self.ready = None;
        self.weights = Some(Weights::pack(model)?);
        Ok(())
    }

    fn has_memory(&self) -> bool {
        self.weights.as_ref().is_some_and(Weights::has_memory)
    }

    fn stylize_after(
        &mut self,
        last: Option<&Carried>,
        input: &Frame,
        output: &mut Frame,
    ) -> Result<()> {
        ensure_fits(input, last)?;
        let memory = self.has_memory();
        self.with_ready(input, |_, ready| ready.paint(memory, last, input, output))
    }

    /// The last painting and what steadies the next stay on the card; `steadier` is not asked.
    fn stylize_next(
        &mut self,
        seen: &Seen,
        next: Option<&Seen>,
        _steadier: &mut Steadier,
        output: &mut Frame,
    ) -> Result<()> {
        let frame = held(seen)?;
        ensure_fits(frame, None)?;
        let alike = |held: &Frame| (held.width, held.height) == (frame.width, frame.height);
        let next = next.and_then(|next| Some((next, next.held().filter(|held| alike(held))?)));
        self.with_ready(frame, |stream, ready| {
            ready.paint_next(stream, (seen, frame), next, output)
        })
    }
}

/// The part of `length` with which a picture would take `free` bytes instead of `needed`.
fn fitting(length: usize, free: usize, needed: usize) -> usize {
    (length as f64 * (free as f64 / needed as f64).sqrt()) as usize
}

/// The GPU's time from one mark to a later one.
fn between(start: &CudaEvent, end: &CudaEvent) -> Result<Duration> {
    let milliseconds = start.elapsed_ms(end)?;
    Ok(Duration::try_from_secs_f32(milliseconds / 1e3)?)
}
