//! Chat Completions.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use crate::domain::exchange::Face;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::face::order::{self, Before};
use crate::gateway::face::read_chat;
use crate::gateway::face::stream::{Writer, stream};
use crate::gateway::face::write_chat::{Chunks, whole};
use crate::gateway::parts::GatewayParts;

/// `POST /v1/chat/completions`: the answer of an agent to the client's conversation.
///
/// **Cancel**: a client that leaves stops nothing; the run goes on.
pub async fn create(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    key.needs("runs:write")?;
    let asked = read_chat::read(&body.json()?)?;
    let (is_stream, with_usage, model) = (asked.stream, asked.stream_usage, asked.model.clone());
    let request = (Face::OpenAiChat, asked, &*body.0);
    let accepted = order::accept(&parts, &key, &headers, request, Before::default()).await?;
    let run = accepted.run;
    if is_stream {
        let writer = Writer::Chat(Chunks::new(run, &model, with_usage));
        return stream(&parts, accepted, writer).await;
    }
    let (told, ending) = order::answered(run, order::wait(&parts, accepted).await?)?;
    Ok(Json(whole(run, &model, &told, &ending)).into_response())
}
