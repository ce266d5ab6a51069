//! What is done with an accepted connection: in clear, over TLS, or refused.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::identity::authority::listener::Tls;

use super::bounds::Bounds;
use super::connection::{Protocol, answer, answer_http2};
use super::stall::Unstalled;
use super::visitor::Visitor;

/// Serves a connection until it ends; none for a peer that may not come.
pub type Serve = Arc<dyn Fn(TcpStream, SocketAddr) -> Option<BoxFuture<'static, ()>> + Send + Sync>;

/// Serves whoever comes, without TLS.
pub fn plain(router: Router, bounds: Bounds, stop: watch::Receiver<bool>) -> Serve {
    Arc::new(move |stream, peer| {
        // Small answers must not wait for a full packet; without it they still arrive.
        stream.set_nodelay(true).ok();
        let stream = Unstalled::new(stream, bounds.stall);
        let visitor = Visitor {
            address: peer,
            identity: None,
        };
        let answering = answer(stream, visitor, router.clone(), bounds, stop.clone());
        Some(Box::pin(answering.map(move |answered| {
            if let Err(error) = answered {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        })))
    })
}

/// Serves whoever makes a handshake, with a certificate where one is asked for; a connection ends with its certificate.
pub fn over_tls(router: Router, tls: Tls, bounds: Bounds, stop: watch::Receiver<bool>) -> Serve {
    Arc::new(move |stream, peer| {
        let work = secure(stream, peer, router.clone(), tls.clone(), bounds, stop.clone());
        Some(Box::pin(work))
    })
}

async fn secure(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    tls: Tls,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
) {
    stream.set_nodelay(true).ok();
    let own = stream.local_addr().ok();
    let stream = Unstalled::new(stream, bounds.stall);
    let of = tls.name();
    let acceptor = TlsAcceptor::from(tls.config(own, peer));
    let stream = match tokio::time::timeout(bounds.handshake(), acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(of, %peer, %error, "a connection was refused in the handshake");
            return;
        }
        Err(_) => {
            tracing::debug!(of, %peer, "a handshake did not end in time");
            return;
        }
    };
    let (_, session) = stream.get_ref();
    let protocol = Protocol::agreed(session.alpn_protocol());
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let known = match tls.admit(shown) {
        Ok(known) => known,
        Err(why) => {
            tracing::warn!(of, %peer, %why, "a connection was refused");
            return;
        }
    };
    let visitor = Visitor {
        address: peer,
        identity: known.as_ref().map(|known| known.identity.to_string().into()),
    };
    let mut answering = match protocol {
        Protocol::Http1 => Either::Left(Box::pin(answer(stream, visitor, router, bounds, stop))),
        Protocol::Http2 => Either::Right(Box::pin(answer_http2(stream, visitor, router, bounds, stop))),
    };
    let ended = match known {
        None => answering.await,
        Some(known) => tokio::select! {
            ended = &mut answering => ended,
            why = tls.lapse(known.serial) => {
                tracing::warn!(of, %peer, identity = %known.identity, %why, "a connection was closed");
                Ok(())
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(of, %peer, %error, "a connection ended early");
    }
}
