//! `repaint models`: lists, shows, mixes and imports models, and fetches what training needs.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::checks::{ensure_model_name, existing, place_of, remark_use, weighted};
use super::{Interrupted, STOP, ensure_input_file};
use crate::cli::{Fetch, ModelsArgs, ModelsCommand};
use crate::colors;
use crate::fetch::{self, Fetched, Source, VGG19};
use crate::folders::stem;
use crate::media::picture;
use crate::model::{Metadata, Model, Precision};
use crate::network::{Network, Width};
use crate::output::{Existing, Output};
use crate::photos;
use crate::predict::Predictor;
use crate::styles::{self, Origin};
use crate::train::Settings;

/// Environment variable with another address of torchvision's VGG19: a mirror.
const VGG19_URL: &str = "REPAINT_VGG19_URL";

/// Runs `repaint models`.
pub fn run(args: &ModelsArgs) -> Result<()> {
    match &args.command {
        ModelsCommand::List => list(),
        ModelsCommand::Show { model } => show(model),
        ModelsCommand::Import {
            file,
            predictor,
            output,
            title,
            painter,
            overwrite,
        } => {
            ensure_input_file(file, "model or picture")?;
            if let Some(place) = output {
                ensure_model_name(place)?;
            }
            let mut model = match (picture::is_picture(file), predictor) {
                (true, None) => styles::predict(file, &Predictor::built_in()?)?,
                (true, Some(place)) => styles::predict(file, &Predictor::read(place)?)?,
                (false, None) => Model::import(file)?,
                (false, Some(_)) => bail!(
                    "`{}` is no picture: leave out --predictor, which predicts the styles of pictures",
                    file.display()
                ),
            };
            if let Some(title) = title {
                model.metadata.title.clone_from(title);
            }
            if let Some(painter) = painter {
                model.metadata.painter.clone_from(painter);
            }
            install(model, output.as_deref(), &stem(file), existing(*overwrite))
        }
        ModelsCommand::Mix {
            models,
            output,
            title,
            overwrite,
        } => {
            if let Some(place) = output {
                ensure_model_name(place)?;
            }
            let (mut parts, mut names) = (Vec::new(), Vec::new());
            for text in models {
                let (name, share) = weighted(text, |text| styles::locate(text).is_ok())?;
                let origin = styles::locate(name)?;
                parts.push((styles::open(name, &origin)?, share));
                names.push(origin.name(name));
            }
            let mut mixed = Model::mix(&parts)?;
            if let Some(title) = title {
                mixed.metadata.title.clone_from(title);
            }
            let name = names.join("_");
            install(mixed, output.as_deref(), &name, existing(*overwrite))
        }
        ModelsCommand::Recolor {
            model,
            picture,
            palette,
            photos,
            output,
            title,
            overwrite,
        } => {
            let name = picture.to_string_lossy();
            ensure!(
                picture.exists() || styles::locate(&name).is_err(),
                "`{name}` is a style: first the style, then the picture"
            );
            ensure_input_file(picture, "picture")?;
            if let Some(place) = output {
                ensure_model_name(place)?;
            }
            let origin = styles::locate(model)?;
            let (mut style, name_of_colors) = (styles::open(model, &origin)?, stem(picture));
            let part = f64::from(*palette);
            let aim = photos::read_scaled(picture, Settings::default().style_size)?;
            let seen = photos::photos_of(photos.as_deref())?;
            colors::fit(&mut style, &aim, &seen, part)?;
            let about = &mut style.metadata;
            let shown = one_line(&name_of_colors);
            about.recipe += &format!("# recoloured: {shown} {part:.3}\n");
            about.losses.clear();
            if let Some(title) = title {
                about.title.clone_from(title);
            }
            let name = format!("{}_{name_of_colors}", origin.name(model));
            install(style, output.as_deref(), &name, existing(*overwrite))
        }
        ModelsCommand::Export {
            model,
            output,
            precision,
            overwrite,
        } => {
            ensure_model_name(output)?;
            let mut model = styles::find(model)?;
            write(
                &mut model,
                output,
                (*precision).into(),
                existing(*overwrite),
            )
        }
        ModelsCommand::Remove { names } => remove(names),
        ModelsCommand::Fetch { what: Fetch::Vgg19 } => fetch_vgg19(),
    }
}

fn list() -> Result<()> {
    let head = ["NAME", "TITLE", "PAINTER", "YEAR", "NETWORK", "WHERE"];
    let mut rows = vec![head.map(String::from)];
    let styles = styles::list();
    for (i, (name, origin)) in styles.iter().enumerate() {
        let hidden = styles[..i].iter().any(|(above, _)| above == name);
        match about(name, origin) {
            Ok((about, network)) => rows.push([
                one_line(name),
                one_line(&about.title),
                one_line(&about.painter),
                one_line(&about.year),
                width(&network),
                match hidden {
                    true => format!("{}, hidden by the one above", kind(origin)),
                    false => kind(origin).to_string(),
                },
            ]),
            Err(error) => remark!("{error:#}"),
        }
    }
    if rows.len() == 1 {
        remark!("no models: make one with `repaint models import` or `repaint train`");
        return Ok(());
    }
    let mut columns = [0; 6];
    for row in &rows {
        for (width, cell) in columns.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let cells = row.iter().zip(columns);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        say!("{}", line.trim_end());
    }
    Ok(())
}

/// What a style says of itself, and its network. No style is predicted for that: what a picture becomes is known.
fn about(name: &str, origin: &Origin) -> Result<(Metadata, Network)> {
    if let Origin::Picture(path) = origin {
        picture::size(path)?;
        return Ok((Metadata::default(), Network::from(Width::Small)));
    }
    let model = styles::open(name, origin)?;
    Ok((model.metadata, model.network))
}

fn show(name: &str) -> Result<()> {
    let origin = styles::locate(name)?;
    let model = styles::open(name, &origin)?;
    let (about, network) = (&model.metadata, &model.network);
    let size = match &origin {
        Origin::File(path) => std::fs::metadata(path)?.len(),
        Origin::BuiltIn(_) | Origin::Picture(_) => model.to_bytes(Precision::F16)?.len() as u64,
    };
    let facts = [
        ("name", one_line(&about.name)),
        ("title", one_line(&about.title)),
        ("painter", one_line(&about.painter)),
        ("year", one_line(&about.year)),
        ("where", place(&origin)),
        ("size", format!("{:.0} kB", size as f64 / 1e3)),
        ("network", widths(network)),
        ("blocks", network.residual_blocks.to_string()),
        ("parameters", network.parameters().to_string()),
        (
            "kMAC a pixel",
            format!("{:.1}", network.macs_per_pixel() / 1e3),
        ),
        ("losses", one_line(&about.losses)),
        ("made by", one_line(&about.program)),
        ("made on", one_line(&about.date)),
    ];
    for (fact, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        say!("{fact:14}{value}");
    }
    if !about.recipe.is_empty() {
        say!("recipe");
        for line in about.recipe.lines() {
            say!("  {}", one_line(line));
        }
    }
    Ok(())
}

/// Removes styles of the user's model folder; none where one of them is not there.
fn remove(names: &[String]) -> Result<()> {
    let places = names.iter().map(|name| styles::installed(name));
    let mut places = places.collect::<Result<Vec<_>>>()?;
    places.sort();
    places.dedup();
    for place in places {
        let name = place.display();
        std::fs::remove_file(&place).with_context(|| format!("could not remove `{name}`"))?;
        say!("removed {name}");
        let training = place.with_extension(photos::TRAINING);
        if training.is_dir() {
            remark!("the folder of its training stays: {}", training.display());
        }
    }
    Ok(())
}

/// Writes a new model to `output`, or as `name` into the user's folder, and says how to paint with it.
fn install(mut model: Model, output: Option<&Path>, name: &str, existing: Existing) -> Result<()> {
    let place = match output {
        Some(place) => place.to_path_buf(),
        None => place_of(name)?,
    };
    write(&mut model, &place, Precision::F32, existing)?;
    remark_use(output, &model.metadata.name);
    Ok(())
}

/// Writes a model file; its name becomes the model's.
fn write(model: &mut Model, place: &Path, precision: Precision, existing: Existing) -> Result<()> {
    model.metadata.name = stem(place);
    let file = Output::create(place, existing)?;
    file.fill(&model.to_bytes(precision)?)?;
    file.finish()?;
    say!("{}", place.display());
    Ok(())
}

fn fetch_vgg19() -> Result<()> {
    let place: PathBuf = fetch::vgg19_path()
        .context("no cache folder to download to: let XDG_CACHE_HOME name one")?;
    let mirror = std::env::var(VGG19_URL).ok();
    let source = Source {
        url: mirror.as_deref().unwrap_or(VGG19.url),
        ..VGG19
    };
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "VGG19 {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    )?);
    let fetched = fetch::vgg19(source, &place, &mut |have, total| {
        bar.set_length(total.unwrap_or(have));
        bar.set_position(have);
        match STOP.load(Ordering::SeqCst) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    bar.finish_and_clear();
    match fetched? {
        Fetched::AlreadyThere => remark!("VGG19 is there already; training finds it"),
        Fetched::Downloaded => remark!("VGG19 is there; training finds it"),
        Fetched::Part => {
            let kept = "what was downloaded is kept, the same command continues there";
            return Err(Interrupted(kept.to_string()).into());
        }
    }
    say!("{}", place.display());
    Ok(())
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::BuiltIn(_) => "built in".to_string(),
        Origin::File(path) => path.display().to_string(),
        Origin::Picture(path) => format!("predicted from {}", path.display()),
    }
}

/// [`place`] without the path.
fn kind(origin: &Origin) -> &'static str {
    match origin {
        Origin::BuiltIn(_) => "built in",
        Origin::File(_) => "model folder",
        Origin::Picture(_) => "picture in the model folder",
    }
}

/// The name of a network's width, if it has one.
fn width(network: &Network) -> String {
    let known = [
        (Width::Small, "small"),
        (Width::Medium, "medium"),
        (Width::Large, "large"),
    ];
    let named = known
        .iter()
        .find(|(width, _)| width.channels() == network.channels);
    named.map_or_else(|| widths(network), |(_, name)| name.to_string())
}

fn widths(network: &Network) -> String {
    let [a, b, c] = network.channels;
    format!("{a}-{b}-{c}")
}

/// Text of a file without line breaks and control codes, which could garble the terminal.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
