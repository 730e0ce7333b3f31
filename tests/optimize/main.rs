//! Painting by optimisation: losses against PyTorch's, strips against the whole, small pictures from
//! end to end.

#[path = "../common/mod.rs"]
mod common;
mod losses;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use candle_core::{Device, Tensor};
use common::data;
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::output::Existing;
use repaint::train::loss::Form;
use repaint::train::optimize::{
    Cell, End, Event, Job, LayerWeight, Optimizer, Settings, Start, contact_sheet, optimize,
};
use repaint::train::vgg::Pooling;

const VGG19: &str = "vgg19/vgg19_conv_f16.safetensors";

/// Squares of `cell` pixels with colours and grain from a linear congruential generator:
/// (1, 3, `height`, `width`), 0..255.
fn drawn(seed: u32, cell: usize, height: usize, width: usize) -> Result<Tensor> {
    let numbers = |seed: u32, count: usize| -> Vec<f32> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as f32
        };
        (0..count).map(next).collect()
    };
    let (rows, columns) = (height.div_ceil(cell), width.div_ceil(cell));
    let squares = numbers(seed, 3 * rows * columns);
    let mut values = numbers(seed + 1, 3 * height * width);
    for (i, value) in values.iter_mut().enumerate() {
        let (x, y, plane) = (i % width, i / width % height, i / (width * height));
        let square = (plane * rows + y / cell) * columns + x / cell;
        *value = (3.0 * squares[square] + *value) / 4.0;
    }
    Ok(Tensor::from_vec(
        values,
        (1, 3, height, width),
        &Device::Cpu,
    )?)
}

/// A picture file of [`drawn`].
fn draw(path: &Path, seed: u32, height: usize, width: usize) -> Result<PathBuf> {
    let planes = drawn(seed, 8, height, width)?.flatten_all()?.to_vec1()?;
    let mut frame = Frame::new(width, height);
    frame.set_from_planes(&planes);
    picture::write(path, &frame, Existing::Overwrite)?;
    Ok(path.to_path_buf())
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// A folder with a content, two styles and an optimisation of a few steps.
fn studio(vgg19: PathBuf) -> Result<(tempfile::TempDir, Job)> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let job = Job {
        settings: Settings {
            steps: 6,
            scales: Some(2),
            ..Settings::default()
        },
        content: Some(draw(&path("content.png"), 5, 72, 96)?),
        styles: vec![
            (draw(&path("one.png"), 6, 90, 80)?, 0.7),
            (draw(&path("other.png"), 7, 64, 64)?, 0.3),
        ],
        vgg19,
        output: path("out.png"),
        preview: None,
        preview_every: 1,
        checkpoint_every: 100,
        resume: false,
        device: repaint::backend::Device::Cpu,
    };
    Ok((folder, job))
}

#[test]
fn a_stopped_work_goes_on_bit_by_bit() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    for optimizer in [Optimizer::Adam, Optimizer::Lbfgs] {
        let (folder, mut job) = studio(vgg19.clone())?;
        job.settings.optimizer = optimizer;
        let mut steps = Vec::new();
        let end = optimize(&job, &AtomicBool::new(false), &mut |event| {
            if let Event::Step(step) = event {
                steps.push((step.size, step.steps, step.of, step.losses));
            }
        })?;
        assert_eq!(end, End::Finished(96, 72));
        let sizes: Vec<_> = steps
            .iter()
            .map(|(size, step, of, _)| (*size, *step, *of))
            .collect();
        assert_eq!(sizes[5], ((48, 36), 6, 6));
        assert_eq!(sizes[8], ((96, 72), 3, 3));
        assert_eq!(sizes.len(), 9);
        let whole = picture::read(&job.output)?;

        // Stopped once at the first size and once at the second.
        job.output = folder.path().join("parts.png");
        let state = folder.path().join("parts.png.checkpoint.safetensors");
        let mut made = Vec::new();
        for part in [4, 3, 9] {
            let stop = AtomicBool::new(false);
            let mut left = part;
            let end = optimize(&job, &stop, &mut |event| {
                if let Event::Step(step) = event {
                    made.push((step.size, step.steps, step.of, step.losses));
                }
                left -= 1;
                stop.store(left == 0, Ordering::SeqCst);
            })?;
            let shown = picture::read(&job.output)?;
            assert_eq!((shown.width, shown.height), (96, 72));
            assert_eq!(matches!(end, End::Stopped(Some(_))), part != 9);
            assert_eq!(state.exists(), part != 9);
            job.resume = true;
        }
        assert_eq!(made, steps, "{optimizer:?}");
        assert_eq!(picture::read(&job.output)?, whole, "{optimizer:?}");
    }
    Ok(())
}

#[test]
fn a_state_of_other_settings_or_pictures_is_refused() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let (folder, mut job) = studio(vgg19)?;
    let run = |job: &Job| optimize(job, &AtomicBool::new(true), &mut |_| {});
    let words = |job: &Job| format!("{:#}", run(job).unwrap_err());
    job.resume = true;
    assert!(words(&job).contains("out.png.checkpoint.safetensors"));
    job.resume = false;
    assert!(matches!(run(&job)?, End::Stopped(Some(_))));
    job.resume = true;
    job.settings.seed = 1;
    assert!(words(&job).contains("other settings"), "{}", words(&job));
    job.settings.seed = 0;
    job.styles[0].1 = 0.6;
    assert!(words(&job).contains("other pictures"), "{}", words(&job));
    job.styles[0].1 = 0.7;
    std::fs::write(
        folder.path().join("out.png.checkpoint.safetensors"),
        "words",
    )?;
    assert!(
        words(&job).contains("not a safetensors file"),
        "{}",
        words(&job)
    );
    Ok(())
}

#[test]
fn a_preview_or_state_that_cannot_be_written_ends_no_work() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let (folder, mut job) = studio(vgg19)?;
    let preview = folder.path().join("preview.png");
    job.preview = Some(preview.clone());
    job.checkpoint_every = 3;
    let state = repaint::train::optimize::checkpoint_place(&job.output);
    let mut remarks = Vec::new();
    let end = optimize(&job, &AtomicBool::new(false), &mut |event| match event {
        Event::Step(_) => {
            for place in [&preview, &state] {
                let _ = std::fs::create_dir(place); // no file can have this name now
            }
        }
        Event::Remark(text) => remarks.push(text),
        Event::Cell { .. } => {}
    });
    assert!(job.output.is_file(), "{end:?}");
    let told = |word: &str| remarks.iter().any(|text| text.contains(word));
    assert!(told("preview.png") && told("checkpoint"), "{remarks:?}");
    Ok(())
}

#[test]
fn every_start_and_form_lowers_the_losses_and_keeps_the_colours_asked_for() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    for (start, form, pooling) in [
        (Start::Noise, Form::Absolute, Pooling::Average),
        (Start::Content, Form::Relative, Pooling::Max),
        (Start::Style, Form::Relative, Pooling::Average),
    ] {
        let (folder, mut job) = studio(vgg19.clone())?;
        job.settings.start = start;
        job.settings.form = form;
        job.settings.pooling = pooling;
        job.settings.scales = Some(1);
        job.settings.keep_colors = true;
        job.preview = Some(folder.path().join("preview.jpg"));
        // A grey content, whose colours are easy to recognise.
        let mut content = picture::read(&folder.path().join("content.png"))?;
        for pixel in content.pixels.chunks_exact_mut(3) {
            pixel.fill(pixel[0]);
        }
        let place = folder.path().join("content.png");
        picture::write(&place, &content, Existing::Overwrite)?;
        let mut totals = Vec::new();
        optimize(&job, &AtomicBool::new(false), &mut |event| {
            if let Event::Step(step) = event {
                totals.push(step.losses.total);
            }
        })?;
        assert!(totals.is_sorted_by(|a, b| a > b), "{start:?}: {totals:?}");
        assert!(job.preview.is_some_and(|place| place.exists()));
        let painted = picture::read(&job.output)?;
        let grey = painted
            .pixels
            .chunks_exact(3)
            .all(|p| p[0] == p[1] && p[1] == p[2]);
        assert!(grey && painted != content, "{start:?}");
    }
    Ok(())
}

#[test]
fn shallow_layers_give_the_pixels_back_and_deep_ones_lose_them() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let (_folder, mut job) = studio(vgg19)?;
    job.styles.clear();
    job.settings.scales = Some(1);
    job.settings.steps = 40;
    let cells = ["conv1_1", "conv3_1", "conv5_1"].map(|layer| Cell {
        label: layer.to_string(),
        settings: job.settings.reconstruct_content(LayerWeight::all(&[layer])),
    });
    let mut psnrs = Vec::new();
    let end = contact_sheet(&job, &cells, &AtomicBool::new(false), &mut |event| {
        if let Event::Cell { psnr, .. } = event {
            psnrs.push(psnr.unwrap_or_default());
        }
    })?;
    assert!(psnrs.is_sorted_by(|a, b| a > b), "{psnrs:?}");
    assert!(psnrs.len() == 3 && psnrs[0] > 25.0, "{psnrs:?}");
    let sheet = picture::read(&job.output)?;
    assert_eq!(end, End::Finished(sheet.width, sheet.height));
    assert!(sheet.width > 4 * 96 && sheet.height > 72);
    Ok(())
}

#[test]
fn pictures_of_one_colour_give_a_picture() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    for value in [0, 124, 255] {
        let (folder, mut job) = studio(vgg19.clone())?;
        let plain = folder.path().join("plain.png");
        let mut frame = Frame::new(64, 64);
        frame.pixels.fill(value);
        picture::write(&plain, &frame, Existing::Overwrite)?;
        for plain_content in [true, false] {
            job.output = folder.path().join(format!("{plain_content}.png"));
            match plain_content {
                true => job.content = Some(plain.clone()),
                false => job.styles = vec![(plain.clone(), 1.0)],
            }
            optimize(&job, &AtomicBool::new(false), &mut |event| {
                if let Event::Step(step) = event {
                    assert!(step.losses.total.is_finite(), "{:?}", step.losses);
                }
            })?;
            let painted = picture::read(&job.output)?;
            assert_eq!((painted.width, painted.height), (64, 64));
        }
    }
    Ok(())
}

#[test]
fn mistakes_are_told_in_one_line_before_work_begins() -> Result<()> {
    let Some(vgg19) = data(VGG19) else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    draw(&path("a.png"), 1, 64, 64)?;
    draw(&path("tiny.png"), 1, 8, 8)?;
    draw(&path("strip.png"), 1, 8, 640)?;
    std::fs::write(path("words.jpg"), "words")?;
    std::fs::write(path("there.png"), "a picture")?;
    let cases: [(&[&str], i32, &str); 12] = [
        (&["a.png", "a.png", "-o", "there.png"], 1, "--overwrite"),
        (&["a.png", "a.png", "-o", "out.gif"], 1, ".png"),
        (&["a.png", "b.png", "-o", "out.png"], 1, "b.png"),
        (&["a.png", "words.jpg", "-o", "out.png"], 1, "words.jpg"),
        (&["a.png", "a.png:0", "-o", "out.png"], 1, "a.png:0"),
        (&["tiny.png", "a.png", "-o", "out.png"], 1, "larger --size"),
        (&["a.png", "strip.png", "-o", "out.png"], 1, "too narrow"),
        (
            &["a.png", "a.png", "-o", "out.png", "--scales", "7"],
            1,
            "fewer",
        ),
        (
            &["a.png", "a.png", "-o", "out.png", "--noise", "2"],
            2,
            "a number from 0 to 1",
        ),
        (
            &["a.png", "a.png", "-o", "out.png", "--resume"],
            1,
            "checkpoint",
        ),
        (&["a.png", "-o", "out.png"], 2, "STYLE"),
        (
            &["a.png", "-o", "out.png", "--reconstruct", "conv6_1"],
            2,
            "conv6_1",
        ),
    ];
    for (arguments, code, expected) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_repaint"))
            .arg("optimize")
            .args(arguments)
            .arg("--vgg19")
            .arg(&vgg19)
            .current_dir(folder.path())
            .output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        assert!(words.contains(expected), "{arguments:?}: {words}");
        if code == 1 {
            assert_eq!(
                words.trim_end().lines().count(),
                1,
                "{arguments:?}: {words}"
            );
        }
        assert!(!path("out.png").exists());
    }
    assert_eq!(std::fs::read(path("there.png"))?, b"a picture");
    Ok(())
}
