//! Which instructions the CPU has, and which of them to use.

use std::sync::OnceLock;

use super::generic;
use super::micro::Kernel;
#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A set of vector instructions. Of those of one architecture, later ones include the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every CPU of the target has.
    Generic,
    /// NEON of 64-bit ARM: 4 values at once.
    Neon,
    /// AVX2 and FMA: 8 values at once.
    Avx2,
    /// AVX-512F: 16 values at once.
    Avx512,
}

impl std::fmt::Display for Level {
    /// As `--cpu-level` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    /// The level that is displayed so. The error says what was expected.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = |level: &Self| level.to_string() == text;
        let found = ALL.into_iter().find(named);
        found.ok_or_else(|| "expected generic, neon, avx2 or avx512".to_string())
    }
}

/// Every level, the lowest first.
const ALL: [Level; 4] = [Level::Generic, Level::Neon, Level::Avx2, Level::Avx512];

/// The variable that bounds the level.
const VARIABLE: &str = "REPAINT_CPU_LEVEL";

impl Level {
    /// The highest level the CPU has.
    pub fn supported() -> Self {
        static SUPPORTED: OnceLock<Level> = OnceLock::new();
        *SUPPORTED.get_or_init(probe)
    }

    /// Whether the CPU has the level.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Neon => cfg!(target_arch = "aarch64"),
            level => level <= Self::supported(),
        }
    }

    /// The level to use: the highest one, unless [`Level::limit`] is lower; NEON is the highest of ARM. Read once.
    pub fn detected() -> Self {
        static DETECTED: OnceLock<Level> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let limit = Self::limit().ok().flatten();
            limit.map_or(Self::supported(), |limit| limit.min(Self::supported()))
        })
    }

    /// The level that `REPAINT_CPU_LEVEL` names, where it is set. Fails in one line when it names none.
    pub fn limit() -> Result<Option<Self>, String> {
        let text = std::env::var_os(VARIABLE).unwrap_or_default();
        let text = text.to_string_lossy();
        match &*text {
            "" => Ok(None),
            text => match text.parse() {
                Ok(level) => Ok(Some(level)),
                Err(expected) => Err(format!("{VARIABLE} is `{text}`: {expected}")),
            },
        }
    }

    /// Every level the CPU has, the lowest first.
    pub fn all_supported() -> Vec<Self> {
        let all = ALL.into_iter();
        all.filter(|level| level.is_supported()).collect()
    }

    /// Runs `work`, compiled for the instructions of this level as far as it is inlined.
    pub fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        struct Loops<F>(F);
        impl<R, F: FnOnce() -> R> WithKernel for Loops<F> {
            type Output = R;

            fn run<K: Kernel>(self) -> R {
                // SAFETY: the CPU has the instructions of the kernel it is run with.
                unsafe { K::vectorize(self.0) }
            }
        }
        self.with_kernel(Loops(work))
    }

    /// Runs `work` with the kernel of this level, or of the highest one below that the CPU has.
    pub(super) fn with_kernel<W: WithKernel>(self, work: W) -> W::Output {
        match self.min(Self::supported()) {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => work.run::<avx512::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => work.run::<avx2::Avx2>(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => work.run::<neon::Neon>(),
            _ => work.run::<generic::Generic>(),
        }
    }
}

/// Work that is compiled once for each kernel.
pub(super) trait WithKernel {
    /// What the work gives.
    type Output;

    /// Does it with the kernel `K`, whose instructions the CPU has.
    fn run<K: Kernel>(self) -> Self::Output;
}

fn probe() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if avx2 && is_x86_feature_detected!("avx512f") {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    match cfg!(target_arch = "aarch64") {
        true => Level::Neon,
        false => Level::Generic,
    }
}
