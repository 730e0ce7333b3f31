//! Where the outputs of layers lie in the arena: memory that one no longer needs is used again.

/// Places are multiples of this, in bytes: a line of the GPU's caches.
pub(super) const LINE: usize = 128;

/// A layer's place in the program.
pub(super) struct Place {
    /// Its output before the norm.
    pub(super) output: usize,
    /// Scale and shift of its norm.
    pub(super) scales: usize,
    /// Its normed output with what is added to it, where a later layer wants it.
    pub(super) kept: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Memory that later layers use again: largest first, each at the lowest place where it overlaps
/// none that is in use at the same time.
pub(super) struct Wanted {
    pub(super) layer: usize,
    pub(super) kept: bool,
    pub(super) length: usize,
    pub(super) born: usize,
    pub(super) dies: usize,
}

/// Places what is wanted from `start` on; returns the end.
pub(super) fn place(start: usize, mut wanted: Vec<Wanted>, places: &mut [Place]) -> usize {
    wanted.sort_by_key(|wanted| std::cmp::Reverse(wanted.length));
    let mut placed: Vec<(usize, usize, Wanted)> = Vec::new(); // from, to
    for wanted in wanted {
        let mut rivals: Vec<_> = placed
            .iter()
            .filter(|(.., rival)| rival.born <= wanted.dies && wanted.born <= rival.dies)
            .map(|(from, to, _)| (*from, *to))
            .collect();
        rivals.sort_unstable();
        let mut at = start;
        for (from, to) in rivals {
            if at + wanted.length <= from {
                break;
            }
            at = at.max(to);
        }
        let place = &mut places[wanted.layer];
        *(if wanted.kept {
            &mut place.kept
        } else {
            &mut place.output
        }) = at;
        let end = (at + wanted.length).next_multiple_of(LINE);
        placed.push((at, end, wanted));
    }
    placed.iter().map(|placed| placed.1).max().unwrap_or(start)
}
