//! What keys do: commands sent, questions asked, rows kept.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::console::view::View;
use dagster_taskiq_tui::console::{Exit, QuitPolicy, Startup};
use dagster_taskiq_tui::domain::{Command, Danger, Reply, SlotRange, WorkerState};
use jiff::SignedDuration;

use super::fixture;
use super::harness::{Harness, Options};

/// The worker under the cursor of the workers' view.
fn first(command: Command) -> (Option<String>, Command) {
    (Some(String::from("etl-1.internal-4127")), command)
}

#[test]
fn plus_and_minus_scale_and_quick_presses_add_up() {
    let mut harness = Harness::night();
    let sent = harness.commands("5++-");
    let scale = |steps| first(Command::Scale { steps });
    assert_eq!(sent, [scale(5), scale(6), scale(5)]);
    let sent = harness.commands(":worker scale +2<enter>:worker scale -3<enter>");
    assert_eq!(sent, [scale(7), scale(4)]);
}

#[test]
fn slots_that_follow_the_load_show_their_bounds_which_can_be_typed() {
    let mut harness = Harness::night();
    let range = SlotRange { min: 2, max: 16 };
    let mut snapshot = (*fixture::snapshot()).clone();
    Arc::make_mut(&mut snapshot.workers)[0].steps.range = Some(range);
    harness.tell(Message::Snapshot(snapshot.into()));
    harness.keys("5");
    let screen = harness.screen();
    assert!(screen.contains("3/4 (2..16)"), "{screen}");
    let sent = harness.commands("s2.x.16<enter>");
    assert_eq!(sent, [first(Command::ScaleWithin { range })]);
    assert_eq!(harness.commands(":scale 16..2<enter>"), []);
    let screen = harness.screen();
    assert!(screen.contains("`16..2` is no number of slots"), "{screen}");
}

#[test]
fn a_worker_is_started_after_a_yes() {
    let mut harness = Harness::night();
    assert_eq!(harness.commands("Sn"), []);
    assert_eq!(
        harness.commands(":start-worker<enter>y"),
        [(None, Command::StartWorker)]
    );
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let mut careful = Harness::new(options, fixture::snapshot());
    assert_eq!(careful.commands("Sy"), []);
}

#[test]
fn a_refused_scaling_is_forgotten() {
    let mut harness = Harness::night();
    let Some(Effect::Request { request, .. }) = harness.keys("5+").pop() else {
        panic!("nothing was sent")
    };
    harness.tell(Message::Reply {
        request,
        reply: Reply::Failed(String::from("no memory")),
    });
    assert!(harness.screen().contains("no memory"));
    assert_eq!(harness.commands("+"), [first(Command::Scale { steps: 5 })]);
}

#[test]
fn of_many_answers_the_failure_stays_to_be_read() {
    let mut harness = Harness::night();
    let sent = harness.keys("3/status:running<enter>*X6<enter>");
    let requests = sent.into_iter().filter_map(|effect| match effect {
        Effect::Request { request, .. } => Some(request),
        _ => None,
    });
    let requests: Vec<u64> = requests.collect();
    assert_eq!(requests.len(), 6);
    for (index, request) in requests.into_iter().enumerate() {
        let reply = match index {
            0 => Reply::Failed(String::from("it has ended")),
            _ => Reply::Done(format!("step {index} is interrupted")),
        };
        harness.tell(Message::Reply { request, reply });
    }
    let screen = harness.screen();
    assert!(screen.contains("it has ended"), "{screen}");
    assert!(screen.contains("step 5 is interrupted"), "{screen}");
}

#[test]
fn a_number_scales_every_worker_from_the_overview_and_one_from_its_view() {
    let mut harness = Harness::night();
    assert_eq!(harness.commands("s8<enter>"), [], "that is asked first");
    let screen = harness.screen();
    assert!(screen.contains("Scale 2 workers?"), "{screen}");
    let both = harness.commands("y");
    assert_eq!(both.len(), 2);
    assert!(
        both.iter()
            .all(|(_, command)| *command == Command::Scale { steps: 8 })
    );
    assert_eq!(
        harness.commands("5:scale 2<enter>"),
        [first(Command::Scale { steps: 2 })]
    );
}

#[test]
fn pause_goes_to_those_that_receive_and_resume_to_those_that_are_paused() {
    let mut harness = Harness::night();
    assert_eq!(harness.commands("p"), [first(Command::Pause)]);
    assert_eq!(
        harness.commands("r<c-c>y"),
        [],
        "both would reload: Ctrl-C leaves the question, not the console"
    );
    let mut snapshot = (*fixture::snapshot()).clone();
    Arc::make_mut(&mut snapshot.workers)[0].state = WorkerState::Paused;
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    let resumed = harness.commands("py");
    assert_eq!(resumed.len(), 2);
    assert!(
        resumed
            .iter()
            .all(|(_, command)| *command == Command::Resume)
    );
}

#[test]
fn what_a_worker_was_too_busy_to_tell_is_counted_in_its_details() {
    let mut harness = Harness::night();
    harness.keys("5<enter>");
    assert!(!harness.screen().contains("missed"));
    let mut snapshot = (*fixture::snapshot()).clone();
    Arc::make_mut(&mut snapshot.workers)[0].dropped_events = 12;
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    let screen = harness.screen();
    assert!(screen.contains("12 events dropped"), "{screen}");
}

#[test]
fn a_worker_of_another_host_is_not_commanded_and_how_to_reach_it_is_told() {
    let mut harness = Harness::new(Options::default(), fixture::fleet());
    harness.keys("5/host:etl-3<enter>");
    assert_eq!(harness.commands("p"), []);
    let screen = harness.screen();
    assert!(screen.contains("attach --host etl-3.internal"), "{screen}");
    assert_eq!(
        harness.commands("<esc><esc>gp").len(),
        1,
        "the linked one is"
    );
}

#[test]
fn a_drain_may_be_given_an_end_that_is_counted_down_and_a_kill_is_typed() {
    let mut harness = Harness::night();
    let drain = Command::Drain { within: Some(90) };
    assert_eq!(harness.commands("5:drain 90<enter>y"), [first(drain)]);
    assert_eq!(harness.commands("K<enter>"), [], "nothing was typed");
    assert_eq!(
        harness.commands("<esc>Ketl-1.internal-4127<enter>"),
        [first(Command::Kill)]
    );

    let mut snapshot = (*fixture::snapshot()).clone();
    let workers = Arc::make_mut(&mut snapshot.workers);
    let states = [WorkerState::Draining, WorkerState::Stopping];
    for (worker, state) in workers.iter_mut().zip(states) {
        worker.state = state;
        worker.deadline = Some(harness.now + SignedDuration::from_secs(42));
    }
    harness.tell(Message::Snapshot(snapshot.into()));
    let screen = harness.screen();
    assert!(
        screen.contains("stops 42s") && screen.contains("kills 42s"),
        "{screen}"
    );
}

#[test]
fn the_destructive_key_of_a_view_asks_for_typing_first() {
    let mut harness = Harness::night();
    assert_eq!(
        harness.commands("2jXdagster<enter>"),
        [],
        "half a name does nothing"
    );
    let refused = "Nothing is done: that is not dagster-tasks";
    assert!(harness.screen().contains(refused), "{}", harness.screen());
    harness.keys("-");
    assert!(!harness.screen().contains(refused));
    assert!(harness.screen().contains("~128 waiting messages"));
    let sent = harness.commands("tasks<enter>");
    assert_eq!(
        sent,
        [(
            None,
            Command::DrainQueue {
                queue: String::from("dagster-tasks"),
                keep_waiting: false,
            }
        )]
    );
}

#[test]
fn steps_runs_and_workers_have_their_own_destructive_command() {
    let mut harness = Harness::night();
    let sent = harness.commands("3jjjXtransform_orders<enter>");
    let [(Some(_), Command::CancelTask { .. })] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    let sent = harness.commands("gX4f0c81aa<enter>");
    let [(Some(_), Command::CancelTask { .. })] = sent.as_slice() else {
        panic!("a run's own task goes by the run: {sent:?}")
    };
    let sent = harness.commands("4jX0e9a4c17<enter>");
    let [(None, Command::TerminateRuns { run_ids, .. })] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert!(run_ids[0].starts_with("0e9a4c17"));
    let whole = run_ids[0].clone();
    let mut named = |id: &str| harness.commands(&format!("X{id}<enter><esc>")).len();
    assert_eq!(named(&whole), 1, "the id in full, as it is copied");
    assert_eq!(named(&format!("{}0", &whole[..whole.len() - 1])), 0);
    assert_eq!(
        harness.commands("5Xetl-1.internal-4127<enter>"),
        [first(Command::Stop)]
    );
    assert_eq!(harness.commands("5Dn"), []);
    assert_eq!(
        harness.commands("5Dy"),
        [first(Command::Drain { within: None })]
    );
}

#[test]
fn a_finished_run_and_a_held_step_cannot_be_ended() {
    let mut harness = Harness::night();
    harness.keys("4jjX");
    assert!(harness.screen().contains("over already"));
    harness.keys("3jjjjjjX");
    assert!(harness.screen().contains("does not run"));
}

#[test]
fn pasted_text_confirms_nothing_and_commands_nothing() {
    let mut harness = Harness::night();
    harness.keys("2jX");
    harness.tell(Message::Paste(String::from("dagster-tasks\n")));
    assert_eq!(harness.commands("<enter>"), []);
    harness.keys("<esc>1");
    harness.tell(Message::Paste(String::from("5Xetl-1.internal-4127\r")));
    assert_eq!(harness.app.view(), View::Overview);
}

#[test]
fn read_only_refuses_everything_that_changes_something() {
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let mut harness = Harness::new(options, fixture::snapshot());
    for view in View::ALL {
        let digit = view.digit().to_string();
        let mut sent = harness.commands(&format!(
            "{digit}p+-ssr<esc>DyX<esc>Ketl-1.internal-4127<enter><esc>l<enter>"
        ));
        sent.retain(|(_, command)| command.danger() != Danger::Safe);
        assert_eq!(sent, []);
    }
    assert!(harness.screen().contains("Read-only"));
}

#[test]
fn quitting_asks_only_where_the_pool_is_ours_and_something_is_in_flight() {
    let mut attached = Harness::night();
    assert_eq!(attached.keys("q"), [Effect::Exit(Exit::Left)]);
    let ours = || Options {
        quit: QuitPolicy::Confirm,
        ..Options::default()
    };
    let mut calm = Harness::new(ours(), fixture::calm());
    assert_eq!(calm.keys("q"), [Effect::Exit(Exit::Left)]);
    for (key, exit) in [
        ("d", Exit::DrainAndLeave),
        ("b", Exit::LeaveRunning),
        ("S", Exit::Stop),
    ] {
        let mut busy = Harness::new(ours(), fixture::snapshot());
        assert_eq!(busy.keys("qs<esc>"), [], "s is not S, and Esc stays");
        assert_eq!(busy.keys("<c-c>"), []);
        assert_eq!(busy.keys(key), [Effect::Exit(exit)]);
    }
}

#[test]
fn an_answer_takes_the_place_of_sent_and_goes_by_itself() {
    let mut harness = Harness::night();
    let effects = harness.keys("5p");
    let [Effect::Request { request, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    let request = *request;
    assert!(
        harness
            .screen()
            .contains("Sent worker pause to etl-1.internal-4127")
    );
    harness.tell(Message::Reply {
        request,
        reply: Reply::Done(String::from("Paused: 3 running go on")),
    });
    assert!(!harness.screen().contains("Sent worker pause"));
    assert!(harness.screen().contains("Paused: 3 running go on"));
    harness.now += SignedDuration::from_secs(6);
    harness.tell(Message::Tick);
    assert!(!harness.screen().contains("Paused: 3 running go on"));
}

#[test]
fn a_calm_screen_does_not_change_with_time_or_with_new_readings_of_the_same() {
    let mut harness = Harness::new(Options::default(), fixture::calm());
    let before = harness.buffer();
    harness.now += SignedDuration::from_secs(4);
    let mut snapshot = (*fixture::calm()).clone();
    for queue in Arc::make_mut(&mut snapshot.queues) {
        queue.counted_at = Some(harness.now);
    }
    for worker in Arc::make_mut(&mut snapshot.workers) {
        worker.heartbeat_at = harness.now;
    }
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    assert_eq!(harness.buffer(), before);
}

#[test]
fn a_start_under_way_is_told_and_makes_leaving_ask() {
    let mut harness = Harness::new(Options::default(), fixture::snapshot());
    harness.tell(Message::Startup(Startup::Working(String::from(
        "Starting a worker",
    ))));
    assert!(harness.screen().contains("Starting a worker"));
    assert_eq!(harness.keys("q"), []);
    harness.keys("<esc>");
    harness.tell(Message::Startup(Startup::Ready));
    assert!(!harness.screen().contains("Starting a worker"));
    harness.tell(Message::Startup(Startup::Failed(String::from(
        "the worker ended",
    ))));
    assert!(harness.screen().contains("the worker ended"));
}

#[test]
fn why_no_worker_was_started_can_be_read_whole_on_a_small_screen() {
    let mut harness = Harness::new(Options::default(), fixture::calm());
    let why = "the worker ended at its start: DAGSTER_HOME is not set; set it to the folder of \
               dagster.yaml, or pass --dagster-home with that folder";
    harness.tell(Message::Startup(Startup::Failed(String::from(why))));
    let screen = harness.screen();
    let shown: Vec<&str> = screen
        .lines()
        .skip_while(|line| !line.contains("No worker was started:"))
        .skip(1)
        .take(2)
        .map(str::trim)
        .collect();
    assert_eq!(shown.join(" ").replace("  ", " "), why, "{screen}");
}

#[test]
fn with_reduced_motion_no_figure_ticks() {
    for reduced_motion in [true, false] {
        let options = Options {
            reduced_motion,
            ..Options::default()
        };
        let mut harness = Harness::new(options, fixture::snapshot());
        let mut still = true;
        for view in View::ALL {
            harness.keys(&view.digit().to_string());
            let before = harness.buffer();
            harness.now += SignedDuration::from_secs(6);
            still &= harness.buffer() == before;
            harness.now = fixture::now();
        }
        assert_eq!(still, reduced_motion);
    }
}
