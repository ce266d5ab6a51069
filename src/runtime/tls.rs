//! The one crypto provider of the program, and how its HTTP clients are made. The HTTP library is built without a
//! provider, so that there is no second.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

/// Installs the provider. Later calls find it installed.
pub fn install_provider() {
    // An error says only that it is installed already.
    rustls::crypto::ring::default_provider().install_default().ok();
}

/// Makes an HTTP client that follows no redirect and no proxy variable, and is otherwise as `configure` says.
///
/// It trusts the authorities of the machine. A machine may have none (a small container without `ca-certificates`):
/// what is spoken in clear text with the machine itself, or under authorities that `configure` names, works there
/// all the same, and every other server is refused for its unknown issuer.
///
/// # Errors
/// When the client cannot be made with `configure` in either way.
pub fn http_client(configure: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Client, reqwest::Error> {
    install_provider();
    let plain = || configure(Client::builder().no_proxy().redirect(Policy::none()));
    plain().build().or_else(|error| {
        let client = plain().tls_certs_only([]).build()?;
        tracing::warn!(%error, "this machine names no certificate authorities: servers under public ones are refused");
        Ok(client)
    })
}
