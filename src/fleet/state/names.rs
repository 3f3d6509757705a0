//! Distinguishes workers of the same name: `--name` is unique on a host, not in a fleet.

use std::collections::{BTreeMap, BTreeSet};

use super::{Address, FleetState, Linked};

impl FleetState {
    /// Gives workers of the same name ids that include their hosts, so that each row and each
    /// command refers to one of them.
    pub(super) fn disambiguate(&mut self) {
        let mut by_name: BTreeMap<String, Vec<Address>> = BTreeMap::new();
        for (address, link) in &mut self.links {
            link.alias = None;
            if let Some(hello) = link.hello.as_ref().filter(|_| link.ended.is_none()) {
                let addresses = by_name.entry(hello.worker.clone()).or_default();
                addresses.push(address.clone());
            }
        }
        for (name, addresses) in by_name.iter().filter(|(_, all)| all.len() > 1) {
            for (address, place) in addresses.iter().zip(self.places(addresses)) {
                if let Some(link) = self.links.get_mut(address) {
                    link.alias = Some(format!("{name}@{place}"));
                }
            }
        }
    }

    /// Distinct names for addresses: their hosts' own names, or their names for ssh, or those with
    /// the sockets there.
    fn places(&self, addresses: &[Address]) -> Vec<String> {
        let own_name = |address: &Address| {
            let report = self.links.get(address).and_then(Linked::report);
            report.map_or_else(
                || self.given(address),
                |report| report.snapshot.worker.hostname.clone(),
            )
        };
        let ways: [&dyn Fn(&Address) -> String; 2] = [&own_name, &|address| self.given(address)];
        let places = ways.into_iter().find_map(|way| {
            let places: Vec<String> = addresses.iter().map(way).collect();
            let distinct: BTreeSet<&String> = places.iter().collect();
            (distinct.len() == places.len()).then_some(places)
        });
        places.unwrap_or_else(|| {
            let labels = addresses.iter().map(Address::label);
            labels.map(|label| label.display().to_string()).collect()
        })
    }

    /// The host of an address, named as for ssh.
    fn given(&self, address: &Address) -> String {
        let host = address.host.as_deref();
        host.unwrap_or(&self.host).to_owned()
    }
}
