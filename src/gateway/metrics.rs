//! The metrics: counting the gateway's own requests, and serving the text on a listener of its own.
//!
//! The listener is on loopback alone and asks for no key, because scrapers have none; what it says are figures, never
//! texts. It lives beside the gateway's acceptor, after it: that it fails costs the gateway nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{Counter, Histogram};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::domain::code;
use crate::runtime::telemetry::{Family, GATEWAY_DURATION, GATEWAY_REQUESTS, Telemetry};
use crate::runtime::timer::Timer;

use super::auth::refuse_other_hosts;
use super::error::ApiError;
use super::limit::limits::Limits;
use super::parts::MeasureActors;

/// How often the waiting values of histograms are taken in.
const UPKEEP: Duration = Duration::from_secs(5);
/// The type of the Prometheus text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Stands for a route or method that is not of this program.
const OTHER: &str = "other";

/// Counts requests. The labels are routes as they are written in the router, never paths that a client sent.
#[derive(Clone)]
pub struct RequestMeter(Arc<Inside>);

struct Inside {
    telemetry: Telemetry,
    requests: Mutex<Family<Counter>>,
    durations: Mutex<Family<Histogram>>,
}

impl RequestMeter {
    /// Counts there.
    pub fn new(telemetry: Telemetry) -> Self {
        Self(Arc::new(Inside {
            telemetry,
            requests: Mutex::default(),
            durations: Mutex::default(),
        }))
    }

    fn count(&self, route: &str, method: &Method, status: &str, took: Duration) {
        let method = match method.as_str() {
            known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
            _ => OTHER,
        };
        let Inside {
            telemetry,
            requests,
            durations,
        } = &*self.0;
        let counter = |labels: [&str; 3]| telemetry.counter(&GATEWAY_REQUESTS, &labels);
        let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get([route, method, status], counter).increment(1);
        drop(requests);
        let histogram = |labels: [&str; 1]| telemetry.histogram(&GATEWAY_DURATION, &labels);
        let mut durations = durations.lock().unwrap_or_else(PoisonError::into_inner);
        durations.get([route], histogram).record(took.as_secs_f64());
    }
}

/// One request that is being counted.
pub struct Counted {
    route: Option<MatchedPath>,
    method: Method,
    began: std::time::Instant,
}

impl RequestMeter {
    /// A request begins.
    pub fn begin(&self, request: &Request) -> Counted {
        #[expect(
            clippy::disallowed_methods,
            reason = "how long an answer takes is a figure; it decides nothing"
        )]
        let began = std::time::Instant::now();
        Counted {
            route: request.extensions().get::<MatchedPath>().cloned(),
            method: request.method().clone(),
            began,
        }
    }

    /// It was answered.
    pub fn end(&self, counted: &Counted, response: &Response) {
        let route = counted.route.as_ref().map_or(OTHER, MatchedPath::as_str);
        self.count(
            route,
            &counted.method,
            response.status().as_str(),
            counted.began.elapsed(),
        );
    }
}

/// Counts one request.
pub async fn meter(State(meter): State<RequestMeter>, request: Request, next: Next) -> Response {
    let counted = meter.begin(&request);
    let response = next.run(request).await;
    meter.end(&counted, &response);
    response
}

/// What the listener serves; `own` is the address that it listens on.
pub fn router(telemetry: Telemetry, own: Arc<str>) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .fallback(async || ApiError::new(code::ROUTE_NOT_FOUND, "nothing is at this address").hint("GET /metrics"))
        .layer(from_fn_with_state(own, check_host))
        .with_state(telemetry)
}

async fn text(State(telemetry): State<Telemetry>) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], telemetry.render()).into_response()
}

async fn check_host(State(own): State<Arc<str>>, request: Request, next: Next) -> Response {
    match refuse_other_hosts(&request, &own) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    }
}

/// Longest wait for a picture of the tree: a root that does not answer keeps the old figures.
const TREE_MAX: Duration = Duration::from_secs(2);

/// Says that the next upkeep is due.
#[derive(Debug)]
pub struct UpkeepDue;

/// Takes the waiting values of histograms in at an interval, whether anybody reads them or not, and forgets whom limits
/// need not know any more.
pub struct Upkeep {
    /// What is measured.
    pub telemetry: Telemetry,
    /// The limits.
    pub limits: Limits,
    /// Counts the actors of the tree.
    pub actors: MeasureActors,
}

impl Actor for Upkeep {
    type Msg = UpkeepDue;
    type State = Timer;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<UpkeepDue>, (): ()) -> Result<Timer, ActorProcessingErr> {
        Ok(Timer::after(&myself, UPKEEP, || UpkeepDue))
    }

    async fn handle(
        &self,
        myself: ActorRef<UpkeepDue>,
        UpkeepDue: UpkeepDue,
        timer: &mut Timer,
    ) -> Result<(), ActorProcessingErr> {
        self.telemetry.upkeep();
        self.limits.forget();
        tokio::time::timeout(TREE_MAX, (self.actors)()).await.ok();
        *timer = Timer::after(&myself, UPKEEP, || UpkeepDue);
        Ok(())
    }
}
