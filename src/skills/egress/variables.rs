//! How programs find the proxy.

use crate::skills::sandbox::PROXY_PORT;

/// What HTTP clients read.
pub fn variables() -> Vec<(String, String)> {
    let address = format!("http://127.0.0.1:{PROXY_PORT}");
    let names = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    let named = names.map(|name| (name.to_owned(), address.clone()));
    // Node reads them only when told to, from version 24 on.
    named
        .into_iter()
        .chain([("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned())])
        .collect()
}
