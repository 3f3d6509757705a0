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

/// Views of things that have a page in Dagster's webserver.
const LINKED: &[View] = &[Overview, Steps, Runs, Logs, DeadLetters, Failures, Dagster];

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
        is_hinted: false,
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

    const fn hinted(self) -> Self {
        Self {
            is_hinted: true,
            ..self
        }
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
    row(Verb::Launch, "run launch", &["l"])
        .aka(&["launch"])
        .risk(Disruptive)
        .hinted()
        .takes("[JOB]")
        .help("pick a job and launch a run of it"),
    row(Verb::PauseOrResume, "worker pause", &["p"])
        .aka(&["pause"])
        .risk(Disruptive)
        .hinted()
        .help("pause the pool (held messages go back, running steps go on), or resume it"),
    row(Verb::Resume, "worker resume", &[])
        .aka(&["resume"])
        .risk(Disruptive)
        .help("have the paused pool receive again"),
    row(Verb::ScaleUp, "more", &["+", "="])
        .risk(Disruptive)
        .hinted()
        .help("one step slot more"),
    row(Verb::ScaleDown, "fewer", &["-"])
        .risk(Disruptive)
        .help("one step slot fewer"),
    row(Verb::Scale, "worker scale", &["s"])
        .aka(&["scale"])
        .risk(Disruptive)
        .takes("N")
        .help("set the number of step slots, or its bounds: 2..16"),
    row(Verb::Reload, "worker reload", &["r"])
        .aka(&["reload"])
        .risk(Disruptive)
        .help("load user code again: new Python hosts for new work"),
    row(Verb::StartWorker, "worker start", &["S"])
        .aka(&["start-worker", "start"])
        .risk(Disruptive)
        .help("start a worker on this host, with this console's flags and settings"),
    row(Verb::DrainWorker, "worker drain", &["D"])
        .aka(&["drain"])
        .risk(Disruptive)
        .hinted()
        .takes("[SECONDS]")
        .help("finish what runs (or interrupt it after so long), give the rest back, then end the worker"),
    row(Verb::RestartWorkers, "worker restart", &["Z"])
        .risk(Disruptive)
        .takes("[SECONDS]")
        .help("drain and start again the workers, one after the other: the next when the former is back; x stops it"),
    row(Verb::CancelTask, "worker cancel", &["X"])
        .aka(&["cancel-step", "cancel"])
        .within(&[Overview, Steps])
        .risk(Destructive)
        .hinted()
        .help("interrupt the process of the step under the cursor"),
    row(Verb::Peek, "queue peek", &["m"])
        .aka(&["peek"])
        .within(&[Queues, DeadLetters])
        .hinted()
        .help("look at the queue's messages; asks before it receives them where there is no other way"),
    row(Verb::Redrive, "queue redrive", &["R"])
        .aka(&["redrive"])
        .within(&[DeadLetters])
        .risk(Disruptive)
        .hinted()
        .takes("[QUEUE]")
        .help("send the dead letter, or the marked ones, back to where they came from, or to that queue"),
    row(Verb::RedriveAll, "queue redrive --all", &["A"])
        .aka(&["redrive-all"])
        .within(&[Queues, DeadLetters])
        .risk(Disruptive)
        .hinted()
        .takes("[QUEUE]")
        .help("send all messages of the dead-letter queue back to where they came from, or to that queue"),
    row(Verb::Resend, "queue resend", &["e"])
        .aka(&["resend", "edit"])
        .within(&[DeadLetters])
        .risk(Disruptive)
        .hinted()
        .takes("[QUEUE]")
        .help("edit the message in $EDITOR and send it again; hidden secrets stay as they were"),
    row(Verb::PauseQueue, "queue pause", &["T"])
        .within(&[Queues])
        .risk(Disruptive)
        .hinted()
        .help("have no worker receive from the queue (what runs goes on), or resume it"),
    row(Verb::ResumeQueue, "queue resume", &[])
        .within(&[Queues])
        .risk(Disruptive)
        .help("have the workers receive from the paused queue again"),
    row(Verb::DrainQueue, "queue drain", &["X"])
        .aka(&["drain-queue", "archive"])
        .within(&[Queues, DeadLetters])
        .risk(Destructive)
        .hinted()
        .takes("[keep-waiting]")
        .help("archive the queue's waiting messages to a file, end their steps, delete them"),
    row(Verb::PurgeQueue, "queue purge", &["P"])
        .aka(&["purge-queue", "purge"])
        .within(&[Queues, DeadLetters])
        .risk(Destructive)
        .hinted()
        .takes("[keep-waiting]")
        .help("end the steps of the queue's waiting messages and delete them"),
    row(Verb::Restore, "queue restore", &[])
        .aka(&["restore"])
        .risk(Disruptive)
        .takes("FILE [again]")
        .help("send the messages of an archive (a file on the worker's host) again"),
    row(Verb::TerminateRun, "run terminate", &["X"])
        .aka(&["terminate"])
        .within(&[Runs])
        .risk(Destructive)
        .hinted()
        .help("ask Dagster to terminate the run; one that has not started is marked as canceled"),
    row(Verb::MarkCanceled, "run terminate --force", &["C"])
        .aka(&["mark-canceled"])
        .within(&[Runs])
        .risk(Destructive)
        .help("mark the run as canceled, whatever its processes do"),
    row(Verb::Reexecute, "run reexecute", &["e"])
        .aka(&["re-execute", "reexecute"])
        .within(&[Runs])
        .risk(Disruptive)
        .hinted()
        .help("run the run's job again, all of its steps"),
    row(Verb::ReexecuteFromFailure, "run reexecute --from-failure", &["E"])
        .aka(&["re-execute-failed"])
        .within(&[Runs])
        .risk(Disruptive)
        .hinted()
        .help("run the run's job again, only the steps that failed and those after them"),
    row(Verb::RunStatus, "status", &["f"])
        .within(&[Runs])
        .takes("[STATUS]")
        .hinted()
        .help("show the runs of one status: unfinished, failure, success, canceled, all"),
    row(Verb::StepsOfRun, "steps-of-run", &["t"])
        .within(&[Runs])
        .hinted()
        .help("the steps of the run in the workers' hands; Esc comes back"),
    row(Verb::LogsOf, "logs-of", &["L"])
        .within(&[Steps, Runs])
        .help("the log lines of the step or run; Esc comes back"),
    row(Verb::Explain, "run explain", &["w"])
        .aka(&["explain", "why"])
        .within(&[Overview, Steps, Runs, DeadLetters])
        .takes("[RUN [STEP]]")
        .help("why the step or run does not start: limits, pools, workers, queues, what it needs"),
    row(Verb::Stack, "step stack", &["b"])
        .aka(&["stack"])
        .within(&[Overview, Steps])
        .help("where the running step is now: its Python stack, in its details; again: read again"),
    row(Verb::ReexecuteGroup, "run reexecute --group", &["E"])
        .aka(&["re-execute-group"])
        .within(&[Failures])
        .risk(Disruptive)
        .hinted()
        .help("execute the failed runs of the group, or of the marked ones, again from their failure, so many a minute"),
    row(Verb::RedriveGroup, "redrive-group", &["R"])
        .within(&[Failures])
        .risk(Disruptive)
        .hinted()
        .help("send the dead letters of the group, or of the marked ones, back, so many a minute"),
    row(Verb::Since, "since", &["f"])
        .within(&[Failures])
        .hinted()
        .takes("[24h]")
        .help("failures of another window of time: 24h, 7d, 1h, 6h, or that one"),
    row(Verb::Switch, "switch", &["T"])
        .within(&[Dagster])
        .risk(Disruptive)
        .hinted()
        .takes("[on|off]")
        .help("start the schedule or sensor, or the marked ones, or stop what is on"),
    row(Verb::SwitchOn, "dagster start", &[])
        .within(&[Dagster])
        .risk(Disruptive)
        .help("start the schedule or sensor, or the marked ones"),
    row(Verb::SwitchOff, "dagster stop", &[])
        .within(&[Dagster])
        .risk(Disruptive)
        .help("stop the schedule or sensor, or the marked ones"),
    row(Verb::StopBatch, "stop-batch", &["x"])
        .help("send no more of the re-executions, redrives or restarts under way"),
    row(Verb::ReloadLocation, "run reload", &[])
        .aka(&["reload-location"])
        .risk(Disruptive)
        .takes("[NAME]")
        .help("have Dagster load a code location again"),
    row(Verb::StopWorker, "worker stop", &["X"])
        .aka(&["stop-worker", "stop"])
        .within(&[Workers])
        .risk(Destructive)
        .hinted()
        .help("end the worker under the cursor: what runs has its grace period, is killed, and goes on elsewhere"),
    row(Verb::KillWorker, "worker kill", &["K"])
        .aka(&["kill-worker", "kill"])
        .within(&[Workers])
        .risk(Destructive)
        .help("end the worker under the cursor at once; its steps are lost and tried again"),
    // Log view.
    row(Verb::LogLevel, "level", &["v"])
        .within(&[Logs])
        .hinted()
        .takes("[trace|debug|info|warn|error]")
        .help("lowest level of the lines shown"),
    row(Verb::LogFollow, "follow", &["f"])
        .within(&[Logs])
        .hinted()
        .help("stay at the newest line, or hold the screen still"),
    row(Verb::LogWrap, "wrap", &["w"])
        .within(&[Logs])
        .hinted()
        .help("break long lines, or cut them"),
    row(Verb::LogTimes, "timestamps", &["t"])
        .within(&[Logs])
        .help("time of day, date and milliseconds, or no time before the lines"),
    row(Verb::Find, "find", &["F"])
        .within(&[Logs])
        .hinted()
        .takes("[TEXT]")
        .help("go to the next line with a text, and mark it in all lines; `/` in an open page does that there"),
    row(Verb::FindNext, "find-next", &["n"])
        .within(&[Logs])
        .help("the next line with the text; in an open page too"),
    row(Verb::FindPrevious, "find-previous", &["N"])
        .within(&[Logs])
        .help("the line before with the text; in an open page too"),
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
        .hinted()
        .help("details of the row under the cursor"),
    row(Verb::Sort, "sort", &["o"])
        .scoped(TABLES)
        .hinted()
        .takes("[COLUMN]")
        .help("sort by the next column"),
    row(Verb::Reverse, "reverse", &["O"])
        .scoped(TABLES)
        .help("turn the order around"),
    row(Verb::Mark, "mark", &["<space>"])
        .scoped(MARKABLE)
        .hinted()
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
    row(Verb::CopyUrl, "copy-url", &["U"])
        .within(LINKED)
        .takes("[job|asset]")
        .help("copy the address that the run, step, job, schedule or sensor under the cursor has in Dagster's webserver (OSC 52)"),
    row(Verb::Browse, "browse", &["B"])
        .within(LINKED)
        .takes("[job|asset]")
        .help("open that address in this desktop's browser; over ssh it is copied"),
    row(Verb::Move(Motion::Down), "down", &["j", "<down>"]).help("one row down"),
    row(Verb::Move(Motion::Up), "up", &["k", "<up>"]).help("one row up"),
    row(Verb::Move(Motion::PageDown), "page-down", &["<c-d>", "<pgdn>"])
        .help("a page down"),
    row(Verb::Move(Motion::PageUp), "page-up", &["<c-u>", "<pgup>"]).help("a page up"),
    row(Verb::Move(Motion::Top), "top", &["g", "<home>"]).help("first row"),
    row(Verb::Move(Motion::Bottom), "bottom", &["G", "<end>"]).help("last row"),
    // Ways around.
    row(Verb::Filter, "filter", &["/"])
        .hinted()
        .takes("[TERMS]")
        .help("show matching rows: text, !not, ~fuzzy, re:REGEX, queue: status: run: job: step: worker: host: kind: tag:KEY=VALUE partition: asset: by: prio:>5"),
    row(Verb::SaveFilter, "save-filter", &[])
        .takes("NAME")
        .help("save the filter: `/@NAME` uses it in any view, beside other terms; without a filter the name is forgotten"),
    row(Verb::Palette, "command", &[":"])
        .hinted()
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
    row(Verb::Alarms, "alarm list", &["a"])
        .aka(&["alarms"])
        .help("all alarms with their age and whole text; Enter shows what one is about"),
    row(Verb::Acknowledge, "alarm ack", &["u"])
        .aka(&["ack"])
        .takes("[DURATION|off]")
        .risk(Disruptive)
        .help("acknowledge the alarm under the cursor of their list for an hour or so long, in the whole deployment; or take that back"),
    row(Verb::AlarmHistory, "alarm history", &["H"])
        .aka(&["alarm-history"])
        .help("when alarms began and ended, and who acknowledged them"),
    row(Verb::Back, "back", &["<esc>"])
        .help("one step back: close what is open, clear the filter, go to where this view was entered from"),
    row(Verb::Help, "help", &["?", "<f1>"])
        .hinted()
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
        .hinted()
        .help("leave; asks what to do with steps in flight if the console started the pool"),
];
