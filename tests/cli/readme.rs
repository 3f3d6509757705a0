//! The README says what the program does.

use std::path::Path;

use dagster_taskiq_tui::console::command::key_table;
use dagster_taskiq_tui::console::keymap::Keymap;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_key_table_is_the_consoles() {
    let table = key_table();
    assert!(
        readme().contains(table.trim_end()),
        "put this key table into README.md:\n{table}"
    );
}

#[test]
fn every_picture_exists() {
    let text = readme();
    let pictures = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for picture in pictures.filter(|path| path.starts_with("screenshots/")) {
        assert!(root.join(picture).is_file(), "{picture} is missing");
    }
}

#[test]
fn the_keys_of_the_example_are_taken() {
    let readme = readme();
    let (_, rest) = readme.split_once("a YAML file such as ").unwrap();
    let (example, _) = rest.split_once("Two that exclude each other").unwrap();
    let lines: Vec<&str> = example.split('`').skip(1).step_by(2).collect();
    assert_eq!(lines.len(), 2, "{example}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    std::fs::write(&path, lines.join("\n")).unwrap();
    Keymap::load(&path).unwrap();
}
