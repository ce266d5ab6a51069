//! Runs.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::fact::{Fact, Stamped};
use crate::domain::id::RunId;
use crate::domain::name::AgentName;
use crate::domain::plan::Work;
use crate::domain::plan_document::write_plan;
use crate::domain::run::{RunSpec, RunStatus};
use crate::gateway::auth::Authenticated;
use crate::gateway::body::{Body, take};
use crate::gateway::error::{ApiError, run_address};
use crate::gateway::idempotency::idempotency;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::{Path, Query};
use crate::gateway::rim::connection::stopped;
use crate::gateway::routing::choose::Unnamed;
use crate::gateway::wire::event::{delta, event, line, step_of};
use crate::gateway::wire::run::{header as header_view, time, view};
use crate::gateway::wire::submission::SubmissionWire;
use crate::runs::accepting::{Accepted, Idempotency};
use crate::runtime::bus::Watch;
use crate::runtime::live::{Heard, LiveReader};

/// Facts that are held for one stream; the next are read when the client has taken these.
const FACTS_AT_ONCE: usize = 64;
/// Rows of one page.
const PAGE_MAX: usize = 200;
const PAGE_DEFAULT: usize = 50;
/// After a stop, for the next daemon to be there.
const COME_BACK: Duration = Duration::from_secs(2);

fn run_id(text: &str) -> Result<RunId, ApiError> {
    text.parse().map_err(|_| {
        let text = crate::domain::text::preview(text, 64);
        ApiError::new(code::RUN_NOT_FOUND, format!("`{text}` is not the id of a run"))
            .hint("GET /v1/runs lists the runs")
    })
}

/// Query of `POST /v1/runs`.
#[derive(Debug, Deserialize)]
pub struct SubmitQuery {
    /// Milliseconds to wait for the run's end.
    wait: Option<u64>,
}

/// `POST /v1/runs`.
///
/// **Cancel**: a client that leaves stops nothing; the run goes on.
pub async fn submit(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    key.needs("runs:write")?;
    let value = body.json()?;
    let idempotency = idempotency(&key, &headers, crate::domain::json::canonical(&value).as_bytes())?;
    let wait = wait(query.wait, &headers)?;
    if let Some(run) = known(&parts, idempotency)? {
        return answer(&parts, Accepted::before(run), wait).await;
    }
    parts.takes_work()?;
    let mut wire: SubmissionWire = take(value)?;
    let tape = wire.take_tape()?;
    let mut spec = wire.into_spec(parts.clock.now(), key.0.grant())?;
    if spec.agent.is_none() && spec.plan.is_none() {
        let request = Unnamed {
            key: &key.0,
            path: "/v1/runs",
            headers: &headers,
            bytes: body.0.len(),
        };
        spec.agent = parts.routing.agent(&parts.agents, &request)?;
    }
    count(&parts, &key, &spec, body.0.len())?;
    // Refused now rather than by every step; what clients send never becomes the name of a row or a label.
    // A cassette answers for models that nobody configured here.
    let is_replay = tape.as_ref().is_some_and(|tape| tape.replay.is_some());
    let asked = spec.model.as_ref().filter(|_| !is_replay);
    if let Some(Err(error)) = asked.map(|alias| parts.models.get(alias)) {
        return Err(
            ApiError::new(code::MODEL_NOT_CONFIGURED, error.to_string()).hint("GET /v1/status lists the models")
        );
    }
    let accepted = parts.runs.accept_taped(spec, idempotency, tape).await?;
    answer(&parts, accepted, wait).await
}

/// The run that this request was accepted as when it came before.
fn known(parts: &GatewayParts, idempotency: Option<Idempotency>) -> Result<Option<RunId>, ApiError> {
    Ok(idempotency.map(|of| parts.runs.known(of)).transpose()?.flatten())
}

/// Counts an order against the limits of its key and of every agent that it names.
fn count(parts: &GatewayParts, key: &Authenticated, spec: &RunSpec, bytes: usize) -> Result<(), ApiError> {
    let steps = spec.plan.iter().flat_map(|plan| &plan.steps);
    let of_steps = steps.filter_map(|step| match &step.work {
        Work::Agent(agent) => Some(agent),
        Work::Skill(_) => None,
    });
    let agents: BTreeSet<&AgentName> = spec.agent.iter().chain(of_steps).collect();
    parts
        .limits
        .order(key.0.key, agents, bytes, spec.tokens_max.unwrap_or(0))
}

/// Milliseconds that a client wants to wait: `?wait=`, or whole seconds in `Prefer: wait=` (RFC 7240), of which what
/// else it says does not count.
fn wait(asked: Option<u64>, headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let preferred = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = preferred.flat_map(|value| value.split([',', ';'])).map(str::trim);
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim_end().eq_ignore_ascii_case("wait").then(|| value.trim())
    });
    let Some(seconds) = seconds.filter(|_| asked.is_none()) else {
        return Ok(asked);
    };
    let seconds: Result<u64, _> = seconds.trim_matches('"').parse();
    match seconds {
        Ok(seconds) => Ok(Some(seconds.saturating_mul(1000))),
        Err(_) => Err(ApiError::invalid("Prefer: wait is a number of seconds")),
    }
}

/// The run as it is now, or as it is when it ends within `wait`.
async fn answer(parts: &GatewayParts, accepted: Accepted, wait: Option<u64>) -> Result<Response, ApiError> {
    let run = accepted.run;
    let mut ended = false;
    if let Some(wait) = wait {
        let bound = Duration::from_millis(wait).min(parts.settings.load().timeout);
        let mut stop = parts.stop.subscribe();
        ended = tokio::select! {
            ended = tokio::time::timeout(bound, end_of(parts, run)) => ended.is_ok_and(|result| result.is_ok()),
            // The run goes on when the daemon is back; its address says how it went.
            () = stopped(&mut stop) => false,
        };
    }
    let view = match (&accepted.fresh, wait) {
        // Nobody waited, so what was accepted is what there is.
        (Some(fresh), None) => view(fresh, 0, &[]),
        _ => parts.run_now(run)?,
    };
    let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, Json(view)).into_response();
    let location = HeaderValue::from_str(&run_address(run)).expect("an id is ASCII");
    response.headers_mut().insert(header::LOCATION, location);
    if !accepted.is_new() {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Waits until the run has ended or is parked.
async fn end_of(parts: &GatewayParts, run: RunId) -> Result<(), ApiError> {
    let mut watch = parts.runs.watch(run);
    let mut seen = 0;
    loop {
        let facts = parts.runs.facts(run, seen)?;
        if let Some(last) = facts.last() {
            seen = last.seq;
            if is_last(&last.fact) {
                return Ok(());
            }
        }
        watch.past(seen).await;
    }
}

fn is_last(fact: &Fact) -> bool {
    matches!(fact, Fact::RunDone { .. } | Fact::RunParked { .. })
}

/// Query of `GET /v1/runs`.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    status: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `GET /v1/runs`.
pub async fn list(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    let status = match query.status.as_deref() {
        None => None,
        Some(word) => Some(RunStatus::from_word(word).ok_or_else(|| {
            ApiError::invalid("status is one of active, parked, succeeded, failed, cancelled, expired, unknown")
        })?),
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let before = query.cursor.as_deref().map(str::parse).transpose().map_err(|_| {
        ApiError::invalid("the cursor is none of this list").hint("send `next` of the page before, or no cursor")
    })?;
    let headers = parts.runs.headers(before, limit, status)?;
    let next = (headers.len() == limit)
        .then(|| headers.last().map(|header| header.run.to_string()))
        .flatten();
    let mut runs = Vec::with_capacity(headers.len());
    for header in &headers {
        let mut row = header_view(header);
        row["tokens"] = parts.tokens_of(header)?.into();
        runs.push(row);
    }
    Ok(Json(json!({ "runs": runs, "next": next })))
}

/// `GET /v1/runs/{id}`.
pub async fn show(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    parts.run_now(run_id(&id)?).map(Json)
}

/// `GET /v1/runs/{id}/plan`.
pub async fn plan(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    let state = parts.runs.state(run_id(&id)?)?;
    Ok(Json(
        json!({ "plan": state.plan.as_ref().map(|plan| write_plan(plan)), "rounds": state.rounds }),
    ))
}

/// `GET /v1/runs/{id}/timeline`.
pub async fn timeline(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    let run = run_id(&id)?;
    let facts = parts.runs.facts(run, 0)?;
    let Some(first) = facts.first().map(|stamped| stamped.at) else {
        return Err(crate::runs::handle::RunsError::NotFound(run).into());
    };
    let entries: Vec<Value> = facts
        .iter()
        .map(|stamped| {
            json!({
                "seq": stamped.seq,
                "at": time(stamped.at),
                "offset_ms": stamped.at.since(first),
                "kind": stamped.fact.kind(),
                "step": step_of(&stamped.fact),
                "text": line(&stamped.fact),
            })
        })
        .collect();
    Ok(Json(json!({ "entries": entries })))
}

/// `GET /v1/runs/{id}/result`: 409 while the run has not ended.
pub async fn result(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    let run = run_id(&id)?;
    let view = parts.run_now(run)?;
    if parts.runs.header(run)?.status == RunStatus::Active {
        return Err(ApiError::new(code::RUN_ACTIVE, format!("{run} has not ended"))
            .hint("follow GET /v1/runs/{id}/events, or ask again"));
    }
    Ok(Json(
        json!({ "status": view["status"], "result": view["result"], "reason": view["reason"] }),
    ))
}

/// `GET /v1/runs/{id}/cassette`: the requests answered so far, also while the run goes on.
pub async fn cassette(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    key.needs("runs:read")?;
    let text = parts.runs.cassette(run_id(&id)?, &parts.models.redactor())?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}

/// Body of `POST /v1/runs/{id}/cancel`.
#[derive(Debug, Default, Deserialize)]
pub struct CancelWire {
    reason: Option<String>,
}

/// `POST /v1/runs/{id}/cancel`: 202; the run has ended when its work has.
pub async fn cancel(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    key.needs("runs:write")?;
    let run = run_id(&id)?;
    let wire: CancelWire = body.read_or_empty()?;
    let reason = wire.reason.unwrap_or_else(|| format!("cancelled by {}", key.0.name));
    parts
        .runs
        .cancel(run, crate::domain::text::cut(&reason, 1024).into())
        .await?;
    Ok((StatusCode::ACCEPTED, Json(parts.run_now(run)?)))
}

/// `POST /v1/runs/{id}/retry`: the same work as a new run.
pub async fn retry(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    key.needs("runs:write")?;
    let run = run_id(&id)?;
    // The same key for another run is another request.
    let idempotency = idempotency(&key, &headers, format!("retry {run}").as_bytes())?;
    if let Some(again) = known(&parts, idempotency)? {
        return answer(&parts, Accepted::before(again), None).await;
    }
    parts.takes_work()?;
    let again = parts.runs.repeated(run, key.0.grant())?;
    count(&parts, &key, &again.spec, again.spec.task.len())?;
    let accepted = parts.runs.retry(again, idempotency).await?;
    answer(&parts, accepted, None).await
}

/// `GET /v1/runs/{id}/events`: every committed fact, its place in the journal as the event's id. Between them, without
/// an id, the pieces of answers as they arrive: `delta`, or `restart` when a turn is asked again and what was shown of
/// it does not count. Pieces are not kept, and only facts count.
pub async fn events(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    key.needs("runs:read")?;
    let run = run_id(&id)?;
    parts.runs.header(run)?;
    let after = match headers
        .get("last-event-id")
        .map(|value| value.to_str().ok().and_then(|text| text.parse().ok()))
    {
        None => 0,
        Some(Some(seq)) => seq,
        Some(None) => return Err(ApiError::invalid("Last-Event-ID is the number of the last event seen")),
    };
    // What was shown is on disk, so nobody has seen an event that is not there; its stream would never say anything.
    if after > 0 && parts.runs.facts_page(run, after - 1, 1)?.is_empty() {
        let message = format!("Last-Event-ID is {after}, and {run} has no such event");
        return Err(ApiError::invalid(message).hint("leave it out to hear all events from the first on"));
    }
    let keepalive = KeepAlive::new()
        .interval(parts.settings.load().keepalive)
        .text("keepalive");
    let stream = Sse::new(facts_after(parts, run, after)).keep_alive(keepalive);
    let mut response = stream.into_response();
    // Proxies that buffer would hold events back.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// A piece of an answer, or the word that pieces were missed.
fn piece(heard: Heard) -> Event {
    let (word, data) = match heard {
        Heard::Piece(piece) => delta(&piece),
        Heard::Lagged(count) => ("delta", json!({ "type": "lagged", "missed": count })),
    };
    Event::default().event(word).data(data.to_string())
}

/// The last word of a stream whose daemon stops: when to come back, and from where. Nothing of it is an event.
fn goodbye(seen: u64) -> Event {
    Event::default()
        .retry(COME_BACK)
        .comment(format!("stopping; resume with Last-Event-ID: {seen}"))
}

struct Following {
    parts: GatewayParts,
    run: RunId,
    watch: Watch,
    live: LiveReader,
    seen: u64,
    ready: std::vec::IntoIter<Stamped>,
    /// Whether the journal has been read as far as it was committed: pieces of answers need no look at it.
    is_read: bool,
    ended: bool,
}

/// The facts of a run after a place, as they are committed. A slow client holds nothing back: facts are read from
/// the journal when it has taken those before.
fn facts_after(parts: GatewayParts, run: RunId, after: u64) -> impl Stream<Item = Result<Event, Infallible>> {
    let watch = parts.runs.watch(run);
    let live = parts.live.read(run);
    let start = Following {
        parts,
        run,
        watch,
        live,
        seen: after,
        ready: Vec::new().into_iter(),
        is_read: false,
        ended: false,
    };
    stream::unfold(start, async |mut state| {
        loop {
            if let Some(stamped) = state.ready.next() {
                state.seen = stamped.seq;
                // A run that had ended unknown may have gone on.
                if is_last(&stamped.fact) && state.ready.as_slice().is_empty() {
                    match state.parts.runs.facts_page(state.run, state.seen, FACTS_AT_ONCE) {
                        Ok(more) => state.ready = more.into_iter(),
                        Err(error) => tracing::error!(run = %state.run, %error, "a journal cannot be read on"),
                    }
                }
                let goes_on = is_last(&stamped.fact) && !state.ready.as_slice().is_empty();
                state.ended = is_last(&stamped.fact) && !goes_on;
                let mut data = event(&stamped);
                if goes_on {
                    data["reopened"] = true.into();
                }
                let data = data.to_string();
                let event = Event::default()
                    .id(stamped.seq.to_string())
                    .event(stamped.fact.kind())
                    .data(data);
                return Some((Ok(event), state));
            }
            if state.ended {
                return None;
            }
            if state.is_read {
                let mut stop = state.parts.stop.subscribe();
                tokio::select! {
                    // A piece comes before the fact that it belongs to.
                    biased;
                    heard = state.live.next() => return Some((Ok(piece(heard)), state)),
                    () = state.watch.past(state.seen) => state.is_read = false,
                    () = stopped(&mut stop) => {
                        state.ended = true;
                        return Some((Ok(goodbye(state.seen)), state));
                    }
                }
                continue;
            }
            // Asked before the journal is read: a run that ends between the two has facts that are still to come.
            let status = state.parts.runs.header(state.run).map(|header| header.status);
            match state.parts.runs.facts_page(state.run, state.seen, FACTS_AT_ONCE) {
                Ok(facts) if facts.is_empty() => {
                    // A stream that starts after the end has nothing to wait for.
                    if status.is_ok_and(|status| status != RunStatus::Active) {
                        return None;
                    }
                    state.is_read = true;
                }
                Ok(facts) => state.ready = facts.into_iter(),
                Err(error) => {
                    tracing::error!(run = %state.run, %error, "a journal cannot be read for a stream");
                    return None;
                }
            }
        }
    })
}
