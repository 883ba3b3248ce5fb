//! Orders of the plane that wait for a session.
//!
//! A channel of the runtime would make room for thirty-two of them in advance, 1.3 KiB for each
//! idle tunnel; nearly all tunnels never get one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use ee_core::session::Order;
use tokio::sync::Notify;

/// Orders that may wait. The plane sends a handful in a session's life; one that does not take
/// sixteen is dead, and orders to the dead are dropped.
const ORDERS_MAX: usize = 16;

/// A queue for one session. Clones put into the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    orders: Mutex<VecDeque<Order>>,
    came: Notify,
}

impl Orders {
    /// Adds one, unless too many wait.
    pub(super) fn push(&self, order: Order) {
        let mut orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.len() >= ORDERS_MAX {
            tracing::debug!(event = "order_dropped", ?order);
            return;
        }
        orders.push_back(order);
        drop(orders);
        self.0.came.notify_one();
    }

    /// The next one. Cancel safe. One session waits, so that one word for many orders is enough.
    pub(super) async fn next(&self) -> Order {
        loop {
            if let Some(order) = self.pop() {
                return order;
            }
            self.0.came.notified().await;
        }
    }

    fn pop(&self) -> Option<Order> {
        let mut orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn orders_come_in_their_order_and_no_more_wait_than_may() {
        let orders = Orders::default();
        let session = orders.clone();
        let waiting = async { [session.next().await, session.next().await] };
        let plane = async { [Order::Ping, Order::Drain].map(|order| orders.push(order)) };
        let (came, _) = tokio::join!(waiting, plane);
        assert_eq!(came, [Order::Ping, Order::Drain]);
        for _ in 0..=ORDERS_MAX {
            orders.push(Order::Reattest);
        }
        for _ in 0..ORDERS_MAX {
            assert_eq!(orders.next().now_or_never(), Some(Order::Reattest));
        }
        assert_eq!(orders.next().now_or_never(), None);
    }
}
