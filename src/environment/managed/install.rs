//! Builds an environment: with uv if it is on `PATH`, otherwise with venv and pip.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::EnvironmentError;
use super::interpreter::{self, Interpreter};
use crate::domain::last_lines;

/// The oldest pip that can install into another environment (`--python`).
const PIP_WITH_PYTHON_OPTION: (u32, u32) = (22, 3);

/// Number of a failed program's last lines that are shown.
const DETAIL_LINES: usize = 4;

/// Builds `folder` in a folder beside it, and renames that when it is complete.
pub(super) fn build(
    cache: &Path,
    folder: &Path,
    lock: &str,
    base: Option<&Path>,
    progress: &mut dyn FnMut(&str),
) -> Result<(), EnvironmentError> {
    let prefix = format!("{}.partial-", file_name(folder));
    let partial = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(cache)
        .map_err(EnvironmentError::file("create a folder in", cache))?;
    let lock_file = partial.path().join("requirements.lock");
    fs::write(&lock_file, lock).map_err(EnvironmentError::file("write", &lock_file))?;
    let job = Job {
        folder,
        partial: partial.path(),
        lock,
        lock_file: &lock_file,
    };
    progress(&format!(
        "Making the Python environment in {} (once; it takes a minute or two)",
        folder.display()
    ));
    // A named interpreter must be usable; otherwise uv may know a Python that is not on PATH.
    let interpreter = match base {
        Some(_) => Ok(interpreter::find(base)?),
        None => interpreter::find(None),
    };
    if let Some(uv) = uv() {
        match job.with_uv(&uv, interpreter.as_ref().ok(), progress) {
            Ok(()) => return job.finish(),
            Err(error) => progress(&format!("uv could not do it, trying pip ({error})")),
        }
    }
    job.with_pip(&interpreter?, progress)?;
    job.finish()
}

/// uv, if it is on `PATH` and starts.
fn uv() -> Option<PathBuf> {
    let output = Command::new("uv").arg("--version").output().ok()?;
    output.status.success().then(|| PathBuf::from("uv"))
}

/// One environment being built.
struct Job<'a> {
    /// Its final folder.
    folder: &'a Path,
    /// Its temporary folder.
    partial: &'a Path,
    /// The lock's text.
    lock: &'a str,
    /// File of the lock.
    lock_file: &'a Path,
}

impl Job<'_> {
    fn python(&self) -> PathBuf {
        self.partial.join("bin/python")
    }

    fn with_uv(
        &self,
        uv: &Path,
        interpreter: Option<&Interpreter>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), EnvironmentError> {
        // Without a Python on PATH uv may have one, or download one.
        let python = interpreter.map_or(OsStr::new(">=3.10,<3.14"), |found| found.path.as_os_str());
        // The folder exists already: it holds the lock file.
        let mut venv = command(uv, &["venv", "--quiet", "--allow-existing", "--no-project"]);
        self.run(venv.arg("--python").arg(python).arg(self.partial))?;
        progress("Installing the packages of requirements.lock with uv");
        let mut install = command(uv, &["pip", "install", "--quiet", "--no-deps", "--python"]);
        install.arg(self.python()).arg("-r").arg(self.lock_file);
        self.run(&mut install)?;
        self.compile(progress)
    }

    fn with_pip(
        &self,
        interpreter: &Interpreter,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), EnvironmentError> {
        let base = interpreter.path.as_path();
        let mut venv = command(base, &["-m", "venv", "--clear", "--without-pip"]);
        self.run(venv.arg(self.partial))?;
        // `--clear` emptied the folder.
        fs::write(self.lock_file, self.lock)
            .map_err(EnvironmentError::file("write", self.lock_file))?;
        let mut pip = self.pip(interpreter)?;
        progress("Installing the packages of requirements.lock with pip");
        pip.args([
            "install",
            "--no-input",
            "--disable-pip-version-check",
            "--quiet",
        ])
        .args(["--progress-bar", "off", "--no-deps", "--no-compile", "-r"])
        .arg(self.lock_file);
        self.run(&mut pip)?;
        self.compile(progress)
    }

    /// `pip` for the new environment: the base Python's own if it is new enough (Debian's
    /// `python3-pip` works without `python3-venv`), otherwise one that ensurepip unpacks.
    fn pip(&self, interpreter: &Interpreter) -> Result<Command, EnvironmentError> {
        let mut check = command(&interpreter.path, &["-m", "pip", "--version"]);
        let answer = check.output().ok().filter(|output| output.status.success());
        let version = answer.and_then(|o| pip_version(&String::from_utf8_lossy(&o.stdout)));
        if version.is_some_and(|version| version >= PIP_WITH_PYTHON_OPTION) {
            let mut pip = command(&interpreter.path, &["-m", "pip", "--python"]);
            pip.arg(self.python());
            return Ok(pip);
        }
        let mut has_ensurepip = command(&interpreter.path, &["-c", "import ensurepip"]);
        if !has_ensurepip.output().is_ok_and(|o| o.status.success()) {
            return Err(EnvironmentError::NoPip {
                python: interpreter.path.clone(),
                version: interpreter.version.clone(),
            });
        }
        self.run(&mut command(
            &self.python(),
            &["-m", "ensurepip", "--default-pip"],
        ))?;
        Ok(command(&self.python(), &["-m", "pip"]))
    }

    /// Byte-compiles everything once. Otherwise the first import of dagster would do it in every
    /// process that cannot write there. Files that do not compile (templates) are not an error.
    fn compile(&self, progress: &mut dyn FnMut(&str)) -> Result<(), EnvironmentError> {
        progress("Compiling the packages");
        let mut compile = command(&self.python(), &["-m", "compileall", "-q", "-j", "0"]);
        compile
            .arg(self.partial.join("lib"))
            .output()
            .map(drop)
            .map_err(EnvironmentError::file("start", &self.python()))
    }

    /// Points the scripts in `bin` to the final folder, and moves the environment there. If that
    /// fails, the owner of the temporary folder in [`build`] removes it.
    fn finish(&self) -> Result<(), EnvironmentError> {
        rewrite_scripts(&self.partial.join("bin"), self.partial, self.folder)?;
        fs::rename(self.partial, self.folder).map_err(EnvironmentError::file(
            "rename the finished environment to",
            self.folder,
        ))
    }

    fn run(&self, command: &mut Command) -> Result<(), EnvironmentError> {
        let program = Path::new(command.get_program()).to_owned();
        let output = command
            .output()
            .map_err(EnvironmentError::file("start", &program))?;
        if output.status.success() {
            return Ok(());
        }
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let args = command.get_args().map(OsStr::to_string_lossy);
        let shown: Vec<_> = args.filter(|arg| !arg.starts_with(['-', '/'])).collect();
        Err(EnvironmentError::Build {
            folder: self.folder.to_owned(),
            command: format!("{} {}", file_name(&program), shown.join(" ")),
            detail: last_lines(&text, DETAIL_LINES),
        })
    }
}

/// A command that asks no questions and ignores variables meant for other Pythons.
fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    for variable in [
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
    ] {
        command.env_remove(variable);
    }
    // The folders are chosen here: a user's own pip settings must not move the packages.
    for variable in ["PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT"] {
        command.env_remove(variable);
    }
    command
}

/// `22.3` of `pip 22.3.1 from …`.
fn pip_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Rewrites scripts, which begin with the absolute path of their interpreter.
fn rewrite_scripts(bin: &Path, from: &Path, to: &Path) -> Result<(), EnvironmentError> {
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    let entries = fs::read_dir(bin).map_err(EnvironmentError::file("read", bin))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // Programs (ruff) are not text; scripts are.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if text.contains(&*from) {
            // A new file: uv may have hard-linked this one into its cache.
            let permissions = entry.metadata().map(|metadata| metadata.permissions());
            fs::remove_file(&path)
                .and_then(|()| fs::write(&path, text.replace(&*from, &to)))
                .and_then(|()| fs::set_permissions(&path, permissions?))
                .map_err(EnvironmentError::file("write", &path))?;
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[test]
    fn pips_version_is_read_from_its_own_words() {
        assert_eq!(
            pip_version("pip 23.0.1 from /usr/lib (python 3.11)"),
            Some((23, 0))
        );
        assert_eq!(pip_version("pip"), None);
    }

    #[test]
    fn scripts_name_the_final_folder_and_stay_executable() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("dagster");
        fs::write(&script, "#!/a/partial-1/bin/python\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("ruff"), b"\x7fELF\xff/a/partial-1").unwrap();

        rewrite_scripts(
            folder.path(),
            Path::new("/a/partial-1"),
            Path::new("/a/env"),
        )
        .unwrap();

        assert_eq!(
            fs::read_to_string(&script).unwrap(),
            "#!/a/env/bin/python\n"
        );
        let mode = fs::metadata(&script).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111);
        assert_eq!(
            fs::read(folder.path().join("ruff")).unwrap(),
            b"\x7fELF\xff/a/partial-1"
        );
    }
}
