//! Values of options: numbers within bounds, sizes.

use std::ops::RangeInclusive;

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

/// The end of a range that only the type bounds.
pub(super) const ANY: u64 = u64::MAX;

/// A whole number within bounds.
pub(super) fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    let (least, most) = range.into_inner();
    let largest = most.min(u64::MAX >> (64 - 8 * size_of::<T>()));
    move |text| {
        let number = text.parse().ok();
        let number = number.filter(|number| (least..=largest).contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let is_large = is_digits && text.bytes().any(|byte| byte != b'0');
                match (least, most) {
                    (0, ANY) if !is_large => "expected a whole number of 0 or more".into(),
                    (1, ANY) if !is_large => "expected a whole number above 0".into(),
                    _ => format!("expected a whole number from {least} to {largest}"),
                }
            })
    }
}

/// Shorter side of a picture, as people may know it by other names.
pub(super) fn short_side(most: u64) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync {
    let side = whole::<u32>(1..=most);
    move |text| {
        side(text).map_err(|_| {
            format!(
                "expected the shorter side in pixels, a whole number from 1 to {most}, such as 480"
            )
        })
    }
}

/// From 0 to 1.
pub(super) fn fraction(text: &str) -> Result<f32, String> {
    share(text).map(|value| value as f32)
}

/// From 0 to 1, as settings have it.
pub(super) fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

/// So many times as large.
pub(super) fn times(text: &str) -> Result<f32, String> {
    number(text, 1.0, 16.0).map(|value| value as f32)
}

/// A number within bounds.
pub(super) fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("expected a number from {least} to {most}")),
    }
}

/// Of a loss.
pub(super) fn weight(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number of 0 or more".to_string()),
    }
}

/// Of an optimizer.
pub(super) fn learning_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number above 0".to_string()),
    }
}

/// What the help calls the default of an option of `Args` that has none of clap's, up to a semicolon.
#[cfg(test)]
pub(super) fn told_default<Args: clap::Args>(option: &str) -> String {
    let command = Args::augment_args(clap::Command::new("test"));
    let mut options = command.get_arguments();
    let found = options.find(|known| known.get_long() == Some(option));
    let help = found.and_then(|known| known.get_help()).expect(option);
    let help = help.to_string();
    let told = help.split("[default: ").nth(1).expect(option);
    let told = told.split([';', ']']).next().unwrap_or_default();
    told.to_string()
}
