//! Which bytes of a connection may be read: whole good heads, and their bodies.

use super::{
    chunks::Chunks,
    fault::Fault,
    head::{Framing, HeadReader},
};

/// Where in the conversation the next byte stands.
#[derive(Debug)]
pub enum Stage {
    /// In a head, or before one.
    Head(HeadReader),
    /// In a body of so many further bytes.
    Body(u64),
    /// In a body in chunks.
    Chunks(Chunks),
    /// After a request that asked to change the protocol: the answer decides what follows.
    Asked,
    /// After it was changed: anything.
    Opaque,
    /// In a head that is refused.
    Refused(Fault),
    /// In a body that cannot be followed.
    Broken,
}

/// Follows one connection from its first byte.
#[derive(Debug)]
pub struct Follower {
    stage: Stage,
    /// Whether the request whose body is read asks to change the protocol.
    asks_upgrade: bool,
    /// Good heads so far.
    heads: u64,
}

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

impl Follower {
    /// Before the first byte.
    pub fn new() -> Self {
        Self {
            stage: Stage::Head(HeadReader::default()),
            asks_upgrade: false,
            heads: 0,
        }
    }

    /// What the next byte belongs to.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// How many good heads were read.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Follows; how many of the bytes may be read. The rest must be shown again with what comes
    /// after it, from its first byte.
    pub fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(count) = self.advance(&bytes[at..]) {
            at += count;
        }
        at
    }

    /// Gives up on the head that is being read.
    pub fn refuse(&mut self, fault: Fault) {
        self.stage = Stage::Refused(fault);
    }

    /// Goes on after a request that asked to change the protocol.
    pub fn answered(&mut self, upgraded: bool) {
        self.stage = match upgraded {
            true => Stage::Opaque,
            false => Stage::Head(HeadReader::default()),
        };
    }

    /// One head, body or part of a body; `None` where no byte can be let through for now.
    fn advance(&mut self, bytes: &[u8]) -> Option<usize> {
        if bytes.is_empty() {
            return None;
        }
        match &mut self.stage {
            Stage::Head(reader) => match reader.read(bytes) {
                Ok(Some((head, count))) => {
                    self.heads += 1;
                    self.asks_upgrade = head.asks_upgrade;
                    self.begin_body(head.framing);
                    Some(count)
                }
                Ok(None) => None,
                Err(fault) => {
                    self.stage = Stage::Refused(fault);
                    None
                }
            },
            Stage::Body(left) => {
                let here = (*left).min(bytes.len() as u64);
                let rest = *left - here;
                self.begin_body(Framing::Length(rest));
                Some(usize::try_from(here).expect("no more than the slice holds"))
            }
            Stage::Chunks(chunks) => match chunks.follow(bytes) {
                Ok(count) => {
                    if *chunks == Chunks::Ended {
                        self.end_body();
                    }
                    Some(count)
                }
                Err(_) => {
                    self.stage = Stage::Broken;
                    None
                }
            },
            Stage::Asked | Stage::Refused(_) | Stage::Broken => None,
            Stage::Opaque => Some(bytes.len()),
        }
    }

    fn begin_body(&mut self, framing: Framing) {
        match framing {
            Framing::Length(0) => self.end_body(),
            Framing::Length(left) => self.stage = Stage::Body(left),
            Framing::Chunked => self.stage = Stage::Chunks(Chunks::default()),
        }
    }

    fn end_body(&mut self) {
        self.stage = match self.asks_upgrade {
            true => Stage::Asked,
            false => Stage::Head(HeadReader::default()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &str = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    const CHUNKED: &str =
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    const UPGRADE: &str = "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n";
    const BAD: &str = "GET / HTTP/1.1\r\nX : y\r\n\r\n";

    #[test]
    fn requests_in_a_row_are_let_through_up_to_the_bad_one() {
        let good = format!("{POST}{CHUNKED}{POST}");
        let mut follower = Follower::new();
        assert_eq!(
            follower.follow(format!("{good}{BAD}").as_bytes()),
            good.len()
        );
        assert!(matches!(follower.stage(), Stage::Refused(Fault::FieldName)));
        assert_eq!(follower.heads(), 3);
        assert_eq!(
            follower.follow(POST.as_bytes()),
            0,
            "nothing after it is read"
        );
    }

    #[test]
    fn a_part_of_a_head_waits_for_the_rest() {
        let mut follower = Follower::new();
        let (part, _) = POST.split_at(20);
        assert_eq!(
            follower.follow(format!("{POST}{part}").as_bytes()),
            POST.len()
        );
        assert_eq!(follower.follow(POST.as_bytes()), POST.len());
        assert_eq!(follower.heads(), 2);
    }

    #[test]
    fn what_follows_an_upgrade_waits_for_the_answer() {
        let both = format!("{UPGRADE}{POST}");
        let mut follower = Follower::new();
        assert_eq!(follower.follow(both.as_bytes()), UPGRADE.len());
        follower.answered(false);
        assert_eq!(
            follower.follow(BAD.as_bytes()),
            0,
            "declined: heads are read on"
        );
        let mut follower = Follower::new();
        follower.follow(UPGRADE.as_bytes());
        follower.answered(true);
        assert_eq!(follower.follow(BAD.as_bytes()), BAD.len());
    }
}
