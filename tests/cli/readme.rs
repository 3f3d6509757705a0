//! README and documents say what the program does.

use std::fs;
use std::path::{Path, PathBuf};

use dagster_taskiq_tui::console::command::key_table;
use dagster_taskiq_tui::console::keymap::Keymap;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Every document: those of the top and all of `docs`.
fn documents() -> Vec<PathBuf> {
    let mut folders = vec![root().join("docs")];
    let mut found = vec![];
    for name in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        found.push(root().join(name));
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn the_key_table_is_the_consoles() {
    let path = "docs/reference/keys.md";
    let page = text(path);
    let (before, _) = page.split_once("| Keys |").unwrap();
    is_generated(path, &format!("{before}{}", key_table()));
}

#[test]
fn the_reference_of_the_command_line_is_the_programs() {
    let options = clap_markdown::MarkdownOptions::new()
        .title("Command line".to_owned())
        .show_footer(false)
        .show_table_of_contents(false);
    let command = dagster_taskiq_tui::cli::command();
    let page = clap_markdown::help_markdown_command_custom(&command, &options);
    is_generated("docs/reference/commands.md", &page);
}

/// Holds a document that the program makes; `UPDATE_DOCS=1` writes it.
fn is_generated(path: &str, made: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, made).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == made,
        "{path} is not what the program makes: UPDATE_DOCS=1 cargo test --test cli"
    );
}

#[test]
fn the_reference_of_the_settings_is_the_programs_table() {
    const BEGIN: &str = "<!-- The tables are made from src/config/table.rs. -->\n";
    const END: &str = "<!-- End of the tables. -->\n";
    let path = "docs/reference/settings.md";
    let page = text(path);
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let tables = dagster_taskiq_tui::config::reference();
    is_generated(path, &format!("{before}{BEGIN}{tables}\n{END}{after}"));
}

#[test]
fn the_schema_of_the_settings_is_the_programs() {
    let schema = dagster_taskiq_tui::config::schema();
    is_generated("docs/settings.schema.json", &format!("{schema:#}\n"));
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let documents = documents();
    assert!(documents.len() > 10);
    for document in documents {
        let written = fs::read_to_string(&document).unwrap();
        let links = written
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link}", document.display());
            if !heading.is_empty() {
                let headings = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    headings.iter().any(|found| found == heading),
                    "{}: {link}: {headings:?}",
                    document.display()
                );
            }
        }
    }
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &str) -> Vec<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn the_readme_is_short() {
    assert!(text("README.md").lines().count() <= 250);
}

#[test]
fn the_keys_of_the_example_are_taken() {
    let keys = text("docs/reference/keys.md");
    let (_, rest) = keys.split_once("a YAML file such as ").unwrap();
    let (example, _) = rest.split_once("Two that exclude each other").unwrap();
    let lines: Vec<&str> = example.split('`').skip(1).step_by(2).collect();
    assert_eq!(lines.len(), 2, "{example}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    fs::write(&path, lines.join("\n")).unwrap();
    Keymap::load(&path).unwrap();
}
