//! The `[networks.<name>]` tables of the configuration file, as written.
//!
//! They are checked key by key when the policies are built, so that each complaint names its line.

use std::{collections::BTreeMap, path::Path};

use ee_protocol::{
    names::Network,
    settings::{FileValue, Problem},
};
use toml::de::DeValue;

use super::file::{line_of, scalar_text};

/// Keys of one network's table with their values.
pub type NetworkTable = BTreeMap<String, FileValue>;

/// The tables of all networks that the file mentions.
#[derive(Debug, Clone, Default)]
pub struct NetworkTables {
    /// The file's name, for complaints.
    pub path: String,
    /// By network.
    pub tables: BTreeMap<Network, NetworkTable>,
}

impl NetworkTables {
    /// Takes the value of the key `networks` apart.
    pub fn collect(
        path: &Path,
        text: &str,
        value: DeValue<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut found = Self {
            path: path.display().to_string(),
            tables: BTreeMap::new(),
        };
        let DeValue::Table(networks) = value else {
            problems.push(found.problem("networks", 1, "must be tables: [networks.forge-1]"));
            return found;
        };
        for (name, table) in networks {
            let line = line_of(text, name.span().start);
            let full_name = format!("networks.{}", name.get_ref());
            match (Network::parse(name.get_ref()), table.into_inner()) {
                (Ok(network), DeValue::Table(keys)) => {
                    let keys = found.keys(&full_name, text, keys, problems);
                    found.tables.insert(network, keys);
                }
                (Err(error), _) => {
                    problems.push(found.problem(&full_name, line, &error.to_string()));
                }
                (Ok(_), _) => problems.push(found.problem(&full_name, line, "must be a table")),
            }
        }
        found
    }

    /// A complaint about `name` on `line` of this file.
    pub fn problem(&self, name: &str, line: usize, message: &str) -> Problem {
        Problem {
            name: name.to_owned(),
            origin: format!("{}:{line}", self.path),
            message: message.to_owned(),
        }
    }

    fn keys(
        &self,
        network: &str,
        text: &str,
        keys: toml::de::DeTable<'_>,
        problems: &mut Vec<Problem>,
    ) -> NetworkTable {
        let mut table = NetworkTable::new();
        for (key, value) in keys {
            let line = line_of(text, key.span().start);
            match scalar_text(value.get_ref()) {
                Some(text) => {
                    table.insert(key.get_ref().to_string(), FileValue { text, line });
                }
                None => {
                    let name = format!("{network}.{}", key.get_ref());
                    problems.push(self.problem(&name, line, "must be a value or a list"));
                }
            }
        }
        table
    }
}
