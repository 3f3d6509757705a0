//! YAML. The only module that knows the crates that read it: `serde_yaml` decides what is YAML, as
//! its grammar is that of Dagster's parser, and reads into types; `serde-saphyr` knows the line of
//! every value.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Spanned};

/// The place where a text is not YAML, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; `None` if the parser does not report it.
    pub line: Option<usize>,
    /// The parser's words; of what is YAML, and yet not read, a sentence.
    pub text: String,
    /// Whether it is YAML, of a kind that is not read.
    pub is_yaml: bool,
}

/// A value with its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line on which it begins, from 1.
    pub line: usize,
    /// Its value.
    pub data: Data,
}

/// The value of a node. A mapping keeps its keys' lines, order and repetitions.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Null, a boolean, a number or a text.
    Scalar(Value),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Vec<(Node, Node)>),
}

/// Reads a text into a type; an empty text is null.
///
/// # Errors
/// The parser's words, with line and column. They may quote a value.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// Number of brackets that may be open at once. The parser's time grows with its square, and what
/// is nested half as deeply is refused.
const OPEN: usize = 200;

/// Sentence for what the parsers' limits refuse.
const DEEP: &str = "this is nested too deeply, or grows too large by its aliases";

/// Finds the line in which too many brackets are open, without parsing.
fn too_deep(text: &str) -> Option<Mistake> {
    let mut open = 0_usize;
    let line = text.lines().position(|line| {
        line.bytes().any(|byte| {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            open > OPEN
        })
    })?;
    Some(Mistake {
        line: Some(line + 1),
        text: DEEP.to_owned(),
        is_yaml: true,
    })
}

/// Finds the place where a text is not YAML. A key that is given twice is a mistake, too.
#[must_use]
pub fn mistake(text: &str) -> Option<Mistake> {
    if let Some(mistake) = too_deep(text) {
        return Some(mistake);
    }
    let error = serde_yaml::from_str::<serde_yaml::Value>(text).err()?;
    Some(Mistake::new(&error, text))
}

impl Mistake {
    fn new(error: &serde_yaml::Error, text: &str) -> Self {
        let line = error.location().map(|at| at.line());
        let words = error.to_string();
        // The crate's errors have no kinds.
        if words.contains("more than one document") {
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.iter().rposition(|line| line.starts_with("---"));
            return Self {
                line: last.map(|at| at + 1),
                text: String::from("a second document begins here; only one is read"),
                is_yaml: true,
            };
        }
        let is_yaml = words.contains("recursion limit") || words.contains("repetition limit");
        let text = if is_yaml { DEEP.to_owned() } else { words };
        Self {
            line,
            text,
            is_yaml,
        }
    }

    /// What only the other parser refuses.
    fn of_spans(error: &serde_saphyr::Error) -> Self {
        let mut cause = error;
        while let serde_saphyr::Error::AliasError { error, .. }
        | serde_saphyr::Error::WithSnippet { error, .. } = cause
        {
            cause = error;
        }
        let sentence = match cause {
            serde_saphyr::Error::Budget { .. } => Some(DEEP),
            serde_saphyr::Error::NonFiniteFloat { .. } => {
                Some("this number is not finite; if it is a text, put it in quotes")
            }
            _ => None,
        };
        Self {
            line: error.location().and_then(|at| at.line().try_into().ok()),
            text: sentence.map_or_else(|| error.to_string(), str::to_owned),
            is_yaml: sentence.is_some(),
        }
    }
}

impl Node {
    /// Reads a text. Keys that are given twice are kept, and no scalar of YAML 1.1 is a boolean but
    /// `true` and `false`.
    ///
    /// # Errors
    /// [`Mistake`]
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        if let Some(mistake) = too_deep(text) {
            return Err(mistake);
        }
        serde_yaml::from_str::<IgnoredAny>(text).map_err(|error| Mistake::new(&error, text))?;
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            merge_keys: MergeKeyPolicy::AsOrdinary,
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| Mistake::of_spans(&error))
    }

    /// The text of a key; none for one that is no scalar.
    #[must_use]
    pub fn as_key(&self) -> Option<String> {
        match &self.data {
            Data::Scalar(Value::String(text)) => Some(text.clone()),
            Data::Scalar(value) => Some(value.to_string()),
            Data::List(_) | Data::Map(_) => None,
        }
    }

    /// The line of the last part of a path that is there: a missing entry is missing there. Parts are
    /// written as Dagster writes them, `ops.score.config.days[1].from`.
    #[must_use]
    pub fn line_of(&self, path: &str) -> usize {
        let (mut node, mut rest, mut line) = (self, path, self.line);
        while !rest.is_empty() {
            let Some((next, at, after)) = node.step(rest) else {
                break;
            };
            (node, line, rest) = (next, at, after);
        }
        line
    }

    /// One part of a path: the node it leads to, the line of its key or item, and what is left. A key
    /// may have dots of its own.
    fn step<'p>(&self, path: &'p str) -> Option<(&Self, usize, &'p str)> {
        match &self.data {
            Data::Map(entries) => entries.iter().find_map(|(key, value)| {
                let rest = path.strip_prefix(key.as_key()?.as_str())?;
                let rest = match rest.strip_prefix('.') {
                    Some(rest) => rest,
                    None if rest.is_empty() || rest.starts_with('[') => rest,
                    None => return None,
                };
                Some((value, key.line, rest))
            }),
            Data::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item, item.line, rest.strip_prefix('.').unwrap_or(rest)))
            }
            Data::Scalar(_) => None,
        }
    }

    /// Without the lines; of a key that is given twice the last one is kept.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Map(entries) => {
                let entry = |(key, value): &(Self, Self)| Some((key.as_key()?, value.to_json()));
                Value::Object(entries.iter().filter_map(entry).collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Data>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line().try_into().unwrap_or(usize::MAX),
            data: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Data, E> {
                Ok(Data::Scalar(Value::Null))
            }
            fn visit_none<E: serde::de::Error>(self) -> Result<Data, E> {
                self.visit_unit()
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
                Data::deserialize(deserializer)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Data, E> {
                Ok(Data::Scalar(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Data, E> {
                Ok(Data::Scalar(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Data, E> {
                Ok(Data::Scalar(value.into()))
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Data, E> {
                let number = Number::from_f64(value);
                let number = number.ok_or_else(|| E::custom("a number that is not finite"))?;
                Ok(Data::Scalar(number.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Data, E> {
                Ok(Data::Scalar(text.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Data, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Data::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Data, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Data::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
