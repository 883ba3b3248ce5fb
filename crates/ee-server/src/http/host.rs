//! Which app a Host names (TUNNEL 8 and 9, ROUTING 7).

use ee_protocol::names::AppName;

/// Why a Host names no app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostError {
    /// No name in it: empty, an address, or a first label that cannot be an app's name.
    MissingApp,
    /// `EE_APP_DOMAIN` is set and the Host is not exactly one label below it.
    Unknown,
}

/// The app that `host` names: the first label, which under `EE_APP_DOMAIN` must stand directly
/// below it. Case and port do not matter.
pub fn app_of(host: &str, app_domain: Option<&str>) -> Result<AppName, HostError> {
    let name = without_port(host.trim()).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.is_empty() || name.parse::<std::net::IpAddr>().is_ok() || name.starts_with('[') {
        return Err(HostError::MissingApp);
    }
    let label = match app_domain {
        None => name.split('.').next().unwrap_or_default(),
        Some(domain) => {
            let below = name
                .strip_suffix(domain)
                .and_then(|rest| rest.strip_suffix('.'));
            below
                .filter(|label| !label.contains('.'))
                .ok_or(HostError::Unknown)?
        }
    };
    AppName::parse(label).map_err(|_| HostError::MissingApp)
}

fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str, domain: Option<&str>) -> Result<String, HostError> {
        app_of(host, domain).map(|app| app.as_str().to_owned())
    }

    #[test]
    fn the_first_label_names_the_app() {
        assert_eq!(named("hello.localhost:9090", None), Ok("hello".into()));
        assert_eq!(named("HELLO.Example.com", None), Ok("hello".into()));
        assert_eq!(named("hello", None), Ok("hello".into()));
        for bad in [
            "",
            "127.0.0.1:9090",
            "[::1]:9090",
            "::1",
            "_x.example.com",
            ":80",
        ] {
            assert_eq!(named(bad, None), Err(HostError::MissingApp), "{bad}");
        }
    }

    #[test]
    fn under_a_domain_only_direct_children_count() {
        let domain = Some("app.example.com");
        assert_eq!(
            named("hello.app.example.com:443", domain),
            Ok("hello".into())
        );
        for bad in [
            "hello.example.com",
            "a.hello.app.example.com",
            "app.example.com",
            "helloapp.example.com",
            "hello.app.example.com.evil.net",
        ] {
            assert_eq!(named(bad, domain), Err(HostError::Unknown), "{bad}");
        }
    }
}
