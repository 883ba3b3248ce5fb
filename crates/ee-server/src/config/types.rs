//! Values of settings that have a shape of their own.

use std::{fmt, net::IpAddr, path::PathBuf};

use http::HeaderMap;
use ipnet::IpNet;

/// Where agents and people reach the API: scheme and authority, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    scheme: &'static str,
    authority: String,
}

impl PublicUrl {
    /// Parses `http://host[:port]` or `https://host[:port]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || format!("'{text}' is not http(s)://host[:port] without a path");
        let uri: http::Uri = text.parse().map_err(|_| wanted())?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            Some(_) | None => return Err(wanted()),
        };
        let authority = uri.authority().ok_or_else(wanted)?;
        let bare = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
        if !bare {
            return Err(wanted());
        }
        Ok(Self {
            scheme,
            authority: authority.as_str().to_ascii_lowercase(),
        })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The host name or address, lower case, without the port.
    pub fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) | None => &self.authority,
        }
    }

    /// The tunnel endpoint: `wss://host/v1/tunnel`, `ws` where the public face is plain HTTP.
    pub fn tunnel_endpoint(&self) -> String {
        let scheme = if self.scheme == "https" { "wss" } else { "ws" };
        format!("{scheme}://{}/v1/tunnel", self.authority)
    }

    /// The URL of an app: one label below the app domain, on the public scheme.
    pub fn app_url(&self, app: &str, domain: &str) -> String {
        format!("{}://{app}.{domain}/", self.scheme)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// Who may call `POST /v1/proxy/{app}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyApi {
    /// Anyone: it reaches nothing that the proxy listener does not.
    Public,
    /// Whoever has a token with the scope `proxy:use`.
    Token,
    /// Nobody: the route does not exist.
    Off,
}

impl ProxyApi {
    /// Parses `public`, `token` or `off`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "public" => Ok(Self::Public),
            "token" => Ok(Self::Token),
            "off" => Ok(Self::Off),
            _ => Err(format!("'{text}' is not public, token or off")),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Parses `auto`, `pretty` or `json`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(format!("'{text}' is not auto, pretty or json")),
        }
    }
}

/// Certificate and key of the listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPaths {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// The networks whose word about the client's address counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// From networks in CIDR notation, or single addresses.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Parses one network: `10.0.0.0/8`, `::1`.
    pub fn parse_network(text: &str) -> Result<IpNet, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("'{text}' is not a network such as 10.0.0.0/8"))
    }

    /// Whether `address` is one of the trusted proxies.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the peer's, or behind a trusted proxy the right-most address of
    /// `X-Forwarded-For` that is not itself a trusted proxy. Anything further left was written by
    /// the client and proves nothing.
    pub fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        let lines = headers.get_all("x-forwarded-for");
        let hops: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|l| l.split(','))
            .collect();
        let mut client = peer;
        for hop in hops.iter().rev() {
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = address.to_canonical();
            if !self.contains(client) {
                break;
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(list: &[&str]) -> TrustedProxies {
        let parse = |text: &&str| TrustedProxies::parse_network(text).expect("network");
        TrustedProxies::new(list.iter().map(parse).collect())
    }

    fn client(proxies: &TrustedProxies, peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().expect("header"));
        }
        proxies
            .client_ip(peer.parse().expect("address"), &headers)
            .to_string()
    }

    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        let trusted = proxies(&["127.0.0.0/8", "10.0.0.0/8"]);
        assert_eq!(
            client(&trusted, "127.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.9"]),
            "1.2.3.4"
        );
        assert_eq!(
            client(&trusted, "127.0.0.1", &["6.6.6.6", "1.2.3.4"]),
            "1.2.3.4"
        );
        assert_eq!(client(&trusted, "9.9.9.9", &["1.2.3.4"]), "9.9.9.9");
        assert_eq!(client(&trusted, "127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(
            client(&trusted, "127.0.0.1", &["1.2.3.4, junk"]),
            "127.0.0.1"
        );
        assert_eq!(
            client(&trusted, "::ffff:127.0.0.1", &["1.2.3.4"]),
            "1.2.3.4"
        );
        assert_eq!(
            client(&proxies(&[]), "127.0.0.1", &["1.2.3.4"]),
            "127.0.0.1"
        );
    }

    #[test]
    fn the_tunnel_endpoint_follows_the_public_scheme() {
        let url = PublicUrl::parse("https://Control.example.com").expect("url");
        assert_eq!(url.tunnel_endpoint(), "wss://control.example.com/v1/tunnel");
        assert_eq!(url.host(), "control.example.com");
        let url = PublicUrl::parse("http://localhost:8088/").expect("url");
        assert_eq!(url.tunnel_endpoint(), "ws://localhost:8088/v1/tunnel");
        assert_eq!(url.host(), "localhost");
        for bad in [
            "",
            "localhost",
            "ftp://x",
            "http://x/path",
            "http://u@x",
            "http://x/?q",
        ] {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
