//! What can be measured: the systems, and the cells of the table.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Serialize;

/// Steps above which Dagster's multiprocess executor is left out, unless it was asked for by name:
/// each of its steps is a cold process.
const MULTIPROCESS_STEPS: usize = 20;

/// Who runs the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// `taskiq_executor` and this project's worker, isolation as the worker chooses it
    Taskiq,
    /// The same with `--isolation fork`
    TaskiqFork,
    /// The same with `--isolation reuse`
    TaskiqReuse,
    /// The same with `--isolation fresh`
    TaskiqFresh,
    /// `celery_executor` and a Celery worker, Redis as broker and backend
    Celery,
    /// Dagster's own `multiprocess_executor`
    Multiprocess,
}

impl System {
    /// Whether steps go through this project's worker.
    pub fn is_ours(self) -> bool {
        !matches!(self, Self::Celery | Self::Multiprocess)
    }

    /// What `worker start --isolation` is to be given, where it is not the default.
    pub fn isolation(self) -> Option<&'static str> {
        match self {
            Self::TaskiqFork => Some("fork"),
            Self::TaskiqReuse => Some("reuse"),
            Self::TaskiqFresh => Some("fresh"),
            _ => None,
        }
    }

    /// Whose executor the jobs have, as `bench_jobs.py` names it.
    pub fn executor(self) -> &'static str {
        match self {
            Self::Celery => "celery",
            Self::Multiprocess => "multiprocess",
            _ => "taskiq",
        }
    }

    /// Its run launcher, as the table names it.
    pub fn launcher(self) -> String {
        match self {
            Self::Celery => "CeleryRunLauncher".to_owned(),
            Self::Multiprocess => "DefaultRunLauncher".to_owned(),
            ours => format!("TaskiqRunLauncher ({ours})"),
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Where Dagster keeps its runs and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// Files in a folder
    Sqlite,
    /// A server of the benchmark's own
    Postgres,
}

/// What a code location imports before it has its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Imports {
    /// Dagster alone
    None,
    /// numpy
    Numpy,
    /// pandas and pyarrow
    Pandas,
    /// polars
    Polars,
    /// scikit-learn
    Sklearn,
    /// Nothing, but a TCP connection is opened
    Connection,
}

impl Imports {
    /// The modules, as a Python list.
    pub fn modules(self) -> &'static str {
        match self {
            Self::None => "[]",
            Self::Numpy => r#"["numpy"]"#,
            Self::Pandas => r#"["pandas", "pyarrow"]"#,
            Self::Polars => r#"["polars"]"#,
            Self::Sklearn => r#"["sklearn.linear_model"]"#,
            Self::Connection => r#"["connection"]"#,
        }
    }
}

/// What is run: `fan-N`, `chain-N`, `RUNSxSTEPS`, `launch` or `idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Steps beside each other, in so many runs at once.
    Fan { runs: usize, steps: usize },
    /// Steps one after the other.
    Chain { steps: usize },
    /// Runs launched, one after the other.
    Launch,
    /// Nothing.
    Idle,
}

impl Shape {
    /// Steps of all its runs.
    pub fn steps(self) -> usize {
        match self {
            Self::Fan { runs, steps } => runs * steps,
            Self::Chain { steps } => steps,
            Self::Launch | Self::Idle => 0,
        }
    }

    /// Runs at once.
    pub fn runs(self) -> usize {
        match self {
            Self::Fan { runs, .. } => runs,
            _ => 1,
        }
    }

    /// The job, as `bench_jobs.py` names it.
    pub fn job(self) -> String {
        match self {
            Self::Fan { steps, .. } => format!("fan_{steps}"),
            Self::Chain { steps } => format!("chain_{steps}"),
            Self::Launch | Self::Idle => "fan_1".to_owned(),
        }
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().ok().filter(|&number| number > 0);
        let found = if let Some(steps) = text.strip_prefix("fan-") {
            number(steps).map(|steps| Self::Fan { runs: 1, steps })
        } else if let Some(steps) = text.strip_prefix("chain-") {
            number(steps).map(|steps| Self::Chain { steps })
        } else if let Some((runs, steps)) = text.split_once('x') {
            let (runs, steps) = (number(runs), number(steps));
            runs.zip(steps)
                .map(|(runs, steps)| Self::Fan { runs, steps })
        } else {
            match text {
                "launch" => Some(Self::Launch),
                "idle" => Some(Self::Idle),
                _ => None,
            }
        };
        found.ok_or_else(|| "give fan-N, chain-N, RUNSxSTEPS, launch or idle".to_owned())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fan { runs: 1, steps } => write!(formatter, "fan-{steps}"),
            Self::Fan { runs, steps } => write!(formatter, "{runs}x{steps}"),
            Self::Chain { steps } => write!(formatter, "chain-{steps}"),
            Self::Launch => write!(formatter, "launch"),
            Self::Idle => write!(formatter, "idle"),
        }
    }
}

impl Serialize for Shape {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One part of the measurement, in which the systems take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What is run.
    pub shape: Shape,
    /// Where Dagster keeps it.
    pub storage: Storage,
    /// What the code location imports.
    pub imports: Imports,
}

impl Cell {
    /// Whether a system takes part; `asked`: it was asked for by name.
    pub fn suits(&self, system: System, asked: bool) -> bool {
        match self.shape {
            Shape::Idle => system != System::Multiprocess,
            Shape::Launch => true,
            shape => asked || system != System::Multiprocess || shape.steps() <= MULTIPROCESS_STEPS,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        write!(
            formatter,
            "{} {} {}",
            self.shape,
            name(self.storage.to_possible_value()),
            name(self.imports.to_possible_value())
        )
    }
}

/// Every combination.
pub fn product(shapes: &[Shape], storages: &[Storage], imports: &[Imports]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &shape in shapes {
        for &storage in storages {
            cells.extend(imports.iter().map(|&imports| Cell {
                shape,
                storage,
                imports,
            }));
        }
    }
    cells
}

/// What is measured where nothing was chosen: about a quarter of an hour on two processors.
pub fn usual() -> Vec<Cell> {
    use Imports::{None, Pandas};
    use Storage::{Postgres, Sqlite};
    let fan = |steps| Shape::Fan { runs: 1, steps };
    [
        (fan(20), Sqlite, None),
        (fan(200), Sqlite, None),
        (fan(200), Sqlite, Pandas),
        (fan(200), Postgres, None),
        (Shape::Chain { steps: 10 }, Sqlite, None),
        (Shape::Launch, Sqlite, None),
        (Shape::Idle, Sqlite, None),
    ]
    .map(|(shape, storage, imports)| Cell {
        shape,
        storage,
        imports,
    })
    .into()
}

/// Every shape on both storages, and 200 steps after each of the imports.
pub fn all() -> Vec<Cell> {
    let fan = |steps| Shape::Fan { runs: 1, steps };
    let chain = |steps| Shape::Chain { steps };
    let many = Shape::Fan {
        runs: 20,
        steps: 10,
    };
    let shapes = [
        fan(20),
        fan(200),
        fan(1000),
        fan(2000),
        chain(10),
        chain(50),
    ];
    let storages = [Storage::Sqlite, Storage::Postgres];
    let mut cells = product(&shapes, &storages, &[Imports::None]);
    cells.extend(product(
        &[many, Shape::Launch, Shape::Idle],
        &storages,
        &[Imports::None],
    ));
    cells.extend(product(
        &[fan(200)],
        &[Storage::Sqlite],
        &Imports::value_variants()[1..],
    ));
    cells
}
