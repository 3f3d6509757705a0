//! The rows of the command table, in the order of help.

use super::row::{named, row};
use super::{CommandRow, Motion, Scope, Verb};
use crate::console::app::App;
use crate::console::theme::BUILT_IN;
use crate::console::view::View::{
    self, Audit, Dagster, DeadLetters, Failures, Logs, Overview, Queues, Runs, Steps, Workers,
};
use crate::domain::Command;
use crate::domain::Danger::{Destructive, Disruptive};

const TABLES: Scope = Scope::In(&[
    Queues,
    Steps,
    Runs,
    Workers,
    DeadLetters,
    Audit,
    Failures,
    Dagster,
]);

/// Views of things that have a page in Dagster's webserver.
const LINKED: &[View] = &[Overview, Steps, Runs, Logs, DeadLetters, Failures, Dagster];

/// Tables whose rows commands can apply to.
const MARKABLE: Scope = Scope::In(&[Queues, Steps, Runs, Workers, DeadLetters, Failures, Dagster]);

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Every command of the console.
pub static COMMANDS: &[CommandRow] = &[
    // What an operator does.
    row("run launch", &["l"], App::pick_job)
        .aka(&["launch"])
        .risk(Disruptive)
        .hinted()
        .takes("[JOB]")
        .offers(App::job_names)
        .help("pick a job and launch a run of it"),
    row("worker pause", &["p"], |app, _, now, effects| app.pause_or_resume(now, effects))
        .aka(&["pause"])
        .risk(Disruptive)
        .hinted()
        .help("pause the pool (held messages go back, running steps go on), or resume it"),
    row("worker resume", &[], |app, _, now, effects| app.resume(now, effects))
        .aka(&["resume"])
        .risk(Disruptive)
        .help("have the paused pool receive again"),
    row("more", &["+", "="], |app, _, now, effects| app.scale_by(1, now, effects))
        .risk(Disruptive)
        .hinted()
        .help("one step slot more"),
    row("fewer", &["-"], |app, _, now, effects| app.scale_by(-1, now, effects))
        .risk(Disruptive)
        .help("one step slot fewer"),
    row("worker scale", &["s"], App::scale)
        .aka(&["scale"])
        .risk(Disruptive)
        .takes("N")
        .help("set the number of step slots, or its bounds: 2..16; +2 and -2 change it"),
    row("worker reload", &["r"], |app, _, now, effects| {
        app.order_targets("Reload", &Command::Reload, now, effects);
    })
        .aka(&["reload"])
        .risk(Disruptive)
        .help("load user code again: new Python hosts for new work"),
    row("worker start", &["S"], |app, _, _, _| app.confirm_start_worker())
        .aka(&["start-worker", "start"])
        .risk(Disruptive)
        .help("start a worker on this host, with this console's flags and settings"),
    row("worker drain", &["D"], |app, within, now, _| app.confirm_drain_worker(within, now))
        .aka(&["drain"])
        .risk(Disruptive)
        .hinted()
        .takes("[SECONDS]")
        .help("finish what runs (or interrupt it after so long), give the rest back, then end the worker"),
    row("worker restart", &["Z"], |app, within, now, _| app.confirm_restart(within, now))
        .risk(Disruptive)
        .takes("[SECONDS]")
        .help("drain and start again the workers, one after the other: the next when the former is back; x stops it"),
    row("worker cancel", &["X"], |app, _, now, _| app.confirm_cancel(now))
        .aka(&["cancel-step", "cancel"])
        .within(&[Overview, Steps])
        .risk(Destructive)
        .hinted()
        .help("interrupt the process of the step under the cursor"),
    row("queue peek", &["m"], |app, _, now, effects| app.peek_here(now, effects))
        .aka(&["peek"])
        .within(&[Queues, DeadLetters])
        .hinted()
        .help("look at the queue's messages; asks before it receives them where there is no other way"),
    row("queue redrive", &["R"], |app, to, now, _| app.confirm_redrive(to, now))
        .aka(&["redrive"])
        .within(&[DeadLetters])
        .risk(Disruptive)
        .hinted()
        .takes("[QUEUE]")
        .offers(App::live_queues)
        .help("send the dead letter, or the marked ones, back to where they came from, or to that queue"),
    row("queue redrive --all", &["A"], |app, to, now, _| app.confirm_redrive_all(to, now))
        .aka(&["redrive-all"])
        .within(&[Queues, DeadLetters])
        .risk(Disruptive)
        .hinted()
        .takes("[QUEUE]")
        .offers(App::live_queues)
        .help("send all messages of the dead-letter queue back to where they came from, or to that queue"),
    row("queue resend", &["e"], App::edit_message)
        .aka(&["resend", "edit"])
        .within(&[DeadLetters])
        .risk(Disruptive)
        .hinted()
        .takes("[QUEUE]")
        .offers(App::live_queues)
        .help("edit the message in $EDITOR and send it again; hidden secrets stay as they were"),
    row("queue pause", &["T"], |app, _, now, _| app.confirm_pause_queue(now))
        .within(&[Queues])
        .risk(Disruptive)
        .hinted()
        .help("have no worker receive from the queue (what runs goes on), or resume it"),
    row("queue resume", &[], |app, _, now, _| app.confirm_resume_queue(now))
        .within(&[Queues])
        .risk(Disruptive)
        .help("have the workers receive from the paused queue again"),
    row("queue drain", &["X"], |app, word, now, _| app.confirm_drain_queue(word, now))
        .aka(&["drain-queue", "archive"])
        .within(&[Queues, DeadLetters])
        .risk(Destructive)
        .hinted()
        .takes("[keep-waiting]")
        .offers(|_| words(&["keep-waiting"]))
        .help("archive the queue's waiting messages to a file, end their steps, delete them"),
    row("queue purge", &["P"], |app, word, now, _| app.confirm_purge_queue(word, now))
        .aka(&["purge-queue", "purge"])
        .within(&[Queues, DeadLetters])
        .risk(Destructive)
        .hinted()
        .takes("[keep-waiting]")
        .offers(|_| words(&["keep-waiting"]))
        .help("end the steps of the queue's waiting messages and delete them"),
    row("queue restore", &[], |app, file, now, _| app.confirm_restore(file, now))
        .aka(&["restore"])
        .risk(Disruptive)
        .takes("FILE [again]")
        .offers(App::archives)
        .help("send the messages of an archive (a file on the worker's host) again"),
    row("run terminate", &["X"], |app, _, now, _| app.confirm_terminate(false, now))
        .aka(&["terminate"])
        .within(&[Runs])
        .risk(Destructive)
        .hinted()
        .help("ask Dagster to terminate the run; one that has not started is marked as canceled"),
    row("run terminate --force", &["C"], |app, _, now, _| app.confirm_terminate(true, now))
        .aka(&["mark-canceled"])
        .within(&[Runs])
        .risk(Destructive)
        .help("mark the run as canceled, whatever its processes do"),
    row("run reexecute", &["e"], |app, _, now, _| app.confirm_reexecute(false, now))
        .aka(&["re-execute", "reexecute"])
        .within(&[Runs])
        .risk(Disruptive)
        .hinted()
        .help("run the run's job again, all of its steps"),
    row("run reexecute --from-failure", &["E"], |app, _, now, _| app.confirm_reexecute(true, now))
        .aka(&["re-execute-failed"])
        .within(&[Runs])
        .risk(Disruptive)
        .hinted()
        .help("run the run's job again, only the steps that failed and those after them"),
    row("status", &["f"], App::show_status)
        .within(&[Runs])
        .takes("[STATUS]")
        .offers(App::run_statuses)
        .hinted()
        .help("show the runs of one status: unfinished, failure, success, canceled, all"),
    row("steps-of-run", &["t"], |app, _, now, effects| app.steps_of_run(now, effects))
        .within(&[Runs])
        .hinted()
        .help("the steps of the run in the workers' hands; Esc comes back"),
    row("logs-of", &["L"], |app, _, now, effects| app.logs_of(now, effects))
        .within(&[Steps, Runs])
        .help("the log lines of the step or run; Esc comes back"),
    row("run explain", &["w"], |app, words, now, _| app.explain(words, now))
        .aka(&["explain", "why"])
        .within(&[Overview, Steps, Runs, DeadLetters])
        .takes("[RUN [STEP]]")
        .help("why the step or run does not start: limits, pools, workers, queues, what it needs"),
    row("step stack", &["b"], |app, _, now, _| app.read_stack(now))
        .aka(&["stack"])
        .within(&[Overview, Steps])
        .help("where the running step is now: its Python stack, in its details; again: read again"),
    row("run reexecute --group", &["E"], |app, _, now, _| app.confirm_reexecute_group(now))
        .aka(&["re-execute-group"])
        .within(&[Failures])
        .risk(Disruptive)
        .hinted()
        .help("execute the failed runs of the group, or of the marked ones, again from their failure, so many a minute"),
    row("queue redrive --group", &["R"], |app, _, now, _| app.confirm_redrive_group(now))
        .aka(&["redrive-group"])
        .within(&[Failures])
        .risk(Disruptive)
        .hinted()
        .help("send the dead letters of the group, or of the marked ones, back, so many a minute"),
    row("since", &["f"], |app, window, now, _| app.set_window(window, now))
        .within(&[Failures])
        .hinted()
        .takes("[24h]")
        .help("failures of another window of time: 24h, 7d, 1h, 6h, or that one"),
    row("switch", &["T"], |app, word, now, _| app.confirm_switch(word, now))
        .within(&[Dagster])
        .risk(Disruptive)
        .hinted()
        .takes("[on|off]")
        .help("start the schedule or sensor, or the marked ones, or stop what is on"),
    row("dagster start", &[], |app, _, now, _| app.confirm_switch("on", now))
        .within(&[Dagster])
        .risk(Disruptive)
        .help("start the schedule or sensor, or the marked ones"),
    row("dagster stop", &[], |app, _, now, _| app.confirm_switch("off", now))
        .within(&[Dagster])
        .risk(Disruptive)
        .help("stop the schedule or sensor, or the marked ones"),
    row("stop-batch", &["x"], |app, _, now, _| app.stop_batch(now))
        .help("send no more of the re-executions, redrives or restarts under way"),
    row("run reload", &[], App::reload_location)
        .aka(&["reload-location"])
        .risk(Disruptive)
        .takes("[NAME]")
        .offers(App::location_names)
        .help("have Dagster load a code location again"),
    row("worker stop", &["X"], |app, _, now, _| app.confirm_stop_worker(now))
        .aka(&["stop-worker", "stop"])
        .within(&[Workers])
        .risk(Destructive)
        .hinted()
        .help("end the worker under the cursor: what runs has its grace period, is killed, and goes on elsewhere"),
    row("worker kill", &["K"], |app, _, now, _| app.confirm_kill_worker(now))
        .aka(&["kill-worker", "kill"])
        .within(&[Workers])
        .risk(Destructive)
        .help("end the worker under the cursor at once; its steps are lost and tried again"),
    // Log view.
    row("level", &["v"], |app, level, now, _| app.set_level(level, now))
        .within(&[Logs])
        .hinted()
        .takes("[trace|debug|info|warn|error]")
        .offers(App::log_levels)
        .help("lowest level of the lines shown"),
    row("follow", &["f"], |app, _, _, _| app.follow_logs())
        .within(&[Logs])
        .hinted()
        .help("stay at the newest line, or hold the screen still"),
    row("wrap", &["w"], |app, _, _, _| app.wrap_logs())
        .within(&[Logs])
        .hinted()
        .help("break long lines, or cut them"),
    row("timestamps", &["t"], |app, _, _, _| app.change_log_times())
        .within(&[Logs])
        .help("time of day, date and milliseconds, or no time before the lines"),
    row("find", &["F"], |app, text, now, _| app.search_logs(text, now))
        .within(&[Logs])
        .hinted()
        .takes("[TEXT]")
        .help("go to the next line with a text, and mark it in all lines; `/` in an open page does that there"),
    row("find-next", &["n"], |app, _, now, _| app.step_logs(1, now))
        .within(&[Logs])
        .help("the next line with the text; in an open page too"),
    row("find-previous", &["N"], |app, _, now, _| app.step_logs(-1, now))
        .within(&[Logs])
        .help("the line before with the text; in an open page too"),
    // Rows.
    named(Verb::Open, "open", &["<enter>"])
        .within(&[
            Overview,
            Queues,
            Steps,
            Runs,
            Workers,
            Logs,
            DeadLetters,
            Audit,
            Failures,
            Dagster,
        ])
        .hinted()
        .help("details of the row under the cursor"),
    row("sort", &["o"], |app, column, now, _| app.sort(column, now))
        .scoped(TABLES)
        .hinted()
        .takes("[COLUMN]")
        .offers(App::column_names)
        .help("sort by the next column"),
    row("reverse", &["O"], |app, _, _, _| app.reverse())
        .scoped(TABLES)
        .help("turn the order around"),
    row("mark", &["<space>"], |app, _, _, _| app.mark())
        .scoped(MARKABLE)
        .hinted()
        .help("mark the row, or take its mark away; commands then act on all marked rows"),
    row("mark-range", &["V"], |app, _, _, _| app.mark_range())
        .scoped(MARKABLE)
        .help("mark the rows from the last mark to the cursor"),
    row("mark-all", &["*"], |app, _, now, _| app.mark_all(now))
        .scoped(MARKABLE)
        .help("mark everything that matches the filter, or take all marks away"),
    row("columns", &["c"], |app, column, now, _| app.choose_columns(column, now))
        .scoped(TABLES)
        .takes("[COLUMN]")
        .offers(App::optional_columns)
        .help("choose the columns that are shown"),
    row("narrow", &["n"], |app, _, _, _| app.narrow())
        .scoped(TABLES)
        .help("only the most important columns, or all that fit"),
    named(Verb::Copy, "copy", &["y"])
        .within(&[
            Overview,
            Queues,
            Steps,
            Runs,
            Workers,
            Logs,
            DeadLetters,
        ])
        .help("copy the id (or the log line) under the cursor to the clipboard (OSC 52)"),
    row("copy-url", &["U"], App::copy_url)
        .within(LINKED)
        .takes("[job|asset]")
        .offers(|_| words(&["job", "asset"]))
        .help("copy the address that the run, step, job, schedule or sensor under the cursor has in Dagster's webserver (OSC 52)"),
    row("browse", &["B"], App::browse)
        .within(LINKED)
        .takes("[job|asset]")
        .offers(|_| words(&["job", "asset"]))
        .help("open that address in this desktop's browser; over ssh it is copied"),
    named(Verb::Move(Motion::Down), "down", &["j", "<down>"]).help("one row down"),
    named(Verb::Move(Motion::Up), "up", &["k", "<up>"]).help("one row up"),
    named(Verb::Move(Motion::PageDown), "page-down", &["<c-d>", "<pgdn>"])
        .help("a page down"),
    named(Verb::Move(Motion::PageUp), "page-up", &["<c-u>", "<pgup>"]).help("a page up"),
    named(Verb::Move(Motion::Top), "top", &["g", "<home>"]).help("first row"),
    named(Verb::Move(Motion::Bottom), "bottom", &["G", "<end>"]).help("last row"),
    // Ways around.
    row("filter", &["/"], |app, terms, _, _| app.filter(terms))
        .hinted()
        .takes("[TERMS]")
        .offers(App::filter_terms)
        .help("show matching rows: text, !not, ~fuzzy, re:REGEX, queue: status: run: job: step: worker: host: kind: tag:KEY=VALUE partition: asset: by: prio:>5"),
    row("save-filter", &[], |app, name, now, _| app.save_filter(name, now))
        .takes("NAME")
        .offers(App::filter_names)
        .help("save the filter: `/@NAME` uses it in any view, beside other terms; without a filter the name is forgotten"),
    row("command", &[":"], |app, _, _, _| app.open_palette())
        .hinted()
        .help("type a command's name, with completion"),
    named(Verb::Show(Overview), "overview", &["1"]).help("is anything stuck, and where"),
    named(Verb::Show(Queues), "queues", &["2"]).help("queues, bands, dead letters"),
    named(Verb::Show(Steps), "steps", &["3"]).help("steps in flight and recent ones"),
    named(Verb::Show(Runs), "runs", &["4"]).help("Dagster's runs"),
    named(Verb::Show(Workers), "workers", &["5"]).help("worker processes, slots, Python hosts"),
    named(Verb::Show(Logs), "logs", &["6"]).help("log lines of workers and steps"),
    named(Verb::Show(DeadLetters), "dead-letters", &["7"])
        .aka(&["dlq"])
        .help("messages that could not be run, with the reason"),
    named(Verb::Show(Audit), "audit", &["8"])
        .help("commands that changed something on this host: when, by whom, with what outcome"),
    named(Verb::Show(Failures), "failures", &["9"])
        .aka(&["what-broke"])
        .help("what broke and how much: failures by exception class and job, dead letters"),
    named(Verb::Show(Dagster), "dagster", &["0"])
        .aka(&["daemons", "schedules", "sensors", "backfills"])
        .help("Dagster itself: daemons, code locations, schedules, sensors, backfills"),
    row("next-view", &["<tab>", "<right>"], |app, _, _, effects| app.step_view(1, effects)).help("the next view"),
    row("previous-view", &["<s-tab>", "<left>"], |app, _, _, effects| app.step_view(View::ALL.len() - 1, effects)).help("the view before"),
    named(Verb::Alarms, "alarm list", &["a"])
        .aka(&["alarms"])
        .help("all alarms with their age and whole text; Enter shows what one is about"),
    named(Verb::Acknowledge, "alarm ack", &["u"])
        .aka(&["ack"])
        .takes("[DURATION|off]")
        .risk(Disruptive)
        .help("acknowledge the alarm under the cursor of their list for an hour or so long, in the whole deployment; or take that back"),
    row("alarm history", &["H"], |app, _, _, effects| app.show_alarm_history(effects))
        .aka(&["alarm-history"])
        .help("when alarms began and ended, and who acknowledged them"),
    named(Verb::Back, "back", &["<esc>"])
        .help("one step back: close what is open, clear the filter, go to where this view was entered from"),
    named(Verb::Help, "help", &["?", "<f1>"])
        .hinted()
        .help("what the keys do in this view"),
    row("dump", &[], App::dump_to)
        .aka(&["export"])
        .takes("[screen|csv|json] [FILE]")
        .offers(|_| words(&["screen", "csv", "json"]))
        .help("write the screen as text, or the rows that match as CSV or JSON, to a new file"),
    row("context", &[], App::switch_context)
        .aka(&["ctx"])
        .takes("[NAME]")
        .offers(App::context_names)
        .help("open the console over another deployment of the settings, or name them all"),
    row("theme", &[], |app, name, now, _| app.set_theme(name, now))
        .takes("NAME")
        .offers(|_| words(&BUILT_IN.map(|(name, _)| name)))
        .help("another theme: default, dark, light, high-contrast, mono, colour-blind"),
    row("mouse", &[], |app, _, now, effects| app.use_mouse(now, effects))
        .help("use the mouse (click a row or a view, wheel), or leave it to the terminal"),
    row("utc", &[], |app, _, now, _| app.switch_zone(now)).help("times in UTC, or in this host's zone again"),
    named(Verb::Redraw, "redraw", &["<c-l>"]).help("draw the whole screen again"),
    named(Verb::Suspend, "suspend", &["<c-z>"]).help("back to the shell; fg returns here"),
    named(Verb::Quit, "quit", &["q", "<c-c>"])
        .aka(&["exit"])
        .hinted()
        .help("leave; asks what to do with steps in flight if the console started the pool"),
];
