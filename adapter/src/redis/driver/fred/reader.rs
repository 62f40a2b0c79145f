//! Every message that fred reads, at the moment it is read.
//!
//! fred puts each message into a broadcast ring, which wakes the receiver, and goes on reading; a receiver that is a task
//! runs some time later, and what the ring has overwritten by then is lost (fred's issues 104, 287, 367). Waking is a
//! plain call, made by fred's own task after each message. Here it does not schedule the receiver but runs it: the ring
//! never holds more than one message, and while a message is handled, fred does not read the next one. So order is kept,
//! nothing is lost, nothing piles up, and the socket's window holds back the server, as with the other driver.

use std::{
    sync::Arc,
    task::{Context, Wake, Waker},
};

use ::fred::types::{Message, Value};
use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::AbortHandle,
};

/// A future that is polled where it is woken.
struct InWaker(Mutex<Option<BoxFuture<'static, ()>>>);

impl Wake for InWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Free, as fred's task alone sends, and the end of the channel comes after it.
        let mut running = self.0.lock();
        let Some(future) = running.as_mut() else { return };
        let waker = Waker::from(Arc::clone(self));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            *running = None;
        }
    }
}

/// Hands each message to `on_message` before the next is read, until the client is dropped. Should one be lost all the
/// same, the connection ends, so that a gap is told.
pub(super) fn spawn_in_waker(
    mut messages: Receiver<Message>,
    on_message: impl Fn(&[u8], &[u8]) + Send + Sync + 'static,
    connection: AbortHandle,
) {
    let receive = async move {
        loop {
            match messages.recv().await {
                Ok(Message { channel, value: Value::String(payload), .. }) => {
                    on_message(channel.as_bytes(), payload.as_bytes());
                }
                Ok(Message { channel, value: Value::Bytes(payload), .. }) => {
                    on_message(channel.as_bytes(), &payload);
                }
                // A payload is a string.
                Ok(_) => {}
                Err(RecvError::Lagged(messages)) => {
                    tracing::error!(messages, "the driver has lost messages; its connection is given up");
                    connection.abort();
                }
                Err(RecvError::Closed) => return,
            }
        }
    };
    // tokio's budget is that of fred's task, and a receiver that has none left would wake itself for ever.
    let receive = tokio::task::unconstrained(receive).boxed();
    Arc::new(InWaker(Mutex::new(Some(receive)))).wake();
}
