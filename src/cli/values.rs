//! Values of options: numbers within bounds, sizes.

/// Channels of the three stages of a network.
pub(super) fn channels(text: &str) -> Result<[usize; 3], String> {
    let wrong = || "expected three numbers from 1 to 1024, such as 8,16,32".to_string();
    let numbers = text.split(',').map(|number| match number.trim().parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ => Err(wrong()),
    });
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    numbers.try_into().map_err(|_| wrong())
}

/// Width and height: at most 2^26 pixels: twice an 8K frame, for which a medium network takes up to 4 GiB.
pub(super) fn size(text: &str) -> Result<(usize, usize), String> {
    let side = |text: &str| match text.parse() {
        Ok(side @ 1..=32768) => Some(side),
        _ => None,
    };
    text.split_once('x')
        .and_then(|(width, height)| Some((side(width)?, side(height)?)))
        .filter(|(width, height)| width * height <= 1 << 26)
        .ok_or_else(|| {
            "expected a size such as 640x480, of at most 8192x8192 pixels in all".to_string()
        })
}

/// From 0 to 1.
pub(super) fn fraction(text: &str) -> Result<f32, String> {
    number(text, 0.0, 1.0)
}

/// So many times as large.
pub(super) fn times(text: &str) -> Result<f32, String> {
    number(text, 1.0, 16.0)
}

fn number(text: &str, least: f32, most: f32) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("expected a number from {least} to {most}")),
    }
}
