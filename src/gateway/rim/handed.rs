//! Streams of HTTP/2 whose clients give them no window.
//!
//! Such a client holds what it is sent and nothing else: its connection writes, answers pings and is never idle, so no
//! other limit ends it. **Invariant**: a stream that has handed over a part of its body asks for the next one, or ends,
//! within the time for a client to take something; else it is reset, and with its last stream its connection is idle.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::future::BoxFuture;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::service::Service;
use tokio::time::{Instant, Sleep, sleep_until};

use super::visitor::Visit;

/// The body was not asked for anything.
const NOT_ASKED: u8 = 0;
/// Asked for more, it had nothing yet.
const HAS_NOTHING: u8 = 1;
/// It handed a part over.
const HANDED_OVER: u8 = 2;

/// What the body of the stream that is polled right now did last. A connection polls one stream at a time.
#[derive(Debug, Clone, Default)]
pub struct Doing(Arc<AtomicU8>);

impl Doing {
    fn begin(&self) {
        self.0.store(NOT_ASKED, Ordering::Relaxed);
    }

    fn note(&self, doing: u8) {
        self.0.store(doing, Ordering::Relaxed);
    }

    fn last(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Answers requests with bodies that say what they do.
#[derive(Clone)]
pub struct Noted {
    visit: Visit,
    doing: Doing,
}

impl Noted {
    /// The answers of `visit`.
    pub fn new(visit: Visit, doing: Doing) -> Self {
        Self { visit, doing }
    }
}

impl Service<Request<Incoming>> for Noted {
    type Response = Response<NotedBody>;
    type Error = <Visit as Service<Request<Incoming>>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (answer, doing) = (self.visit.call(request), self.doing.clone());
        Box::pin(async move { Ok(answer.await?.map(|body| NotedBody { body, doing })) })
    }
}

/// A body that says what it does.
#[derive(Debug)]
pub struct NotedBody {
    body: Body,
    doing: Doing,
}

impl hyper::body::Body for NotedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.doing.note(match polled {
            Poll::Ready(_) => HANDED_OVER,
            Poll::Pending => HAS_NOTHING,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that is dropped, and so reset, when its client takes nothing for too long.
pub struct Taken {
    stream: BoxFuture<'static, ()>,
    doing: Doing,
    limit: Duration,
    /// Runs while what was handed over waits for the client's window.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Taken {
    /// Lets a part of its body wait for so long.
    pub fn new(stream: BoxFuture<'static, ()>, doing: Doing, limit: Duration) -> Self {
        Self {
            stream,
            doing,
            limit,
            waiting: None,
        }
    }
}

impl Future for Taken {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.doing.begin();
        if self.stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        match self.doing.last() {
            HANDED_OVER => self.waiting = Some(Box::pin(sleep_until(Instant::now() + self.limit))),
            HAS_NOTHING => self.waiting = None,
            // What was handed over before waits on, or the answer is not there yet.
            _ => {}
        }
        match &mut self.waiting {
            Some(waiting) => waiting.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}
