//! The repository's files as values: what the tidy rules read.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// One file of the repository.
pub struct File {
    pub size_bytes: usize,
    /// The content, if it is UTF-8 text.
    pub text: Option<String>,
}

/// All files, by path relative to the root, with `/` between the parts.
#[derive(Default)]
pub struct Tree {
    files: BTreeMap<String, File>,
}

impl Tree {
    /// Reads what git tracks or would add: build output and scratch files are not our text.
    pub fn of_repository(root: &Path) -> Result<Self> {
        let listing = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root)
            .output()
            .context("git ls-files")?;
        ensure!(listing.status.success(), "git ls-files failed");
        let names = String::from_utf8(listing.stdout).context("a file name is not UTF-8")?;
        let mut tree = Self::default();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            // A tracked file that was just deleted is not an error: it is gone.
            if let Ok(bytes) = std::fs::read(root.join(name)) {
                tree.insert(name, bytes);
            }
        }
        Ok(tree)
    }

    /// Adds one file; the unit tests of the rules build their trees with it.
    pub fn insert(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let size_bytes = bytes.len();
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| !text.contains('\0'));
        self.files
            .insert(path.to_owned(), File { size_bytes, text });
    }

    pub fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The text files.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files()
            .filter_map(|(path, file)| Some((path, file.text.as_deref()?)))
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.text.as_deref()
    }

    /// Whether the path is a file or a folder that holds one.
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.keys().any(|name| name.starts_with(&folder))
    }
}
