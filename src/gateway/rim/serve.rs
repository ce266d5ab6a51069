//! What is done with an accepted connection: in clear, over TLS, or refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::identity::authority::listener::Tls;
use crate::identity::authority::name::IdentityKind;
use crate::identity::authority::trust::Peer;

use super::bounds::Bounds;
use super::connection::{Protocol, answer, answer_http2, stopped};
use super::crowd::Place;
use super::deaf::{Deafen, Deafened};
use super::stall::Unstalled;
use super::visitor::Visitor;

/// For what was asked before a certificate ended, such as to end it, to be answered.
const LAST_WORD_MAX: Duration = Duration::from_millis(500);

/// A connection's place among those of its address; none where its address has no bound.
pub type HeldPlace = Option<Place<IpAddr>>;

/// Serves a connection until it ends, and holds its place meanwhile; none for a peer that may not come.
pub type Serve = Arc<dyn Fn(TcpStream, SocketAddr, HeldPlace) -> Option<BoxFuture<'static, ()>> + Send + Sync>;

/// Serves whoever comes, without TLS.
pub fn plain(router: Router, bounds: Bounds, stop: watch::Receiver<bool>) -> Serve {
    Arc::new(move |stream, peer, place| {
        // Small answers must not wait for a full packet; without it they still arrive.
        stream.set_nodelay(true).ok();
        let local = stream.local_addr().ok().map(|own| own.ip());
        let stream = Unstalled::new(stream, bounds.stall);
        let visitor = Visitor {
            address: peer,
            local,
            identity: None,
        };
        let answering = answer(stream, visitor, router.clone(), bounds, stop.clone());
        Some(Box::pin(answering.map(move |answered| {
            drop(place);
            if let Err(error) = answered {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        })))
    })
}

/// Serves whoever makes a handshake, with a certificate where one is asked for; a connection ends with its certificate.
pub fn over_tls(router: Router, tls: Tls, bounds: Bounds, stop: watch::Receiver<bool>) -> Serve {
    Arc::new(move |stream, peer, place| {
        let work = secure(stream, (peer, place), router.clone(), tls.clone(), bounds, stop.clone());
        Some(Box::pin(work))
    })
}

async fn secure(
    stream: TcpStream,
    (peer, mut place): (SocketAddr, HeldPlace),
    router: Router,
    tls: Tls,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
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
    if known
        .as_ref()
        .is_some_and(|known| known.identity.kind == IdentityKind::Service)
    {
        // A proxy brings the clients of many addresses.
        place = None;
    }
    let visitor = Visitor {
        address: peer,
        local: own.map(|own| own.ip()),
        identity: known.as_ref().map(|known| known.identity.to_string().into()),
    };
    let (stream, deafen) = Deafened::new(stream);
    let (quit, leave) = watch::channel(false);
    let answering = match protocol {
        Protocol::Http1 => Either::Left(answer(stream, visitor, router, bounds, leave)),
        Protocol::Http2 => Either::Right(answer_http2(stream, visitor, router, bounds, leave)),
    };
    let lapse = lapsed(&tls, peer, known.as_ref(), &deafen);
    let ended = until_lapsed(answering, lapse, &quit, &mut stop).await;
    drop(place);
    if let Err(error) = ended {
        tracing::debug!(of, %peer, %error, "a connection ended early");
    }
}

/// Resolves when the certificate of a connection is not good any more; from then on nothing is read from it.
async fn lapsed(tls: &Tls, peer: SocketAddr, known: Option<&Peer>, deafen: &Deafen) {
    let Some(known) = known else {
        return std::future::pending().await;
    };
    let why = tls.lapse(known.serial).await;
    deafen.now();
    tracing::warn!(of = tls.name(), %peer, identity = %known.identity, %why, "a connection was closed");
}

/// Drives a connection to its end, which comes soon after its certificate's.
async fn until_lapsed(
    answering: impl Future<Output = hyper::Result<()>>,
    lapse: impl Future<Output = ()>,
    quit: &watch::Sender<bool>,
    stop: &mut watch::Receiver<bool>,
) -> hyper::Result<()> {
    let (mut answering, mut lapse) = (std::pin::pin!(answering), std::pin::pin!(lapse));
    let is_stopping = tokio::select! {
        ended = &mut answering => return ended,
        () = stopped(stop) => true,
        () = &mut lapse => false,
    };
    quit.send_replace(true);
    if is_stopping {
        tokio::select! {
            ended = &mut answering => return ended,
            () = lapse => {}
        }
    }
    tokio::time::timeout(LAST_WORD_MAX, answering).await.unwrap_or(Ok(()))
}
