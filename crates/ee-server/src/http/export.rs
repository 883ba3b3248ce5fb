//! Entries of an account as CSV (RFC 4180) and as JSON Lines, beside JSON.
//!
//! References are chosen by strangers: whoever pays names the transfer, and the payee opens the
//! file in a spreadsheet. Text that a spreadsheet would run as a formula gets an apostrophe.

use axum::response::{IntoResponse, Response};
use ee_protocol::{
    http::accounts::Entry,
    problem::{Problem, ProblemCode},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::paging::parameter;

const CSV_HEADER: &str =
    "seq,at,kind,transfer_id,amount_micro_usd,effect,account,counterparty,reference\r\n";

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object with the cursor inside.
    Json,
    /// A header line, then one line for each entry.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// The format that `?format=` names, else `Accept`, else JSON.
pub fn format(uri: &Uri, headers: &HeaderMap) -> Result<Format, Box<Problem>> {
    match parameter(uri, "format").as_deref() {
        Some("json") => return Ok(Format::Json),
        Some("csv") => return Ok(Format::Csv),
        Some("jsonl") => return Ok(Format::JsonLines),
        Some(_) => {
            let problem = Problem::new(ProblemCode::InvalidField);
            return Err(Box::new(problem.field("?format", "not json, csv or jsonl")));
        }
        None => {}
    }
    let accept = headers.get(header::ACCEPT);
    let accept = accept
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    Ok(
        match accept.split([',', ';']).next().unwrap_or_default().trim() {
            "text/csv" => Format::Csv,
            "application/jsonl" | "application/x-ndjson" => Format::JsonLines,
            _ => Format::Json,
        },
    )
}

/// Entries as CSV.
pub fn csv(entries: &[Entry]) -> Response {
    let mut text = String::from(CSV_HEADER);
    for entry in entries {
        let Entry {
            seq,
            at,
            kind,
            transfer_id,
            amount_micro_usd,
            effect,
            account,
            counterparty,
            reference,
        } = entry;
        let (account, counterparty) = (cell(account), cell(counterparty));
        let reference = cell(reference.as_deref().unwrap_or(""));
        text.push_str(&format!(
            "{seq},{at},{kind},{transfer_id},{amount_micro_usd},{effect},{account},\
             {counterparty},{reference}\r\n"
        ));
    }
    plain("text/csv; charset=utf-8; header=present", text)
}

/// Entries as JSON Lines.
pub fn json_lines(entries: &[Entry]) -> Response {
    let lines = entries.iter().map(|entry| {
        let line = serde_json::to_string(entry).expect("wire types have text keys");
        line + "\n"
    });
    plain("application/jsonl", lines.collect())
}

fn plain(content_type: &'static str, text: String) -> Response {
    let content_type = HeaderValue::from_static(content_type);
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// Text as one cell, always quoted.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_no_formula() {
        assert_eq!(cell("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        assert_eq!(cell("invoice 7, paid"), "\"invoice 7, paid\"");
        assert_eq!(cell(""), "\"\"");
    }

    #[test]
    fn the_query_names_the_format_before_the_header_does() {
        let read = |target: &str, accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            format(&target.parse().expect("target"), &headers).map_err(|problem| problem.code)
        };
        assert_eq!(read("/e", "*/*"), Ok(Format::Json));
        assert_eq!(read("/e", "text/csv, */*"), Ok(Format::Csv));
        assert_eq!(read("/e?format=jsonl", "text/csv"), Ok(Format::JsonLines));
        assert_eq!(read("/e?format=xls", "*/*"), Err("invalid_field".into()));
    }
}
