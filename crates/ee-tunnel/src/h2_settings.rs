//! HTTP/2 settings of both ends (TUNNEL 4).

use crate::limits::{
    CONNECTION_WINDOW, DATA_FRAME_BUDGET, FRAME_MAX, HEADER_LIST, HEADER_TABLE, LOCAL_ERROR_RESETS,
    PENDING_RESETS, SEND_BUFFER, STREAMS_MAX,
};

/// The receive window of a session's streams.
#[derive(Debug)]
pub(crate) struct Window(u32);

impl Window {
    pub(crate) fn new(bytes: u32) -> Self {
        Self(bytes)
    }

    /// Changes it by `set`. While the peer has not acknowledged an earlier change there is no
    /// other; the next turn tries again.
    pub(crate) fn follow(&mut self, wanted: u32, set: impl FnOnce(u32) -> Result<(), h2::Error>) {
        if wanted != self.0 && set(wanted).is_ok() {
            self.0 = wanted;
        }
    }
}

/// The control plane: the client. `credits` holds until the agent's SETTINGS arrive; `window` is of
/// a stream's answer.
pub(crate) fn client(credits: u32, window: u32) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .header_table_size(HEADER_TABLE)
        .max_header_list_size(HEADER_LIST)
        .enable_push(false)
        .initial_max_send_streams(credits.min(STREAMS_MAX) as usize)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS));
    builder
}

/// The agent: the server. `window` is of a stream's request.
pub(crate) fn server(window: u32) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .header_table_size(HEADER_TABLE)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(STREAMS_MAX)
        .enable_connect_protocol()
        .data_frame_budget(DATA_FRAME_BUDGET)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS));
    builder
}
