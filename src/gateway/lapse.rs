//! Streams end with the key that opened them.
//!
//! A key is checked when a request comes in; an event stream goes on for hours after that, and a request may wait for
//! minutes. So the body of a stream is wrapped: when its key is revoked, expires or is rotated out, the client gets one
//! last event that says so, and the stream ends; and a request that waits is answered as one without a key. Whole layers of routes get this by one line in their router, and with it the limits of keys: how a key
//! stands is told in every answer, and a stream holds its key's place among the requests under way.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde_json::json;

use crate::domain::code;
use crate::identity::keyring::{Keyring, Principal};

use super::error::ApiError;
use super::limit::limits::{Entry, Limits};

/// For a request under way to be answered after its key has lapsed.
const LAPSED_MAX: Duration = Duration::from_millis(500);

/// Where the extractor of the key leaves whose it is.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    who: OnceLock<Known>,
    is_limited: bool,
}

#[derive(Debug)]
struct Known {
    principal: Principal,
    entry: Option<Entry>,
}

impl Caller {
    /// Says whose request it is; the first word counts.
    ///
    /// **Errors**: the key asks more than it may.
    pub fn enter(&self, principal: &Principal, limits: &Limits) -> Result<(), ApiError> {
        if self.0.who.get().is_some() {
            return Ok(());
        }
        let entry = self.0.is_limited.then(|| limits.of_key(principal.key)).transpose()?;
        self.0.who.get_or_init(|| Known {
            principal: principal.clone(),
            entry,
        });
        Ok(())
    }
}

/// Whose streams end, and whether keys are held to their limits here.
#[derive(Debug, Clone)]
pub struct Leases {
    /// The keys.
    pub keyring: Keyring,
    /// Operators are not held up by the limits that they set.
    pub is_limited: bool,
}

/// Ends the streams of keys that are not good any more, and tells how a key stands with its limit.
pub async fn end_with_key(leases: &Leases, mut request: Request, next: Next) -> Response {
    let caller = Caller(Arc::new(Inside {
        who: OnceLock::new(),
        is_limited: leases.is_limited,
    }));
    request.extensions_mut().insert(caller.clone());
    let Some(mut response) = answered(leases, &caller, next.run(request)).await else {
        let error = ApiError::new(code::KEY_INVALID, "the key of this request is not valid any more");
        return error
            .hint("what was accepted goes on; ask for it with another key")
            .into_response();
    };
    let standing = caller.0.who.get().and_then(|known| known.entry.as_ref()?.standing);
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_stream = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    match caller.0.who.get() {
        Some(known) if is_stream => {
            let (keyring, principal) = (leases.keyring.clone(), known.principal.clone());
            let lapse = async move { keyring.lapse(principal).await };
            response.map(|body| {
                Body::new(Leased {
                    body,
                    lapse: Some(Box::pin(lapse)),
                    caller: Some(caller),
                })
            })
        }
        _ => response,
    }
}

/// What the routes answer; none when the caller's key has lapsed before they did. A request that ends the key that it
/// came with, as a rotation does, still gets its answer.
async fn answered(leases: &Leases, caller: &Caller, answering: impl Future<Output = Response>) -> Option<Response> {
    let mut answering = std::pin::pin!(answering);
    let mut lapse: Option<BoxFuture<'static, ()>> = None;
    let first = std::future::poll_fn(|context| {
        if let Poll::Ready(response) = answering.as_mut().poll(context) {
            return Poll::Ready(Some(response));
        }
        // Who it is, is known only when the routes have looked.
        if let (None, Some(known)) = (&lapse, caller.0.who.get()) {
            let (keyring, principal) = (leases.keyring.clone(), known.principal.clone());
            lapse = Some(Box::pin(async move { keyring.lapse(principal).await }));
        }
        match &mut lapse {
            Some(lapse) => lapse.as_mut().poll(context).map(|()| None),
            None => Poll::Pending,
        }
    });
    match first.await {
        Some(response) => Some(response),
        None => tokio::time::timeout(LAPSED_MAX, answering).await.ok(),
    }
}

/// The same as a layer.
pub async fn leased(State(leases): State<Leases>, request: Request, next: Next) -> Response {
    end_with_key(&leases, request, next).await
}

/// A body that ends when its lease does.
struct Leased {
    body: Body,
    /// None when it has lapsed and the client was told.
    lapse: Option<BoxFuture<'static, ()>>,
    /// Holds the key's place until the stream has ended.
    #[expect(dead_code, reason = "its drop is its use")]
    caller: Option<Caller>,
}

/// The last event of a stream whose key has lapsed.
fn last_word() -> Bytes {
    let error = json!({ "error": {
        "code": code::KEY_INVALID.id,
        "type": code::KEY_INVALID.kind,
        "message": "the key of this stream is not valid any more",
        "hint": "open the stream anew with another key; Last-Event-ID resumes it",
    } });
    Bytes::from(format!("event: error\ndata: {error}\n\n"))
}

impl HttpBody for Leased {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(lapse) = &mut this.lapse else {
            return Poll::Ready(None);
        };
        // Before the body: a stream that always has something to say must not go on for that.
        if lapse.as_mut().poll(context).is_ready() {
            this.lapse = None;
            return Poll::Ready(Some(Ok(Frame::data(last_word()))));
        }
        Pin::new(&mut this.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lapse.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(lapse: Option<BoxFuture<'static, ()>>) -> String {
        let leased = Body::new(Leased {
            body: Body::from("data: 1\n\n"),
            lapse,
            caller: None,
        });
        let bytes = leased.collect().await.expect("read").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_lease_that_holds_changes_nothing_and_one_that_lapsed_ends_with_a_word() {
        let holds = text(Some(Box::pin(std::future::pending()))).await;
        assert_eq!(holds, "data: 1\n\n");
        let lapsed = text(Some(Box::pin(std::future::ready(())))).await;
        assert!(lapsed.starts_with("event: error\ndata: {"), "{lapsed}");
        assert!(lapsed.contains("OC-2002") && !lapsed.contains("data: 1"), "{lapsed}");
    }
}
