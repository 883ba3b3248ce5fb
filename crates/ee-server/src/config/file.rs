//! The TOML file that `EE_CONFIG` names: flat keys plus `[networks.<name>]` tables.
//!
//! Values keep their line so that every later complaint can name it.

use std::{fs, path::Path};

use ee_protocol::settings::{FileLayer, FileValue, Problem};
use toml::de::{DeTable, DeValue};

use super::networks::NetworkTables;

/// A configuration file holds a few dozen lines; anything near this is another file.
const CONFIG_FILE_MAX_BYTES: usize = 1024 * 1024;

/// The file, split into settings and network policies.
#[derive(Debug, Default)]
pub struct ConfigFile {
    /// Flat keys.
    pub layer: FileLayer,
    /// The `[networks.*]` tables as written, checked later.
    pub networks: NetworkTables,
}

/// Reads and parses the file, or says why not.
pub fn read(path: &Path) -> Result<ConfigFile, Vec<Problem>> {
    let failed = |origin: String, message: String| {
        vec![Problem {
            name: "EE_CONFIG".to_owned(),
            origin,
            message,
        }]
    };
    let place = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| failed(place.clone(), format!("cannot be read: {error}")))?;
    if text.len() > CONFIG_FILE_MAX_BYTES {
        return Err(failed(
            place,
            format!("larger than {CONFIG_FILE_MAX_BYTES} bytes"),
        ));
    }
    parse(path, &text)
}

/// Parses the text of a configuration file.
pub fn parse(path: &Path, text: &str) -> Result<ConfigFile, Vec<Problem>> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        vec![Problem {
            name: "EE_CONFIG".to_owned(),
            origin: format!("{}:{line}", path.display()),
            message: format!("not valid TOML: {}", error.message()),
        }]
    })?;
    let mut file = ConfigFile::default();
    file.layer.path = path.to_path_buf();
    let mut problems = Vec::new();
    for (key, value) in table.into_inner() {
        let line = line_of(text, key.span().start);
        if key.get_ref() == "networks" {
            file.networks = NetworkTables::collect(path, text, value.into_inner(), &mut problems);
            continue;
        }
        match scalar_text(value.get_ref()) {
            Some(value) => {
                let value = FileValue { text: value, line };
                file.layer.values.insert(key.get_ref().to_string(), value);
            }
            None => problems.push(Problem {
                name: key.get_ref().to_string(),
                origin: format!("{}:{line}", path.display()),
                message: "must be text, a number, true, false, or a list of those".to_owned(),
            }),
        }
    }
    if problems.is_empty() {
        Ok(file)
    } else {
        Err(problems)
    }
}

/// The line of a byte offset, counted from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

/// A value as the environment would spell it; lists are joined with commas.
pub fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| scalar_text(item.get_ref()))
                .collect();
            items.map(|items| items.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
