//! What is promised while no alarm stands.

use std::sync::Mutex;

use ee_core::journal::Header;
use ee_protocol::time::Timestamp;
use tokio::time::Instant;

use super::*;
use ee_control::ports::Archive as _;

/// A batch that was answered, when, and under which alarms.
type Answered = (u64, Duration, Vec<&'static str>);

/// An archive whose directory does nothing by itself, and who was answered when.
struct Rig {
    archive: Archive,
    status: BackupStatus,
    answered: Arc<Mutex<Vec<Answered>>>,
    began: Instant,
    /// What the directory has not taken.
    queued: mpsc::Receiver<KeptBatch>,
}

fn rig() -> Rig {
    let (batches, queued) = mpsc::channel(QUEUE);
    let (waiting, answers) = mpsc::channel(QUEUE);
    let status = BackupStatus::new();
    status.reached(0);
    let tasks = Tasks::default();
    tasks.spawn("backup_answers", let_go(answers, status.clone()));
    let archive = Archive {
        batches,
        waiting,
        status: status.clone(),
    };
    Rig {
        archive,
        status,
        answered: Arc::default(),
        began: Instant::now(),
        queued,
    }
}

impl Rig {
    fn keep(&self, batch: u64) {
        let header = Header {
            batch,
            first_seq: batch,
            count: 1,
            at: Timestamp::EPOCH,
            epoch: 1,
            watermark: Timestamp::EPOCH,
        };
        let kept = KeptBatch {
            header,
            body: Vec::new(),
            root: [0; 32],
        };
        let (answered, status, began) =
            (Arc::clone(&self.answered), self.status.clone(), self.began);
        let acknowledge = move || {
            let told = (batch, began.elapsed(), status.alarms());
            answered.lock().expect("not poisoned").push(told);
        };
        self.archive.keep(kept, Box::new(acknowledge));
    }

    fn answered(&self) -> Vec<Answered> {
        self.answered.lock().expect("not poisoned").clone()
    }
}

const ALARM: &str = "backup_segments_failing";

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_its_batch_in_the_segments() {
    let rig = rig();
    rig.keep(1);
    rig.keep(2);
    pass(Duration::from_secs(1)).await;
    assert_eq!(rig.answered(), [], "nothing is kept yet");
    rig.status.reached(1);
    pass(Duration::from_millis(1)).await;
    assert_eq!(rig.answered(), [(1, Duration::from_secs(1), vec![])]);
    rig.status.reached(2);
    pass(Duration::from_millis(1)).await;
    assert_eq!(rig.answered().len(), 2);
    assert!(rig.status.alarms().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_directory_is_waited_for_once_and_the_alarm_is_up_before_the_answer() {
    let rig = rig();
    for batch in 1..=3 {
        rig.keep(batch);
    }
    pass(Duration::from_secs(3)).await;
    let all = [1, 2, 3].map(|batch| (batch, PATIENCE, vec![ALARM]));
    assert_eq!(rig.answered(), all);

    // It comes back with the first of them only: the other two are still owed.
    rig.status.reached(1);
    assert_eq!(rig.status.alarms(), [ALARM]);
    rig.status.reached(3);
    assert!(rig.status.alarms().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_finds_no_place_is_answered_under_an_alarm() {
    let mut rig = rig();
    let last = QUEUE as u64 + 1;
    for batch in 1..=last {
        rig.keep(batch);
    }
    assert_eq!(rig.answered(), [(last, Duration::ZERO, vec![ALARM])]);
    assert!(
        rig.status.0.behind.load(Ordering::Acquire),
        "to be read from the journal"
    );
    rig.queued.recv().await.expect("the first");
    rig.status.reached(last - 1);
    assert_eq!(rig.status.alarms(), [ALARM], "the one that found no place");
    rig.status.reached(last);
    assert!(rig.status.alarms().is_empty());
}
