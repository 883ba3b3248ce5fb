//! Whether there is memory for one more request (TUNNEL 6, "byte governor").
//!
//! The counting is ee-tunnel's, because it also decides on the windows of streams; what is under
//! way finishes, and new requests are told when to come back.

use ee_tunnel::Buffered;

/// The bytes in passing of all tunnels of this process.
#[derive(Debug)]
pub struct Governor(Buffered);

impl Governor {
    /// For the memory of this machine, or of the container around the process.
    pub fn of_this_machine() -> Self {
        Self(Buffered::of_this_machine())
    }

    /// What every tunnel counts with.
    pub fn buffered(&self) -> &Buffered {
        &self.0
    }

    /// Sets another limit, for a process that shares its machine.
    pub fn set_limit(&self, bytes: usize) {
        self.0.set_limit(bytes);
    }

    /// Whether a new request may begin.
    pub fn admits(&self) -> bool {
        self.0.admits()
    }
}
