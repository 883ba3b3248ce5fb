//! Which apps and nodes there are, by name, and how many of them each repository holds.

use ee_protocol::names::{AppName, NodeId};

use super::{App, Node, Registry};

/// Names and ids that the releases of one repository have taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    pub(super) apps: usize,
    pub(super) nodes: usize,
}

impl Registry {
    pub(super) fn put_app(&mut self, app: App) {
        let key = app.repo.key();
        if self.apps.insert(app.name.clone(), app).is_none() {
            self.holdings.entry(key).or_default().apps += 1;
        }
    }

    pub(super) fn put_node(&mut self, node: Node) {
        if let Some(old) = self.nodes.get(&node.id)
            && old.app != node.app
        {
            self.unlist(&old.app.clone(), &node.id);
        }
        let listed = self.app_nodes.entry(node.app.clone()).or_default();
        if listed.insert(node.id.clone())
            && let Some(holdings) = self.holdings_of(&node.app)
        {
            holdings.nodes += 1;
        }
        self.nodes.insert(node.id.clone(), node);
    }

    pub(super) fn unlist(&mut self, app: &AppName, node: &NodeId) {
        let Some(nodes) = self.app_nodes.get_mut(app) else {
            return;
        };
        let was_listed = nodes.remove(node);
        if nodes.is_empty() {
            self.app_nodes.remove(app);
        }
        if was_listed && let Some(holdings) = self.holdings_of(app) {
            holdings.nodes -= 1;
        }
    }

    fn holdings_of(&mut self, app: &AppName) -> Option<&mut Holdings> {
        let key = self.apps.get(app)?.repo.key();
        Some(self.holdings.entry(key).or_default())
    }
}
