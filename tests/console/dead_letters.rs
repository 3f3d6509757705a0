//! Dead letters and queues by keys: looked at, redriven, edited, removed, restored.

use std::sync::Arc;

use dagster_taskiq_tui::console::app::{Effect, Message};
use dagster_taskiq_tui::domain::{Answer, Command, Query, Reply};

use super::fixture;
use super::harness::{Harness, Options};

const DEAD: &str = "dagster-tasks-dlq";

fn id(number: u32) -> String {
    format!("5b0a91c2-77d4-4c0e-9a11-0000000{number:05}")
}

fn redrive(messages: &[u32]) -> (Option<String>, Command) {
    let command = Command::Redrive {
        queue: DEAD.to_owned(),
        messages: messages.iter().map(|number| id(*number)).collect(),
        to: None,
    };
    (None, command)
}

#[test]
fn the_view_shows_why_since_when_and_what_and_enter_shows_the_whole_message() {
    let mut harness = Harness::night();
    harness.keys("7");
    let screen = harness.screen();
    for words in ["extract_customers", "does not exist", "2h", "(not a task)"] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    harness.keys("<enter><pgdn><pgdn>");
    let screen = harness.screen();
    assert!(screen.contains("(redacted)"), "{screen}");
    harness.keys("<esc>j<enter>G");
    let screen = harness.screen();
    assert!(screen.contains("hello"), "{screen}");
    assert!(!screen.contains('\u{1b}'));
}

#[test]
fn one_letter_the_marked_ones_or_all_are_redriven_after_a_yes() {
    let mut harness = Harness::night();
    assert_eq!(harness.commands("7Rn"), []);
    assert_eq!(harness.commands("Ry"), [redrive(&[1])]);
    assert_eq!(harness.commands("<space>j<space>Ry"), [redrive(&[1, 3])]);
    harness.keys("<esc>");
    assert_eq!(harness.commands("Ay"), [redrive(&[])]);
    harness.keys("A");
    let screen = harness.screen();
    assert!(screen.contains("~3 messages go back"), "{screen}");
    assert!(
        screen.contains("$ dagster-taskiq-tui queue redrive"),
        "{screen}"
    );
    // To a queue that is named, whose name is completed.
    let to = |messages: &[u32]| {
        let (worker, command) = redrive(messages);
        let Command::Redrive {
            queue, messages, ..
        } = command
        else {
            unreachable!("redrive makes no other");
        };
        let to = Some(String::from("dagster-tasks-low"));
        (
            worker,
            Command::Redrive {
                queue,
                messages,
                to,
            },
        )
    };
    harness.keys("<esc>gg:redrive -low<enter>");
    let screen = harness.screen();
    assert!(screen.contains("to dagster-tasks-low"), "{screen}");
    assert_eq!(harness.commands("y"), [to(&[1])]);
    assert_eq!(harness.commands(":redrive-all -low<enter>y"), [to(&[])]);
    // Of a queue that is none of dead letters there is nothing to redrive.
    let mut harness = Harness::night();
    assert_eq!(harness.commands("2Ay"), []);
    assert!(harness.screen().contains("No dead-letter queue"));
    assert_eq!(harness.commands("GAy"), [redrive(&[])]);
}

#[test]
fn a_message_is_edited_in_the_editor_and_sent_only_if_it_was_changed_and_confirmed() {
    let mut harness = Harness::night();
    let edit = |harness: &mut Harness| {
        let Some(Effect::Edit(text)) = harness.keys("7ge").pop() else {
            panic!("nothing to edit")
        };
        text
    };
    let text = edit(&mut harness);
    assert!(text.contains("\n  \"task_id\": \"9d1e\""), "{text}");
    harness.tell(Message::Edited(Ok(text.clone())));
    assert!(
        harness.screen().contains("Not changed"),
        "{}",
        harness.screen()
    );
    assert_eq!(harness.commands("y"), []);

    edit(&mut harness);
    let body = text.replace("\"9\"", "\"1\"");
    harness.tell(Message::Edited(Ok(body.clone())));
    assert_eq!(harness.commands("n"), []);
    assert_eq!(edit(&mut harness), body, "the work is not lost");
    harness.tell(Message::Edited(Ok(body.clone())));
    let command = Command::Resend {
        queue: DEAD.to_owned(),
        message_id: id(1),
        body,
        to: None,
    };
    assert_eq!(harness.commands("y"), [(None, command)]);

    edit(&mut harness);
    harness.tell(Message::Edited(Err(String::from("`vi` ended with 1"))));
    assert!(harness.screen().contains("`vi` ended with 1"));
}

#[test]
fn archiving_and_purging_want_the_queues_name_and_say_what_becomes_of_the_steps() {
    let mut harness = Harness::night();
    harness.keys("7P");
    let screen = harness.screen();
    assert!(screen.contains("~3 waiting messages"), "{screen}");
    assert!(screen.contains("end with that reason"), "{screen}");
    let purge = |keep_waiting| {
        let queue = DEAD.to_owned();
        (
            None,
            Command::PurgeQueue {
                queue,
                keep_waiting,
            },
        )
    };
    assert_eq!(harness.commands("dagster<enter>"), []);
    assert_eq!(harness.commands("-tasks-dlq<enter>"), [purge(false)]);
    harness.keys(":purge keep-waiting<enter>");
    assert!(harness.screen().contains("go on waiting"));
    assert_eq!(harness.commands(&format!("{DEAD}<enter>")), [purge(true)]);
    harness.keys(":archive nonsense<enter>");
    assert!(harness.screen().contains("keep-waiting"));
    let drain = Command::DrainQueue {
        queue: DEAD.to_owned(),
        keep_waiting: false,
    };
    assert_eq!(
        harness.commands(&format!("<esc>X{DEAD}<enter>")),
        [(None, drain)]
    );
}

#[test]
fn an_archive_is_restored_by_name_after_a_yes() {
    let mut harness = Harness::night();
    harness.keys(":restore<enter>");
    assert!(harness.screen().contains("Name the archive"));
    let restore = |again| {
        let command = Command::RestoreArchive {
            file: String::from("/tmp/a.jsonl"),
            to: None,
            again,
        };
        (None, command)
    };
    let sent = harness.commands(":restore /tmp/a.jsonl<enter>y");
    assert_eq!(sent, [restore(false)]);
    let sent = harness.commands(":restore /tmp/a.jsonl again<enter>y");
    assert_eq!(sent, [restore(true)]);
}

#[test]
fn where_messages_can_be_seen_only_by_receiving_it_is_asked_first() {
    let mut harness = Harness::new(
        Options {
            size: (120, 30),
            ..Options::default()
        },
        fixture::snapshot(),
    );
    let told = |harness: &mut Harness, answer: Answer| {
        let Some(Effect::Request { request, .. }) = harness.effects.pop() else {
            panic!("nothing was asked")
        };
        let reply = Reply::Answer(Box::new(answer));
        harness.tell(Message::Reply { request, reply });
    };
    // Not by the harness, which answers as the embedded broker.
    harness.effects.clear();
    harness.tell(Message::Key("7".chars().next().map(key).unwrap()));
    told(&mut harness, Answer::OnlyByReceiving(DEAD.to_owned()));
    let screen = harness.screen();
    assert!(
        screen.contains("only by receiving them: m, which asks first"),
        "{screen}"
    );
    assert_eq!(harness.commands("m"), []);
    let screen = harness.screen();
    assert!(screen.contains("receive counts go"), "{screen}");
    let sent = harness.commands("y");
    let [(None, Command::PeekByReceiving { queue, .. })] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(queue, DEAD);
    let query = Query::Peek {
        queue: DEAD.to_owned(),
        limit: 100,
        message_id: None,
    };
    let Some(Answer::Peek(mut peek)) = fixture::answer(&query) else {
        panic!("no peek")
    };
    peek.received = true;
    told(&mut harness, Answer::Peek(peek));
    let screen = harness.screen();
    assert!(screen.contains("extract_customers"), "{screen}");
    assert!(!screen.contains("Sent queue peek"), "{screen}");
}

fn key(c: char) -> dagster_taskiq_tui::console::key::Key {
    dagster_taskiq_tui::console::key::parse(&c.to_string())[0]
}

#[test]
fn a_changed_count_has_the_dead_letters_looked_at_again_and_marks_stay() {
    let mut harness = Harness::night();
    harness.keys("7jj<space>");
    let mut snapshot = (*fixture::snapshot()).clone();
    harness.effects.clear();
    harness.tell(Message::Snapshot(Arc::new(snapshot.clone())));
    assert_eq!(harness.effects, [], "nothing changed");
    let queues = Arc::make_mut(&mut snapshot.queues);
    queues[4].counts.as_mut().unwrap().visible = 4;
    harness.tell(Message::Snapshot(Arc::new(snapshot)));
    let [Effect::Request { command, .. }] = harness.effects.as_slice() else {
        panic!("{:?}", harness.effects)
    };
    assert!(matches!(command, Command::Query(Query::Peek { queue, .. }) if queue == DEAD));
    assert!(
        harness.screen().contains("1 marked"),
        "{}",
        harness.screen()
    );
}

#[test]
fn read_only_refuses_what_changes_something_and_still_shows() {
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    for keys in ["R", "A", "P", "X", "e"] {
        let mut harness = Harness::new(options, fixture::snapshot());
        harness.keys("7");
        assert!(harness.screen().contains("extract_customers"));
        assert_eq!(harness.keys(keys), [], "{keys}");
        assert!(harness.screen().contains("Read-only"), "{keys}");
    }
}
