//! The documents say what is true: commands exist, files that they point to exist, samples are small.

use std::path::Path;

const DOCUMENTS: [&str; 8] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "samples/README.md",
    "src/backend/cpu/README.md",
    "src/backend/cuda/README.md",
    "training/README.md",
    "weights/README.md",
];

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
#[cfg(feature = "video")]
fn every_command_in_the_documents_is_one_that_the_program_takes() {
    use clap::Parser;
    let mut commands = 0;
    for name in DOCUMENTS {
        let text = read(name);
        for line in text.lines().filter(|line| line.starts_with("repaint ")) {
            let command = line.split('#').next().unwrap_or_default();
            if let Err(error) = repaint::cli::Cli::try_parse_from(command.split_whitespace()) {
                panic!("{name}: `{command}`: {error}");
            }
            commands += 1;
        }
    }
    assert!(commands >= 10, "found only {commands} commands");
}

/// Options that every command has, and of cargo.
#[cfg(all(feature = "video", feature = "webcam"))]
const OTHERS: [&str; 2] = ["help", "features"];

/// The program and its commands, those of `models` among them.
#[cfg(all(feature = "video", feature = "webcam"))]
fn commands() -> Vec<clap::Command> {
    use clap::CommandFactory;
    let mut all = vec![repaint::cli::Cli::command()];
    let mut seen = 0;
    while seen < all.len() {
        all.extend(all[seen].get_subcommands().cloned().collect::<Vec<_>>());
        seen += 1;
    }
    all
}

/// The names behind `--` in a text.
#[cfg(all(feature = "video", feature = "webcam"))]
fn options(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c.is_whitespace() || "`|()[],;.:".contains(c));
    let names = words.filter_map(|word| word.strip_prefix("--"));
    names.filter(|name| !name.is_empty() && !name.starts_with('-'))
}

#[test]
#[cfg(all(feature = "video", feature = "webcam"))]
fn every_option_in_the_documents_is_one_that_a_command_has() {
    let commands = commands();
    let arguments = || commands.iter().flat_map(|command| command.get_arguments());
    let mut found = 0;
    let of_users = DOCUMENTS.iter().filter(|name| **name != "CONTRIBUTING.md");
    for name in of_users {
        let text = read(name);
        let of_program = |line: &&str| !line.contains("cargo ") && !line.starts_with("scripts/");
        let options = text.lines().filter(of_program).flat_map(options);
        for option in options.filter(|option| !OTHERS.contains(option)) {
            let is_known = |argument: &clap::Arg| {
                let aliases = argument.get_all_aliases().unwrap_or_default();
                argument.get_long() == Some(option) || aliases.contains(&option)
            };
            assert!(
                arguments().any(is_known),
                "{name}: no command has --{option}"
            );
            found += 1;
        }
    }
    assert!(found >= 100, "found only {found} options");
}

#[test]
#[cfg(all(feature = "video", feature = "webcam"))]
fn the_readme_names_all_values_of_the_options_in_its_tables() {
    let (commands, readme) = (commands(), read("README.md"));
    let mut found = 0;
    for row in readme.lines().filter(|line| line.starts_with("| `--")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        for part in cell.split("`--").skip(1) {
            let option = part.split([' ', '`']).next().unwrap_or_default();
            let words: Vec<_> = part.split([' ', '`', ',']).collect();
            let names_all = |argument: &clap::Arg| {
                let values = argument.get_possible_values();
                let mut shown = values.iter().filter(|value| !value.is_hide_set());
                let takes_values = argument.get_action().takes_values();
                !takes_values || shown.all(|value| words.contains(&value.get_name()))
            };
            let arguments = commands.iter().flat_map(|command| command.get_arguments());
            let mut arguments = arguments.filter(|argument| argument.get_long() == Some(option));
            assert!(
                arguments.any(names_all),
                "README.md: `--{part}` lacks values of the option"
            );
            found += 1;
        }
    }
    assert!(found >= 40, "found only {found} options");
}

#[test]
fn every_file_that_the_documents_link_to_exists() {
    for name in DOCUMENTS {
        let text = read(name);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap_or_default();
            if !link.is_empty() && !link.starts_with("http") {
                let target = folder.with_file_name("").join(link);
                assert!(target.exists(), "{name} links to `{link}`");
            }
        }
    }
}

#[test]
fn the_samples_and_what_is_painted_from_them_stay_small() {
    for (folder, most) in [("samples", 2_000_000), ("samples/painted", 3_000_000)] {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = std::fs::read_dir(place).expect("samples can be listed");
        let files = entries.flatten().filter_map(|entry| entry.metadata().ok());
        let bytes: u64 = files
            .filter(|file| file.is_file())
            .map(|file| file.len())
            .sum();
        assert!(bytes > 0 && bytes < most, "{folder}: {bytes} bytes");
    }
}

#[test]
fn no_file_of_the_program_or_its_tests_is_longer_than_the_house_style_has_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["src", "tests", "samples/render"]
        .map(|name| root.join(name))
        .to_vec();
    let (mut files, mut long) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)
            .expect("folders can be listed")
            .flatten()
        {
            let path = entry.path();
            let ending = path.extension().unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if ["rs", "cu", "h", "cpp"]
                .iter()
                .any(|known| ending == *known)
            {
                let lines = std::fs::read_to_string(&path)
                    .expect("text")
                    .lines()
                    .count();
                files += 1;
                if lines > 400 {
                    long.push((lines, path));
                }
            }
        }
    }
    assert!(files > 100, "only {files} files");
    assert!(long.is_empty(), "over 400 lines: {long:?}");
}
