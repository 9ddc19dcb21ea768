//! The thread that removes what has expired, once a second.

use std::sync::Weak;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::service::{Inner, unix_now};
use super::store::StoreError;

const TICK: Duration = Duration::from_secs(1);

/// The handle of the thread. Dropping it ends the thread.
pub(super) struct ExpiryThread {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ExpiryThread {
    /// Starts the thread.
    pub(super) fn start(service: Weak<Inner>) -> Result<ExpiryThread, StoreError> {
        let (stop, stopped) = sync_channel::<()>(0);
        let thread = std::thread::Builder::new()
            .name("location-expiry".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    let Some(service) = service.upgrade() else {
                        return;
                    };
                    service.expire(unix_now());
                }
            })?;
        Ok(ExpiryThread {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for ExpiryThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of expiry panicked");
        }
    }
}
