//! Every view at three sizes, in text and styles; pictures of them; and any size at all.

use std::fs;
use std::path::Path;

use dagster_taskiq_tui::console::theme::{BUILT_IN, Depth, Roles, Theme};
use dagster_taskiq_tui::console::view::View;
use proptest::prelude::*;

use super::fixture;
use super::harness::{Harness, Options, styles, text};
use super::night;
use super::pictures::{PICTURES, Recording};
use super::svg::svg;

pub const SIZES: [(u16, u16); 3] = [(200, 50), (80, 24), (40, 10)];

fn digit(view: View) -> String {
    view.digit().to_string()
}

fn name(view: View, size: (u16, u16), what: &str) -> String {
    format!(
        "{}_{}x{}_{what}",
        view.title().to_lowercase().replace(' ', "-"),
        size.0,
        size.1
    )
}

fn shows_every_view(ascii: bool, what: &str) {
    for view in View::ALL {
        for size in SIZES {
            let options = Options {
                size,
                ascii,
                ..Options::default()
            };
            let mut harness = Harness::new(options, fixture::snapshot());
            harness.keys(&digit(view));
            insta::assert_snapshot!(name(view, size, what), harness.screen());
        }
    }
}

#[test]
fn every_view_is_laid_out_as_recorded() {
    shows_every_view(false, "unicode");
}

#[test]
fn every_view_is_laid_out_as_recorded_in_ascii() {
    shows_every_view(true, "ascii");
}

#[test]
fn every_view_is_coloured_as_recorded_in_truecolour_and_mono() {
    for (depth, what) in [(Depth::True, "truecolour"), (Depth::Mono, "mono")] {
        for view in View::ALL {
            for size in SIZES {
                let mut harness = Harness::new(
                    Options {
                        size,
                        depth,
                        ..Options::default()
                    },
                    fixture::snapshot(),
                );
                harness.keys(&digit(view));
                insta::assert_snapshot!(name(view, size, what), styles(&harness.buffer()));
            }
        }
    }
}

#[test]
fn an_ascii_screen_has_nothing_but_ascii() {
    for view in View::ALL {
        for keys in ["", "?", "<enter>", ":", "/x", "l", "D"] {
            let options = Options {
                ascii: true,
                ..Options::default()
            };
            let mut harness = Harness::new(options, fixture::trouble());
            harness.keys(&digit(view));
            harness.keys(keys);
            assert!(harness.screen().is_ascii(), "{view:?} after {keys}");
        }
    }
}

#[test]
fn trouble_is_told_first_and_what_is_known_of_it() {
    for size in SIZES {
        for view in [View::Overview, View::Queues, View::Workers] {
            let options = Options {
                size,
                ..Options::default()
            };
            let mut harness = Harness::new(options, fixture::trouble());
            harness.keys(&digit(view));
            insta::assert_snapshot!(name(view, size, "trouble"), harness.screen());
        }
    }
    let mut harness = Harness::new(Options::default(), fixture::trouble());
    // What was heard last is not what is.
    harness.keys("5");
    let screen = harness.screen();
    let row = screen
        .lines()
        .find(|line| line.starts_with(" etl-2"))
        .unwrap();
    assert!(row.contains("silent"), "{screen}");
}

#[test]
fn the_fleet_is_shown_below_the_linked_workers_with_its_versions_and_silences() {
    for size in SIZES {
        let options = Options {
            size,
            ..Options::default()
        };
        let mut harness = Harness::new(options, fixture::fleet());
        harness.keys("5jj");
        insta::assert_snapshot!(format!("fleet_{}x{}", size.0, size.1), harness.screen());
    }
    let mut harness = Harness::new(Options::default(), fixture::fleet());
    let alarms = harness.app.alarms(harness.now);
    let told = |text: &str| alarms.iter().any(|alarm| alarm.text.contains(text));
    assert!(
        told("Worker gpu-2.internal-31 is silent for 6m"),
        "{alarms:?}"
    );
    assert!(told("gpu-1.internal-1207 0.0.9"), "{alarms:?}");
    assert!(
        !told("old-1"),
        "one that ended in good order is no alarm: {alarms:?}"
    );
    harness.keys("5jjj<enter>");
    insta::assert_snapshot!("fleet_detail_80x24", harness.screen());
}

#[test]
fn an_empty_console_says_what_to_do_next() {
    let mut harness = Harness::new(Options::default(), std::sync::Arc::default());
    let mut screens = String::new();
    for view in View::ALL {
        harness.keys(&digit(view));
        screens.push_str(&harness.screen());
    }
    insta::assert_snapshot!("empty_80x24", screens);
}

#[test]
fn themes_style_every_role_and_extend_each_other() {
    for (name, yaml) in BUILT_IN {
        let theme = Theme::load(name, Depth::True).unwrap();
        assert_eq!(theme.name, name);
        let complete = Roles::NAMES
            .iter()
            .all(|role| yaml.contains(&format!("\n  {role}:")));
        assert!(
            complete || yaml.contains("\nextends:"),
            "{name} leaves out a role"
        );
    }
    let dark = Theme::load("dark", Depth::True).unwrap();
    let blind = Theme::load("colour-blind", Depth::True).unwrap();
    assert_eq!(blind.roles.text, dark.roles.text);
    assert_ne!(blind.roles.error, dark.roles.error);
}

#[test]
fn words_can_be_read_on_their_background_in_every_theme_that_names_its_colours() {
    use ratatui::style::Color::{self, Rgb};
    let luminance = |color: Option<Color>| {
        let Some(Rgb(red, green, blue)) = color else {
            panic!("{color:?} is the terminal's own");
        };
        let linear = |part: u8| (f64::from(part) / 255.0).powf(2.2);
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    };
    for name in ["dark", "light", "colour-blind"] {
        let roles = Theme::load(name, Depth::True).unwrap().roles;
        let ground = luminance(roles.text.bg);
        let words = [
            roles.text,
            roles.dim,
            roles.strong,
            roles.product,
            roles.tab,
            roles.title,
            roles.header,
            roles.key,
            roles.hint,
            roles.ok,
            roles.info,
            roles.warn,
            roles.error,
            roles.running,
            roles.held,
            roles.waiting,
            roles.input,
        ];
        for (at, style) in words.iter().enumerate() {
            let shade = luminance(style.fg);
            let contrast = (shade.max(ground) + 0.05) / (shade.min(ground) + 0.05);
            assert!(contrast >= 4.5, "{name}, word {at}: {contrast:.1}");
        }
    }
}

#[test]
fn a_theme_file_with_an_unknown_key_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.yaml");
    fs::write(
        &path,
        "extends: light\nroles:\n  text: { fg: red }\n  eror: { fg: red }\n",
    )
    .unwrap();
    let error = Theme::load(path.to_str().unwrap(), Depth::True)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unknown field `eror`") && error.contains("line 4"),
        "{error}"
    );
    fs::write(&path, "roles:\n  text: { fg: reddish }\n").unwrap();
    let error = Theme::load(path.to_str().unwrap(), Depth::True)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`reddish` is no colour") && error.contains("line 2"),
        "{error}"
    );
    fs::write(&path, "extends: dark\nroles:\n  text: { fg: 208 }\n").unwrap();
    let mine = Theme::load(path.to_str().unwrap(), Depth::Ansi256).unwrap();
    assert_eq!(
        mine.roles.text.fg,
        Some(ratatui::style::Color::Indexed(208))
    );
    let error = Theme::load("drak", Depth::True).unwrap_err().to_string();
    assert!(error.contains("colour-blind"), "{error}");
}

#[test]
fn the_pictures_in_the_readme_are_those_of_this_console_on_the_recorded_demo() {
    for (name, size, keys, moment) in PICTURES {
        let recording = fs::read_to_string(moment.file()).unwrap();
        let recording: Recording = serde_json::from_str(&recording).unwrap();
        let options = Options {
            size,
            ..Options::default()
        };
        let mut harness = Harness::replay(options, recording);
        harness.keys(keys);
        harness.settle();
        is_committed(name, &harness);
    }
}

#[test]
fn the_pictures_of_a_night_are_those_of_this_console() {
    for (name, situation) in night::PICTURES {
        is_committed(name, &situation.answered(SIZES[1]));
    }
}

/// The screen is the committed picture of this name, or becomes it.
fn is_committed(name: &str, harness: &Harness) {
    let picture = svg(&harness.buffer());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("screenshots");
    let path = folder.join(format!("{name}.svg"));
    if std::env::var_os("UPDATE_SCREENSHOTS").is_some() {
        fs::write(&path, picture).unwrap();
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == picture,
        "{} is out of date: run the tests with UPDATE_SCREENSHOTS=1",
        path.display()
    );
}

#[test]
fn every_picture_is_in_a_document_and_there_are_no_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = [
        "README.md",
        "docs/guide/console.md",
        "docs/guide/dead-letters.md",
    ];
    let written = documents.map(|path| fs::read_to_string(root.join(path)).unwrap());
    let of_demo = PICTURES.iter().map(|picture| picture.0);
    let of_night = night::PICTURES.iter().map(|picture| picture.0);
    let mut names: Vec<String> = of_demo
        .chain(of_night)
        .map(|name| format!("{name}.svg"))
        .collect();
    for name in &names {
        let link = format!("screenshots/{name})");
        assert!(written.iter().any(|text| text.contains(&link)), "{name}");
    }
    let files = fs::read_dir(root.join("screenshots")).unwrap();
    let mut files: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    files.sort();
    assert_eq!(files, names);
}

#[test]
fn one_changed_counter_costs_at_most_200_bytes() {
    use ratatui::backend::CrosstermBackend;
    use ratatui::{Terminal, TerminalOptions, Viewport};
    for (keys, size) in [
        ("1", (200, 50)),
        ("2", (200, 50)),
        ("1", (80, 24)),
        ("2", (80, 24)),
    ] {
        let mut harness = Harness::new(
            Options {
                size,
                ..Options::default()
            },
            fixture::snapshot(),
        );
        harness.keys(keys);
        let written = tempfile::tempfile().unwrap();
        let viewport = Viewport::Fixed(ratatui::layout::Rect::new(0, 0, size.0, size.1));
        let backend = CrosstermBackend::new(written.try_clone().unwrap());
        let mut terminal = Terminal::with_options(backend, TerminalOptions { viewport }).unwrap();
        let now = harness.now;
        terminal
            .draw(|frame| harness.app.render(frame, now))
            .unwrap();
        let mut snapshot = (*fixture::snapshot()).clone();
        let queues = std::sync::Arc::make_mut(&mut snapshot.queues);
        queues[1].counts.as_mut().unwrap().in_flight += 1;
        harness.tell(dagster_taskiq_tui::console::app::Message::Snapshot(
            std::sync::Arc::new(snapshot),
        ));
        let count = || written.metadata().unwrap().len();
        let before = count();
        terminal
            .draw(|frame| harness.app.render(frame, now))
            .unwrap();
        let changed = count() - before;
        // Brackets of a synchronized update come on top: 16 bytes.
        assert!(
            (1..=184).contains(&changed),
            "{changed} bytes in view {keys} at {size:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_size_is_drawn_without_a_panic_whatever_lies_on_top(
        width in 1..=120_u16,
        height in 1..=40_u16,
        view in 1..=8_u8,
        keys in prop::sample::select(vec!["", "a", "ajjj<pgdn>", "aG", "?G", "<enter>GG", ":s", "/long filter", "l", "D", "X", "P", "R", "A", "s12", "jjjj<pgdn>", "q", "w<up>w"]),
        scene in 0..3_u8,
        ascii: bool,
    ) {
        let snapshot = match scene {
            0 => fixture::snapshot(),
            1 => fixture::trouble(),
            _ => std::sync::Arc::default(),
        };
        let quit = dagster_taskiq_tui::console::QuitPolicy::Confirm;
        let mut harness = Harness::new(Options { size: (width, height), ascii, quit, ..Options::default() }, snapshot);
        harness.keys(&format!("{view}{keys}"));
        let screen = text(&harness.buffer());
        for line in screen.lines() {
            prop_assert!(dagster_taskiq_tui::console::text::width(line) <= width);
        }
    }
}
