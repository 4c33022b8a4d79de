//! Background threads that do jobs from a bounded queue.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustix::process::nice;

use super::lock::{lock, unpoisoned};

/// Nice increment of threads that read whole files (nice(2)): where every CPU is busy, such a thread gets a tenth of a
/// worker's time. At the highest increment it would get a seventieth, and its results would come too late to be of use.
const NICE_INCREMENT: i32 = 10;

/// Background threads, and the queue of their jobs. When the pool is dropped, the queue is closed and emptied, and the
/// threads end as soon as they have finished or abandoned their jobs.
#[derive(Debug)]
pub struct WorkerPool<J>(Arc<JobQueue<J>>);

/// Bounded queue of the jobs of a [`WorkerPool`].
#[derive(Debug)]
pub struct JobQueue<J> {
    jobs: Mutex<VecDeque<J>>,
    /// Notifies the threads of a job.
    job_ready: Condvar,
    max_jobs: usize,
    /// Changed under the lock: otherwise a thread could miss it between its check and its wait.
    is_closed: AtomicBool,
}

impl<J> WorkerPool<J> {
    /// Creates a pool without threads, whose queue holds up to `max_jobs`.
    #[must_use]
    pub fn new(max_jobs: usize) -> Self {
        Self(Arc::new(JobQueue {
            jobs: Mutex::default(),
            job_ready: Condvar::new(),
            max_jobs,
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Starts a number of threads with this name. Each calls `run`, which does jobs until [`JobQueue::next`] returns
    /// `None`.
    ///
    /// # Errors
    /// A thread cannot be started. Those that were started end with the pool.
    pub fn start(
        &self,
        name: &str,
        threads: usize,
        run: impl Fn(&JobQueue<J>) + Clone + Send + 'static,
    ) -> io::Result<()>
    where
        J: Send + 'static,
    {
        for _ in 0..threads {
            let (queue, run) = (self.0.clone(), run.clone());
            thread::Builder::new()
                .name(name.into())
                .spawn(move || run(&queue))?;
        }
        Ok(())
    }

    /// Returns the queue.
    #[must_use]
    pub fn queue(&self) -> &JobQueue<J> {
        &self.0
    }
}

/// Lowers the priority of the calling thread, so that it yields to the workers.
pub(crate) fn lower_priority() {
    // On Linux this applies to this thread alone (nice(2)), and to its disk I/O, too. If it is refused, the thread runs
    // at the workers' priority.
    let _ = nice(NICE_INCREMENT);
}

impl<J> JobQueue<J> {
    /// Queues a job. Returns `false`, and drops the job, if the queue is full or closed.
    pub fn push(&self, job: J) -> bool {
        let mut jobs = lock(&self.jobs);
        if jobs.len() >= self.max_jobs || self.is_closed() {
            return false;
        }
        jobs.push_back(job);
        drop(jobs);
        self.job_ready.notify_one();
        true
    }

    /// Waits for the next job. Returns `None` if no more will come.
    pub fn next(&self) -> Option<J> {
        let is_idle = |jobs: &mut VecDeque<J>| jobs.is_empty() && !self.is_closed();
        unpoisoned(self.job_ready.wait_while(lock(&self.jobs), is_idle)).pop_front()
    }

    /// Returns the number of queued jobs.
    pub(crate) fn len(&self) -> usize {
        lock(&self.jobs).len()
    }

    /// Removes the queued jobs that are not to be done.
    pub(crate) fn retain(&self, is_kept: impl FnMut(&J) -> bool) {
        lock(&self.jobs).retain(is_kept);
    }

    /// Whether the [`WorkerPool`] is gone, so that no result is needed any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

impl<J> Drop for WorkerPool<J> {
    fn drop(&mut self) {
        let mut jobs = lock(&self.0.jobs);
        self.0.is_closed.store(true, Ordering::Relaxed);
        let queued = std::mem::take(&mut *jobs);
        drop(jobs);
        self.0.job_ready.notify_all();
        // Not under the lock: a job may hold the last descriptor of a long file without a name, and closing it takes a
        // while.
        drop(queued);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    #[test]
    fn queue_is_bounded_and_in_order() {
        let pool = WorkerPool::new(2);
        let queue = pool.queue();
        assert!(queue.push(1) && queue.push(2));
        assert!(!queue.push(3));
        assert_eq!(queue.next(), Some(1));
        assert!(queue.push(4));
        queue.retain(|&job| job != 2);
        assert_eq!((queue.len(), queue.next()), (1, Some(4)));
    }

    #[test]
    fn threads_end_with_the_pool_and_abandon_queued_jobs() {
        let (done, results) = channel();
        let (permit, permission) = channel::<()>();
        let permission = Arc::new(Mutex::new(permission));
        let pool = WorkerPool::new(8);
        let run = move |queue: &JobQueue<u32>| {
            assert_eq!(thread::current().name(), Some("a-name"));
            while let Some(job) = queue.next() {
                done.send((job, queue.is_closed())).unwrap();
                let _ = permission.lock().unwrap().recv();
                done.send((job, queue.is_closed())).unwrap();
            }
        };
        pool.start("a-name", 1, run).unwrap();
        assert!(pool.queue().push(1) && pool.queue().push(2));
        assert_eq!(results.recv_timeout(TIMEOUT), Ok((1, false)));
        drop(pool);
        drop(permit);
        assert_eq!(results.recv_timeout(TIMEOUT), Ok((1, true)));
        assert!(results.recv_timeout(TIMEOUT).is_err(), "the thread ended");
    }
}
