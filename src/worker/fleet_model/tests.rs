use super::*;

fn busy(workers: u32) -> FleetOptions {
    FleetOptions {
        workers,
        queued_runs: 10 * workers,
        steps_of_run: 20,
        fan: 10,
        step_seconds: 5.0,
        ..FleetOptions::default()
    }
}

#[test]
fn every_step_is_run_once_and_no_worker_holds_more_than_its_slots() {
    let options = busy(20);
    let figures = simulate(&options);
    assert_eq!(figures.runs, 200);
    assert_eq!(figures.steps, 4000);
    assert_eq!(figures.deletes, 4200);
    assert!(figures.most_runs <= 20 * 4, "{figures:?}");
    // A message that finds no slot is in flight for a moment.
    assert!(figures.most_in_flight <= 20 * (8 + 4) + 60);
}

#[test]
fn a_model_with_the_same_seed_counts_the_same_steps_and_sends() {
    let (one, two) = (simulate(&busy(3)), simulate(&busy(3)));
    assert_eq!((one.steps, one.sends), (two.steps, two.sends));
}

#[test]
fn the_requests_of_an_idle_worker_do_not_grow_with_the_fleet() {
    for workers in [1, 10, 100] {
        let figures = simulate(&FleetOptions {
            workers,
            has_bands: true,
            ..FleetOptions::default()
        });
        // The runs queue has three long polls a minute; each band a long and a short one in 21 s.
        let of_each = figures.receives / u64::from(workers);
        assert!((1150..=1250).contains(&of_each), "{workers}: {of_each}");
        assert_eq!(figures.steps, 0);
    }
}

#[test]
fn the_requests_for_a_step_do_not_grow_with_the_fleet() {
    let of_step = |workers| {
        let figures = simulate(&FleetOptions {
            has_bands: true,
            ..busy(workers)
        });
        let idle = figures.empty_receives;
        assert_eq!(figures.steps, u64::from(workers) * 200);
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let share = (figures.billed - idle) as f64 / figures.steps as f64;
        share
    };
    let (few, many) = (of_step(2), of_step(40));
    assert!(many < few * 1.5, "{few} requests for a step, then {many}");
}
