//! What a disk may hold after a power cut: what was synced, and of the rest whatever you fear.
//!
//! The model is POSIX at its strictest. A write that was not synced may be there, be gone, or be
//! torn at a sector, in any combination and whatever was written later. A file that was created is
//! sure to have its name only after a sync of its folder.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    random::Random,
    recorder::{Event, What},
};

/// The smallest unit that disks promise to write whole.
const SECTOR: usize = 512;

/// How pessimistic an image is about what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is gone.
    Everything,
    /// Nothing is gone: a mere crash of the process.
    Nothing,
    /// The first few writes are there, the next one is torn, the rest is gone.
    Torn,
    /// Each sector is there or not, by a coin.
    Sectors,
}

/// All four.
pub const LOSSES: [Loss; 4] = [Loss::Everything, Loss::Nothing, Loss::Torn, Loss::Sectors];

/// A disk below one folder.
#[derive(Debug, Default, Clone)]
pub struct Disk {
    files: BTreeMap<String, File>,
}

#[derive(Debug, Default, Clone)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Event>,
    name_is_synced: bool,
    removed: bool,
}

impl Disk {
    /// A disk that holds a folder as it is now.
    pub fn of(folder: &Path) -> Self {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let file = |path: &Path| File {
            synced: fs::read(path).unwrap(),
            name_is_synced: true,
            ..File::default()
        };
        let files = entries.filter(|entry| entry.path().is_file()).map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                file(&entry.path()),
            )
        });
        Self {
            files: files.collect(),
        }
    }

    /// Follows what happened next.
    pub fn follow(&mut self, event: &Event) {
        match event.what {
            What::Created => {
                self.files.insert(event.name.clone(), File::default());
            }
            What::Removed => {
                if let Some(file) = self.files.get_mut(&event.name) {
                    file.removed = true;
                }
            }
            What::Written | What::Truncated => {
                let file = self.files.entry(event.name.clone()).or_default();
                file.pending.push(event.clone());
            }
            What::Synced if event.name == "." => {
                self.files.retain(|_, file| !file.removed);
                self.files
                    .values_mut()
                    .for_each(|file| file.name_is_synced = true);
            }
            What::Synced => {
                let file = self.files.entry(event.name.clone()).or_default();
                for event in std::mem::take(&mut file.pending) {
                    apply(&mut file.synced, &event, |_| true);
                }
            }
            What::Failed => {}
        }
    }

    /// Whether there is anything that a power cut could take.
    pub fn is_at_risk(&self) -> bool {
        self.files.values().any(|file| !file.pending.is_empty())
    }

    /// Writes one image of the disk after a power cut into an empty folder.
    pub fn write_image(&self, folder: &Path, loss: Loss, random: &mut Random) {
        for (name, file) in &self.files {
            if file.is_there(loss, random) {
                fs::write(folder.join(name), file.after(loss, random)).unwrap();
            }
        }
    }
}

impl File {
    fn is_there(&self, loss: Loss, random: &mut Random) -> bool {
        let sure = self.name_is_synced && !self.removed;
        match loss {
            _ if sure => true,
            Loss::Everything => self.removed && self.name_is_synced,
            Loss::Nothing => !self.removed,
            Loss::Torn | Loss::Sectors => random.once_in(2),
        }
    }

    fn after(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let whole = match loss {
            Loss::Everything => 0,
            Loss::Nothing | Loss::Sectors => self.pending.len(),
            Loss::Torn => random.index(self.pending.len() + 1),
        };
        for event in &self.pending[..whole] {
            apply(&mut bytes, event, |_| {
                loss != Loss::Sectors || random.once_in(2)
            });
        }
        if loss == Loss::Torn
            && let Some(event) = self.pending.get(whole)
        {
            let sectors = event.data.len().div_ceil(SECTOR);
            let kept = random.index(sectors + 1);
            apply(&mut bytes, event, |sector| sector < kept);
        }
        bytes
    }
}

/// Applies a write or a cut; of a write only the sectors that are `kept`.
fn apply(bytes: &mut Vec<u8>, event: &Event, mut kept: impl FnMut(usize) -> bool) {
    if event.what == What::Truncated {
        if kept(0) {
            bytes.resize(event.at, 0);
        }
        return;
    }
    for (number, sector) in event.data.chunks(SECTOR).enumerate() {
        if !kept(number) {
            continue;
        }
        let at = event.at + number * SECTOR;
        if bytes.len() < at + sector.len() {
            bytes.resize(at + sector.len(), 0);
        }
        bytes[at..at + sector.len()].copy_from_slice(sector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What, name: &str, at: usize, data: &[u8]) -> Event {
        Event {
            what,
            name: name.to_owned(),
            at,
            data: data.to_vec(),
            position: 0,
        }
    }

    fn disk(events: &[Event]) -> Disk {
        let mut disk = Disk::default();
        events.iter().for_each(|event| disk.follow(event));
        disk
    }

    fn image(disk: &Disk, loss: Loss) -> BTreeMap<String, Vec<u8>> {
        let folder = tempfile::TempDir::new().unwrap();
        disk.write_image(folder.path(), loss, &mut Random::new(7));
        let image = Disk::of(folder.path());
        image
            .files
            .into_iter()
            .map(|(name, file)| (name, file.synced))
            .collect()
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_may_go() {
        let disk = disk(&[
            event(What::Created, "a", 0, b""),
            event(What::Written, "a", 0, &[1; 1024]),
            event(What::Synced, "a", 0, b""),
            event(What::Synced, ".", 0, b""),
            event(What::Written, "a", 512, &[2; 1024]),
        ]);
        assert!(disk.is_at_risk());
        assert_eq!(image(&disk, Loss::Everything)["a"], [1; 1024]);
        let whole = [vec![1; 512], vec![2; 1024]].concat();
        assert_eq!(image(&disk, Loss::Nothing)["a"], whole);
        for loss in LOSSES {
            assert_eq!(image(&disk, loss)["a"][..512], [1; 512]);
        }
    }

    #[test]
    fn a_name_is_sure_after_a_sync_of_the_folder() {
        let mut disk = disk(&[
            event(What::Created, "a", 0, b""),
            event(What::Written, "a", 0, b"x"),
            event(What::Synced, "a", 0, b""),
        ]);
        assert!(image(&disk, Loss::Everything).is_empty());
        disk.follow(&event(What::Synced, ".", 0, b""));
        assert_eq!(image(&disk, Loss::Everything)["a"], b"x");
        disk.follow(&event(What::Removed, "a", 0, b""));
        assert_eq!(image(&disk, Loss::Everything).len(), 1);
        assert!(image(&disk, Loss::Nothing).is_empty());
    }
}
