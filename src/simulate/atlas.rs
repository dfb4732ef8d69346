//! The world of the simulator: the cities and networks of the demo geo database.

use std::{net::IpAddr, sync::LazyLock};

use ipnet::IpNet;

use super::{calendar::Week, random::Random};
use crate::domain::{Millis, place::Coordinates};

const CITIES: &str = include_str!("../../geoip/demo-cities.csv");
const NETWORKS: &str = include_str!("../../geoip/demo-networks.csv");

/// What sort of network an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// An internet provider's customers.
    Residential,
    /// A mobile carrier's customers, all over a region.
    Mobile,
    /// A cloud provider's region.
    Cloud,
    /// A hoster of VPN exits.
    Vpn,
    /// A company's own network.
    Office,
}

impl Sort {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "residential" => Self::Residential,
            "mobile" => Self::Mobile,
            "cloud" => Self::Cloud,
            "vpn" => Self::Vpn,
            "office" => Self::Office,
            _ => return None,
        })
    }
}

/// A city, with the networks in it.
#[derive(Debug)]
pub struct City {
    /// The city's name in English.
    pub name: &'static str,
    /// ISO 3166-1 alpha-2 country.
    pub country: &'static str,
    /// Two letters for the continent.
    pub continent: &'static str,
    /// The middle of it, in degrees.
    pub at: Coordinates,
    /// Local time minus UTC, in milliseconds; summer time is left out.
    pub offset: Millis,
    /// Its networks. Those of a mobile carrier reach up to 250 km around.
    pub networks: Vec<Network>,
}

/// A block of addresses.
#[derive(Debug)]
pub struct Network {
    /// The block of addresses.
    pub block: IpNet,
    /// What it is used for.
    pub sort: Sort,
    /// The number of its autonomous system.
    pub asn: u32,
}

impl Network {
    /// A random address of the block that a rightful holder may have.
    pub fn address(&self, random: &mut Random) -> IpAddr {
        self.host(random, |last| (1, last * 3 / 4))
    }

    /// A random address of the block that no rightful holder has. The blocks of the demo database are small: strangers
    /// would share an address with their victims' neighbours far more often than in the world.
    pub fn hideout(&self, random: &mut Random) -> IpAddr {
        self.host(random, |last| (last * 3 / 4 + 1, last))
    }

    /// An address out of a part of the block, given by its last host.
    fn host(&self, random: &mut Random, part: impl Fn(i64) -> (i64, i64)) -> IpAddr {
        match self.block {
            IpNet::V4(block) => {
                // The network and the broadcast address are no hosts.
                let (low, high) = part((1_i64 << (32 - block.prefix_len())) - 2);
                IpAddr::V4((u32::from(block.network()) | random.whole(low, high) as u32).into())
            }
            IpNet::V6(block) => {
                // A site's /64 and an interface in it.
                let site = u128::from(random.bits() & 0xff_ffff) << 64;
                IpAddr::V6((u128::from(block.network()) | site | u128::from(random.bits())).into())
            }
        }
    }
}

/// Every city that has inhabitants, in the order of the table.
pub static CITIES_OF_THE_WORLD: LazyLock<Vec<City>> = LazyLock::new(|| {
    let mut cities: Vec<City> = rows(CITIES).filter_map(|row| city(&row)).collect();
    let mut nearest = None;
    for row in rows(NETWORKS) {
        // A mobile block without a city follows the block of the city that it belongs to.
        nearest = cities.iter().position(|city| row.get(1) == Some(&city.name)).or(nearest);
        let place = nearest.and_then(|index| cities.get_mut(index));
        if let (Some(city), Some(network)) = (place, network(&row)) {
            city.networks.push(network);
        }
    }
    // The seventh continent is for the map, not for traffic.
    cities.retain(|city| city.continent != "AN");
    cities
});

impl City {
    /// Every city of the atlas.
    pub fn all() -> &'static [Self] {
        &CITIES_OF_THE_WORLD
    }

    /// Cities with a network of this sort.
    pub fn with(sort: Sort) -> Vec<&'static Self> {
        Self::all().iter().filter(|city| city.has(sort)).collect()
    }

    /// Whether there is a network of this sort.
    pub fn has(&self, sort: Sort) -> bool {
        self.networks.iter().any(|network| network.sort == sort)
    }

    /// The networks of a sort.
    pub fn networks(&self, sort: Sort) -> Vec<&Network> {
        self.networks.iter().filter(|network| network.sort == sort).collect()
    }

    /// A random address in a network of this sort, or of any sort where there is none.
    pub fn address(&self, sort: Sort, random: &mut Random) -> IpAddr {
        let network = random.pick(&self.networks(sort)).copied().or_else(|| self.networks.first());
        network.map_or(IpAddr::from([192, 0, 2, 1]), |network| network.address(random))
    }

    /// A provider with a network of this sort here; 0 where there is none.
    pub fn provider(&self, sort: Sort, random: &mut Random) -> u32 {
        random.pick(&self.networks(sort)).map_or(0, |network| network.asn)
    }

    /// A random address of a provider's networks of this sort, or of any provider's where it has none here.
    pub fn address_of(&self, provider: u32, sort: Sort, random: &mut Random) -> IpAddr {
        let network = self.network_of(provider, sort, random);
        network.map_or(IpAddr::from([192, 0, 2, 1]), |network| network.address(random))
    }

    /// The network of a provider's customers of this sort, or of any provider's where it has none here.
    pub fn network_of(&self, provider: u32, sort: Sort, random: &mut Random) -> Option<&Network> {
        let all = self.networks(sort);
        let own: Vec<_> = all.iter().copied().filter(|network| network.asn == provider).collect();
        random.pick(if own.is_empty() { &all } else { &own }).copied().or_else(|| self.networks.first())
    }

    /// The city whose networks an address belongs to, and the network.
    pub fn of(address: IpAddr) -> Option<(&'static Self, &'static Network)> {
        let inside = |city: &'static Self| {
            city.networks
                .iter()
                .find(|network| network.block.contains(&address))
                .map(|network| (city, network))
        };
        Self::all().iter().find_map(inside)
    }

    /// On which days people work here.
    pub fn week(&self) -> Week {
        match self.country {
            "IL" | "EG" => Week::SundayToThursday,
            _ => Week::MondayToFriday,
        }
    }

    /// Distance to another city in km.
    pub fn km(&self, other: &Self) -> f64 {
        self.at.distance_km(&other.at)
    }

    /// The nearest city in a country other than those of `known`.
    pub fn neighbour(&self, known: &[&'static Self]) -> &'static Self {
        let home = |city: &Self| city.country == self.country;
        let abroad = Self::all()
            .iter()
            .filter(|city| !home(city) && known.iter().all(|known| known.country != city.country));
        abroad.min_by(|a, b| self.km(a).total_cmp(&self.km(b))).unwrap_or(&Self::all()[0])
    }

    /// A random city that is at least this far away from every city of `known`; the one that is farthest from the
    /// nearest of them when none is.
    pub fn far(known: &[&'static Self], least_km: f64, random: &mut Random) -> &'static Self {
        let nearest = |city: &Self| known.iter().map(|known| known.km(city)).fold(f64::INFINITY, f64::min);
        let far: Vec<&'static Self> = Self::all().iter().filter(|city| nearest(city) >= least_km).collect();
        let farthest = || Self::all().iter().max_by(|a, b| nearest(a).total_cmp(&nearest(b)));
        random.pick(&far).copied().or_else(farthest).unwrap_or(&Self::all()[0])
    }
}

fn city(row: &[&'static str]) -> Option<City> {
    let &[name, country, continent, latitude, longitude, _, minutes] = row else { return None };
    let at =
        Coordinates { latitude: latitude.parse().ok()?, longitude: longitude.parse().ok()?, radius_km: 0 };
    let offset = minutes.parse::<Millis>().ok()? * crate::domain::MINUTE;
    Some(City { name, country, continent, at, offset, networks: Vec::new() })
}

fn network(row: &[&'static str]) -> Option<Network> {
    let &[block, _, _, _, _, _, sort, asn, _] = row else { return None };
    Some(Network { block: block.parse().ok()?, sort: Sort::parse(sort)?, asn: asn.parse().ok()? })
}

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.skip(1).map(|line| line.split(',').collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::GeoDb;

    #[test]
    fn every_row_of_the_tables_is_understood() {
        let networks: usize = City::all().iter().map(|city| city.networks.len()).sum();
        assert_eq!(City::all().len() + 1, rows(CITIES).count());
        assert_eq!(networks + 1, rows(NETWORKS).count());
        for city in City::all() {
            assert!(
                city.has(Sort::Residential) && city.has(Sort::Mobile) && city.has(Sort::Office),
                "{}",
                city.name
            );
        }
        assert!(City::with(Sort::Cloud).len() >= 12 && City::with(Sort::Vpn).len() >= 8);
    }

    #[test]
    fn addresses_are_where_the_geo_database_says() {
        let db = GeoDb::demo().unwrap();
        let mut random = Random::new(3);
        for city in City::all() {
            for network in &city.networks {
                let address = network.address(&mut random);
                let place = db.lookup(address).unwrap();
                assert_eq!(place.core.asn, network.asn, "{address}");
                let (back, same) = City::of(address).unwrap();
                assert_eq!((back.name, same.block), (city.name, network.block));
                assert_eq!(place.core.country_code(), Some(city.country), "{address}");
                let km = place.core.coordinates.unwrap().distance_km(&city.at);
                assert!(km < if network.sort == Sort::Mobile { 260.0 } else { 1.0 }, "{address} {km}");
            }
        }
    }

    #[test]
    fn strangers_never_have_an_address_of_a_holder() {
        let mut random = Random::new(4);
        for network in City::all().iter().flat_map(|city| &city.networks) {
            let holders: Vec<_> = (0..60).map(|_| network.address(&mut random)).collect();
            assert!((0..60).all(|_| !holders.contains(&network.hideout(&mut random))), "{}", network.block);
        }
    }

    #[test]
    fn neighbours_are_near_and_strangers_far() {
        let bucharest = City::all().iter().find(|city| city.name == "Bucharest").unwrap();
        let named = |name: &str| City::all().iter().find(|city| city.name == name).unwrap();
        assert_eq!(bucharest.neighbour(&[]).name, "Sofia");
        assert_eq!(bucharest.neighbour(&[named("Sofia")]).name, "Chisinau");
        let stranger = City::far(&[bucharest, named("Tokyo")], 4000.0, &mut Random::new(1));
        assert!(bucharest.km(stranger) >= 4000.0 && named("Tokyo").km(stranger) >= 4000.0);
        let known: Vec<&City> = City::all().iter().collect();
        assert!(City::all().iter().any(|city| city.name == City::far(&known, 1.0, &mut Random::new(1)).name));
    }
}
