//! Addresses of what is under the cursor in Dagster's webserver.

use jiff::Timestamp;
use reqwest::Url;

use super::{App, Effect};
use crate::console::labels::NO_WEBSERVER;
use crate::console::rows;
use crate::console::toast::Tone;
use crate::console::view::View;
use crate::domain::{DagsterPart, JobRef, PartKind, SourceHealth};

/// Name that Dagster leaves out of the addresses of a repository.
const ONLY_REPOSITORY: &str = "__repository__";

/// Something that has a page.
enum Target {
    /// A run, or one of its steps.
    Run {
        run_id: String,
        step_key: Option<String>,
    },
    /// A part of a repository: its kind as in an address, and its name.
    Part {
        location: String,
        repository: String,
        path: &'static str,
        name: String,
    },
    /// An asset, by the parts of its key.
    Asset(Vec<String>),
    /// The list of code locations, or of another kind.
    List(&'static [&'static str]),
}

impl Target {
    fn part(location: &str, repository: &str, path: &'static str, name: &str) -> Self {
        Self::Part {
            location: location.to_owned(),
            repository: repository.to_owned(),
            path,
            name: name.to_owned(),
        }
    }

    /// Its address below that of the webserver; `None` if that is no address.
    fn url(&self, webserver: &str) -> Option<Url> {
        let mut url = Url::parse(webserver).ok()?;
        url.set_query(None);
        let mut path = url.path_segments_mut().ok()?;
        path.pop_if_empty();
        match self {
            Self::Run { run_id, .. } => path.extend(["runs", run_id.as_str()]),
            Self::Part {
                location,
                repository,
                path: kind,
                name,
            } => {
                let place = if repository == ONLY_REPOSITORY {
                    location.clone()
                } else {
                    format!("{repository}@{location}")
                };
                path.extend(["locations", place.as_str(), kind, name.as_str()])
            }
            Self::Asset(key) => path.extend(["assets"]).extend(key),
            Self::List(parts) => path.extend(*parts),
        };
        drop(path);
        if let Self::Run {
            step_key: Some(step),
            ..
        } = self
        {
            // As Dagster links to an event of a step.
            url.query_pairs_mut()
                .append_pair("selection", step)
                .append_pair("logs", &format!("step:{step}"));
        }
        Some(url)
    }
}

impl App {
    /// Copies the address of what is under the cursor, or of its job.
    pub(in crate::console) fn copy_url(
        &mut self,
        what: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        match self.address(what) {
            Ok(url) => self.put_on_clipboard(url, now, effects),
            Err(reason) => self.toast(Tone::Failed, reason, now),
        }
    }

    /// Opens that address in a browser; copies it where none can be opened.
    pub(in crate::console) fn browse(
        &mut self,
        what: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if !self.setup.has_desktop {
            return self.copy_url(what, now, effects);
        }
        match self.address(what) {
            Ok(url) => effects.push(Effect::Browse(url)),
            Err(reason) => self.toast(Tone::Failed, reason, now),
        }
    }

    fn address(&self, what: &str) -> Result<String, String> {
        let target = match what {
            "" => self.linked(),
            "job" => self.linked_job(),
            "asset" => self.linked_asset(),
            other => return Err(format!("`{other}` has no address: job, asset")),
        };
        let target = target.ok_or_else(|| match what {
            "" => String::from("What is under the cursor has no page in Dagster's webserver"),
            "asset" => String::from("No run that was launched for assets is under the cursor"),
            _ => String::from("Its job is not known, or is in several code locations"),
        })?;
        let webserver = self.snapshot.webserver();
        let webserver = webserver.filter(|source| source.health != SourceHealth::Absent);
        let webserver = webserver.ok_or(NO_WEBSERVER)?;
        let url = target.url(&webserver.address);
        let url = url.ok_or_else(|| format!("{} is no address", webserver.address))?;
        Ok(url.into())
    }

    fn linked(&self) -> Option<Target> {
        let (run_id, step_key) = match self.view {
            View::Overview | View::Steps => {
                let task = self.selected_task()?;
                (task.run_id.clone(), task.step_key.clone())
            }
            View::Runs => (self.selected_run()?.run_id.clone(), None),
            View::Logs => {
                let line = self.snapshot.logs.get(self.list().selected()?)?;
                (line.run_id.clone()?, line.step_key.clone())
            }
            View::DeadLetters => {
                let task = self.selected_letter()?.envelope.as_ref()?;
                (task.run_id.clone(), task.step_key.clone())
            }
            View::Failures => {
                let newest = self.selected_group()?.members.first()?;
                (newest.run_id.clone(), newest.step_key.clone())
            }
            View::Dagster => return part(self.selected_part()?),
            _ => return None,
        };
        (!run_id.is_empty()).then_some(Target::Run { run_id, step_key })
    }

    /// The first asset that the run under the cursor was launched for.
    fn linked_asset(&self) -> Option<Target> {
        let run = (self.view == View::Runs).then(|| self.selected_run())??;
        let key = run.assets.first()?.split('/').map(str::to_owned);
        Some(Target::Asset(key.collect()))
    }

    /// The job of what is under the cursor, if one code location alone has one of its name.
    fn linked_job(&self) -> Option<Target> {
        let job = match self.view {
            View::Overview | View::Steps => self.selected_task()?.job.clone()?,
            View::Runs => self.selected_run()?.job.clone(),
            View::DeadLetters => self.selected_letter()?.envelope.as_ref()?.job.clone()?,
            View::Failures => self.selected_group()?.job.clone(),
            View::Logs => {
                let line = self.snapshot.logs.get(self.list().selected()?)?;
                let run_id = line.run_id.as_deref()?;
                let task = (0..View::Steps.spec().total(&self.snapshot))
                    .filter_map(|at| rows::task_at(&self.snapshot, at))
                    .find(|task| task.run_id == run_id)?;
                task.job.clone()?
            }
            _ => return None,
        };
        let mut jobs = self.snapshot.jobs.iter().filter(|known| known.job == job);
        let (Some(found), None) = (jobs.next(), jobs.next()) else {
            return None;
        };
        let JobRef {
            location,
            repository,
            job,
        } = found;
        Some(Target::part(location, repository, "jobs", job))
    }
}

fn part(part: &DagsterPart) -> Option<Target> {
    Some(match (part.kind, &part.instigator) {
        (PartKind::Schedule | PartKind::Sensor, Some(one)) => {
            let path = if one.is_sensor {
                "sensors"
            } else {
                "schedules"
            };
            Target::part(&one.location, &one.repository, path, &one.name)
        }
        (PartKind::Location, _) => Target::List(&["deployment", "locations"]),
        (PartKind::Daemon, _) => Target::List(&["deployment", "daemons"]),
        (PartKind::Backfill, _) => Target::List(&["overview", "backfills"]),
        _ => return None,
    })
}
