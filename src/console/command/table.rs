//! The rows of the command table, in the order of help.

use super::{CommandRow, Motion, Scope, Verb};
use crate::console::view::View::{
    self, Audit, Dagster, DeadLetters, Failures, Logs, Overview, Queues, Runs, Steps, Workers,
};
use crate::domain::Danger::{self, Destructive, Disruptive, Safe};

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

/// Tables whose rows commands can apply to.
const MARKABLE: Scope = Scope::In(&[Queues, Steps, Runs, Workers, DeadLetters, Failures, Dagster]);

const fn row(verb: Verb, name: &'static str, keys: &'static [&'static str]) -> CommandRow {
    CommandRow {
        verb,
        name,
        aliases: &[],
        keys,
        scope: Scope::Everywhere,
        danger: Safe,
        hint: "",
        help: "",
        argument: "",
    }
}

impl CommandRow {
    const fn aka(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn within(self, views: &'static [View]) -> Self {
        let scope = Scope::In(views);
        Self { scope, ..self }
    }

    const fn scoped(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    const fn risk(self, danger: Danger) -> Self {
        Self { danger, ..self }
    }

    const fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    const fn takes(self, argument: &'static str) -> Self {
        Self { argument, ..self }
    }

    const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }
}

/// Every command of the console.
pub static COMMANDS: &[CommandRow] = &[
    // What an operator does.
    row(Verb::Launch, "launch", &["l"])
        .aka(&["run"])
        .risk(Disruptive)
        .hint("launch")
        .takes("[JOB]")
        .help("pick a job and launch a run of it"),
    row(Verb::PauseOrResume, "pause", &["p"])
        .aka(&["resume"])
        .risk(Disruptive)
        .hint("pause")
        .help("pause the pool (held messages go back, running steps go on), or resume it"),
    row(Verb::ScaleUp, "more", &["+", "="])
        .risk(Disruptive)
        .hint("slots")
        .help("one step slot more"),
    row(Verb::ScaleDown, "fewer", &["-"])
        .risk(Disruptive)
        .hint("")
        .help("one step slot fewer"),
    row(Verb::Scale, "scale", &["s"])
        .risk(Disruptive)
        .takes("N")
        .help("set the number of step slots"),
    row(Verb::Reload, "reload", &["r"])
        .risk(Disruptive)
        .help("load user code again: new Python hosts for new work"),
    row(Verb::StartWorker, "start-worker", &["S"])
        .aka(&["start"])
        .risk(Disruptive)
        .help("start a worker on this host, with this console's flags and settings"),
    row(Verb::DrainWorker, "drain", &["D"])
        .risk(Disruptive)
        .hint("drain")
        .takes("[SECONDS]")
        .help("finish what runs (or interrupt it after so long), give the rest back, then end the worker"),
    row(Verb::CancelTask, "cancel-step", &["X"])
        .within(&[Overview, Steps])
        .aka(&["cancel"])
        .risk(Destructive)
        .hint("cancel")
        .help("interrupt the process of the step under the cursor"),
    row(Verb::Peek, "peek", &["m"])
        .within(&[Queues, DeadLetters])
        .hint("messages")
        .help("look at the queue's messages; asks before it receives them where there is no other way"),
    row(Verb::Redrive, "redrive", &["R"])
        .within(&[DeadLetters])
        .risk(Disruptive)
        .hint("redrive")
        .takes("[QUEUE]")
        .help("send the dead letter, or the marked ones, back to where they came from, or to that queue"),
    row(Verb::RedriveAll, "redrive-all", &["A"])
        .within(&[Queues, DeadLetters])
        .risk(Disruptive)
        .hint("redrive all")
        .takes("[QUEUE]")
        .help("send all messages of the dead-letter queue back to where they came from, or to that queue"),
    row(Verb::Resend, "resend", &["e"])
        .within(&[DeadLetters])
        .aka(&["edit"])
        .risk(Disruptive)
        .hint("edit")
        .takes("[QUEUE]")
        .help("edit the message in $EDITOR and send it again; hidden secrets stay as they were"),
    row(Verb::PauseQueue, "pause-queue", &["T"])
        .within(&[Queues])
        .risk(Disruptive)
        .hint("pause queue")
        .help("have no worker receive from the queue (what runs goes on), or resume it"),
    row(Verb::ResumeQueue, "resume-queue", &[])
        .within(&[Queues])
        .risk(Disruptive)
        .help("have the workers receive from the paused queue again"),
    row(Verb::DrainQueue, "drain-queue", &["X"])
        .within(&[Queues, DeadLetters])
        .aka(&["archive"])
        .risk(Destructive)
        .hint("archive")
        .takes("[keep-waiting]")
        .help("archive the queue's waiting messages to a file, end their steps, delete them"),
    row(Verb::PurgeQueue, "purge-queue", &["P"])
        .within(&[Queues, DeadLetters])
        .aka(&["purge"])
        .risk(Destructive)
        .hint("purge")
        .takes("[keep-waiting]")
        .help("end the steps of the queue's waiting messages and delete them"),
    row(Verb::Restore, "restore", &[])
        .risk(Disruptive)
        .takes("FILE [again]")
        .help("send the messages of an archive (a file on the worker's host) again"),
    row(Verb::TerminateRun, "terminate", &["X"])
        .within(&[Runs])
        .risk(Destructive)
        .hint("terminate")
        .help("ask Dagster to terminate the run; one that has not started is marked as canceled"),
    row(Verb::MarkCanceled, "mark-canceled", &["C"])
        .within(&[Runs])
        .risk(Destructive)
        .help("mark the run as canceled, whatever its processes do"),
    row(Verb::Reexecute, "re-execute", &["e"])
        .within(&[Runs])
        .aka(&["reexecute"])
        .risk(Disruptive)
        .hint("re-execute")
        .help("run the run's job again, all of its steps"),
    row(Verb::ReexecuteFromFailure, "re-execute-failed", &["E"])
        .within(&[Runs])
        .risk(Disruptive)
        .hint("from failure")
        .help("run the run's job again, only the steps that failed and those after them"),
    row(Verb::RunStatus, "status", &["f"])
        .within(&[Runs])
        .takes("[STATUS]")
        .hint("status")
        .help("show the runs of one status: unfinished, failure, success, canceled, all"),
    row(Verb::StepsOfRun, "steps-of-run", &["t"])
        .within(&[Runs])
        .hint("steps")
        .help("the steps of the run in the workers' hands; Esc comes back"),
    row(Verb::LogsOf, "logs-of", &["L"])
        .within(&[Steps, Runs])
        .help("the log lines of the step or run; Esc comes back"),
    row(Verb::Explain, "explain", &["w"])
        .within(&[Overview, Steps, Runs, DeadLetters])
        .aka(&["why"])
        .takes("[RUN [STEP]]")
        .help("why the step or run does not start: limits, pools, workers, queues, what it needs"),
    row(Verb::Stack, "stack", &["b"])
        .within(&[Overview, Steps])
        .help("where the running step is now: its Python stack, in its details; again: read again"),
    row(Verb::ReexecuteGroup, "re-execute-group", &["E"])
        .within(&[Failures])
        .risk(Disruptive)
        .hint("from failure")
        .help("execute the failed runs of the group, or of the marked ones, again from their failure, so many a minute"),
    row(Verb::RedriveGroup, "redrive-group", &["R"])
        .within(&[Failures])
        .risk(Disruptive)
        .hint("redrive")
        .help("send the dead letters of the group, or of the marked ones, back, so many a minute"),
    row(Verb::Since, "since", &["f"])
        .within(&[Failures])
        .hint("since")
        .takes("[24h]")
        .help("failures of another window of time: 24h, 7d, 1h, 6h, or that one"),
    row(Verb::Switch, "switch", &["T"])
        .within(&[Dagster])
        .risk(Disruptive)
        .hint("on/off")
        .takes("[on|off]")
        .help("start the schedule or sensor, or the marked ones, or stop what is on"),
    row(Verb::StopBatch, "stop-batch", &["x"])
        .help("send no more of the re-executions or redrives under way"),
    row(Verb::ReloadLocation, "reload-location", &[])
        .risk(Disruptive)
        .takes("[NAME]")
        .help("have Dagster load a code location again"),
    row(Verb::StopWorker, "stop-worker", &["X"])
        .within(&[Workers])
        .aka(&["stop"])
        .risk(Destructive)
        .hint("stop")
        .help("end the worker under the cursor: what runs has its grace period, is killed, and goes on elsewhere"),
    row(Verb::KillWorker, "kill-worker", &["K"])
        .within(&[Workers])
        .aka(&["kill"])
        .risk(Destructive)
        .help("end the worker under the cursor at once; its steps are lost and tried again"),
    // Log view.
    row(Verb::LogLevel, "level", &["v"])
        .within(&[Logs])
        .hint("level")
        .takes("[trace|debug|info|warn|error]")
        .help("lowest level of the lines shown"),
    row(Verb::LogFollow, "follow", &["f"])
        .within(&[Logs])
        .hint("follow")
        .help("stay at the newest line, or hold the screen still"),
    row(Verb::LogWrap, "wrap", &["w"])
        .within(&[Logs])
        .hint("wrap")
        .help("break long lines, or cut them"),
    row(Verb::LogTimes, "timestamps", &["t"])
        .within(&[Logs])
        .help("time of day, date and milliseconds, or no time before the lines"),
    // Rows.
    row(Verb::Open, "open", &["<enter>"])
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
        .hint("details")
        .help("details of the row under the cursor"),
    row(Verb::Sort, "sort", &["o"])
        .scoped(TABLES)
        .hint("sort")
        .takes("[COLUMN]")
        .help("sort by the next column"),
    row(Verb::Reverse, "reverse", &["O"])
        .scoped(TABLES)
        .help("turn the order around"),
    row(Verb::Mark, "mark", &["<space>"])
        .scoped(MARKABLE)
        .hint("mark")
        .help("mark the row, or take its mark away; commands then act on all marked rows"),
    row(Verb::MarkRange, "mark-range", &["V"])
        .scoped(MARKABLE)
        .help("mark the rows from the last mark to the cursor"),
    row(Verb::MarkAll, "mark-all", &["*"])
        .scoped(MARKABLE)
        .help("mark everything that matches the filter, or take all marks away"),
    row(Verb::Columns, "columns", &["c"])
        .scoped(TABLES)
        .takes("[COLUMN]")
        .help("choose the columns that are shown"),
    row(Verb::Narrow, "narrow", &["n"])
        .scoped(TABLES)
        .help("only the most important columns, or all that fit"),
    row(Verb::Copy, "copy", &["y"])
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
    row(Verb::Move(Motion::Down), "down", &["j", "<down>"]).help("one row down"),
    row(Verb::Move(Motion::Up), "up", &["k", "<up>"]).help("one row up"),
    row(Verb::Move(Motion::PageDown), "page-down", &["<c-d>", "<pgdn>"])
        .help("a page down"),
    row(Verb::Move(Motion::PageUp), "page-up", &["<c-u>", "<pgup>"]).help("a page up"),
    row(Verb::Move(Motion::Top), "top", &["g", "<home>"]).help("first row"),
    row(Verb::Move(Motion::Bottom), "bottom", &["G", "<end>"]).help("last row"),
    // Ways around.
    row(Verb::Filter, "filter", &["/"])
        .hint("filter")
        .takes("[TERMS]")
        .help("show matching rows: text, !not, ~fuzzy, re:REGEX, queue: status: run: job: step: worker: host: kind: prio:>5"),
    row(Verb::Palette, "command", &[":"])
        .hint("command")
        .help("type a command's name, with completion"),
    row(Verb::Show(Overview), "overview", &["1"]).help("is anything stuck, and where"),
    row(Verb::Show(Queues), "queues", &["2"]).help("queues, bands, dead letters"),
    row(Verb::Show(Steps), "steps", &["3"]).help("steps in flight and recent ones"),
    row(Verb::Show(Runs), "runs", &["4"]).help("Dagster's runs"),
    row(Verb::Show(Workers), "workers", &["5"]).help("worker processes, slots, Python hosts"),
    row(Verb::Show(Logs), "logs", &["6"]).help("log lines of workers and steps"),
    row(Verb::Show(DeadLetters), "dead-letters", &["7"])
        .aka(&["dlq"])
        .help("messages that could not be run, with the reason"),
    row(Verb::Show(Audit), "audit", &["8"])
        .help("what was asked on this host, by whom, and what came of it"),
    row(Verb::Show(Failures), "failures", &["9"])
        .aka(&["what-broke"])
        .help("what broke and how much: failures by exception class and job, dead letters"),
    row(Verb::Show(Dagster), "dagster", &["0"])
        .aka(&["daemons", "schedules", "sensors", "backfills"])
        .help("Dagster itself: daemons, code locations, schedules, sensors, backfills"),
    row(Verb::NextView, "next-view", &["<tab>", "<right>"]).help("the next view"),
    row(Verb::PreviousView, "previous-view", &["<s-tab>", "<left>"]).help("the view before"),
    row(Verb::Alarms, "alarms", &["a"])
        .help("all alarms with their age and whole text; Enter shows what one is about"),
    row(Verb::Acknowledge, "ack", &["u"])
        .takes("[DURATION|off]")
        .risk(Disruptive)
        .help("acknowledge the alarm under the cursor of their list for an hour or so long, in the whole deployment; or take that back"),
    row(Verb::AlarmHistory, "alarm-history", &["H"])
        .help("when alarms began and ended, and who acknowledged them"),
    row(Verb::Back, "back", &["<esc>"])
        .help("one step back: close what is open, clear the filter, go to where this view was entered from"),
    row(Verb::Help, "help", &["?", "<f1>"])
        .hint("help")
        .help("what the keys do in this view"),
    row(Verb::Dump, "dump", &[])
        .aka(&["export"])
        .takes("[screen|csv|json] [FILE]")
        .help("write the screen as text, or the rows that match as CSV or JSON, to a new file"),
    row(Verb::Context, "context", &[])
        .aka(&["ctx"])
        .takes("[NAME]")
        .help("open the console over another deployment of the settings, or name them all"),
    row(Verb::Theme, "theme", &[])
        .takes("NAME")
        .help("another theme: default, dark, light, high-contrast, mono, colour-blind"),
    row(Verb::Mouse, "mouse", &[])
        .help("use the mouse (click a row or a view, wheel), or leave it to the terminal"),
    row(Verb::Utc, "utc", &[]).help("times in UTC, or in this host's zone again"),
    row(Verb::Redraw, "redraw", &["<c-l>"]).help("draw the whole screen again"),
    row(Verb::Suspend, "suspend", &["<c-z>"]).help("back to the shell; fg returns here"),
    row(Verb::Quit, "quit", &["q", "<c-c>"])
        .aka(&["exit"])
        .hint("quit")
        .help("leave; asks what to do with steps in flight if the console started the pool"),
];
