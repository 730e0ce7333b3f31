//! Words on a picture: a bitmap font for printable ASCII, 5x8 dots in a cell of 6x9.
//!
//! Letters are enlarged by whole numbers, so that they stay sharp on any background.

use crate::frame::Frame;

/// Width of a letter's cell in dots, with the gap to its neighbour.
const CELL: usize = 6;

/// Height of a line in dots, with the gap to the next one.
const LINE: usize = 9;

/// The letters from space to `~`, sixteen side by side; the last cell stands for all others. The
/// eighth row holds what hangs below the line.
#[rustfmt::skip]
const FONT: [[&str; 8]; 6] = [
    [
        "..... ..#.. .#.#. .#.#. ..#.. ##... .##.. .##.. ...#. .#... ..... ..... ..... ..... ..... .....",
        "..... ..#.. .#.#. .#.#. .#### ##..# #..#. ..#.. ..#.. ..#.. ..#.. ..#.. ..... ..... ..... ....#",
        "..... ..#.. .#.#. ##### #.#.. ...#. #.#.. .#... .#... ...#. #.#.# ..#.. ..... ..... ..... ...#.",
        "..... ..#.. ..... .#.#. .###. ..#.. .#... ..... .#... ...#. .###. ##### ..... ##### ..... ..#..",
        "..... ..#.. ..... ##### ..#.# .#... #.#.# ..... .#... ...#. #.#.# ..#.. ..... ..... ..... .#...",
        "..... ..... ..... .#.#. ####. #..## #..#. ..... ..#.. ..#.. ..#.. ..#.. .##.. ..... .##.. #....",
        "..... ..#.. ..... .#.#. ..#.. ...## .##.# ..... ...#. .#... ..... ..... ..#.. ..... .##.. .....",
        "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .#... ..... ..... .....",
    ],
    [
        ".###. ..#.. .###. ##### ...#. ##### ..##. ##### .###. .###. ..... ..... ...#. ..... .#... .###.",
        "#...# .##.. #...# ...#. ..##. #.... .#... ....# #...# #...# .##.. .##.. ..#.. ..... ..#.. #...#",
        "#..## ..#.. ....# ..#.. .#.#. ####. #.... ...#. #...# #...# .##.. .##.. .#... ##### ...#. ....#",
        "#.#.# ..#.. ...#. ...#. #..#. ....# ####. ..#.. .###. .#### ..... ..... #.... ..... ....# ...#.",
        "##..# ..#.. ..#.. ....# ##### ....# #...# .#... #...# ....# .##.. .##.. .#... ##### ...#. ..#..",
        "#...# ..#.. .#... #...# ...#. #...# #...# .#... #...# ...#. .##.. .##.. ..#.. ..... ..#.. .....",
        ".###. .###. ##### .###. ...#. .###. .###. .#... .###. .##.. ..... ..#.. ...#. ..... .#... ..#..",
        "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .#... ..... ..... ..... .....",
    ],
    [
        ".###. .###. ####. .###. ###.. ##### ##### .###. #...# .###. ..### #...# #.... #...# #...# .###.",
        "#...# #...# #...# #...# #..#. #.... #.... #...# #...# ..#.. ...#. #..#. #.... ##.## #...# #...#",
        "#.### #...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #.#.. #.... #.#.# ##..# #...#",
        "#.#.# #...# ####. #.... #...# ####. ####. #.### ##### ..#.. ...#. ##... #.... #.#.# #.#.# #...#",
        "#.### ##### #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #.#.. #.... #...# #..## #...#",
        "#.... #...# #...# #...# #..#. #.... #.... #...# #...# ..#.. #..#. #..#. #.... #...# #...# #...#",
        ".###. #...# ####. .###. ###.. ##### #.... .#### #...# .###. .##.. #...# ##### #...# #...# .###.",
        "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    ],
    [
        "####. .###. ####. .#### ##### #...# #...# #...# #...# #...# ##### .###. ..... .###. ..#.. .....",
        "#...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....# .#... #.... ...#. .#.#. .....",
        "#...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. #...# ...#. .#... .#... ...#. #...# .....",
        "####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. .#.#. ..#.. .#... ..#.. ...#. ..... .....",
        "#.... #.#.# #.#.. ....# ..#.. #...# #...# #.#.# .#.#. ..#.. .#... .#... ...#. ...#. ..... .....",
        "#.... #..#. #..#. ....# ..#.. #...# .#.#. #.#.# #...# ..#.. #.... .#... ....# ...#. ..... .....",
        "#.... .##.# #...# ####. ..#.. .###. ..#.. .#.#. #...# ..#.. ##### .###. ..... .###. ..... .....",
        "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... #####",
    ],
    [
        ".#... ..... #.... ..... ....# ..... ..##. ..... #.... ..#.. ...#. #.... .##.. ..... ..... .....",
        "..#.. ..... #.... ..... ....# ..... .#..# ..... #.... ..... ..... #.... ..#.. ..... ..... .....",
        "...#. .###. #.##. .###. .##.# .###. .#... .#### #.##. .##.. ..##. #..#. ..#.. ##.#. #.##. .###.",
        "..... ....# ##..# #.... #..## #...# ###.. #...# ##..# ..#.. ...#. #.#.. ..#.. #.#.# ##..# #...#",
        "..... .#### #...# #.... #...# ##### .#... #...# #...# ..#.. ...#. ##... ..#.. #.#.# #...# #...#",
        "..... #...# #...# #...# #...# #.... .#... .#### #...# ..#.. ...#. #.#.. ..#.. #...# #...# #...#",
        "..... .#### ####. .###. .#### .###. .#... ....# #...# .###. #..#. #..#. .###. #...# #...# .###.",
        "..... ..... ..... ..... ..... ..... ..... .###. ..... ..... .##.. ..... ..... ..... ..... .....",
    ],
    [
        "..... ..... ..... ..... .#... ..... ..... ..... ..... ..... ..... ...#. ..#.. .#... ..... #####",
        "..... ..... ..... ..... .#... ..... ..... ..... ..... ..... ..... ..#.. ..#.. ..#.. ..... #...#",
        "####. .##.# #.##. .###. ###.. #...# #...# #...# #...# #...# ##### ..#.. ..#.. ..#.. .#... #...#",
        "#...# #..## ##..# #.... .#... #...# #...# #...# .#.#. #...# ...#. .#... ..#.. ...#. #.#.# #...#",
        "#...# #..## #.... .###. .#... #...# #...# #.#.# ..#.. #...# ..#.. ..#.. ..#.. ..#.. ...#. #...#",
        "####. .##.# #.... ....# .#..# #..## .#.#. #.#.# .#.#. .#### .#... ..#.. ..#.. ..#.. ..... #...#",
        "#.... ....# #.... ####. ..##. .##.# ..#.. .#.#. #...# ....# ##### ...#. ..#.. .#... ..... #####",
        "#.... ....# ..... ..... ..... ..... ..... ..... ..... .###. ..... ..... ..... ..... ..... .....",
    ],
];

/// Width in pixels of the longest line of `text` at `scale`.
pub fn width(text: &str, scale: usize) -> usize {
    let letters = text.lines().map(|line| line.chars().count()).max();
    letters.unwrap_or(0) * CELL * scale
}

/// Height in pixels of the lines of `text` at `scale`.
pub fn height(text: &str, scale: usize) -> usize {
    text.lines().count() * LINE * scale
}

/// `text` in lines of at most `letters` letters, at least one: broken between words, and in words that are longer.
pub fn wrapped(text: &str, letters: usize) -> String {
    let letters = letters.max(1);
    let (mut wrapped, mut used) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 {
            let fits = used + 1 + length <= letters;
            wrapped.push(if fits { ' ' } else { '\n' });
            used = if fits { used + 1 } else { 0 };
        }
        for letter in word.chars() {
            if used == letters {
                wrapped.push('\n');
                used = 0;
            }
            wrapped.push(letter);
            used += 1;
        }
    }
    wrapped
}

/// Writes `text` with its top left corner at (`x`, `y`), each dot `scale` pixels wide and high, in
/// `color` (R, G, B). What reaches beyond the frame is cut off; letters outside ASCII become boxes.
pub fn draw(frame: &mut Frame, x: usize, y: usize, scale: usize, color: [u8; 3], text: &str) {
    for (row, line) in text.lines().enumerate() {
        for (column, letter) in line.chars().enumerate() {
            let (left, top) = (x + column * CELL * scale, y + row * LINE * scale);
            if left >= frame.width || top >= frame.height {
                break;
            }
            draw_letter(frame, (left, top), scale, color, letter);
        }
    }
}

fn draw_letter(
    frame: &mut Frame,
    (left, top): (usize, usize),
    scale: usize,
    color: [u8; 3],
    letter: char,
) {
    let place = match letter {
        ' '..='~' => letter as usize - ' ' as usize,
        _ => 95,
    };
    for (row, dots) in FONT[place / 16].iter().enumerate() {
        let start = place % 16 * CELL;
        for (column, dot) in dots.as_bytes()[start..start + CELL - 1].iter().enumerate() {
            if *dot == b'#' {
                fill(
                    frame,
                    (left + column * scale, top + row * scale),
                    (scale, scale),
                    color,
                );
            }
        }
    }
}

/// Fills the rectangle of `size` (width, height) at `corner` (x, y) with `color`, as far as it lies
/// on the frame.
pub fn fill(frame: &mut Frame, corner: (usize, usize), size: (usize, usize), color: [u8; 3]) {
    let right = (corner.0 + size.0).min(frame.width);
    let bottom = (corner.1 + size.1).min(frame.height);
    let left = corner.0.min(right);
    for y in corner.1..bottom {
        let row = &mut frame.pixels[(y * frame.width + left) * 3..(y * frame.width + right) * 3];
        for pixel in row.chunks_exact_mut(3) {
            pixel.copy_from_slice(&color);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words_where_there_are_some() {
        assert_eq!(wrapped("a file is missing", 9), "a file is\nmissing");
        assert_eq!(wrapped("a /long/path here", 5), "a\n/long\n/path\nhere");
        assert_eq!(wrapped("", 5), "");
        assert_eq!(wrapped("ab", 0), "a\nb");
    }

    const WHITE: [u8; 3] = [255; 3];

    /// The rows of a frame as text, `#` for what is not black.
    fn picture(frame: &Frame) -> Vec<String> {
        let dot = |p: &[u8]| if p == [0; 3] { '.' } else { '#' };
        let rows = frame.pixels.chunks_exact(frame.width * 3);
        rows.map(|row| row.chunks_exact(3).map(dot).collect())
            .collect()
    }

    #[test]
    fn letters_stand_where_they_are_put() {
        let mut frame = Frame::new(13, 9);
        draw(&mut frame, 1, 1, 1, WHITE, "Fg");
        let expected = [
            ".............",
            ".#####.......",
            ".#...........",
            ".#......####.",
            ".####..#...#.",
            ".#.....#...#.",
            ".#......####.",
            ".#.........#.",
            "........###..",
        ];
        assert_eq!(picture(&frame), expected);
    }

    #[test]
    fn every_letter_has_a_face_of_its_own() {
        let faces: std::collections::HashSet<_> = (' '..='\x7f')
            .map(|letter| {
                let mut frame = Frame::new(6, 9);
                draw(&mut frame, 0, 0, 1, WHITE, &letter.to_string());
                frame.pixels
            })
            .collect();
        assert_eq!(faces.len(), 96);
    }

    #[test]
    fn text_beyond_the_edge_is_cut_off() {
        let mut frame = Frame::new(8, 4);
        draw(&mut frame, 5, 2, 3, WHITE, "Wide\nand low");
        draw(&mut frame, 100, 100, 1, WHITE, "away");
        assert!(frame.pixels.contains(&255));
    }

    #[test]
    fn size_counts_the_longest_line_and_all_lines() {
        assert_eq!((width("ab\nabcd", 2), height("ab\nabcd", 2)), (48, 36));
    }
}
