//! Where the outputs of layers lie in an engine's memory: what one no longer needs is used again.

/// Memory for an output, in use from step `born` to step `dies`, both included.
pub(super) struct Wanted {
    /// The layer whose output it is.
    pub layer: usize,
    /// Whether it is the output as a later layer adds it, after its norm.
    pub kept: bool,
    pub length: usize,
    pub born: usize,
    pub dies: usize,
}

/// Places what is `wanted` from `start` on, a multiple of `line`, as all places are: largest first, each at the lowest
/// place where it overlaps none that is in use at the same time. Returns it with its places, and the end.
pub(super) fn place(
    start: usize,
    line: usize,
    mut wanted: Vec<Wanted>,
) -> (Vec<(Wanted, usize)>, usize) {
    wanted.sort_by_key(|wanted| std::cmp::Reverse(wanted.length));
    let end = |from: usize, wanted: &Wanted| (from + wanted.length).next_multiple_of(line);
    let mut placed: Vec<(Wanted, usize)> = Vec::new();
    for wanted in wanted {
        let mut rivals: Vec<_> = placed
            .iter()
            .filter(|(rival, _)| rival.born <= wanted.dies && wanted.born <= rival.dies)
            .map(|(rival, from)| (*from, end(*from, rival)))
            .collect();
        rivals.sort_unstable();
        let mut at = start;
        for (from, to) in rivals {
            if at + wanted.length <= from {
                break;
            }
            at = at.max(to);
        }
        placed.push((wanted, at));
    }
    let ends = placed.iter().map(|(wanted, from)| end(*from, wanted));
    let end = ends.max().unwrap_or(start);
    (placed, end)
}
