//! HTTP/2 settings of both ends (TUNNEL 4).

use tokio::time::Instant;

use crate::limits::{
    CONNECTION_WINDOW, DATA_FRAME_BUDGET, FRAME_MAX, HEADER_LIST, HEADER_TABLE, LOCAL_ERROR_RESETS,
    PENDING_RESETS, SEND_BUFFER, STREAM_WINDOW, STREAM_WINDOW_LEAST, STREAMS_MAX, TUNNEL_WINDOW,
    WINDOW_LASTS,
};

/// The receive window of a session's streams.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: u32,
    since: Instant,
}

impl Window {
    pub(crate) fn new(bytes: u32) -> Self {
        Self {
            bytes,
            since: Instant::now(),
        }
    }

    /// The window while so many streams wait for their readers: smaller at once when they are
    /// more, larger again when it would stay so for twice as many. `most` is what a stream may
    /// have at all.
    pub(crate) fn among(&self, backlogs: usize, most: u32) -> u32 {
        let fair = |backlogs: usize| {
            let backlogs = u32::try_from(backlogs).unwrap_or(u32::MAX / 2).max(1);
            let part = TUNNEL_WINDOW / backlogs.next_power_of_two();
            part.clamp(STREAM_WINDOW_LEAST, STREAM_WINDOW).min(most)
        };
        let (now, easily) = (fair(backlogs), fair(backlogs.saturating_mul(2)));
        self.bytes.clamp(easily, now)
    }

    /// Changes it by `set`. While the peer has not acknowledged an earlier change there is no
    /// other, and it grows once in a while only, for each change is a frame that the peer must
    /// answer; a later turn tries again.
    pub(crate) fn follow(&mut self, wanted: u32, set: impl FnOnce(u32) -> Result<(), h2::Error>) {
        if wanted == self.bytes || wanted > self.bytes && self.since.elapsed() < WINDOW_LASTS {
            return;
        }
        if set(wanted).is_ok() {
            *self = Self::new(wanted);
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

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u32 = 1024;

    #[tokio::test(start_paused = true)]
    async fn the_windows_of_those_who_wait_add_up_to_no_more_than_their_bound() {
        let mut window = Window::new(STREAM_WINDOW);
        for (backlogs, most, expected) in [
            (1, STREAM_WINDOW, 1024),
            (8, STREAM_WINDOW, 1024),
            (9, STREAM_WINDOW, 512),
            (8, STREAM_WINDOW, 512),
            (5, STREAM_WINDOW, 512),
            (4, STREAM_WINDOW, 1024),
            (64, STREAM_WINDOW, 128),
            (usize::MAX, STREAM_WINDOW, 128),
            (33, STREAM_WINDOW, 128),
            (32, STREAM_WINDOW, 128),
            (16, STREAM_WINDOW, 256),
            (0, STREAM_WINDOW, 1024),
            (1, 256 * KIB, 256),
            (64, 256 * KIB, 128),
        ] {
            window.bytes = window.among(backlogs, most);
            assert_eq!(window.bytes / KIB, expected, "{backlogs} {most}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_shrinks_at_once_and_grows_once_in_a_while() {
        let mut window = Window::new(STREAM_WINDOW);
        let mut sent = Vec::new();
        let mut follow = |window: &mut Window, wanted| {
            window.follow(wanted, |bytes| {
                sent.push(bytes / KIB);
                Ok(())
            });
        };
        for wanted in [STREAM_WINDOW, 512 * KIB, 256 * KIB, 512 * KIB] {
            follow(&mut window, wanted);
        }
        tokio::time::advance(WINDOW_LASTS).await;
        follow(&mut window, 512 * KIB);
        follow(&mut window, STREAM_WINDOW);
        assert_eq!(sent, [512, 256, 512]);
    }
}
