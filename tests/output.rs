//! Files that appear only when they are whole.

use std::fs;
use std::path::Path;

use repaint::output::{Existing, Output, write_whole};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| name(entry.unwrap())).collect()
}

fn refusal(place: &Path, existing: Existing) -> String {
    let error = Output::create(place, existing).err().expect("refused");
    format!("{error:#}")
}

#[test]
fn an_output_has_its_name_only_when_finished() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("out.png");
    let output = Output::create(&place, Existing::Keep).unwrap();
    output.fill(b"half").unwrap();
    assert!(!place.exists());
    assert_eq!(output.path().extension().unwrap(), "png");
    drop(output);
    assert_eq!(names(folder.path()), [""; 0]);

    let output = Output::create(&place, Existing::Keep).unwrap();
    output.fill(b"whole").unwrap();
    output.finish().unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"whole");
    assert_eq!(names(folder.path()), ["out.png"]);
}

#[test]
fn an_existing_file_is_replaced_only_when_asked_and_only_when_finished() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("out");
    fs::write(&place, "old").unwrap();
    assert!(refusal(&place, Existing::Keep).ends_with("choose another name or add --overwrite"));
    let output = Output::create(&place, Existing::Overwrite).unwrap();
    output.fill(b"new").unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"old");
    output.finish().unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"new");
    write_whole(&place, b"newer").unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"newer");
    assert_eq!(names(folder.path()), ["out"]);
}

#[test]
fn a_file_whose_name_was_taken_in_the_meantime_gets_a_free_one_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, beside) in [("a.mp4", ["a-1.mp4", "a-2.mp4"]), ("b", ["b-1", "b-2"])] {
        let place = folder.path().join(name);
        let late = beside.map(|_| Output::create(&place, Existing::Keep).unwrap());
        fs::write(&place, "another").unwrap();
        for (late, beside) in late.into_iter().zip(beside) {
            late.fill(beside.as_bytes()).unwrap();
            let told = format!("{:#}", late.finish().unwrap_err());
            let beside = folder.path().join(beside);
            let expected = format!(
                "`{}` exists by now: the whole file is `{}`",
                place.display(),
                beside.display()
            );
            assert_eq!(told, expected);
        }
        for beside in beside {
            let kept = fs::read(folder.path().join(beside)).unwrap();
            assert_eq!(kept, beside.as_bytes());
        }
        assert_eq!(fs::read(&place).unwrap(), b"another");
    }
    assert_eq!(names(folder.path()).len(), 6);
}

/// What a player holds open: other systems replace it.
#[cfg(windows)]
#[test]
fn a_file_that_cannot_be_replaced_stays_and_the_new_one_is_kept_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("out.mp4");
    fs::write(&place, "old").unwrap();
    let output = Output::create(&place, Existing::Overwrite).unwrap();
    output.fill(b"new").unwrap();
    let player = fs::File::open(&place).unwrap();
    let told = format!("{:#}", output.finish().unwrap_err());
    let beside = folder.path().join("out-1.mp4");
    let kept = format!("the whole file is `{}`", beside.display());
    assert!(told.contains("could not be replaced"), "{told}");
    assert!(told.ends_with(&kept), "{told}");
    assert_eq!(fs::read(&place).unwrap(), b"old");
    assert_eq!(fs::read(&beside).unwrap(), b"new");
    drop(player);
    write_whole(&place, b"newer").unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"newer");
}

#[test]
fn places_that_hold_no_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let told = refusal(folder.path(), Existing::Overwrite);
    assert!(told.ends_with("is a folder: name a file in it"), "{told}");
    let told = refusal(&folder.path().join("no/out.png"), Existing::Keep);
    assert!(
        told.starts_with("no folder `") && told.ends_with("make it first"),
        "{told}"
    );
    if cfg!(unix) {
        let told = refusal(Path::new("/dev/null"), Existing::Overwrite);
        assert_eq!(told, "`/dev/null` is a device: name a file");
        assert!(Path::new("/dev/null").exists());
    }
    for separator in ["/", std::path::MAIN_SEPARATOR_STR] {
        let told = refusal(
            &folder.path().join(format!("out.png{separator}")),
            Existing::Keep,
        );
        let expected = "is named like a folder: name a file";
        assert!(told.ends_with(expected), "{told}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("out.png");
    std::os::unix::fs::symlink("nowhere", &place).unwrap();
    let told = refusal(&place, Existing::Keep);
    assert!(
        told.ends_with("choose another name or add --overwrite"),
        "{told}"
    );
    write_whole(&place, b"new").unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["out.png"]);
}
