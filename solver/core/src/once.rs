//! Questions that are worked on once, however many wait for the answer, and given up when nobody does.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready, Shared, WeakShared, ready};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost(pub(crate) String);

type Waiting<T> = Shared<BoxFuture<'static, Result<T, Lost>>>;

/// An answer that is there, or that somebody works on.
pub(crate) type Asked<T> = Either<Ready<Result<T, Lost>>, Waiting<T>>;

/// A question whose answer is remembered.
pub(crate) struct Once<T>(Arc<Mutex<Slot<T>>>);

enum Slot<T> {
    Unasked,
    Asked(WeakShared<BoxFuture<'static, Result<T, Lost>>>),
    Answered(T),
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Slot::Unasked)))
    }
}

impl<T: Clone + Send + Sync + 'static> Once<T> {
    /// Returns the answer; `work` begins if nobody asked before, on a task of its own. The task is
    /// aborted when the last of those who wait is dropped.
    pub(crate) fn get<F>(&self, tasks: &Arc<Tasks>, work: impl FnOnce() -> F) -> Asked<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut slot = lock(&self.0);
        let waiting = match &*slot {
            Slot::Answered(answer) => return Either::Left(ready(Ok(answer.clone()))),
            Slot::Asked(waiting) => waiting.upgrade(),
            Slot::Unasked => None,
        };
        Either::Right(waiting.unwrap_or_else(|| {
            let waiting = self.begin(tasks, work());
            if let Some(weak) = waiting.downgrade() {
                *slot = Slot::Asked(weak);
            }
            waiting
        }))
    }

    fn begin(&self, tasks: &Arc<Tasks>, work: impl Future<Output = T> + Send + 'static) -> Waiting<T> {
        let slot = Arc::downgrade(&self.0);
        let task = Task(tasks.spawn(async move {
            let answer = work.await;
            if let Some(slot) = slot.upgrade() {
                *lock(&slot) = Slot::Answered(answer.clone());
            }
            answer
        }));
        task.boxed().shared()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task that ends with its handle.
struct Task<T>(JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context).map_err(|error| match error.try_into_panic() {
            Ok(panic) => Lost(panic_message(panic.as_ref())),
            Err(_) => Lost("the runtime is shutting down".into()),
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "it panicked".to_owned(), |text| format!("it panicked: {text}"))
}

/// Counts running tasks, so that one can wait until aborted ones have really ended.
#[derive(Default)]
pub(crate) struct Tasks {
    running: AtomicUsize,
    ended: Notify,
}

impl Tasks {
    /// Spawns a task that is counted until all it owned is gone.
    pub(crate) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.running.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(Counted { work: work.boxed(), _count: Count(Arc::clone(self)) })
    }

    /// Waits until no task runs.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Registered before the count is read, or the last task might end between the two.
            ended.as_mut().enable();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A running task. Its fields drop in order: the count goes last, even if it never began.
struct Counted<T> {
    work: BoxFuture<'static, T>,
    _count: Count,
}

impl<T> Future for Counted<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.work.poll_unpin(context)
    }
}

struct Count(Arc<Tasks>);

impl Drop for Count {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn works_once_for_all_and_remembers() {
        let (tasks, once, runs) = (Arc::default(), Once::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let runs = Arc::clone(&runs);
            once.get(&tasks, || async move {
                tokio::task::yield_now().await;
                runs.fetch_add(1, Ordering::Relaxed)
            })
        };
        let (first, second) = (ask(), ask());
        assert_eq!(futures::join!(first, second), (Ok(0), Ok(0)));
        assert_eq!(ask().await, Ok(0));
    }

    #[tokio::test]
    async fn the_last_to_leave_ends_the_work() {
        let (tasks, once): (Arc<Tasks>, Once<u32>) = Default::default();
        let ask = || once.get(&tasks, std::future::pending);
        let (mut first, second) = (ask(), ask());
        assert!(futures::poll!(&mut first).is_pending());
        drop(second);
        let still = tokio::time::timeout(Duration::from_millis(10), tasks.idle()).await;
        assert!(still.is_err(), "one still waits");
        drop(first);
        tasks.idle().await;
        assert_eq!(once.get(&tasks, || async { 7 }).await, Ok(7), "a new asker begins anew");
    }

    #[tokio::test]
    async fn panics_are_answers() {
        let (tasks, once): (Arc<Tasks>, Once<u32>) = Default::default();
        let lost = once.get(&tasks, || async { panic!("bad luck") }).await;
        assert_eq!(lost, Err(Lost("it panicked: bad luck".into())));
    }
}
