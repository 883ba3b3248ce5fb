//! The recorder that is preloaded into a server: building it, telling it what to break, and what it
//! saw. The format of its log is in `recorder.c`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A record up to its name.
const HEAD_BYTES: usize = 15;

/// A built recorder, with its log.
pub struct Recorder {
    library: PathBuf,
    log: PathBuf,
    watched: PathBuf,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Created,
    Written,
    Truncated,
    Synced,
    Removed,
    /// A sync that was made to fail.
    Failed,
}

/// One record.
#[derive(Debug, Clone)]
pub struct Event {
    pub what: What,
    /// The file's name below the folder; `.` is the folder itself.
    pub name: String,
    /// Where it was written, or to what size it was cut.
    pub at: usize,
    pub data: Vec<u8>,
    /// Where the record begins in the log.
    pub position: u64,
}

impl Recorder {
    /// Builds it in `folder`, for what happens directly below `watched`; `None` without a compiler.
    pub fn build(folder: &Path, watched: &Path) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/recorder.c");
        let library = folder.join("recorder.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .status();
        match built {
            Ok(status) => assert!(status.success(), "the recorder does not build"),
            Err(_) => return None,
        }
        Some(Self {
            library,
            log: folder.join("record"),
            watched: watched.to_owned(),
        })
    }

    /// What the server's environment needs.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD", text(&self.library)),
            ("RECORD_DIR", text(&self.watched)),
            ("RECORD_LOG", text(&self.log)),
        ]
    }

    /// How much has been recorded so far.
    pub fn position(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// From now on every sync fails with EIO.
    pub fn fail_syncs(&self) {
        fs::write(self.trigger("fail-sync"), "").unwrap();
    }

    /// From now on every write fails with ENOSPC.
    pub fn fail_writes(&self) {
        fs::write(self.trigger("fail-write"), "").unwrap();
    }

    /// From now on every sync waits.
    pub fn hang_syncs(&self) {
        fs::write(self.trigger("hang-sync"), "").unwrap();
    }

    /// The disk works again.
    pub fn heal(&self) {
        for name in ["fail-sync", "fail-write", "hang-sync"] {
            let _ = fs::remove_file(self.trigger(name));
        }
    }

    fn trigger(&self, name: &str) -> PathBuf {
        self.log.with_file_name(format!("record.{name}"))
    }

    /// Everything that was recorded, in order.
    pub fn events(&self) -> Vec<Event> {
        let log = fs::read(&self.log).unwrap_or_default();
        let mut events = Vec::new();
        let mut at = 0;
        // A process that was killed may have left half a record, of a call that did not return.
        while let Some((event, next)) = event(&log, at) {
            events.push(event);
            at = next;
        }
        events
    }
}

fn event(log: &[u8], from: usize) -> Option<(Event, usize)> {
    let head = log.get(from..from + HEAD_BYTES)?;
    let what = match head[0] {
        1 => What::Created,
        2 => What::Written,
        3 => What::Truncated,
        4 => What::Synced,
        5 => What::Removed,
        6 => What::Failed,
        other => panic!("record {other} at {from}"),
    };
    let name_bytes = usize::from(u16::from_le_bytes(head[1..3].try_into().unwrap()));
    let data_bytes = u32::from_le_bytes(head[3..7].try_into().unwrap());
    let at = u64::from_le_bytes(head[7..15].try_into().unwrap());
    let name_at = from + HEAD_BYTES;
    let data_at = name_at + name_bytes;
    let end = data_at + usize::try_from(data_bytes).unwrap();
    let data = log.get(data_at..end)?.to_vec();
    let name = String::from_utf8(log[name_at..data_at].to_vec()).unwrap();
    let event = Event {
        what,
        name,
        at: usize::try_from(at).unwrap(),
        data,
        position: u64::try_from(from).unwrap(),
    };
    Some((event, end))
}
