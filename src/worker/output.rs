//! A step's output, read from the files on this host: for consoles whose webserver runs on another
//! host and cannot read them.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::domain::OutputPage;
use crate::domain::secrets::redact_text;
use crate::fork_server::{Capture, ForkServers};

/// Reads the next part of both streams, from `after` on, or from near their ends.
///
/// # Errors
/// One sentence: the files are not on this host, or cannot be read.
pub(super) async fn read(
    hosts: &ForkServers,
    run_id: &str,
    file_key: &str,
    after: Option<&str>,
) -> Result<OutputPage, String> {
    if file_key.contains(['/', '\\']) || run_id.contains(['/', '\\']) {
        return Err(format!("{run_id} {file_key} names no capture"));
    }
    let found = hosts.capture(run_id, file_key).await;
    let (stdout, stderr) = match found.map_err(|problem| problem.to_string())? {
        Capture::Files { stdout, stderr } => (stdout, stderr),
        Capture::Elsewhere(class) => {
            return Err(format!(
                "{class} keeps the output, and not on this host: the webserver must be able to read it"
            ));
        }
    };
    let cursor = after.and_then(|after| after.split_once(':'));
    let from = cursor.and_then(|(out, err)| Some((out.parse().ok()?, err.parse().ok()?)));
    let reading = tokio::task::spawn_blocking(move || {
        let (out, err) = from.map_or((None, None), |(out, err)| (Some(out), Some(err)));
        page(&stdout, &stderr, out, err)
    });
    reading.await.map_err(|problem| problem.to_string())?
}

fn page(
    stdout: &Path,
    stderr: &Path,
    out: Option<u64>,
    err: Option<u64>,
) -> Result<OutputPage, String> {
    let (out, err) = (part(stdout, out)?, part(stderr, err)?);
    let missing = out.is_none() && err.is_none();
    let (out, out_end) = out.unwrap_or_default();
    let (err, err_end) = err.unwrap_or_default();
    // The files are the user's and stay unchanged; only the shown text is sanitised.
    Ok(OutputPage {
        stdout: redact_text(&out).into_owned(),
        stderr: redact_text(&err).into_owned(),
        after: Some(format!("{out_end}:{err_end}")),
        missing,
    })
}

/// Reads a part of a file and returns it with its end offset; `None` if there is no such file.
fn part(path: &Path, from: Option<u64>) -> Result<Option<(String, u64)>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let end = file.metadata().map_err(failed)?.len();
    let most = u64::from(OutputPage::MAX);
    let from = from.unwrap_or_else(|| end.saturating_sub(most)).min(end);
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    bytes.truncate(whole(&bytes));
    let end = from + bytes.len() as u64;
    Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), end)))
}

/// Number of bytes up to a character that is not completely written yet.
fn whole(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        // Invalid text is shown as such, not waited for.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_reader_goes_on_where_it_stopped_and_never_in_the_middle_of_a_character() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.out");
        assert_eq!(part(&path, None), Ok(None));
        std::fs::write(&path, b"gr\xc3\xb6\xc3").unwrap();
        assert_eq!(part(&path, None), Ok(Some(("grö".to_owned(), 4))));
        std::fs::write(&path, b"gr\xc3\xb6\xc3\x9fe\n").unwrap();
        assert_eq!(part(&path, Some(4)), Ok(Some(("ße\n".to_owned(), 8))));
        assert_eq!(part(&path, Some(8)), Ok(Some((String::new(), 8))));
        assert_eq!(part(&path, Some(99)), Ok(Some((String::new(), 8))));
    }

    #[test]
    fn of_a_long_output_the_end_is_read_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.out");
        let long = "x".repeat(200_000) + "the end";
        std::fs::write(&path, &long).unwrap();
        let (text, end) = part(&path, None).unwrap().unwrap();
        assert!(text.ends_with("the end") && text.len() == OutputPage::MAX as usize);
        assert_eq!(end, long.len() as u64);
    }
}
