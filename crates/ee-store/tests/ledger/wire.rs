//! A wire to PostgreSQL that breaks when told: before a COMMIT is through, or after.
//!
//! It stands between the store and the server as another Unix socket, and reads only as much of
//! the protocol as it takes to see a COMMIT pass.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use tempfile::TempDir;

const WHOLE: u8 = 0;
const BREAK_BEFORE: u8 = 1;
const BREAK_AFTER: u8 = 2;

/// What a client sends to end a transaction, as a simple query.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// A socket that leads to a server.
pub struct Wire {
    folder: TempDir,
    fault: Arc<AtomicU8>,
}

impl Wire {
    /// Leads to the server whose socket lies in `server`.
    pub fn to(server: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(socket(folder.path())).unwrap();
        let fault = Arc::new(AtomicU8::new(WHOLE));
        let (server, shared) = (socket(server), Arc::clone(&fault));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (server, fault) = (server.clone(), Arc::clone(&shared));
                let client = client.unwrap();
                thread::spawn(move || carry(&client, &server, &fault));
            }
        });
        Self { folder, fault }
    }

    /// The same URL, through this wire.
    pub fn url(&self, url: &str, server: &Path) -> String {
        let escaped = |path: &Path| path.to_str().unwrap().replace('/', "%2F");
        url.replace(&escaped(server), &escaped(self.folder.path()))
    }

    /// The next COMMIT is lost on its way.
    pub fn lose_next_commit(&self) {
        self.fault.store(BREAK_BEFORE, Ordering::SeqCst);
    }

    /// The next COMMIT arrives, its answer does not.
    pub fn lose_next_answer(&self) {
        self.fault.store(BREAK_AFTER, Ordering::SeqCst);
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join(".s.PGSQL.5432")
}

fn carry(client: &UnixStream, server: &Path, fault: &AtomicU8) {
    let Ok(server) = UnixStream::connect(server) else {
        return;
    };
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let muted = Arc::new(AtomicU8::new(WHOLE));
    let mute = Arc::clone(&muted);
    let answering = thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(read @ 1..) = answers.read(&mut bytes) {
            if mute.load(Ordering::SeqCst) == WHOLE && back.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    requests(client, &server, fault, &muted);
    let _ = server.shutdown(Shutdown::Write);
    let _ = answering.join();
}

fn requests(mut client: &UnixStream, mut server: &UnixStream, fault: &AtomicU8, muted: &AtomicU8) {
    let mut bytes = [0; 65_536];
    while let Ok(read @ 1..) = client.read(&mut bytes) {
        let sent = &bytes[..read];
        let at = sent.windows(COMMIT.len()).position(|part| part == COMMIT);
        let fault = match at {
            Some(_) => fault.swap(WHOLE, Ordering::SeqCst),
            None => WHOLE,
        };
        match (fault, at) {
            (BREAK_BEFORE, Some(at)) => {
                let _ = server.write_all(&sent[..at]);
                muted.store(BREAK_BEFORE, Ordering::SeqCst);
                return;
            }
            (BREAK_AFTER, Some(_)) => {
                muted.store(BREAK_AFTER, Ordering::SeqCst);
                let _ = server.write_all(sent);
                return;
            }
            _ => {}
        }
        if server.write_all(sent).is_err() {
            return;
        }
    }
}
