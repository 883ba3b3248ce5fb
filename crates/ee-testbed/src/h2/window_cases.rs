//! Values of settings, and windows (RFC 9113 sections 6.5.2 and 6.9).

use super::frame_cases::served;
use super::frames::{
    FLOW_CONTROL_ERROR, PROTOCOL_ERROR, SETTINGS, frame, get, post_never, setting, settings,
    window_update,
};
use super::server_cases::{Case, Must, case};

pub(super) fn settings_values() -> Vec<Case> {
    let protocol = || Must::End(PROTOCOL_ERROR);
    let flow = Must::End(FLOW_CONTROL_ERROR);
    let twice = [setting(4, 100), setting(4, 1)].concat();
    let twice = frame(SETTINGS, 0, 0, &[twice, setting(4, 65_535)].concat());
    vec![
        case(
            "9113 6.5.2",
            "ENABLE_PUSH of 2",
            [settings(2, 2)],
            protocol(),
        ),
        case(
            "9113 6.5.2",
            "INITIAL_WINDOW_SIZE of 2^31",
            [settings(4, 1 << 31)],
            flow,
        ),
        case(
            "9113 6.5.2",
            "MAX_FRAME_SIZE of 16 383",
            [settings(5, 16_383)],
            protocol(),
        ),
        case(
            "9113 6.5.2",
            "MAX_FRAME_SIZE of 2^24",
            [settings(5, 1 << 24)],
            protocol(),
        ),
        case(
            "9113 6.5.3",
            "a setting twice, of which the last counts",
            [twice, get(1)],
            served(),
        ),
    ]
}

pub(super) fn windows() -> Vec<Case> {
    const MOST: u32 = 0x7fff_ffff;
    vec![
        case(
            "9113 6.9",
            "WINDOW_UPDATE of the connection by 0",
            [window_update(0, 0)],
            Must::End(PROTOCOL_ERROR),
        ),
        case(
            "9113 6.9",
            "WINDOW_UPDATE of a stream by 0",
            [post_never(1), window_update(1, 0)],
            Must::Reset(1, PROTOCOL_ERROR),
        ),
        case(
            "9113 6.9.1",
            "a connection's window above 2^31 - 1",
            [window_update(0, MOST), window_update(0, MOST)],
            Must::End(FLOW_CONTROL_ERROR),
        ),
        case(
            "9113 6.9.1",
            "a stream's window above 2^31 - 1",
            [
                post_never(1),
                window_update(1, MOST),
                window_update(1, MOST),
            ],
            Must::Reset(1, FLOW_CONTROL_ERROR),
        ),
        case(
            "9113 6.9.2",
            "a setting that lifts a stream's window above 2^31 - 1",
            [
                post_never(1),
                window_update(1, MOST - 65_535),
                settings(4, 65_536),
            ],
            Must::End(FLOW_CONTROL_ERROR),
        ),
    ]
}
