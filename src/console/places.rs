//! Where in a run configuration a mistake is: from the path that Dagster's validation names to the
//! line of the text that an operator edits.

use saphyr::{LoadableYamlNode, MarkedYaml, YamlData};

use crate::domain::ConfigProblem;

/// What is wrong with a line of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The line, from 0.
    pub line: usize,
    /// One sentence.
    pub text: String,
}

/// The lines that the problems are about, from the top; several may be about one line. A text that
/// is no YAML has one: where it stops being any.
#[must_use]
pub fn marks(text: &str, problems: &[ConfigProblem]) -> Vec<Mark> {
    if let Some(mistake) = mistake(text) {
        return vec![mistake];
    }
    let document = MarkedYaml::load_from_str(text).ok();
    let root = document.as_ref().and_then(|documents| documents.first());
    let mark = |problem: &ConfigProblem| Mark {
        line: root.map_or(0, |root| line_of(root, &problem.path)),
        text: problem.message.clone(),
    };
    let mut marks: Vec<Mark> = problems.iter().map(mark).collect();
    marks.sort_by_key(|mark| mark.line);
    marks
}

/// Where a text is no YAML, and why. The judge is libyaml, whose grammar is that of Dagster's parser.
#[must_use]
pub fn mistake(text: &str) -> Option<Mark> {
    let error = serde_yaml::from_str::<serde_yaml::Value>(text).err()?;
    let last = text.lines().count().saturating_sub(1);
    let line = error.location().map_or(last, |at| at.line());
    Some(Mark {
        line: line.saturating_sub(1).min(last),
        text: format!("This is no YAML: {error}"),
    })
}

/// The line of the last part of a path that is in the text: a missing entry is missing there.
fn line_of(root: &MarkedYaml, path: &str) -> usize {
    let (mut node, mut rest, mut line) = (root, path, root.span.start.line());
    while !rest.is_empty() {
        let Some((next, at, after)) = step(node, rest) else {
            break;
        };
        (node, line, rest) = (next, at, after);
    }
    line.saturating_sub(1)
}

/// One part of a path: the node it leads to, the line of its key or item, and what is left. A key may
/// have dots of its own.
fn step<'n, 'y, 'p>(
    node: &'n MarkedYaml<'y>,
    path: &'p str,
) -> Option<(&'n MarkedYaml<'y>, usize, &'p str)> {
    match &node.data {
        YamlData::Mapping(entries) => entries.iter().find_map(|(key, value)| {
            let rest = path.strip_prefix(name(key)?.as_str())?;
            let rest = match rest.strip_prefix('.') {
                Some(rest) => rest,
                None if rest.is_empty() || rest.starts_with('[') => rest,
                None => return None,
            };
            Some((value, key.span.start.line(), rest))
        }),
        YamlData::Sequence(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            let line = item.span.start.line();
            Some((item, line, rest.strip_prefix('.').unwrap_or(rest)))
        }
        _ => None,
    }
}

/// A key as Dagster writes it in a path.
fn name(key: &MarkedYaml) -> Option<String> {
    if let Some(text) = key.data.as_str() {
        return Some(text.to_owned());
    }
    let number = key.data.as_integer().map(|number| number.to_string());
    number.or_else(|| key.data.as_bool().map(|value| value.to_string()))
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
