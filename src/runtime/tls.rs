//! The one crypto provider of the program. The HTTP library is built without one, so that there is no second.

/// Installs the provider. Every maker of an HTTP client calls it first; later calls find it installed.
pub fn install_provider() {
    // An error says only that it is installed already.
    rustls::crypto::ring::default_provider().install_default().ok();
}
