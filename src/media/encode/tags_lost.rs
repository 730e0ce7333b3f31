//! Tags and languages that a container cannot hold.

use std::collections::BTreeSet;

use av::format::context::Output;
use ffmpeg_next as av;

use super::Container;
use super::tags::{FILE_TAGS, STATISTICS, are_apples};

/// Tags of a film that FFmpeg writes to mp4, and to mov.
const OF_MP4: [&str; 28] = [
    "title",
    "artist",
    "album_artist",
    "composer",
    "album",
    "date",
    "encoding_tool",
    "comment",
    "genre",
    "copyright",
    "grouping",
    "lyrics",
    "description",
    "synopsis",
    "show",
    "episode_id",
    "network",
    "keywords",
    "episode_sort",
    "season_number",
    "media_type",
    "hd_video",
    "gapless_playback",
    "compilation",
    "track",
    "disc",
    "tmpo",
    "location",
];
const OF_MOV: [&str; 13] = [
    "title",
    "artist",
    "author",
    "album",
    "date",
    "comment",
    "genre",
    "copyright",
    "make",
    "model",
    "keywords",
    "xmp",
    "location",
];

/// Languages that FFmpeg writes to mov, by its names (`mov_mdhd_language_map`).
const OF_TRACKS: [&str; 101] = [
    "eng", "fra", "ger", "ita", "dut", "sve", "spa", "dan", "por", "nor", "heb", "jpn", "ara",
    "fin", "gre", "ice", "mlt", "tur", "hr ", "chi", "urd", "hin", "tha", "kor", "lit", "pol",
    "hun", "est", "lav", "smi", "fo ", "per", "rus", "iri", "alb", "ron", "ces", "slk", "slv",
    "yid", "sr ", "mac", "bul", "ukr", "bel", "uzb", "kaz", "aze", "arm", "geo", "mol", "kir",
    "tgk", "tuk", "mon", "pus", "kur", "kas", "snd", "tib", "nep", "san", "mar", "ben", "asm",
    "guj", "pa ", "ori", "mal", "kan", "tam", "tel", "sin", "bur", "khm", "lao", "vie", "ind",
    "tgl", "may", "amh", "tir", "orm", "som", "swa", "kin", "run", "nya", "mlg", "epo", "wel",
    "baq", "cat", "lat", "que", "grn", "aym", "tat", "uig", "dzo", "jav",
];

/// A language that nobody knows.
const UNKNOWN: &str = "und";

/// Beginnings of tags that say how a file was made, in lower case; nobody misses them.
const TECHNICAL: [&str; 6] = [
    "encod",
    "creation_time",
    "timecode",
    "itun",
    "vendor",
    "handler",
];

/// Names the tags of a film that `container` leaves out, in one line.
pub(super) fn left_out(tags: &av::DictionaryRef, container: Container) -> Option<String> {
    let held: &[&str] = match container {
        Container::Mp4 => &OF_MP4,
        Container::Mov => &OF_MOV,
        Container::Matroska | Container::WebM => return None,
    };
    if are_apples(tags) {
        return None;
    }
    let is_lost = |key: &str| {
        let lower = key.to_ascii_lowercase();
        // Of `title-eng` beside the same `title` the language is written.
        let lower = match lower.split_once('-') {
            Some((word, _)) if tags.get(word) == tags.get(key) => word.to_string(),
            _ => lower,
        };
        let mut technical = FILE_TAGS.iter().chain(&STATISTICS).chain(&TECHNICAL);
        !held.contains(&lower.as_str()) && !technical.any(|begin| lower.starts_with(begin))
    };
    let lost: Vec<_> = tags
        .iter()
        .map(|(key, _)| key)
        .filter(|key| is_lost(key))
        .collect();
    (!lost.is_empty()).then(|| {
        let (lost, name) = (lost.join(", "), container.name());
        format!("tags left out: {lost}: {name} cannot hold them (mkv can)")
    })
}

/// Names the languages of streams that `muxer` leaves out, in one line.
pub(super) fn languages_left_out(muxer: &Output, container: Container) -> Option<String> {
    let languages = muxer
        .streams()
        .filter_map(|stream| Some(stream.metadata().get("language")?.to_string()));
    let lost = BTreeSet::from_iter(languages.filter(|language| {
        let is_held = language == UNKNOWN || OF_TRACKS.contains(&language.as_str());
        container == Container::Mov && !is_held
    }));
    (!lost.is_empty()).then(|| {
        let lost = Vec::from_iter(lost).join(", ");
        format!("languages left out: {lost}: mov cannot hold them (mp4 and mkv can)")
    })
}
