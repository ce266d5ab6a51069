//! OpenAI's Responses: durable runs under the vendor's names.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::conversation::{CallRequest, Message};
use crate::domain::exchange::{Exchange, Face};
use crate::domain::fact::Fact;
use crate::domain::id::RunId;
use crate::domain::run::RunStatus;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::face::follow::Follower;
use crate::gateway::face::order::{self, Before};
use crate::gateway::face::scribe::Scribes;
use crate::gateway::face::told::Told;
use crate::gateway::face::write_responses::{input_items, object, response_id, run_of};
use crate::gateway::face::{read_responses, replay, rules};
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::{Path, Query};

/// Rows of one page of input items, when the client does not say and at most.
const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: usize = 100;

fn not_found(id: &str) -> ApiError {
    let id = crate::domain::text::preview(id, 64);
    ApiError::new(code::RESPONSE_NOT_FOUND, format!("there is no response `{id}`"))
        .hint("responses with `store: false` and deleted ones are not kept for this")
}

/// A response that may be asked for.
struct Kept {
    run: RunId,
    exchange: Arc<Exchange>,
    has_schema: bool,
}

fn kept(parts: &GatewayParts, id: &str) -> Result<Kept, ApiError> {
    let run = run_of(id).ok_or_else(|| not_found(id))?;
    let exchange = parts.runs.exchange(run)?;
    let exchange = exchange.filter(|exchange| exchange.face == Face::OpenAiResponses && exchange.is_stored);
    let exchange = exchange.ok_or_else(|| not_found(id))?;
    let first = parts.runs.facts(run, 0)?.into_iter().next();
    let has_schema = match first.map(|stamped| stamped.fact) {
        Some(Fact::RunAccepted(spec)) => spec.output_schema.is_some(),
        _ => false,
    };
    Ok(Kept {
        run,
        exchange: Arc::new(exchange),
        has_schema,
    })
}

fn view(parts: &GatewayParts, run: RunId, exchange: &Exchange, told: &Told) -> Result<Value, ApiError> {
    let ended_at = parts.runs.header(run)?.ended_at;
    Ok(object(run, exchange, told, ended_at.map(|at| at.0 / 1000)))
}

fn current(parts: &GatewayParts, kept: &Kept) -> Result<Value, ApiError> {
    let told = order::told(parts, kept.run, kept.has_schema)?;
    view(parts, kept.run, &kept.exchange, &told)
}

/// The conversation up to and with an earlier response.
fn before(parts: &GatewayParts, previous: &str) -> Result<Before, ApiError> {
    let kept = kept(parts, previous).map_err(|error| error.at("previous_response_id"))?;
    let told = order::told(parts, kept.run, kept.has_schema)?;
    let Some(ending) = &told.ending else {
        let message = format!("`{previous}` is still being made");
        return Err(ApiError::new(code::RESPONSE_ACTIVE, message).at("previous_response_id"));
    };
    if order::failure(kept.run, ending).is_some() {
        let message = format!("`{previous}` has no answer to go on from");
        return Err(ApiError::invalid(message).at("previous_response_id"));
    }
    let mut messages = kept.exchange.messages.to_vec();
    let calls: Vec<CallRequest> = told.calls;
    messages.push(Message::Assistant {
        text: told.texts.join("\n\n").into(),
        calls,
        kept: Arc::new([]),
    });
    Ok(Before {
        rules: rules::of(&kept.exchange),
        messages,
    })
}

/// `POST /v1/responses`: in the background the response is given as it is accepted, else when it ends or
/// `gateway.timeout` has passed; then it goes on and may be asked for again.
///
/// **Cancel**: a client that leaves stops nothing.
pub async fn create(
    State(parts): State<GatewayParts>,
    Extension(scribes): Extension<Scribes>,
    key: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    key.needs("runs:write")?;
    let asked = read_responses::read(&body.json()?)?;
    let earlier = match &asked.previous {
        Some(previous) => before(&parts, previous)?,
        None => Before::default(),
    };
    let (is_stream, store) = (asked.stream, asked.store);
    let request = (Face::OpenAiResponses, asked, &*body.0);
    let mut accepted = order::accept(&parts, &key, &headers, request, earlier).await?;
    if is_stream || accepted.exchange.is_background {
        accepted.durable().await?;
        // It is told at once, and may be asked for again under its id.
        if let Some(waiting) = accepted.waiting() {
            order::answered_early(&parts, waiting);
        }
    }
    let (run, exchange, has_schema) = (accepted.run, accepted.exchange.clone(), accepted.has_schema);
    if is_stream {
        let level = scribes.level(&parts, run, &exchange, || accepted.follow(&parts));
        let level = level.map_err(|error| error.of_run(run))?;
        return Ok(replay::stream(&parts, run, level, None));
    }
    let told = if exchange.is_background {
        order::told(&parts, run, has_schema).map_err(|error| error.of_run(run))?
    } else {
        order::wait(&parts, accepted).await?
    };
    if told.ending.is_none() && !store {
        return Err(order::not_ready(run));
    }
    let shown = view(&parts, run, &exchange, &told).map_err(|error| error.of_run(run))?;
    Ok(Json(shown).into_response())
}

/// Query of `GET /v1/responses/{id}`.
#[derive(Debug, Deserialize)]
pub struct RetrieveQuery {
    #[serde(default)]
    stream: bool,
    starting_after: Option<u64>,
}

/// `GET /v1/responses/{id}`: as it stands, or its events after a number, those to come included.
pub async fn retrieve(
    State(parts): State<GatewayParts>,
    Extension(scribes): Extension<Scribes>,
    key: Authenticated,
    Path(id): Path<String>,
    Query(query): Query<RetrieveQuery>,
) -> Result<Response, ApiError> {
    key.needs("runs:read")?;
    let kept = kept(&parts, &id)?;
    if !query.stream {
        if query.starting_after.is_some() {
            return Err(ApiError::invalid("is for streams").at("starting_after"));
        }
        return Ok(Json(current(&parts, &kept)?).into_response());
    }
    let follow = || {
        Follower::new(
            parts.clone(),
            kept.run,
            Some(parts.live.read(kept.run)),
            kept.has_schema,
        )
    };
    let level = scribes.level(&parts, kept.run, &kept.exchange, follow)?;
    Ok(replay::stream(&parts, kept.run, level, query.starting_after))
}

/// `POST /v1/responses/{id}/cancel`: ends a response in the background; one that has ended stays as it is.
pub async fn cancel(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:write")?;
    let kept = kept(&parts, &id)?;
    if !kept.exchange.is_background {
        let message = "only a response that was made with `background` can be cancelled";
        return Err(ApiError::invalid(message).of_run(kept.run));
    }
    if parts.runs.header(kept.run)?.status == RunStatus::Active {
        let reason = format!("cancelled by {}", key.0.name);
        match parts.runs.cancel(kept.run, reason.into()).await {
            Ok(()) | Err(crate::runs::handle::RunsError::Ended { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // It has ended when its work has; what is still under way then is said by the status.
        let follower = Follower::new(parts.clone(), kept.run, None, kept.has_schema);
        order::wait_for_end(&parts, follower).await?;
    }
    Ok(Json(current(&parts, &kept)?))
}

/// `DELETE /v1/responses/{id}`: it is not found any more. The run and its journal stay, as those of every run do.
pub async fn delete(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:write")?;
    let kept = kept(&parts, &id)?;
    if parts.runs.header(kept.run)?.status == RunStatus::Active {
        let message = format!("`{id}` is still being made");
        return Err(ApiError::new(code::RESPONSE_ACTIVE, message)
            .of_run(kept.run)
            .hint("cancel it first, or wait for its end"));
    }
    parts.runs.forget_exchange(kept.run).await?;
    Ok(Json(
        json!({ "id": response_id(kept.run), "object": "response", "deleted": true }),
    ))
}

/// Query of `GET /v1/responses/{id}/input_items`.
#[derive(Debug, Deserialize)]
pub struct ItemsQuery {
    limit: Option<usize>,
    order: Option<String>,
    after: Option<String>,
}

/// `GET /v1/responses/{id}/input_items`: what came with the request, the newest first unless asked otherwise.
pub async fn items(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(id): Path<String>,
    Query(query): Query<ItemsQuery>,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    let kept = kept(&parts, &id)?;
    let mut items = input_items(kept.run, &kept.exchange);
    match query.order.as_deref() {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(ApiError::invalid("expected asc or desc").at("order")),
    }
    if let Some(after) = &query.after {
        let place = items.iter().position(|item| item["id"] == after.as_str());
        let place = place.ok_or_else(|| ApiError::invalid("names no item of the list").at("after"))?;
        items.drain(..=place);
    }
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id_of = |item: Option<&Value>| item.map(|item| item["id"].clone());
    Ok(Json(
        json!({ "object": "list", "first_id": id_of(items.first()), "last_id": id_of(items.last()),
                "has_more": has_more, "data": items }),
    ))
}

/// `POST /v1/responses/input_tokens`: what the conversation is estimated to have.
pub async fn input_tokens(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    let asked = read_responses::read(&body.json()?)?;
    // Whoever would answer it.
    let request = order::request(Face::OpenAiResponses, &key, &headers, &body.0);
    let served = order::chosen(&parts, &request, &asked.model)?;
    let earlier = match &asked.previous {
        Some(previous) => before(&parts, previous)?,
        None => Before::default(),
    };
    let tokens = order::tokens(&served, &asked, earlier);
    Ok(Json(
        json!({ "object": "response.input_tokens", "input_tokens": tokens }),
    ))
}
