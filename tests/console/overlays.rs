//! What lies over a view, at three sizes: in Unicode and truecolour, and in ASCII without colour; text
//! and styles.

use dagster_taskiq_tui::console::options::QuitPolicy;
use dagster_taskiq_tui::console::theme::Depth;

use super::harness::{Harness, Options, styles};
use super::screens::SIZES;
use super::{fixture, following, launching, runs};

type Opened = fn(Options) -> Harness;

fn is_laid_out_as_recorded(looks: &[(&str, &str, Opened)]) {
    for (name, keys, opened) in looks {
        for size in SIZES {
            let shown = [(false, Depth::True), (true, Depth::Mono)].map(|(ascii, depth)| {
                let mut harness = opened(Options {
                    size,
                    depth,
                    ascii,
                    ..Options::default()
                });
                harness.keys(keys);
                let screen = harness.screen();
                assert!(!ascii || screen.is_ascii(), "{screen}");
                format!("{screen}{}", styles(&harness.buffer()))
            });
            insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), shown.concat());
        }
    }
}

fn night(options: Options) -> Harness {
    Harness::new(options, fixture::snapshot())
}

fn trouble(options: Options) -> Harness {
    Harness::new(options, fixture::trouble())
}

/// A console whose pool is its own.
fn own(options: Options) -> Harness {
    let quit = QuitPolicy::Confirm;
    night(Options { quit, ..options })
}

#[test]
fn details_are_laid_out_as_recorded() {
    is_laid_out_as_recorded(&[
        ("step", "3j<enter>", night),
        ("step_followed", "G", following::details),
        ("run", "4j<enter>", night),
        ("run_over_time", "", runs::details),
        ("queue", "2j<enter>", night),
        ("dead_letter", "7<enter>", night),
        ("worker", "5<enter>", night),
        ("log_line", "6<enter>", night),
        ("audit_entry", "8<enter>", night),
        ("failures", "9<enter>", night),
        ("location", "03j<enter>", night),
    ]);
}

#[test]
fn questions_are_laid_out_as_recorded() {
    is_laid_out_as_recorded(&[
        ("drain_queue", "2jX", night),
        ("redrive", "7*R", night),
        ("purge_keep_waiting", "7:purge keep-waiting<enter>", night),
        ("restore", ":restore /var/a/tasks.jsonl<enter>", night),
        ("cancel", "3X", night),
        ("terminate", "4jX", night),
        ("terminate_refused", "4jXno<enter>", night),
        ("reexecute", "4jE", night),
        ("reexecute_group", "9E", night),
        ("switch", "05jT", night),
        ("start_worker", "S", night),
        ("resume_both", "p", trouble),
        ("drain_worker", "5D", night),
        ("stop_worker", "5X", night),
        ("kill_worker", "5K", night),
        ("quit", "q", own),
    ]);
}

#[test]
fn lists_and_lines_are_laid_out_as_recorded() {
    is_laid_out_as_recorded(&[
        ("help", "3?", night),
        ("alarms", "aj", trouble),
        ("palette", ":sc", night),
        ("filter", "3/job:etl !held", night),
        ("columns", "3cjj ", night),
        ("scale", "s12", night),
        ("launch", "lda", night),
        ("launch_form", "", launching::form),
        ("launch_editor", "<up><up><up><up><enter>", launching::form),
        ("launch_assets", "<up><up><enter><space>", launching::form),
        ("launch_refused", "", launching::refused),
    ]);
}
