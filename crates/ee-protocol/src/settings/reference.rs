//! Prints settings tables as the reference page and as an example file.

use super::Setting;

/// One Markdown table per program, for `docs/config.md`.
pub fn reference_markdown(programs: &[(&str, &[Setting])]) -> String {
    let mut page = String::new();
    for (title, table) in programs {
        page.push_str(&format!(
            "\n## {title}\n\n| variable | default | meaning | |\n"
        ));
        page.push_str("|---|---|---|---|\n");
        for row in *table {
            page.push_str(&markdown_row(row));
        }
    }
    page
}

/// Every setting as a comment with its default, ready to be edited.
pub fn example_toml(table: &[Setting]) -> String {
    let mut text = String::new();
    for row in table {
        text.push_str(&format!("# {}\n", row.meaning));
        if row.default.is_empty() {
            text.push_str(&format!("# ({})\n", row.unset));
        }
        text.push_str(&format!("# {} = {:?}\n\n", row.file_key(), row.default));
    }
    text
}

fn markdown_row(row: &Setting) -> String {
    let default = if row.default.is_empty() {
        row.unset.to_owned()
    } else {
        format!("`{}`", row.default)
    };
    let mark = if row.secret { "S" } else { "" };
    format!(
        "| `{}` | {default} | {} | {mark} |\n",
        row.name,
        row.meaning.replace('|', "\\|")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_shows_defaults_and_marks_secrets() {
        let table = [
            Setting::new("EE_PORT", "8088", "the port"),
            Setting::new("EE_TOKEN", "", "the token")
                .secret()
                .unset("none: door closed"),
        ];
        let page = reference_markdown(&[("Server", &table)]);
        assert!(
            page.contains("| `EE_PORT` | `8088` | the port |  |"),
            "{page}"
        );
        assert!(
            page.contains("| `EE_TOKEN` | none: door closed | the token | S |"),
            "{page}"
        );
        assert!(example_toml(&table).contains("# port = \"8088\""));
    }
}
