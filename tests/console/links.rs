//! Addresses in Dagster's webserver: copied, or opened in a browser.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::Effect;
use dagster_taskiq_tui::domain::SourceKind;

use super::fixture;
use super::harness::{Harness, Options};

const BASE: &str = "http://127.0.0.1:3000";

/// The night's snapshot, with the webserver's address as it is configured.
fn night(has_desktop: bool) -> Harness {
    let mut snapshot = (*fixture::snapshot()).clone();
    for source in &mut snapshot.sources {
        if source.kind == SourceKind::Webserver {
            BASE.clone_into(&mut source.address);
        }
    }
    let options = Options {
        has_desktop,
        ..Options::default()
    };
    Harness::new(options, Arc::new(snapshot))
}

const RUN: &str = "4f0c81aa-51b2-4c58-9a3b-8a7be0f1d201";

fn copied(harness: &mut Harness, keys: &str) -> String {
    let effects = harness.keys(keys);
    let copied = effects.iter().find_map(|effect| match effect {
        Effect::Copy(text) => Some(text.clone()),
        _ => None,
    });
    copied.unwrap_or_else(|| panic!("{effects:?}: {}", harness.screen()))
}

#[test]
fn the_address_of_a_run_a_step_and_a_job_is_copied() {
    let mut harness = night(false);
    let base = BASE;
    harness.keys("4/run:4f0c<enter>");
    assert_eq!(copied(&mut harness, "U"), format!("{base}/runs/{RUN}"));
    let job = format!("{base}/locations/warehouse/jobs/nightly_etl");
    assert_eq!(copied(&mut harness, ":copy-url job<enter>"), job);
    harness.keys("/<c-u>ingest<enter>");
    let asset = format!("{base}/assets/sales/orders");
    assert_eq!(copied(&mut harness, ":copy-url asset<enter>"), asset);
    harness.keys("3/load_warehouse<enter>");
    let step = copied(&mut harness, "U");
    let step_key = "load_warehouse%5Bpartition_2026_03_13%5D";
    let query = format!("selection={step_key}&logs=step%3A{step_key}");
    assert_eq!(step, format!("{base}/runs/{RUN}?{query}"));
}

#[test]
fn a_browser_is_opened_where_there_is_one_and_otherwise_the_address_is_copied() {
    let mut harness = night(true);
    let effects = harness.keys("4B");
    assert!(
        matches!(effects.as_slice(), [Effect::Browse(url)] if url.contains("/runs/")),
        "{effects:?}"
    );
    let mut harness = night(false);
    assert!(copied(&mut harness, "4B").contains("/runs/"));
    assert!(
        harness
            .screen()
            .contains("Sent to the terminal's clipboard"),
        "{}",
        harness.screen()
    );
}

#[test]
fn without_a_webserver_or_a_page_the_reason_is_said() {
    let mut snapshot = (*fixture::snapshot()).clone();
    snapshot.sources.clear();
    let mut harness = Harness::new(Options::default(), Arc::new(snapshot));
    harness.keys("4U");
    assert!(
        harness.screen().contains("webserver"),
        "{}",
        harness.screen()
    );
    let mut harness = Harness::night();
    harness.keys("3:copy-url pool<enter>");
    assert!(
        harness.screen().contains("`pool` has no address"),
        "{}",
        harness.screen()
    );
}
