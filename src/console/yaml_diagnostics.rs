//! Places of errors in a run configuration: from the path in Dagster's validation error to the line
//! of the edited text.

use crate::config::yaml::{self, Node};
use crate::domain::ConfigProblem;

/// An error in a line of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The line, from 0.
    pub line: usize,
    /// One sentence.
    pub text: String,
}

/// The lines with errors, from the top; one line may have several. Invalid YAML has one error: at
/// the line where parsing stops.
#[must_use]
pub fn marks(text: &str, problems: &[ConfigProblem]) -> Vec<Mark> {
    if let Some(mistake) = mistake(text) {
        return vec![mistake];
    }
    let root = Node::parse(text).ok();
    let line_of = |path: &str| root.as_ref().map_or(1, |root| root.line_of(path));
    let mark = |problem: &ConfigProblem| Mark {
        line: line_of(&problem.path).saturating_sub(1),
        text: problem.message.clone(),
    };
    let mut marks: Vec<Mark> = problems.iter().map(mark).collect();
    marks.sort_by_key(|mark| mark.line);
    marks
}

/// The YAML error in a text, if any.
#[must_use]
pub fn mistake(text: &str) -> Option<Mark> {
    let mistake = yaml::mistake(text)?;
    let last = text.lines().count().saturating_sub(1);
    Some(Mark {
        line: mistake
            .line
            .map_or(last, |line| line.saturating_sub(1).min(last)),
        text: if mistake.is_yaml {
            format!("This is not read: {}", mistake.text)
        } else {
            format!("This is no YAML: {}", mistake.text)
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
# what is scored
ops:
  score:
    config:
      region: north
      limits: [1, 2]
      days:
        - from: 1
        - from: x
  load.orders:
    config: {batch: 5}
";

    fn line(path: &str) -> usize {
        let problem = ConfigProblem {
            path: path.to_owned(),
            message: String::from("wrong"),
        };
        marks(CONFIG, &[problem])[0].line
    }

    #[test]
    fn a_path_leads_to_the_line_of_its_key_or_item() {
        assert_eq!(line("ops.score.config.region"), 4);
        assert_eq!(line("ops.score.config.days[1].from"), 8);
        assert_eq!(line("ops.score.config.limits[1]"), 5);
        assert_eq!(line("ops.load.orders.config.batch"), 10);
    }

    #[test]
    fn what_is_missing_is_marked_where_it_should_be() {
        assert_eq!(line("ops.score.config.limit"), 3);
        assert_eq!(line("resources.io"), 1);
        assert_eq!(line(""), 1);
    }

    #[test]
    fn a_text_that_is_no_yaml_is_marked_where_it_breaks() {
        let mark = mistake("ops:\n  a: [1, 2\n  b: 3\n");
        assert!(mark.as_ref().is_some_and(|mark| mark.line > 0), "{mark:?}");
        assert_eq!(mistake(CONFIG), None);
        assert_eq!(mistake(""), None);
    }
}
