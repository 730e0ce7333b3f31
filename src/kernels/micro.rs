//! What a level must offer: two register tiles, a register's arithmetic and a way to compile loops
//! for its instructions.

/// What a register tile's sums are added to, after they are complete: sums that start small round
/// ten times less, and the fewer ReLUs of the loss network flip.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// Nothing.
    Zero,
    /// One value a row.
    Bias(*const f32),
    /// What the result holds.
    Accumulate,
}

/// How the rows of a product's right side lie in memory.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// A panel of this many groups of `Kernel::WIDTH` values.
    Panel(usize),
    /// Each row starts so many values behind the first value of all.
    Rows(&'a [usize]),
}

/// One register tile of a product.
pub(super) struct Tile<'a> {
    /// Left panel: a group of `Kernel::ROWS` values for each row of the right side.
    pub a: *const f32,
    /// First value of the right side.
    pub b: *const f32,
    /// The rows of the right side, as many as the sums are long.
    pub right: Right<'a>,
    /// First value of the result.
    pub c: *mut f32,
    /// Values from one row of the result to the next.
    pub pitch: usize,
    /// What the sums are added to.
    pub start: Start,
    /// Whether negative results become 0.
    pub relu: bool,
}

/// One register tile of dot products between rows that lie in memory as they are.
pub(super) struct DotTile<'a> {
    /// First value of each left row, at most `Kernel::DOT_ROWS`.
    pub a: &'a [*const f32],
    /// First value of each right row, at most `Kernel::DOT_COLUMNS`.
    pub b: &'a [*const f32],
    /// Number of lines that make up a row, values in a line.
    pub lines: usize,
    /// Values in a line.
    pub length: usize,
    /// Values from one line to the next, left and right.
    pub pitch: (usize, usize),
}

/// A register of values.
///
/// # Safety
/// Every function requires that the CPU has the level's instructions, and that what is read or
/// written is readable or writable.
pub(super) trait Vector: Copy {
    /// The same value in each lane.
    unsafe fn splat(value: f32) -> Self;

    /// Reads a register of values.
    unsafe fn load(from: *const f32) -> Self;

    /// Begins to fetch the cache line of a value, which may lie anywhere.
    #[inline(always)]
    fn prefetch(_value: *const f32) {}

    /// Writes the values.
    unsafe fn store(self, to: *mut f32);

    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;

    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;

    /// `self * factor`.
    unsafe fn mul(self, factor: Self) -> Self;

    /// `self * factor + summand`.
    unsafe fn fma(self, factor: Self, summand: Self) -> Self;

    /// The larger of the two; `other` where one is NaN.
    unsafe fn max(self, other: Self) -> Self;

    /// `self` where `gate` is positive, else 0.
    unsafe fn where_positive(self, gate: Self) -> Self;

    /// Splits four registers of consecutive values into every fourth from the first, second, third
    /// and fourth value on.
    unsafe fn split_fourths(values: [Self; 4]) -> [Self; 4];

    /// The reverse of [`Self::split_fourths`].
    unsafe fn join_fourths(fourths: [Self; 4]) -> [Self; 4];
}

/// The register tiles of one level.
///
/// # Safety
/// Every function requires that the CPU has the level's instructions, and that the pointers cover
/// what the tile's description says.
pub(super) trait Kernel {
    /// A register.
    type Vector: Vector;
    /// Rows of a register tile.
    const ROWS: usize;
    /// Values in a vector register.
    const LANES: usize;
    /// Columns of a register tile: one to three registers.
    const WIDTH: usize;
    /// Left rows of a tile of dot products.
    const DOT_ROWS: usize;
    /// Right rows of a tile of dot products.
    const DOT_COLUMNS: usize;

    /// Computes the first `rows` rows and `vectors` vectors of a tile, by [`tile`].
    unsafe fn tile(rows: usize, vectors: usize, tile: &Tile);

    /// Sums of `R` rows of a left panel, which begins at `a`, times `V` vectors of each right row.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "constant indices keep the sums in registers"
    )]
    unsafe fn product<const R: usize, const V: usize>(
        rows: impl Iterator<Item = *const f32>,
        mut a: *const f32,
    ) -> [[Self::Vector; V]; R] {
        // SAFETY: the left panel holds a group for each row, each row `V` vectors.
        unsafe {
            let zero = Self::Vector::splat(0.0);
            let mut sums = [[zero; V]; R];
            for row in rows {
                let mut right = [zero; V];
                for v in 0..V {
                    right[v] = Self::Vector::load(row.wrapping_add(v * Self::LANES));
                }
                for r in 0..R {
                    let left = Self::Vector::splat(*a.wrapping_add(r));
                    for v in 0..V {
                        sums[r][v] = right[v].fma(left, sums[r][v]);
                    }
                }
                a = a.wrapping_add(Self::ROWS);
            }
            sums
        }
    }

    /// Adds the dot products to `sums`, row by row with `DOT_COLUMNS` values in a row.
    unsafe fn dot_tile(tile: &DotTile, sums: &mut [f32]);

    /// Runs `work` compiled for the level's instructions (as far as it is inlined).
    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R;
}

/// Computes `R` rows of `V` vectors of a tile; compiled for the level's instructions where it is inlined.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "constant indices keep the sums in registers"
)]
pub(super) unsafe fn tile<K: Kernel, const R: usize, const V: usize>(t: &Tile) {
    // SAFETY: the panels hold `depth` groups, the result `R` rows of `V` vectors.
    unsafe {
        let mut sums: [[K::Vector; V]; R] = match t.right {
            Right::Panel(depth) => {
                K::product((0..depth).map(|k| t.b.wrapping_add(k * K::WIDTH)), t.a)
            }
            Right::Rows(starts) => K::product(starts.iter().map(|at| t.b.wrapping_add(*at)), t.a),
        };
        match t.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                for r in 0..R {
                    let bias = K::Vector::splat(*bias.wrapping_add(r));
                    for v in 0..V {
                        sums[r][v] = sums[r][v].add(bias);
                    }
                }
            }
            Start::Accumulate => {
                let mut c = t.c;
                for r in 0..R {
                    for v in 0..V {
                        let held = K::Vector::load(c.wrapping_add(v * K::LANES));
                        sums[r][v] = sums[r][v].add(held);
                    }
                    c = c.wrapping_add(t.pitch);
                }
            }
        }
        // In this order of arguments NaN stays NaN.
        let least = K::Vector::splat(if t.relu { 0.0 } else { f32::NEG_INFINITY });
        let mut c = t.c;
        for r in 0..R {
            for v in 0..V {
                least.max(sums[r][v]).store(c.wrapping_add(v * K::LANES));
            }
            c = c.wrapping_add(t.pitch);
        }
    }
}

/// Calls `$function::<R, C>` with the constants that `$rows` and `$columns` are.
macro_rules! dispatch {
    ($rows:expr, $columns:expr, [$($row:literal)+], $list:tt, $function:ident, $arguments:tt) => {
        match $rows {
            $($row => dispatch!(@columns $row, $columns, $list, $function, $arguments),)+
            rows => unreachable!("tile of {rows} rows"),
        }
    };
    (@columns $row:literal, $columns:expr, [$($column:literal)+], $function:ident, $arguments:tt) => {
        match $columns {
            $($column => dispatch!(@call $row, $column, $function, $arguments),)+
            columns => unreachable!("tile of {columns} columns"),
        }
    };
    (@call $row:literal, $column:literal, $function:ident, ($($argument:expr),*)) => {
        // SAFETY: the caller of the tile vouches for the instructions and the pointers.
        unsafe { $function::<$row, $column>($($argument),*) }
    };
}
pub(super) use dispatch;
