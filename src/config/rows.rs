//! A row of the table of settings, and the macro that makes rows, [`super::Partial`] and
//! [`super::Settings`] from the table.

use serde_json::Value;

/// Returns the problems of a value.
pub(super) type Check = fn(&Value) -> Vec<Flaw>;

/// A problem of a value that fits its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The part of the value, as in `[1].url`; empty for all of it.
    pub at: String,
    /// The problem and its remedy. No value is quoted: it may be a secret.
    pub text: String,
}

impl Flaw {
    pub fn new(at: impl Into<String>, text: impl Into<String>) -> Self {
        let (at, text) = (at.into(), text.into());
        Self { at, text }
    }

    /// The result of a check of a value as a whole.
    pub fn whole(checked: Result<(), impl Into<String>>) -> Vec<Self> {
        let problem = checked.err();
        problem
            .map(|text| Self::new("", text))
            .into_iter()
            .collect()
    }

    /// The same in a value that has it under this key.
    pub fn within(self, key: &str) -> Self {
        Self::new(joined(key, &self.at), self.text)
    }
}

/// The path of a part: `key.part`, or `key[1]`.
pub(super) fn joined(path: &str, part: &str) -> String {
    if path.is_empty() || part.is_empty() || part.starts_with('[') {
        format!("{path}{part}")
    } else {
        format!("{path}.{part}")
    }
}

/// Properties of a setting besides its type.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Key in the file.
    pub key: &'static str,
    /// Its older name, which is taken as well.
    pub alias: Option<&'static str>,
    /// Environment variable.
    pub env: Option<&'static str>,
    /// Flag of the command line.
    pub flag: Option<&'static str>,
    /// Heading of the settings that begin here.
    pub section: Option<&'static str>,
    pub(super) doc: &'static str,
    pub(super) schema: fn() -> Value,
    pub(super) default: fn() -> Option<Value>,
    /// Words for a default that is no constant.
    pub(super) computed: Option<&'static str>,
    /// An example of a value, for settings whose default does not show one.
    pub(super) example: Option<&'static str>,
    /// Smallest and largest number.
    pub(super) range: Option<(u32, u32)>,
    /// Makes the value: what fits the schema may still not be one.
    pub(super) make: fn(Value) -> Result<(), String>,
    /// A check that a schema cannot express.
    pub(super) check: Option<Check>,
    /// Why nothing here uses it.
    pub(super) unused: Option<&'static str>,
}

impl Row {
    pub(super) const NONE: Self = Self {
        key: "",
        alias: None,
        env: None,
        flag: None,
        section: None,
        doc: "",
        schema: || Value::Null,
        default: || None,
        computed: None,
        example: None,
        range: None,
        make: |_| Ok(()),
        check: None,
        unused: None,
    };

    /// The meaning of the setting, in one line.
    #[must_use]
    pub fn doc(&self) -> &'static str {
        self.doc.trim()
    }

    /// The default in the form of a file; `None` if there is none, or if it is computed.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        (self.default)().filter(|_| self.computed.is_none())
    }

    /// Whether a key of a file names it.
    pub(super) fn is_named(&self, key: &str) -> bool {
        self.key == key || self.alias == Some(key)
    }

    /// JSON schema of the value.
    #[must_use]
    pub fn schema(&self) -> Value {
        let mut schema = (self.schema)();
        if let Some((least, most)) = self.range {
            schema["minimum"] = least.into();
            schema["maximum"] = most.into();
        }
        schema
    }

    /// Whether its value counts seconds.
    pub(super) fn is_seconds(&self) -> bool {
        self.schema()["format"] == "seconds"
    }
}

/// Makes [`super::Partial`], [`super::Settings`] and [`super::ROWS`]. A row is
/// `/// meaning`, `key: Type = default, member of Row: value …;`. Without a default the setting may
/// be absent: its value is an `Option`.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $key:ident: $type:ty $(= $default:expr)? $(, $meta:ident: $value:expr)*;)+) => {
        /// One layer of settings: every value may be absent. The field names are the keys of the
        /// file. `Debug` shows nothing of it: URLs and `config_source` may hold secrets.
        #[derive(Clone, Default, PartialEq)]
        pub struct Partial {
            $($(#[doc = $doc])+ pub $key: Option<$type>,)+
        }

        impl Partial {
            /// From values that fit the rows' schemas.
            pub(super) fn from_json(mut values: Map<String, Value>) -> Result<Self, String> {
                Ok(Self {
                    $($key: match values.remove(stringify!($key)) {
                        Some(value) => Some(SettingValue::from_json(value)?),
                        None => None,
                    },)+
                })
            }

            /// The values that have a flag, as words of a command line.
            #[must_use]
            pub fn to_words(&self) -> Vec<OsString> {
                let mut words = Vec::new();
                let flag = |key| ROWS.iter().find(|row| row.key == key).and_then(|row| row.flag);
                $(if let (Some(value), Some(flag)) = (&self.$key, flag(stringify!($key))) {
                    value.add_to(flag, &mut words);
                })+
                words
            }
        }

        /// The settings of a worker, a console or a command.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $key: Setting<settings!(@type $type $(, $default)?)>,)+
        }

        impl Settings {
            /// The topmost layer's values, and the defaults.
            pub(super) fn topmost(layers: &[Layer]) -> Self {
                Self {
                    $($key: {
                        let given = topmost(layers, stringify!($key), |layer| layer.$key.clone());
                        settings!(@or given $(, $default)?)
                    },)+
                }
            }

            /// Every setting with its value as it was given, secrets and all.
            pub(super) fn unhidden(&self) -> impl Iterator<Item = (&'static Row, Value, &Origin)> {
                let values = [$((settings!(@unhidden self.$key.value $(, $default)?), &self.$key.origin)),+];
                ROWS.iter().zip(values).map(|(row, (value, origin))| (row, value, origin))
            }

            /// Every setting with its value in the form of a file (null if there is none), in the
            /// table's order.
            pub fn shown(&self) -> impl Iterator<Item = (&'static Row, Value, &Origin)> {
                let values = [$((settings!(@shown self.$key.value $(, $default)?), &self.$key.origin)),+];
                ROWS.iter().zip(values).map(|(row, (value, origin))| (row, value, origin))
            }
        }

        /// Every setting.
        pub const ROWS: &[Row] = &[$(Row {
            key: stringify!($key),
            doc: concat!($($doc),+),
            schema: <$type as SettingValue>::schema,
            default: || settings!(@default $type $(, $default)?),
            make: |value| <$type as SettingValue>::from_json(value).map(drop),
            $($meta: Some($value),)*
            ..Row::NONE
        }),+];
    };
    (@type $type:ty) => { Option<$type> };
    (@type $type:ty, $default:expr) => { $type };
    (@or $given:ident) => {
        match $given {
            Some(Setting { value, origin }) => Setting { value: Some(value), origin },
            None => Setting { value: None, origin: Origin::Default },
        }
    };
    (@or $given:ident, $default:expr) => {
        $given.unwrap_or_else(|| Setting { value: $default, origin: Origin::Default })
    };
    (@shown $value:expr) => { $value.as_ref().map_or(Value::Null, SettingValue::to_json) };
    (@shown $value:expr, $default:expr) => { SettingValue::to_json(&$value) };
    (@unhidden $value:expr) => { $value.as_ref().map_or(Value::Null, SettingValue::unhidden) };
    (@unhidden $value:expr, $default:expr) => { SettingValue::unhidden(&$value) };
    (@default $type:ty) => { None };
    (@default $type:ty, $default:expr) => {{
        let value: $type = $default;
        Some(SettingValue::to_json(&value))
    }};
}
pub(super) use settings;
