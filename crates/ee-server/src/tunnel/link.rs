//! The way to one tunnel, as routes and the plane hold it.

use ee_control::plane::TunnelLink;
use ee_core::session::Order;
use ee_tunnel::TunnelHandle;
use tokio::sync::mpsc;

/// Orders that wait for a session. The plane sends a handful in a session's life; one that does
/// not take sixteen is dead, and orders to the dead are dropped.
pub(super) const ORDERS_MAX: usize = 16;

/// Carries requests to an agent and orders to its session.
#[derive(Clone, Debug)]
pub struct Link {
    tunnel: TunnelHandle,
    orders: mpsc::Sender<Order>,
}

impl Link {
    pub(super) fn new(tunnel: TunnelHandle, orders: mpsc::Sender<Order>) -> Self {
        Self { tunnel, orders }
    }

    /// Sends requests.
    pub fn tunnel(&self) -> &TunnelHandle {
        &self.tunnel
    }
}

impl TunnelLink for Link {
    fn order(&self, order: Order) {
        if let Err(error) = self.orders.try_send(order) {
            tracing::debug!(event = "order_dropped", %error);
        }
    }
}
