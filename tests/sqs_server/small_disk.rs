//! A disk of a few MiB, in a mount namespace of its own: it is gone when the test is, however that ends.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

/// A mounted file system that only the processes see which [`SmallDisk::enter`] starts.
pub struct SmallDisk {
    keeper: Child,
    /// The keeper ends when this is closed.
    _leash: ChildStdin,
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one; says why not where the machine does not allow it.
    pub fn mount(size: &str) -> Result<Self, String> {
        let folder = TempDir::new().unwrap();
        let mut unshare = Command::new("unshare");
        if !rustix::process::getuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let script = "mount -t tmpfs -o size=$1 tmpfs \"$2\" && echo mounted && exec cat";
        unshare.args(["--mount", "sh", "-c", script, "sh", size]);
        unshare.arg(folder.path());
        let pipes = unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let spawned = pipes.stderr(Stdio::piped()).spawn();
        let mut keeper = spawned.map_err(|error| format!("unshare does not start: {error}"))?;
        let mut said = String::new();
        let mut lines = BufReader::new(keeper.stdout.take().unwrap());
        lines.read_line(&mut said).unwrap();
        if said.trim() != "mounted" {
            let mut errors = keeper.stderr.take().unwrap();
            errors.read_to_string(&mut said).unwrap();
            keeper.wait().unwrap();
            return Err(format!("no tmpfs can be mounted: {}", said.trim()));
        }
        Ok(Self {
            _leash: keeper.stdin.take().unwrap(),
            keeper,
            folder,
        })
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that executes another one where the disk can be seen.
    pub fn enter(&self) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--mount", "--target", &self.keeper.id().to_string()]);
        if !rustix::process::getuid().is_root() {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter.arg("--");
        nsenter
    }

    /// Runs a program there.
    pub fn run(&self, program: &str, arguments: &[&OsStr]) {
        let mut command = self.enter();
        command.arg(program).args(arguments);
        assert!(command.status().unwrap().success(), "{command:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
