//! Where secrets could come out, and what was found there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What every planted secret begins with. Half a secret is found by it, too.
pub const MARK: &str = "s3cr3t";

/// Texts by the place where they came out.
#[derive(Default)]
pub struct Places {
    texts: Vec<(String, String)>,
}

impl Places {
    /// Notes a text.
    pub fn add(&mut self, place: &str, text: impl Into<String>) {
        self.texts.push((place.to_owned(), text.into()));
    }

    /// Runs a command and notes what it prints; its exit code.
    pub fn run(&mut self, place: &str, command: &mut Command) -> (Option<i32>, String) {
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !text.is_empty() || !errors.is_empty(),
            "{place}: nothing was printed, so nothing was looked at"
        );
        self.add(place, errors.clone() + &text);
        (output.status.code(), errors + &text)
    }

    /// Notes the files of a folder and of those in it, but for those in folders of these names.
    pub fn files(&mut self, place: &str, folder: &Path, without: &[&str]) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !without.contains(&name.as_str()) {
                self.files(place, &path, without);
            } else if path.is_file() {
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                self.add(&format!("{place} {}", path.display()), text);
            }
        }
    }

    /// Whether a place was looked at and holds these words.
    pub fn holds(&self, place: &str, words: &str) -> bool {
        let mut of_place = self
            .texts
            .iter()
            .filter(|(name, _)| name.starts_with(place));
        of_place.any(|(_, text)| text.contains(words))
    }

    /// Fails with every place that holds a mark.
    pub fn assert_clean(&self) {
        let mut leaks = Vec::new();
        for (place, text) in &self.texts {
            for line in text.lines().filter(|line| line.contains(MARK)) {
                let at = line.find(MARK).unwrap();
                let start = line.floor_char_boundary(at.saturating_sub(80));
                let end = line.ceil_char_boundary((at + 60).min(line.len()));
                leaks.push(format!("{place}: …{}…", &line[start..end]));
            }
        }
        assert!(leaks.is_empty(), "secrets came out:\n{}", leaks.join("\n"));
    }
}

/// The arguments of a process, if it has one of the marks among them.
fn marked_arguments(process: &Path, mark: &str) -> Option<String> {
    let words = std::fs::read(process.join("cmdline")).ok()?;
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    words.contains(mark).then_some(words)
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.flatten().map(|entry| entry.path())
}

/// The arguments of every process that hold a mark, at this moment.
pub fn arguments_with(mark: &str) -> Vec<String> {
    processes()
        .filter_map(|process| marked_arguments(&process, mark))
        .collect()
}

/// Looks at the arguments of all processes again and again.
pub struct Sampler {
    over: Arc<AtomicBool>,
    seen: JoinHandle<Vec<String>>,
}

impl Sampler {
    /// Starts it. Marks that a test itself gives as arguments are of another kind.
    pub fn start(given: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let seen = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !until.load(Ordering::Relaxed) {
                seen.extend(
                    arguments_with(MARK)
                        .into_iter()
                        .filter(|words| words.replace(given, "").contains(MARK)),
                );
                std::thread::sleep(Duration::from_millis(50));
            }
            seen.sort();
            seen.dedup();
            seen
        });
        Self { over, seen }
    }

    /// What it has seen.
    pub fn end(self) -> String {
        self.over.store(true, Ordering::Relaxed);
        self.seen.join().unwrap().join("\n")
    }
}
