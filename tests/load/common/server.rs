//! The broker's process, as the system sees it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Failure, cpu_of};

/// A broker that was started here.
pub struct Server {
    child: Child,
    /// Kept open: what the broker prints after its endpoint must find a reader.
    _output: BufReader<ChildStdout>,
    /// Where it listens.
    pub endpoint: String,
}

impl Server {
    /// Starts a broker and waits until it serves.
    pub fn start(binary: &Path, folder: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(binary)
            .args(["broker", "serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("the broker has no output")?);
        let endpoint = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("endpoint: ").map(ToOwned::to_owned))
            .ok_or("the broker ended before it served")?;
        Ok(Self {
            child,
            _output: output,
            endpoint,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib << 10)
    }

    /// The clock and the processor time used so far, by all threads of the broker and of this
    /// program.
    pub fn usage(&self) -> Result<Usage, Failure> {
        Ok(Usage {
            at: Instant::now(),
            wall: Duration::ZERO,
            broker: cpu_of(&self.child.id().to_string())?,
            load: cpu_of("self")?,
        })
    }

    /// Ends it with SIGTERM; says how long that took.
    pub fn stop(mut self) -> Result<Duration, Failure> {
        let pid = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(pid).ok_or("no pid")?;
        let began = Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() {
            return Ok(began.elapsed());
        }
        Err(format!("the broker ended with {status}").into())
    }
}

/// What was used between two moments.
#[derive(Debug)]
pub struct Usage {
    at: Instant,
    pub wall: Duration,
    /// The broker's processor time.
    pub broker: Duration,
    /// This program's processor time.
    pub load: Duration,
}

impl Usage {
    /// The difference to an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            at: self.at,
            wall: self.at - earlier.at,
            broker: self.broker.saturating_sub(earlier.broker),
            load: self.load.saturating_sub(earlier.load),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes that the files in a broker's folder take on disk.
pub fn disk_use(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += std::os::unix::fs::MetadataExt::blocks(&entry?.metadata()?) * 512;
    }
    Ok(bytes)
}

/// How long the disk below a folder takes to flush 4 KiB, at an easy pace, sorted: what no broker can
/// be faster than.
pub fn flushes(folder: &Path) -> Result<Vec<Duration>, Failure> {
    use std::os::unix::fs::FileExt as _;
    const ROUNDS: u64 = 64;
    let path = folder.join("flushed");
    let file = std::fs::File::create_new(&path)?;
    let places = || (0..ROUNDS).map(|round| round * 4_096);
    // So that what is measured writes over what is there, as the broker's log does.
    places().try_for_each(|at| file.write_all_at(&[0; 4_096], at))?;
    file.sync_all()?;
    let mut took = Vec::new();
    for at in (0..8).flat_map(|_| places()) {
        std::thread::sleep(Duration::from_millis(4));
        let began = Instant::now();
        file.write_all_at(&[1; 4_096], at)?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    std::fs::remove_file(path)?;
    took.sort();
    Ok(took)
}
