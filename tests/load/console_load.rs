//! What the console costs: `cargo run --release --example console_load` after
//! `cargo build --release`.
//!
//! Prints the time of a frame and of a new snapshot at 100 and 100,000 rows, bytes of a first frame,
//! of a scrolled one and of one changed counter, how long the program takes to its first screen, and
//! how long a key takes to the end of its frame while 1,000 events a second arrive: within the process,
//! and through a pseudo-terminal.

#[path = "console_load/through_a_terminal.rs"]
mod through_a_terminal;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dagster_taskiq_tui::console::QuitPolicy;
use dagster_taskiq_tui::console::RingSettings;
use dagster_taskiq_tui::console::app::{App, Message, Setup};
use dagster_taskiq_tui::console::glyphs::UNICODE;
use dagster_taskiq_tui::console::key;
use dagster_taskiq_tui::console::theme::{Depth, Theme};
use dagster_taskiq_tui::domain::{
    QueueCounts, QueueRole, QueueView, RunStatus, RunView, Snapshot, Timestamp, Trend,
};
use jiff::tz::TimeZone;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SIZE: (u16, u16) = (200, 50);
const FRAMES: u32 = 50;

fn main() -> Result<(), Failure> {
    if std::env::var_os(through_a_terminal::CONSOLE).is_some() {
        return through_a_terminal::console(snapshot(through_a_terminal::ROWS)?);
    }
    for rows in [100, 100_000] {
        frames(rows)?;
    }
    key_to_screen(100)?;
    key_to_screen(100_000)?;
    through_a_terminal::key_to_screen(false)?;
    through_a_terminal::key_to_screen(true)?;
    start_up()
}

/// Counts what is written.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Console {
    app: App,
    terminal: Terminal<CrosstermBackend<Counter>>,
    written: Counter,
    now: Timestamp,
}

impl Console {
    fn new() -> Result<Self, Failure> {
        let setup = Setup {
            read_only: false,
            context: String::from("load"),
            contexts: Vec::new(),
            quit: QuitPolicy::Leave,
            glyphs: &UNICODE,
            depth: Depth::True,
            has_desktop: false,
            zone: TimeZone::UTC,
            reduced_motion: false,
            ring: RingSettings::default(),
        };
        let written = Counter::default();
        let viewport = Viewport::Fixed(Rect::new(0, 0, SIZE.0, SIZE.1));
        let backend = CrosstermBackend::new(written.clone());
        let mut app = App::new(setup, Theme::load("dark", Depth::True)?);
        let now = Timestamp::from_second(1_800_000_000)?;
        drop(app.update(Message::Resize(SIZE.0, SIZE.1), now));
        Ok(Self {
            app,
            terminal: Terminal::with_options(backend, TerminalOptions { viewport })?,
            written,
            now,
        })
    }

    fn tell(&mut self, message: Message) {
        // Nobody is there to be asked.
        drop(self.app.update(message, self.now));
    }

    fn keys(&mut self, keys: &str) {
        for key in key::parse(keys) {
            self.tell(Message::Key(key));
        }
    }

    /// Draws; gives the bytes written.
    fn draw(&mut self) -> Result<usize, Failure> {
        let before = self.written.0.load(Ordering::Relaxed);
        self.terminal
            .draw(|frame| self.app.render(frame, self.now))?;
        Ok(self.written.0.load(Ordering::Relaxed) - before)
    }
}

fn run(number: usize) -> Result<RunView, Failure> {
    let created = Timestamp::from_second(1_799_000_000 + i64::try_from(number)?)?;
    let status = [RunStatus::Success, RunStatus::Started, RunStatus::Failure][number % 3];
    Ok(RunView {
        run_id: format!("{number:08x}-51b2-4c58-9a3b-8a7be0f1d201"),
        job: format!("job_{}", number % 97),
        status,
        created_at: Some(created),
        started_at: Some(created),
        ended_at: status.is_finished().then_some(created),
        steps_succeeded: 5,
        steps_failed: 0,
        steps_total: Some(8),
        priority: None,
        tags: Vec::new(),
        assets: Vec::new(),
    })
}

fn snapshot(rows: usize) -> Result<Snapshot, Failure> {
    let runs: Result<Vec<RunView>, Failure> = (0..rows).map(run).collect();
    let queue = QueueView {
        name: String::from("dagster-tasks"),
        url: String::from("http://127.0.0.1:9324/000000000000/dagster-tasks"),
        role: QueueRole::Base,
        counts: Some(QueueCounts::default()),
        counted_at: Some(Timestamp::from_second(1_800_000_000)?),
        oldest: None,
        error: None,
        unreachable: false,
        trend: Trend::default(),
    };
    Ok(Snapshot {
        revision: 1,
        queues: Arc::new(vec![queue]),
        runs: Arc::new(runs?),
        ..Snapshot::default()
    })
}

fn micros(began: Instant, times: u32) -> u128 {
    (began.elapsed() / times).as_micros()
}

fn frames(rows: usize) -> Result<(), Failure> {
    let mut console = Console::new()?;
    let mut present = snapshot(rows)?;
    console.tell(Message::Snapshot(Arc::new(present.clone())));
    console.keys("4");
    let first = console.draw()?;
    let began = Instant::now();
    let mut scrolled = 0;
    for _ in 0..FRAMES {
        console.keys("<pgdn>");
        scrolled += console.draw()?;
    }
    let frame = micros(began, FRAMES);
    let began = Instant::now();
    console.keys("/job_9<enter>");
    console.draw()?;
    let filter = micros(began, 1);
    let began = Instant::now();
    console.keys("oo");
    console.draw()?;
    let sort = micros(began, 1);
    // The list is another one in each of these: filter and order are computed again.
    let began = Instant::now();
    for number in 0..FRAMES {
        Arc::make_mut(&mut present.runs)[0].steps_succeeded = number;
        console.tell(Message::Snapshot(Arc::new(present.clone())));
        console.draw()?;
    }
    let renewed = micros(began, FRAMES);
    let mut counter = Console::new()?;
    counter.tell(Message::Snapshot(Arc::new(present.clone())));
    counter.keys("2");
    counter.draw()?;
    Arc::make_mut(&mut present.queues)[0].counts = Some(QueueCounts {
        in_flight: 1,
        ..QueueCounts::default()
    });
    counter.tell(Message::Snapshot(Arc::new(present)));
    let changed = counter.draw()?;
    println!("{rows} rows at {}x{}:", SIZE.0, SIZE.1);
    println!("  a page further, drawn: {frame} us");
    println!(
        "  filter {filter} us, two orders {sort} us; a new list, filtered and ordered: {renewed} us"
    );
    println!(
        "  bytes: first frame {first}, a page further {}, one changed counter {changed}",
        scrolled / usize::try_from(FRAMES)?
    );
    Ok(())
}

/// Snapshots twenty times a second, as the aggregator publishes them, with fifty changes each;
/// forty keys a second. The time is that from the key's being sent to its frame's being written.
fn key_to_screen(rows: usize) -> Result<(), Failure> {
    enum News {
        Key(Instant),
        Snapshot(Arc<Snapshot>),
    }
    const KEYS: u32 = 400;
    let (send, news) = mpsc::sync_channel(64);
    let keys = send.clone();
    let mut present = snapshot(rows)?;
    let mut console = Console::new()?;
    console.tell(Message::Snapshot(Arc::new(present.clone())));
    console.keys("4:sort status<enter>");
    console.draw()?;
    let pressing = thread::spawn(move || {
        for _ in 0..KEYS {
            thread::sleep(Duration::from_millis(25));
            if keys.send(News::Key(Instant::now())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for number in 0.. {
            thread::sleep(Duration::from_millis(50));
            let runs = Arc::make_mut(&mut present.runs);
            for change in 0..50 {
                let at = (number * 50 + change) % runs.len();
                runs[at].steps_succeeded += 1;
            }
            if send
                .send(News::Snapshot(Arc::new(present.clone())))
                .is_err()
            {
                return;
            }
        }
    });
    let mut taken = Vec::new();
    while taken.len() < usize::try_from(KEYS)? {
        match news.recv()? {
            News::Snapshot(snapshot) => {
                console.tell(Message::Snapshot(snapshot));
                console.draw()?;
            }
            News::Key(pressed) => {
                console.keys("j");
                console.draw()?;
                taken.push(pressed.elapsed());
            }
        }
    }
    drop(news);
    pressing
        .join()
        .map_err(|_| "the thread of the keys failed")?;
    taken.sort();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100].as_micros();
    println!(
        "key to screen, {rows} ordered rows, 1,000 changes/s: median {} us, p99 {} us",
        at(50),
        at(99)
    );
    Ok(())
}

/// From starting the program to its first screen, in a pseudo-terminal, with nothing to attach to
/// and a queue that cannot be reached.
fn start_up() -> Result<(), Failure> {
    let here = std::env::current_exe()?;
    let folder = here.ancestors().nth(2).ok_or("no target folder")?;
    let program = folder.join("dagster-taskiq-tui");
    if !program.exists() {
        return Err(format!("{} is missing: cargo build makes it", program.display()).into());
    }
    let home = tempfile::tempdir()?;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let size = PtySize {
            rows: 24,
            cols: 80,
            ..PtySize::default()
        };
        let pair = native_pty_system().openpty(size)?;
        let mut command = CommandBuilder::new(&program);
        command.env_clear();
        command.env("HOME", home.path());
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C.UTF-8");
        command.arg("--runtime-dir");
        command.arg(home.path());
        command.args(["--queue-url", "http://127.0.0.1:1/000000000000/none"]);
        let began = Instant::now();
        let mut child = pair.slave.spawn_command(command)?;
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader()?;
        let mut keyboard = pair.master.take_writer()?;
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains("Overview") {
            let read = reader.read(&mut bytes)?;
            if read == 0 {
                return Err("the console ended before its first screen".into());
            }
            seen.extend_from_slice(&bytes[..read]);
        }
        best = best.min(began.elapsed());
        keyboard.write_all(b"q")?;
        keyboard.flush()?;
        // Until the end of the terminal, or the console's last frame would block it.
        while matches!(reader.read(&mut bytes), Ok(1..)) {}
        child.wait()?;
    }
    println!("start to first screen, best of 5: {} ms", best.as_millis());
    Ok(())
}
