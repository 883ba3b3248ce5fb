//! The way to one tunnel, as routes and the plane hold it.

use ee_control::plane::TunnelLink;
use ee_core::session::Order;
use ee_tunnel::TunnelHandle;

use super::{legacy::LegacyHandle, orders::Orders};

/// Carries requests to an agent and orders to its session.
#[derive(Clone, Debug)]
pub struct Link {
    way: Way,
    orders: Orders,
}

/// How requests reach an agent.
#[derive(Clone, Debug)]
pub enum Way {
    /// As HTTP/2 streams.
    H2(TunnelHandle),
    /// As text messages, one after another.
    Legacy(LegacyHandle),
}

impl Link {
    pub(super) fn new(way: Way, orders: Orders) -> Self {
        Self { way, orders }
    }

    /// Sends requests.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// The agent turned out to take requests in another way.
    pub(super) fn set_way(&mut self, way: Way) {
        self.way = way;
    }
}

impl TunnelLink for Link {
    fn order(&self, order: Order) {
        self.orders.push(order);
    }
}
