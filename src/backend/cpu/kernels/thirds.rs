//! How three registers of consecutive values become every third one and back, by blending and
//! permuting lanes: the constants for it.

/// Lanes `l` of register `v` of three whose value belongs to third `k`: bit `l` of `[v][k]`.
pub(super) const fn masks<const L: usize>() -> [[u32; 3]; 3] {
    let mut masks = [[0; 3]; 3];
    let mut i = 0;
    while i < 3 * L {
        masks[i / L][i % 3] |= 1 << (i % L);
        i += 1;
    }
    masks
}

/// For each third the lanes where its values stand after the three registers were blended by
/// [`masks`]: no two share a lane, because 3 and the number of lanes have no common factor.
pub(super) const fn lanes<const L: usize>() -> [[i32; L]; 3] {
    let mut lanes = [[0; L]; 3];
    let mut i = 0;
    while i < 3 * L {
        lanes[i % 3][i / 3] = (i % L) as i32;
        i += 1;
    }
    lanes
}

/// The reverse of [`lanes`].
pub(super) const fn places<const L: usize>() -> [[i32; L]; 3] {
    let mut places = [[0; L]; 3];
    let mut i = 0;
    while i < 3 * L {
        places[i % 3][i % L] = (i / 3) as i32;
        i += 1;
    }
    places
}
