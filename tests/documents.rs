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

#[test]
fn every_option_in_the_readme_is_one_that_some_command_has() {
    // The options are the fields of the argument types.
    let options_source = [
        "src/cli.rs",
        "src/cli/models.rs",
        "src/cli/optimize.rs",
        "src/cli/train.rs",
        "src/cli/webcam.rs",
    ]
    .map(read)
    .concat();
    let readme = read("README.md");
    let mut options = 0;
    for row in readme.lines().filter(|line| line.starts_with("| `--")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        for option in cell.split('`').filter(|part| part.starts_with("--")) {
            let name = option.trim_start_matches('-').split(' ').next();
            let field = format!("pub {}:", name.unwrap_or_default().replace('-', "_"));
            assert!(
                options_source.contains(&field),
                "README.md names `{option}`"
            );
            options += 1;
        }
    }
    assert!(options >= 10, "found only {options} options");
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
