//! The MAC of control messages as a state of the tunnel (TUNNEL 3.2).

use ee_protocol::control_mac::{ControlMac, MacInvalid, Sender};

/// Both directions of the control channel of one tunnel.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    keys: Option<Box<Pair>>,
    required: bool,
}

#[derive(Debug)]
struct Pair {
    outgoing: ControlMac,
    incoming: ControlMac,
}

impl Sealing {
    /// The inner TLS session is there, so messages can be sealed; `own` is this end's word.
    pub(crate) fn arm(&mut self, key: &[u8; 32], own: Sender) {
        let peer = match own {
            Sender::Agent => Sender::Control,
            Sender::Control => Sender::Agent,
        };
        let pair = Pair {
            outgoing: ControlMac::new(key, own),
            incoming: ControlMac::new(key, peer),
        };
        self.keys = Some(Box::new(pair));
    }

    /// From now on every text of both directions is sealed, if this tunnel has keys at all.
    pub(crate) fn require(&mut self) {
        self.required = self.keys.is_some();
    }

    /// A text on its way out.
    pub(crate) fn seal(&mut self, text: String) -> String {
        match &mut self.keys {
            Some(pair) if self.required => pair.outgoing.seal(&text),
            Some(_) | None => text,
        }
    }

    /// A received text and whether its MAC was checked. A text that carries a MAC before one is
    /// required is the first sealed one (`status ok attested`): from then on all must be.
    pub(crate) fn open(&mut self, text: String) -> Result<(String, bool), MacInvalid> {
        let Some(pair) = &mut self.keys else {
            return Ok((text, false));
        };
        if !self.required && !has_mac(&text) {
            return Ok((text, false));
        }
        let text = pair.incoming.open(&text)?;
        self.required = true;
        Ok((text, true))
    }

    /// As [`Self::open`] for the end that sends the first sealed text itself.
    pub(crate) fn open_if_required(&mut self, text: String) -> Result<String, MacInvalid> {
        match &mut self.keys {
            Some(pair) if self.required => pair.incoming.open(&text),
            Some(_) | None => Ok(text),
        }
    }
}

/// Whether the text ends as a sealed one does: `,"mac":"<64 digits>"}`.
fn has_mac(text: &str) -> bool {
    const TAIL: usize = 8 + 64 + 2;
    let bytes = text.as_bytes();
    bytes.len() > TAIL && bytes[bytes.len() - TAIL..].starts_with(b",\"mac\":\"")
}
