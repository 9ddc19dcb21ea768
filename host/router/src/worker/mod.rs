//! A worker: one thread that drives one core.
//!
//! A worker has its own sockets, its own [`patchbay_core::core::Core`], its own timers and its own policy instances. Nothing in it is
//! locked or shared on the path of a message. Other threads reach it through its mailbox.

mod mailbox;

pub(crate) use mailbox::{Answer, HandedOver, Mail, Mailbox, Order};

/// How much is going on, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live server transactions.
    pub transactions: u64,
    /// Hooks that run or wait.
    pub hooks: u64,
    /// Open connections.
    pub connections: u64,
}

// pub fn start(shared: Arc<Shared>, listeners: Vec<Vec<BoundListener>>) -> io::Result<Workers>;
// impl Workers {
//     pub fn drain(&self);                       // new dialogs get 503; ends nothing by itself: poll `counts`
//     pub fn reload(&self);                      // after `Shared::config` was replaced
//     pub fn stop(&self);                        // at once
//     pub fn counts(&self) -> Counts;
//     pub fn originate(&self, request: Originate) -> oneshot::Receiver<Option<Arc<Message>>>;
//     pub fn post_event(&self, event: patchbay_policy::Event);     // runs event-route on worker 0
//     pub fn join(self);                         // waits for the threads
// }
// transport::bind(&config.listen, config.node.workers) -> Result<Vec<Vec<BoundListener>>, BindError>: one list per worker.
