//! The form in which a run is put together, driven by keys and answered as Dagster would.

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{Answer, Command, ConfigProblem, JobDetail, Launch, Query, Reply};

use super::fixture;
use super::harness::{Harness, Options};

const CONFIG: &str = "ops:\n  score:\n    config:\n      region: north\n      limit: 10\n";

fn detail() -> JobDetail {
    let days = (1..=13).rev().map(|day| format!("2026-03-{day:02}"));
    let key = |name: &str| vec![String::from("sales"), name.to_owned()];
    JobDetail {
        default_config: CONFIG.to_owned(),
        partitions: days.collect(),
        assets: ["orders", "rates", "revenue"].map(key).to_vec(),
    }
}

/// The form of `fan_out_demo`, its details told.
pub fn form(options: Options) -> Harness {
    let mut harness = Harness::new(options, fixture::snapshot());
    let effects = harness.keys("lfan<enter>");
    let [
        Effect::Request {
            request,
            worker: None,
            command: Command::Query(Query::Job { job, .. }),
            ..
        },
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(job.job, "fan_out_demo");
    answer(&mut harness, *request, Answer::Job(detail()));
    harness
}

fn answer(harness: &mut Harness, request: u64, answer: Answer) {
    harness.effects.clear();
    let reply = Reply::Answer(Box::new(answer));
    harness.tell(Message::Reply { request, reply });
}

/// The launch that is being checked.
fn checked(harness: &mut Harness, keys: &str) -> (u64, Launch) {
    let effects = harness.keys(keys);
    match effects.last() {
        Some(Effect::Request {
            request,
            command: Command::Query(Query::CheckConfig(launch)),
            ..
        }) => (*request, (**launch).clone()),
        _ => panic!("{effects:?}\n{}", harness.screen()),
    }
}

/// Form, as Dagster finds mistakes in its configuration.
pub fn refused(options: Options) -> Harness {
    let mut harness = form(options);
    let (request, _) = checked(&mut harness, "<enter>");
    let problem = |path: &str, message: &str| ConfigProblem {
        path: path.to_owned(),
        message: message.to_owned(),
    };
    let problems = vec![
        problem(
            "ops.score.config.limit",
            "Invalid scalar at path root:ops:score:config:limit. Value \"ten\" of type \"<class 'str'>\" is not valid for expected type \"Int\".",
        ),
        problem(
            "ops.score.config",
            "Missing required config entry \"region\" at path root:ops:score:config.",
        ),
    ];
    answer(&mut harness, request, Answer::CheckConfig(problems));
    harness
}

#[test]
fn a_job_is_picked_by_some_of_its_letters_checked_by_dagster_and_launched() {
    let mut harness = form(Options::default());
    let (request, launch) = checked(&mut harness, "<enter>");
    assert_eq!(
        (launch.job.job.as_str(), launch.run_config.as_str()),
        ("fan_out_demo", "")
    );
    answer(&mut harness, request, Answer::CheckConfig(Vec::new()));
    let [
        Effect::Request {
            command: Command::LaunchRun(sent),
            ..
        },
    ] = harness.effects.as_slice()
    else {
        panic!("{:?}", harness.effects)
    };
    assert_eq!(*sent, launch);
    assert!(harness.app.overlay().is_none());
}

#[test]
fn what_dagster_finds_wrong_is_shown_at_its_path_and_nothing_is_launched() {
    let mut harness = refused(Options::default());
    assert_eq!(harness.effects, []);
    let screen = harness.screen();
    assert!(screen.contains("ops.score.config.limit"), "{screen}");
    assert!(screen.contains("Missing required config entry"), "{screen}");
    harness.keys("<enter><c-a>");
    assert!(
        harness.screen().contains("Ctrl-C drops the changes"),
        "the editor is open"
    );
}

#[test]
fn the_editor_opens_at_the_line_that_is_wrong_with_dagsters_words_beside_it() {
    let mut harness = refused(Options {
        size: (120, 30),
        ..Options::default()
    });
    harness.keys("<enter>");
    let screen = harness.screen();
    let line = |text: &str| screen.lines().find(|line| line.contains(text)).unwrap();
    let limit = line("limit: 10");
    assert!(
        limit.contains("\u{2716} Invalid scalar at path"),
        "{screen}"
    );
    let config = line("    config:");
    assert!(config.contains("\u{2716} Missing required"), "{screen}");
    assert!(!line("region: north").contains('\u{2716}'), "{screen}");
    assert!(screen.contains("line 3: Missing required config entry"));
    // The cursor is on the first of them: its words change with it.
    harness.keys("<down><down>");
    assert!(harness.screen().contains("line 5: Invalid scalar"));
    // A line above: the marks move with what they are about.
    harness.keys("<up><up><home><enter>");
    assert!(harness.screen().contains("line 4: Missing required"));
}

#[test]
fn a_text_that_is_no_yaml_is_marked_and_not_sent() {
    let mut harness = form(Options::default());
    harness.keys("e");
    harness.tell(Message::Edited(Ok(String::from(
        "ops:\n  a: [1, 2\n  b: 3\n",
    ))));
    assert_eq!(harness.keys("<enter>"), []);
    assert!(
        harness.screen().contains("This is no YAML"),
        "{}",
        harness.screen()
    );
    harness.keys("<enter>");
    let screen = harness.screen();
    assert!(
        screen.contains("b: 3   \u{2716} This is no YAML"),
        "{screen}"
    );
}

#[test]
fn an_emptied_configuration_is_none_and_not_the_jobs_own() {
    for text in ["", "\n  \n"] {
        let mut harness = form(Options::default());
        harness.keys("e");
        harness.tell(Message::Edited(Ok(text.to_owned())));
        let (_, launch) = checked(&mut harness, "<enter>");
        assert_eq!(launch.run_config, "{}");
    }
}

#[test]
fn the_built_in_editor_keeps_what_was_typed_and_forgets_it_on_ctrl_c() {
    let mut harness = form(Options::default());
    let typed = "k<up>"; // from launch over tags to assets
    harness.keys(typed);
    harness.keys("<up><up><enter>");
    assert!(
        harness.screen().contains("limit: 10"),
        "{}",
        harness.screen()
    );
    harness.keys("<bs><bs>20<esc>");
    let (_, launch) = checked(&mut harness, "<enter>");
    assert_eq!(launch.run_config, CONFIG.trim_end().replace("10", "20"));
    let mut harness = form(Options::default());
    harness.keys("kkkk<enter>xyz<c-c>");
    let (_, launch) = checked(&mut harness, "j<up><down><down><down><down><enter>");
    assert_eq!(launch.run_config, "");
}

#[test]
fn the_operators_editor_gets_the_default_configuration_and_its_text_is_launched() {
    let mut harness = form(Options::default());
    assert_eq!(harness.keys("e"), [Effect::Edit(CONFIG.to_owned())]);
    harness.tell(Message::Edited(Ok(CONFIG.replace("north", "south"))));
    let (_, launch) = checked(&mut harness, "<enter>");
    assert!(launch.run_config.contains("south"));
    let mut harness = form(Options::default());
    harness.keys("e");
    harness.tell(Message::Edited(Ok(CONFIG.to_owned())));
    let (_, launch) = checked(&mut harness, "<enter>");
    assert_eq!(
        launch.run_config, "",
        "unchanged text is still the job's own"
    );
    harness.tell(Message::Edited(Err(String::from("`vi` ended with 1"))));
    assert!(harness.screen().contains("`vi` ended with 1"));
}

#[test]
fn partition_assets_and_tags_are_part_of_the_launch() {
    let mut harness = form(Options::default());
    harness.keys("kkk<enter>0307<enter>");
    harness.keys("kk<enter>rev<space><enter>");
    let asked_again = harness.effects.iter().any(|effect| {
        matches!(effect, Effect::Request { command: Command::Query(Query::Job { assets, .. }), .. } if assets.len() == 1)
    });
    assert!(
        asked_again,
        "partitions and configuration are those of the chosen assets"
    );
    harness.keys("k<enter>team=data urgent<enter>");
    let screen = harness.screen();
    assert!(screen.contains("`urgent` is no tag"), "{screen}");
    harness.keys("<c-w><enter>j");
    let (_, launch) = checked(&mut harness, "<enter>");
    assert_eq!(launch.partition.as_deref(), Some("2026-03-07"));
    assert_eq!(launch.assets, [["sales", "revenue"]]);
    assert_eq!(launch.tags, [(String::from("team"), String::from("data"))]);
}

#[test]
fn a_read_only_console_opens_no_form_and_a_webserver_that_fails_is_told_in_it() {
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let mut harness = Harness::new(options, fixture::snapshot());
    assert_eq!(harness.keys("l"), []);
    assert!(harness.app.overlay().is_none());

    let mut harness = Harness::night();
    let effects = harness.keys("lfan<enter>");
    let Some(Effect::Request { request, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    let reply = Reply::Failed(String::from("cannot reach Dagster's webserver"));
    harness.tell(Message::Reply {
        request: *request,
        reply,
    });
    assert!(
        harness
            .screen()
            .contains("cannot reach Dagster's webserver")
    );
}

#[test]
fn the_configuration_of_a_chosen_partition_is_shown_and_edited_but_never_put_over_an_edited_one() {
    let asked = |harness: &Harness| {
        let mut questions = harness.effects.iter().filter_map(|effect| match effect {
            Effect::Request {
                request,
                command: Command::Query(Query::PartitionConfig { partition, .. }),
                ..
            } => Some((*request, partition.clone())),
            _ => None,
        });
        questions.next_back().unwrap()
    };
    let mut harness = form(Options::default());
    harness.keys("kkk<enter>0307<enter>");
    let (request, partition) = asked(&harness);
    assert_eq!(partition, "2026-03-07");
    assert!(harness.screen().contains("asking Dagster"));
    let own = "ops:\n  score:\n    config:\n      day: 2026-03-07\n";
    answer(
        &mut harness,
        request,
        Answer::PartitionConfig(own.to_owned()),
    );
    let screen = harness.screen();
    assert!(screen.contains("the partition's own, 4 lines"), "{screen}");
    assert!(screen.contains("day: 2026-03-07"), "{screen}");
    let effects = harness.keys("e");
    assert_eq!(effects, [Effect::Edit(own.to_owned())]);
    harness.tell(Message::Edited(Ok(own.to_owned())));
    let (_, launch) = checked(&mut harness, "<enter>");
    assert_eq!(launch.run_config, "", "Dagster has it by itself");

    let mut harness = form(Options::default());
    harness.keys("e");
    harness.tell(Message::Edited(Ok(String::from("ops: {}"))));
    harness.keys("kkk<enter>0307<enter>");
    let (request, _) = asked(&harness);
    answer(
        &mut harness,
        request,
        Answer::PartitionConfig(own.to_owned()),
    );
    let (_, launch) = checked(&mut harness, "<enter>");
    assert_eq!(launch.run_config, "ops: {}");
    assert_eq!(launch.partition.as_deref(), Some("2026-03-07"));
}
