//! `quote diff`: which registers differ, and what they measure.

use std::{path::Path, process::ExitCode};

use serde::Serialize;

use super::decode::{self, Field};
use crate::{
    evidence,
    failure::Exit,
    output::{self, Format},
};

/// What `quote diff` prints.
#[derive(Debug, Serialize)]
struct Difference {
    equal: bool,
    differing: Vec<Differing>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Differing {
    register: &'static str,
    meaning: &'static str,
    expected: String,
    actual: String,
}

/// Reads both and prints.
pub(super) fn run(expected: &Path, actual: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let fields = |path| Ok::<_, anyhow::Error>(decode::fields(evidence::parsed(path)?.registers()));
    let differing = compare(fields(expected)?, fields(actual)?);
    let difference = Difference {
        equal: differing.is_empty(),
        differing,
    };
    output::print(format, &difference, text);
    Ok(if difference.equal {
        ExitCode::SUCCESS
    } else {
        Exit::No.into()
    })
}

/// By name: bodies of different versions hold different registers.
fn compare(expected: Vec<Field>, actual: Vec<Field>) -> Vec<Differing> {
    let value = |fields: &[Field], name| {
        fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.value.clone())
    };
    let only_actual = actual
        .iter()
        .filter(|field| value(&expected, field.name).is_none())
        .cloned();
    let all: Vec<Field> = expected.iter().cloned().chain(only_actual).collect();
    all.into_iter()
        .filter_map(|Field { name, meaning, .. }| {
            let (left, right) = (value(&expected, name), value(&actual, name));
            let absent = || "absent".to_owned();
            (left != right).then(|| Differing {
                register: name,
                meaning,
                expected: left.unwrap_or_else(absent),
                actual: right.unwrap_or_else(absent),
            })
        })
        .collect()
}

fn text(difference: &Difference) -> String {
    if difference.equal {
        return "equal".to_owned();
    }
    let rows = difference.differing.iter().flat_map(|differing| {
        let Differing {
            register,
            meaning,
            expected,
            actual,
        } = differing;
        [
            format!("{register} ({meaning})"),
            format!("  expected {expected}"),
            format!("  actual   {actual}"),
        ]
    });
    rows.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named_with_both_values() {
        let field = |name, value: &str| Field {
            name,
            meaning: "m",
            value: value.to_owned(),
        };
        let found = compare(
            vec![
                field("mrtd", "aa"),
                field("rtmr2", "01"),
                field("xfam", "ff"),
            ],
            vec![
                field("mrtd", "aa"),
                field("rtmr2", "02"),
                field("mr_service_td", "00"),
            ],
        );
        let named: Vec<_> = found
            .iter()
            .map(|d| (d.register, d.expected.as_str(), d.actual.as_str()))
            .collect();
        assert_eq!(
            named,
            [
                ("rtmr2", "01", "02"),
                ("xfam", "ff", "absent"),
                ("mr_service_td", "absent", "00"),
            ]
        );
    }
}
