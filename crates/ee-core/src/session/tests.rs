//! The session against TUNNEL 2, 2.1 and 10 and ATTESTATION 10, a sentence a rule.

use ee_protocol::tunnel::{
    AgentMessage, AttestResponse, ControlMessage, Credits, Drain, Health, InnerTlsMode,
    MessageError, Register, StatusState,
};

use super::{rig::*, *};
use crate::attestation::{AttestationCode, BindingStrength, Failure};

mod active;
mod challenges;
mod register;

fn fail(code: AttestationCode) -> Verdict {
    Verdict::Fail(Failure::new(code))
}

fn indeterminate() -> Verdict {
    Verdict::from(Failure::new(AttestationCode::AllowlistUnavailable))
}

fn drained(commands: &[Command]) -> Vec<String> {
    let drain = |command: &Command| {
        let Command::Send(Outgoing {
            message: ControlMessage::Drain(drain),
            ..
        }) = command
        else {
            return None;
        };
        Some(drain.reason.clone())
    };
    commands.iter().filter_map(drain).collect()
}

fn reattesting() -> (Rig, Nonce) {
    let mut rig = Rig::active();
    rig.session.handle_order(rig.now, Order::Reattest);
    let nonce = rig.nonce();
    rig.session.handle_challenge_sent(rig.now);
    (rig, nonce)
}
