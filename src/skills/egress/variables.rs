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
    names.map(|name| (name.to_owned(), address.clone())).to_vec()
}
