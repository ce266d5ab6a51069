//! The metrics: counting the gateway's own requests, and serving the text on a listener of its own.
//!
//! The listener is on loopback alone and asks for no key, because scrapers have none; what it says are figures, never
//! texts. It lives beside the gateway's acceptor, after it: that it fails costs the gateway nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{Counter, Histogram};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::domain::code;
use crate::runtime::telemetry::{GATEWAY_DURATION, GATEWAY_REQUESTS, Telemetry};
use crate::runtime::timer::Timer;

use super::error::ApiError;
use super::hosts::Hosts;
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
    routes: Mutex<HashMap<Box<str>, Series>>,
}

/// The series of one route. There are as many routes as the router has, and few kinds of answers of each.
struct Series {
    duration: Histogram,
    answers: Vec<(Method, StatusCode, Counter)>,
}

impl RequestMeter {
    /// Counts there.
    pub fn new(telemetry: Telemetry) -> Self {
        Self(Arc::new(Inside {
            telemetry,
            routes: Mutex::default(),
        }))
    }

    fn count(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let Inside { telemetry, routes } = &*self.0;
        let mut routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            let duration = telemetry.histogram(&GATEWAY_DURATION, &[route]);
            let answers = Vec::new();
            routes.insert(route.into(), Series { duration, answers });
        }
        let Some(series) = routes.get_mut(route) else { return };
        series.duration.record(took.as_secs_f64());
        let mut known = series.answers.iter();
        if let Some((_, _, counter)) = known.find(|(of, with, _)| (of, *with) == (method, status)) {
            counter.increment(1);
            return;
        }
        let word = match method.as_str() {
            known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
            _ => OTHER,
        };
        let counter = telemetry.counter(&GATEWAY_REQUESTS, &[route, word, status.as_str()]);
        counter.increment(1);
        // A method that a client made up is looked up each time: what is kept must not grow with what is sent.
        if word != OTHER {
            series.answers.push((method.clone(), status, counter));
        }
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
        self.count(route, &counted.method, response.status(), counted.began.elapsed());
    }
}

/// Counts one request.
pub async fn meter(State(meter): State<RequestMeter>, request: Request, next: Next) -> Response {
    let counted = meter.begin(&request);
    let response = next.run(request).await;
    meter.end(&counted, &response);
    response
}

/// What the listener serves.
pub fn router(telemetry: Telemetry) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .fallback(async || ApiError::new(code::ROUTE_NOT_FOUND, "nothing is at this address").hint("GET /metrics"))
        .layer(from_fn_with_state(Hosts::new([], None), check_host))
        .with_state(telemetry)
}

async fn text(State(telemetry): State<Telemetry>) -> Response {
    ([(header::CONTENT_TYPE, TEXT)], telemetry.render()).into_response()
}

async fn check_host(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.refuse_others(&request) {
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
