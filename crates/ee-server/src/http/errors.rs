//! `GET /errors/{code}`: the page behind a problem's `type`.

use axum::{extract::Path, response::IntoResponse};
use ee_protocol::problem::{Problem, ProblemCode};
use http::header;

use super::answer::ApiError;

/// What a code means and what to do about it, as plain text.
pub async fn error_read(Path(code): Path<String>) -> Result<impl IntoResponse, ApiError> {
    let Some(code) = ProblemCode::parse(&code) else {
        let detail = "no problem has this code".to_owned();
        return Err(Problem::new(ProblemCode::NotFound).detail(detail).into());
    };
    let page = format!(
        "{code} ({})\n\n{}.\n\nNext: {}.\n",
        code.status(),
        code.title(),
        code.hint()
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], page))
}
