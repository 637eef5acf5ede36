//! Looking host names up, once for many requests: ureq asks for each of them.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long a looked-up address is used.
const ADDRESS_AGE_MAX: Duration = Duration::from_secs(30);

/// Remembers addresses for a while.
#[derive(Debug, Default)]
pub struct CachingResolver {
    found: Mutex<HashMap<String, (Vec<SocketAddr>, Instant)>>,
}

/// One resolver for all agents.
#[derive(Debug)]
pub struct Shared(pub Arc<CachingResolver>);

impl Resolver for Shared {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(ureq::Error::HostNotFound);
        };
        let mut result = self.empty();
        if let (Ok(ip), Some(port)) = (authority.host().parse(), authority.port_u16()) {
            result.push(SocketAddr::new(ip, port));
            return Ok(result);
        }
        let name =
            DefaultResolver::host_and_port(scheme, authority).ok_or(ureq::Error::HostNotFound)?;
        let addresses = self.0.look_up(&name)?;
        for address in config.ip_family().keep_wanted(addresses.into_iter()).take(16) {
            result.push(address);
        }
        if result.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(result) }
    }
}

impl CachingResolver {
    fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, ureq::Error> {
        let lock = || self.found.lock().unwrap_or_else(|e| e.into_inner());
        let is_fresh = |at: &Instant| at.elapsed() < ADDRESS_AGE_MAX;
        if let Some((addresses, _)) = lock().get(name).filter(|(_, at)| is_fresh(at)) {
            return Ok(addresses.clone());
        }
        match name.to_socket_addrs() {
            Ok(addresses) => {
                let addresses: Vec<_> = addresses.collect();
                lock().insert(name.to_owned(), (addresses.clone(), Instant::now()));
                Ok(addresses)
            }
            // The name server is down or knows no such name; where it knew one before, that is the best guess.
            Err(_) => match lock().get(name) {
                Some((addresses, _)) => Ok(addresses.clone()),
                None => Err(ureq::Error::HostNotFound),
            },
        }
    }
}
