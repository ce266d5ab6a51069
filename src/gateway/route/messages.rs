//! Anthropic's Messages.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::domain::exchange::Face;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::face::order::{self, Before};
use crate::gateway::face::read_messages;
use crate::gateway::face::stream::{Writer, stream};
use crate::gateway::face::write_messages::{Events, whole};
use crate::gateway::parts::GatewayParts;

/// `POST /v1/messages`: the answer of an agent to the client's conversation.
///
/// **Cancel**: a client that leaves stops nothing; the run goes on.
pub async fn create(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    key.needs("runs:write")?;
    let asked = read_messages::read(&body.json()?, false)?;
    let (is_stream, model) = (asked.stream, asked.model.clone());
    // The beginning of a stream says how long the request is.
    let tokens = if is_stream {
        let served = order::chosen(
            &parts,
            &order::request(Face::Anthropic, &key, &headers, &body.0),
            &model,
        )?;
        order::tokens(&served, &asked, Before::default())
    } else {
        0
    };
    let request = (Face::Anthropic, asked, &*body.0);
    let accepted = order::accept(&parts, &key, &headers, request, Before::default()).await?;
    let run = accepted.run;
    if is_stream {
        let writer = Writer::Messages(Events::new(run, &model, tokens));
        return stream(&parts, accepted, writer).await;
    }
    let (told, ending) = order::answered(run, order::wait(&parts, accepted).await?)?;
    Ok(Json(whole(run, &model, &told, &ending)).into_response())
}

/// `POST /v1/messages/count_tokens`: what the conversation is estimated to have, with the agent's own prompt and
/// without its skills.
pub async fn count_tokens(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs("runs:read")?;
    let asked = read_messages::read(&body.json()?, true)?;
    // Whoever would answer it.
    let request = order::request(Face::Anthropic, &key, &headers, &body.0);
    let served = order::chosen(&parts, &request, &asked.model)?;
    let tokens = order::tokens(&served, &asked, Before::default());
    Ok(Json(json!({ "input_tokens": tokens })))
}
