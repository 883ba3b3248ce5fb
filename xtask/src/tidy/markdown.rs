//! Relative links of Markdown files lead somewhere, anchors included, and the files that
//! ARCHITECTURE.md names exist.

use super::Finding;
use crate::tree::Tree;

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in links(text) {
            if let Some(message) = dead(tree, path, target) {
                findings.push(Finding::new(path, line, message));
            }
        }
    }
    for (line, name) in tree.text(MAP).into_iter().flat_map(named_files) {
        let end = format!("/{name}");
        if !tree
            .files()
            .any(|(path, _)| path == name || path.ends_with(&end))
        {
            findings.push(Finding::new(MAP, line, format!("{name}: no such file")));
        }
    }
    findings
}

/// The map of the code: it is of use only while it is true.
const MAP: &str = "ARCHITECTURE.md";

/// Source files in backticks, as (line, name).
fn named_files(text: &str) -> Vec<(usize, &str)> {
    let mut named = Vec::new();
    for (at, line) in prose(text) {
        let quoted = line.split('`').skip(1).step_by(2);
        named.extend(
            quoted
                .filter(|name| name.ends_with(".rs"))
                .map(|name| (at, name)),
        );
    }
    named
}

fn dead(tree: &Tree, path: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let Some(full) = resolve(path, file) else {
        return Some(format!("{target}: leads out of the repository"));
    };
    if !tree.has(&full) {
        return Some(format!("{target}: no such file"));
    }
    let text = tree
        .text(&full)
        .filter(|_| !anchor.is_empty() && full.ends_with(".md"))?;
    let found = headings(text).any(|heading| slug(heading) == anchor);
    (!found).then(|| format!("{target}: no such heading"))
}

/// The path of a link's target, relative to the root.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The inline links outside code blocks, as (line, target).
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (at, line) in prose(text) {
        for (start, _) in line.match_indices("](") {
            let rest = &line[start + 2..];
            if let Some(end) = rest.find([')', ' ']) {
                links.push((at, &rest[..end]));
            }
        }
    }
    links
}

/// The lines outside fenced code, numbered from one.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((at + 1, line))
    })
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    let lines = prose(text)
        .map(|(_, line)| line)
        .filter(|line| line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('#').trim())
}

/// The anchor that forges make of a heading.
fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{messages, tree};
    use super::*;

    #[track_caller]
    fn finds(text: &str, expect: &[&str]) {
        let files = [
            ("docs/a.md", text),
            ("docs/b.md", "# The `b` file\n"),
            ("LICENSE", ""),
        ];
        assert_eq!(messages(&check(&tree(&files))), expect);
    }

    #[test]
    fn living_links_are_fine() {
        finds(
            "[b](b.md) [c](b.md#the-b-file) [d](../LICENSE) [e](..) [f](https://x.y/z)",
            &[],
        );
    }

    #[test]
    fn dead_file_and_dead_heading_are_found() {
        finds("[b](c.md)", &["c.md: no such file"]);
        finds("[b](b.md#nowhere)", &["b.md#nowhere: no such heading"]);
        finds("[b](../../x)", &["../../x: leads out of the repository"]);
    }

    #[test]
    fn file_that_the_map_names_exists() {
        let map = "see `b.rs`, `src/b.rs` and `c.rs`, not `a b`";
        let files = [("ARCHITECTURE.md", map), ("crates/a/src/b.rs", "")];
        assert_eq!(messages(&check(&tree(&files))), ["c.rs: no such file"]);
    }

    #[test]
    fn code_blocks_are_no_links() {
        finds("```\n[b](c.md)\n```\n", &[]);
    }
}
