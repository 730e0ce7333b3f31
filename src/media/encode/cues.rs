//! Lines of subtitles that are shown at the same time, for containers that show one at a time.

/// What stands between two lines: a new line in the style that its stream begins with.
const BETWEEN: &str = r"\N{\r}";

/// Fields of a line of ASS as FFmpeg passes it on, before its text.
const FIELDS: usize = 8;

/// Lines of a subtitle, as FFmpeg writes ASS, and when they are shown, in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cue {
    pub begins: i64,
    pub ends: i64,
    pub text: String,
}

/// Cuts cues that overlap into such as follow each other, each with all that is shown then.
#[derive(Default)]
pub(super) struct Cues {
    /// Cues whose end is still to be given out, from `since` on.
    shown: Vec<Cue>,
    since: i64,
}

impl Cues {
    /// Takes the next cue and gives out what is shown before it.
    pub fn push(&mut self, cue: Cue) -> Vec<Cue> {
        let before = self.until(cue.begins);
        self.since = self.since.max(cue.begins);
        self.shown.push(cue);
        before
    }

    /// Gives out what is shown before `time`.
    pub fn until(&mut self, time: i64) -> Vec<Cue> {
        let mut cues = Vec::new();
        while let Some(ends) = self.shown.iter().map(|cue| cue.ends.min(time)).min() {
            if ends > self.since {
                cues.push(Cue {
                    begins: self.since,
                    ends,
                    text: joined(&self.shown),
                });
                self.since = ends;
            }
            self.shown.retain(|cue| cue.ends > ends);
            if ends == time {
                break;
            }
        }
        cues
    }
}

/// All lines of `cues`, one below the other.
fn joined(cues: &[Cue]) -> String {
    let mut lines = cues.iter().map(|cue| cue.text.as_str());
    let mut text = lines.next().unwrap_or_default().to_string();
    for line in lines {
        text += BETWEEN;
        text += line.splitn(FIELDS + 1, ',').last().unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(begins: i64, ends: i64, text: &str) -> Cue {
        let text = text.to_string();
        Cue { begins, ends, text }
    }

    #[test]
    fn lines_are_shown_as_long_as_they_were_whatever_overlaps() {
        let (one, two) = ("0,0,Default,,0,0,0,,One, two", "1,0,Default,,0,0,0,,Three");
        let both = r"0,0,Default,,0,0,0,,One, two\N{\r}Three";
        let mut cues = Cues::default();
        assert_eq!(cues.push(cue(10, 90, one)), []);
        assert_eq!(cues.push(cue(20, 50, two)), [cue(10, 20, one)]);
        let rest = [cue(20, 50, both), cue(50, 90, one)];
        assert_eq!(cues.push(cue(95, 99, two)), rest);
        // Of the same time, and after the first has ended.
        assert_eq!(cues.push(cue(95, 99, two)), []);
        let twice = r"1,0,Default,,0,0,0,,Three\N{\r}Three";
        assert_eq!(cues.until(96), [cue(95, 96, twice)]);
        assert_eq!(cues.until(i64::MAX), [cue(96, 99, twice)]);
        assert_eq!(cues.until(i64::MAX), []);
    }
}
