//! Servers of tests on loopback: every connection in a thread of its own, until the test program ends.

use std::net::{TcpListener, TcpStream};

/// Serves whoever connects.
pub fn serve_each(listener: TcpListener, serve: impl Fn(TcpStream) + Clone + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
}
