//! Reads a settings table from its sources and collects every problem on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
};

use super::{Problem, Secret, Setting, Sources};

/// Shorter secrets can be guessed (EXPERIENCE 4): 24 characters of base64 hold 144 bits.
const SECRET_MIN_CHARS: usize = 24;
/// A secret file is one line; more than this is some other file.
const SECRET_FILE_MAX_BYTES: u64 = 16 * 1024;
/// Further apart than this, a suggestion would confuse more than it helps.
const SUGGESTION_MAX_DISTANCE: usize = 3;
/// Secrets printed in the public documentation; whoever copied the page runs with an open door.
const PUBLISHED_SECRETS: [&str; 4] = ["secret", "launcher_secret", "uptime_secret", "ghp_xxx"];

/// Whether secrets that anyone could guess are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretRule {
    /// Short secrets and published examples are problems.
    Strong,
    /// Development networks and tests: anything goes.
    AnyForDevelopment,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag.
    Flag,
    /// The environment.
    Env,
    /// The file that `NAME_FILE` names.
    SecretFile(String),
    /// A systemd credential.
    Credential(String),
    /// The configuration file, with its line.
    File(String),
    /// The table's default.
    Default,
    /// Nowhere: it is not set.
    Unset,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Env => f.write_str("env"),
            Self::SecretFile(place) | Self::Credential(place) | Self::File(place) => {
                f.write_str(place)
            }
            Self::Default => f.write_str("default"),
            Self::Unset => f.write_str("unset"),
        }
    }
}

struct Entry {
    row: Setting,
    text: Option<String>,
    origin: Origin,
}

/// A settings table with its values found. Read the rows, then ask for [`Reader::problems`].
pub struct Reader {
    entries: BTreeMap<&'static str, Entry>,
    problems: Vec<Problem>,
    unknown: Vec<Problem>,
}

impl Reader {
    /// Finds the value of every row. `known_elsewhere` are names of other programs of ours, which
    /// may stand in the same environment without a warning.
    pub fn new(
        table: &[Setting],
        sources: &Sources,
        known_elsewhere: &[&str],
        rule: SecretRule,
    ) -> Self {
        let mut reader = Self {
            entries: BTreeMap::new(),
            problems: Vec::new(),
            unknown: Vec::new(),
        };
        for row in table {
            let found = reader.find(row, sources);
            let (text, origin) = found.unwrap_or((None, Origin::Unset));
            if row.secret && !row.any_length && rule == SecretRule::Strong {
                reader.check_strength(row, text.as_deref(), &origin);
            }
            if row.required && text.is_none() && !reader.has_problem(row.name) {
                reader.problem(row.name, &Origin::Unset, "required, and not set");
            }
            reader.entries.insert(
                row.name,
                Entry {
                    row: *row,
                    text,
                    origin,
                },
            );
        }
        reader.check_file_keys(table, sources);
        reader.check_env_names(table, sources, known_elsewhere);
        reader
    }

    /// The value of `name` after `parse`; `None` if it is unset or if parsing failed, which is
    /// recorded as a problem.
    ///
    /// # Panics
    /// If `name` is not a row of the table: only the program's author can do that.
    pub fn read<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self
            .entries
            .get(name)
            .expect("only rows of the table are read");
        match parse(entry.text.as_deref()?) {
            Ok(value) => Some(value),
            Err(message) => {
                let (name, origin) = (entry.row.name, entry.origin.clone());
                let message = if entry.row.secret {
                    "not usable".to_owned()
                } else {
                    message
                };
                self.problem(name, &origin, &message);
                None
            }
        }
    }

    /// The secret `name`, if it is set.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.read(name, |text| Ok(Secret::new(text)))
    }

    /// Records a problem found by looking at several settings together.
    pub fn refuse(&mut self, name: &str, message: &str) {
        let origin = self.origin(name);
        self.problem(name, &origin, message);
    }

    /// Where the value of `name` came from.
    pub fn origin(&self, name: &str) -> Origin {
        self.entries
            .get(name)
            .map_or(Origin::Unset, |entry| entry.origin.clone())
    }

    /// Everything that is wrong, in the order in which it was found; the values must not be used
    /// unless this is empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// `EE_*` variables that no program of ours knows: a warning at start, a problem for
    /// `config check`.
    pub fn unknown_variables(&self) -> &[Problem] {
        &self.unknown
    }

    /// Rows of `config show`: name, value with secrets redacted, origin.
    pub fn shown(&self) -> Vec<(&'static str, String, Origin)> {
        let show = |entry: &Entry| match (&entry.text, entry.row.secret) {
            (None, _) => String::new(),
            (Some(_), true) => "[redacted]".to_owned(),
            (Some(text), false) => text.clone(),
        };
        self.entries
            .values()
            .map(|e| (e.row.name, show(e), e.origin.clone()))
            .collect()
    }

    fn find(&mut self, row: &Setting, sources: &Sources) -> Option<(Option<String>, Origin)> {
        let file = sources.file.as_ref();
        let in_file = file.and_then(|f| {
            let value = f.values.get(&row.file_key())?;
            let place = Origin::File(format!("{}:{}", f.path.display(), value.line));
            Some((value.text.clone(), place))
        });
        let plain = [
            sources
                .flags
                .get(row.name)
                .map(|text| (text.clone(), Origin::Flag)),
            sources
                .env
                .get(row.name)
                .map(|text| (text.clone(), Origin::Env)),
            in_file,
        ];
        let plain = plain
            .into_iter()
            .flatten()
            .find(|(text, _)| row.empty_is_value || !text.is_empty());
        let mut found: Vec<(String, Origin)> = plain.into_iter().collect();
        if row.secret {
            found.extend(self.secret_sources(row, sources)?);
        }
        if found.len() > 1 {
            let places: Vec<String> = found.iter().map(|(_, o)| o.to_string()).collect();
            let message = format!("set twice ({}); keep one of them", places.join(", "));
            self.problem(row.name, &Origin::Unset, &message);
        }
        let default = (!row.default.is_empty()).then(|| row.default.to_owned());
        Some(match found.into_iter().next() {
            Some((text, origin)) => (Some(text), origin),
            None if default.is_some() => (default, Origin::Default),
            None => (None, Origin::Unset),
        })
    }

    /// Secrets from `NAME_FILE` and from the systemd credential `NAME`. `None` if one of them is
    /// named but cannot be used (already recorded).
    fn secret_sources(
        &mut self,
        row: &Setting,
        sources: &Sources,
    ) -> Option<Vec<(String, Origin)>> {
        let file = non_empty(sources.env.get(&format!("{}_FILE", row.name))).cloned();
        let credential = non_empty(sources.env.get("CREDENTIALS_DIRECTORY"))
            .map(|directory| format!("{directory}/{}", row.name))
            .filter(|path| fs::exists(path).unwrap_or(false));
        let named = [
            file.map(Origin::SecretFile),
            credential.map(Origin::Credential),
        ];
        let mut found = Vec::new();
        for origin in named.into_iter().flatten() {
            match read_secret_file(&origin.to_string()) {
                Ok(text) => found.push((text, origin)),
                Err(message) => {
                    self.problem(row.name, &origin, &message);
                    return None;
                }
            }
        }
        Some(found)
    }

    fn check_strength(&mut self, row: &Setting, text: Option<&str>, origin: &Origin) {
        let Some(text) = text else { return };
        if PUBLISHED_SECRETS.contains(&text) {
            self.problem(
                row.name,
                origin,
                "a published example; make one with: openssl rand -hex 32",
            );
        } else if text.chars().count() < SECRET_MIN_CHARS {
            let message = format!(
                "shorter than {SECRET_MIN_CHARS} characters; make one with: openssl rand -hex 32"
            );
            self.problem(row.name, origin, &message);
        }
    }

    fn check_file_keys(&mut self, table: &[Setting], sources: &Sources) {
        let Some(file) = &sources.file else { return };
        let known: BTreeSet<String> = table.iter().map(Setting::file_key).collect();
        for (key, value) in file.values.iter().filter(|(key, _)| !known.contains(*key)) {
            self.problems.push(Problem {
                name: key.clone(),
                origin: format!("{}:{}", file.path.display(), value.line),
                message: unknown_message("key", key, known.iter().map(String::as_str)),
            });
        }
    }

    fn check_env_names(&mut self, table: &[Setting], sources: &Sources, elsewhere: &[&str]) {
        let mut known: BTreeSet<String> = elsewhere.iter().map(ToString::to_string).collect();
        for row in table {
            known.insert(row.name.to_owned());
            if row.secret {
                known.insert(format!("{}_FILE", row.name));
            }
        }
        let ours = sources.env.keys().filter(|name| name.starts_with("EE_"));
        self.unknown = ours
            .filter(|name| !known.contains(*name))
            .map(|name| Problem {
                name: name.clone(),
                origin: "env".to_owned(),
                message: unknown_message("variable", name, known.iter().map(String::as_str)),
            })
            .collect();
    }

    fn has_problem(&self, name: &str) -> bool {
        self.problems.iter().any(|problem| problem.name == name)
    }

    fn problem(&mut self, name: &str, origin: &Origin, message: &str) {
        let origin = match origin {
            Origin::Unset => String::new(),
            Origin::Flag
            | Origin::Env
            | Origin::SecretFile(_)
            | Origin::Credential(_)
            | Origin::File(_)
            | Origin::Default => origin.to_string(),
        };
        self.problems.push(Problem {
            name: name.to_owned(),
            origin,
            message: message.to_owned(),
        });
    }
}

fn non_empty(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

fn read_secret_file(path: &str) -> Result<String, String> {
    let size = fs::metadata(path)
        .map_err(|error| format!("cannot be read: {error}"))?
        .len();
    if size > SECRET_FILE_MAX_BYTES {
        return Err(format!(
            "larger than {SECRET_FILE_MAX_BYTES} bytes: not a secret"
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        Err("the file is empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn unknown_message<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|other| (distance(name, other), other)).min();
    match nearest {
        Some((apart, other)) if apart <= SUGGESTION_MAX_DISTANCE => {
            format!("unknown {kind}; did you mean {other}?")
        }
        Some(_) | None => format!("unknown {kind}"),
    }
}

/// Edit distance of two names (Levenshtein), one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::{FileLayer, FileValue, integer};
    use super::*;

    const TABLE: &[Setting] = &[
        Setting::new("EE_PORT", "8088", "the port"),
        Setting::new("EE_TOKEN_A", "", "a token").secret(),
        Setting::new("EE_NAME", "", "a name").required(),
    ];

    fn reader(pairs: &[(&str, &str)]) -> Reader {
        let sources = Sources::from_pairs(pairs.iter().copied());
        Reader::new(TABLE, &sources, &[], SecretRule::Strong)
    }

    #[test]
    fn settings_report_everything_at_once() {
        let mut reader = reader(&[("EE_PORT", "x"), ("EE_TOKEN_A", "secret")]);
        assert_eq!(reader.read("EE_PORT", integer(0..=65_535)), None);
        let text: Vec<String> = reader.problems().iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 3, "{text:?}");
        assert!(
            text[0].starts_with("EE_TOKEN_A (env): a published example"),
            "{text:?}"
        );
        assert!(text[1].starts_with("EE_NAME: required"), "{text:?}");
        assert!(
            text[2].starts_with("EE_PORT (env): 'x' is not a whole number"),
            "{text:?}"
        );
    }

    #[test]
    fn empty_counts_as_unset() {
        let mut reader = reader(&[("EE_PORT", ""), ("EE_NAME", "n"), ("EE_TOKEN_A", "")]);
        assert_eq!(reader.read("EE_PORT", integer(0..=65_535)), Some(8088));
        assert_eq!(reader.origin("EE_PORT"), Origin::Default);
        assert!(reader.secret("EE_TOKEN_A").is_none());
        assert!(reader.problems().is_empty());
    }

    #[test]
    fn flags_beat_environment_beats_file() {
        let value = FileValue {
            text: "1".into(),
            line: 7,
        };
        let file = FileLayer {
            path: "ee.toml".into(),
            values: [("port".to_owned(), value)].into(),
        };
        let mut sources = Sources {
            file: Some(file),
            ..Sources::default()
        };
        let origin = |sources: &Sources| {
            Reader::new(TABLE, sources, &[], SecretRule::Strong)
                .origin("EE_PORT")
                .to_string()
        };
        assert_eq!(origin(&sources), "ee.toml:7");
        sources.env.insert("EE_PORT".into(), "2".into());
        assert_eq!(origin(&sources), "env");
        sources.flags.insert("EE_PORT".into(), "3".into());
        assert_eq!(origin(&sources), "flag");
    }

    #[test]
    fn unknown_names_come_with_a_suggestion() {
        let value = FileValue {
            text: "1".into(),
            line: 3,
        };
        let file = FileLayer {
            path: "ee.toml".into(),
            values: [("prot".to_owned(), value)].into(),
        };
        let mut sources = Sources {
            file: Some(file),
            ..Sources::default()
        };
        sources.env.insert("EE_PROT".into(), "1".into());
        sources.env.insert("EE_ELSEWHERE".into(), "1".into());
        let reader = Reader::new(TABLE, &sources, &["EE_ELSEWHERE"], SecretRule::Strong);
        let problem = reader
            .problems()
            .iter()
            .find(|p| p.name == "prot")
            .expect("found");
        assert_eq!(
            problem.to_string(),
            "prot (ee.toml:3): unknown key; did you mean port?"
        );
        assert_eq!(reader.unknown_variables().len(), 1);
        assert!(
            reader.unknown_variables()[0]
                .message
                .contains("did you mean EE_PORT?")
        );
    }

    #[test]
    fn empty_secret_file_names_its_path() {
        let path = std::env::temp_dir().join(format!("ee-empty-secret-{}", std::process::id()));
        fs::write(&path, "\n").expect("temporary file");
        let name = path.display().to_string();
        let reader = reader(&[("EE_NAME", "n"), ("EE_TOKEN_A_FILE", &name)]);
        fs::remove_file(&path).expect("temporary file");
        let problem = reader.problems()[0].to_string();
        assert_eq!(problem, format!("EE_TOKEN_A ({name}): the file is empty"));
    }

    #[test]
    fn a_secret_from_two_sources_is_refused() {
        let path = std::env::temp_dir().join(format!("ee-two-secrets-{}", std::process::id()));
        fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("temporary file");
        let name = path.display().to_string();
        let long = "fedcba9876543210fedcba9876543210";
        let reader = reader(&[
            ("EE_NAME", "n"),
            ("EE_TOKEN_A", long),
            ("EE_TOKEN_A_FILE", &name),
        ]);
        fs::remove_file(&path).expect("temporary file");
        assert!(
            reader.problems()[0].message.contains("set twice"),
            "{:?}",
            reader.problems()
        );
        assert!(!format!("{:?}", reader.problems()).contains(long));
    }

    #[test]
    fn secrets_are_never_shown() {
        let long = "fedcba9876543210fedcba9876543210";
        let reader = reader(&[("EE_NAME", "n"), ("EE_TOKEN_A", long)]);
        let shown = format!("{:?}", reader.shown());
        assert!(
            shown.contains("[redacted]") && !shown.contains(long),
            "{shown}"
        );
    }
}
