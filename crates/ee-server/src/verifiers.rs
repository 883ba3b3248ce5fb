//! The threads that check quotes, one a core, and whose job is next (TUNNEL 11).
//!
//! They yield to everything else in the process: after a restart ten thousand agents prove
//! themselves anew while others are served, and those who are served must not wait for a core.

use std::{
    io,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use ee_control::ports::{Offload, Turn};

use self::turns::Turns;

mod turns;

/// How much less a verifier counts to the scheduler than a thread that serves; see nice(2).
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The verifiers of a process. They end when this is dropped; jobs that wait then are dropped.
pub struct Verifiers(Arc<Shared>);

/// What the threads share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// At most one job a session: sessions are bounded, so this is.
    jobs: Turns<Job>,
    is_closed: bool,
}

impl Verifiers {
    /// Starts a thread for each core.
    ///
    /// # Errors
    /// If the operating system gives no threads.
    pub fn start() -> io::Result<Self> {
        let verifiers = Self(Arc::default());
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        for number in 0..cores {
            let shared = Arc::clone(&verifiers.0);
            thread::Builder::new()
                .name(format!("verifier-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(verifiers)
    }
}

impl Offload for Verifiers {
    fn run(&self, turn: Turn, job: Job) {
        self.0.lock().jobs.push(turn, job);
        self.0.changed.notify_one();
    }
}

impl Drop for Verifiers {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        // Of the calling thread alone: Linux keeps it for each.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(event = "verifier_priority_kept", %error);
        }
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!(event = "offloaded_job_panicked");
            }
        }
    }

    /// The next job, as soon as there is one; `None` when the verifiers end.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                return Some(job);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn verifiers() -> Verifiers {
        Verifiers::start().expect("threads")
    }

    #[test]
    fn they_yield_to_the_threads_that_serve() {
        let niceness = || rustix::process::getpriority_process(None).expect("a priority");
        let (told, tell) = mpsc::channel();
        let verifiers = verifiers();
        let job = move || told.send(niceness()).expect("somebody listens");
        verifiers.run(Turn::Serving, Box::new(job));
        let theirs = tell.recv().expect("the job runs");
        assert_eq!(theirs - niceness(), NICENESS);
    }

    #[test]
    fn a_job_that_panics_costs_itself_alone() {
        let verifiers = verifiers();
        let (told, tell) = mpsc::channel();
        for number in 0..100 {
            verifiers.run(Turn::Serving, Box::new(|| panic!("on purpose")));
            let told = told.clone();
            let job = move || told.send(number).expect("somebody listens");
            verifiers.run(Turn::Serving, Box::new(job));
        }
        drop(told);
        assert_eq!(tell.iter().count(), 100);
    }

    #[test]
    fn jobs_that_wait_are_dropped_at_the_end() {
        let verifiers = verifiers();
        let (told, tell) = mpsc::channel::<()>();
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let started = Arc::new(std::sync::Barrier::new(cores + 1));
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        for _ in 0..cores {
            let (started, released) = (Arc::clone(&started), Arc::clone(&released));
            let job = move || {
                started.wait();
                // Ends when the test says so.
                let _ = released.lock().expect("no panic").recv();
            };
            verifiers.run(Turn::Serving, Box::new(job));
        }
        started.wait();
        let waits = move || told.send(()).expect("somebody listens");
        verifiers.run(Turn::Serving, Box::new(waits));
        drop(verifiers);
        drop(release);
        assert!(tell.recv().is_err(), "dropped unrun");
    }
}
