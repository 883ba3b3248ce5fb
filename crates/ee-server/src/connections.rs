//! Open connections by address, on both listeners: one address cannot take every descriptor.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections of one address (TUNNEL 10); trusted proxies and loopback carry many clients.
const CONNECTIONS_PER_IP_MAX: u32 = 256;

/// Open connections by address.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<BTreeMap<IpAddr, u32>>>);

/// One counted connection; it counts until it is dropped.
pub struct Counted(Option<(Connections, IpAddr)>);

impl Connections {
    /// Counts a connection, or refuses it at the limit. Exempt ones are not counted.
    pub fn enter(&self, address: IpAddr, exempt: bool) -> Option<Counted> {
        if exempt {
            return Some(Counted(None));
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= CONNECTIONS_PER_IP_MAX {
            return None;
        }
        *count += 1;
        Some(Counted(Some((self.clone(), address))))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((connections, address)) = self.0.take() else {
            return;
        };
        let mut counts = connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = counts.get_mut(&address).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            counts.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_connection() {
        let connections = Connections::default();
        let address: IpAddr = "192.0.2.1".parse().expect("address");
        let held: Vec<_> = (0..CONNECTIONS_PER_IP_MAX)
            .map(|_| connections.enter(address, false))
            .collect();
        assert!(held.iter().all(Option::is_some));
        assert!(connections.enter(address, false).is_none());
        assert!(
            connections.enter(address, true).is_some(),
            "trusted proxies are exempt"
        );
        drop(held);
        assert!(connections.enter(address, false).is_some());
        assert!(
            connections.0.lock().expect("not poisoned").is_empty(),
            "nothing is left behind"
        );
    }
}
