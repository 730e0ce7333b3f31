//! Tags that a container cannot hold.

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
