//! From a request in a vendor's protocol to a durable run, and the wait for its end.

use std::sync::Arc;

use axum::http::HeaderMap;

use crate::domain::agent::{AgentDefinition, Role};
use crate::domain::code;
use crate::domain::conversation::Message;
use crate::domain::exchange::{Exchange, Face};
use crate::domain::failure::FailureClass;
use crate::domain::id::RunId;
use crate::domain::limits::RUN_DEADLINE_DEFAULT_MS;
use crate::domain::name::{AgentName, ModelAlias};
use crate::domain::run::RunSpec;
use crate::domain::text::{cut, preview};
use crate::gateway::again::{self, Sameness, Waiting};
use crate::gateway::auth::Authenticated;
use crate::gateway::error::ApiError;
use crate::gateway::idempotency::idempotency;
use crate::gateway::parts::GatewayParts;
use crate::gateway::routing::choose::{Routing, Unnamed};
use crate::llm::config::Provider;
use crate::llm::estimate::Fixed;
use crate::runs::accepting::{self, Acceptance, Idempotency, Known};
use crate::runtime::live::LiveReader;

use super::body::Asked;
use super::follow::{Follower, Next};
use super::rules::{self, Rule};
use super::told::{Ending, How, Told};

/// Bytes of the task's text: what lists show of the last thing that the user said.
const TASK_BYTES: usize = 2048;

/// Who answers.
pub struct Served {
    /// The agent whose accounts are charged.
    pub agent: Arc<AgentDefinition>,
    /// The model, when one was named and not an agent.
    pub bare: Option<ModelAlias>,
}

/// A model of this name stands for whoever the gateway chooses.
const WHOEVER: &[&str] = &["openclaw", "openclaw/default"];

/// Who answers a request: whoever the header names, else the model, else whoever the gateway chooses.
///
/// **Errors**: there is no such agent or model.
pub fn chosen(parts: &GatewayParts, request: &Unnamed<'_>, model: &str) -> Result<Served, ApiError> {
    let agent = if WHOEVER.contains(&model) {
        parts.routing.agent(&parts.agents, request)?
    } else {
        Routing::named(&parts.agents, request.headers)?
    };
    match agent {
        Some(agent) => served(parts, agent.as_str()),
        None => served(parts, model),
    }
}

/// What the gateway chooses by, of a request over a vendor's protocol.
pub fn request<'request>(
    face: Face,
    key: &'request Authenticated,
    headers: &'request HeaderMap,
    body: &[u8],
) -> Unnamed<'request> {
    Unnamed {
        key: &key.0,
        path: match face {
            Face::OpenAiChat => "/v1/chat/completions",
            Face::OpenAiResponses => "/v1/responses",
            Face::Anthropic => "/v1/messages",
        },
        headers,
        bytes: body.len(),
    }
}

/// What a request is estimated to have in tokens, with what it goes on from and the own prompt of who answers, and
/// without its skills.
pub fn tokens(served: &Served, asked: &Asked, before: Before) -> u64 {
    let rules = rules::joined(before.rules, asked.rules.clone(), before.messages.len());
    let system = rules::system(&rules, before.messages.len(), &asked.system);
    let prompt = if served.bare.is_some() {
        ""
    } else {
        &*served.agent.prompt
    };
    let system = format!("{prompt}{system}");
    let fixed = Fixed::of(&system, &[], asked.schema.as_deref(), 0).with_tools(&asked.options.tools);
    fixed.request_tokens_of(before.messages.iter().chain(&asked.messages))
}

/// The agent or model of a name.
pub fn served(parts: &GatewayParts, name: &str) -> Result<Served, ApiError> {
    let definitions = parts.agents.definitions();
    let executor = || definitions.values().find(|agent| agent.role == Role::Executor);
    if WHOEVER.contains(&name)
        && let Some(agent) = executor().cloned()
    {
        return Ok(Served { agent, bare: None });
    }
    let name = name.strip_prefix("openclaw/").unwrap_or(name);
    let agent = AgentName::new(name)
        .ok()
        .and_then(|name| definitions.get(&name).cloned());
    if let Some(agent) = agent {
        return Ok(Served { agent, bare: None });
    }
    let alias = ModelAlias::new(name)
        .ok()
        .filter(|alias| parts.models.get(alias).is_ok());
    // A model has no account of its own: an executor's is charged.
    let agent = executor().or_else(|| definitions.values().next()).cloned();
    if let (Some(alias), Some(agent)) = (alias, agent) {
        let bare = Some(alias);
        return Ok(Served { agent, bare });
    }
    let message = format!("the model `{}` does not exist here", preview(name, 80));
    Err(ApiError::new(code::MODEL_NOT_SERVED, message)
        .at("model")
        .hint("GET /v1/models lists the agents and models"))
}

/// An accepted request.
pub struct Accepted {
    /// Its run.
    pub run: RunId,
    /// What it asks.
    pub exchange: Arc<Exchange>,
    /// Whether the answer has to match a schema.
    pub has_schema: bool,
    /// None for whoever waits for the end alone.
    live: Option<LiveReader>,
    /// None when it is on disk.
    acceptance: Option<Acceptance>,
    /// None where a second try would not be known.
    waiting: Option<Waiting>,
}

impl Accepted {
    /// Waits until the run is on disk; nobody is told of it before.
    pub async fn durable(&mut self) -> Result<(), ApiError> {
        match self.acceptance.take() {
            Some(acceptance) => Ok(acceptance.durable().await?),
            None => Ok(()),
        }
    }

    /// The client that waits for it; whoever takes it says when it was answered.
    pub fn waiting(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// Follows it from its beginning.
    pub fn follow(self, parts: &GatewayParts) -> Follower {
        Follower::new(parts.clone(), self.run, self.live, self.has_schema)
    }
}

/// The conversation that a request goes on from.
#[derive(Debug, Default)]
pub struct Before {
    /// Its rules.
    pub rules: Vec<Rule>,
    /// Its messages.
    pub messages: Vec<Message>,
}

/// Accepts a request. Its run begins, and may be on its way to the disk still: [`Accepted::durable`] and [`wait`] say
/// when it is there. `before` is what it goes on from.
pub async fn accept(
    parts: &GatewayParts,
    key: &Authenticated,
    headers: &HeaderMap,
    (face, asked, body): (Face, Asked, &[u8]),
    before: Before,
) -> Result<Accepted, ApiError> {
    let idempotency = idempotency(key, headers, body)?;
    if let Some(known) = known(parts, idempotency, &asked)? {
        return Ok(known);
    }
    let request = request(face, key, headers, body);
    let served = chosen(parts, &request, &asked.model)?;
    let tries = again::tried(headers).filter(|_| idempotency.is_none());
    let content = tries.map(|_| content(key, &served, request.path, body));
    let earlier = content.filter(|_| tries > Some(0));
    let earlier = earlier.and_then(|content| Some((parts.left.take(&content)?, content)));
    // What is refused from here on leaves it again.
    let waiting = earlier.map(|(run, content)| parts.left.wait(run, content));
    if waiting.is_none() {
        parts.takes_work()?;
        let answer_tokens = asked.output_tokens_max.unwrap_or(served.agent.output_tokens_max);
        let agent = Some(&served.agent.name);
        parts.limits.order(key.0.key, agent, body.len(), answer_tokens.into())?;
    }
    check_stop(parts, &served, &asked)?;
    let own_from = before.messages.len() + usize::from(asked.is_opened);
    let rules = rules::joined(before.rules, asked.rules, before.messages.len());
    let mut messages = before.messages;
    messages.extend(asked.messages);
    let place = if face == Face::OpenAiResponses {
        "input"
    } else {
        "messages"
    };
    super::body::settle(place, &mut messages)?;
    super::body::check_rules(place, &rules)?;
    let mut repeated = asked.repeated;
    if !rules.is_empty() {
        repeated[rules::KEPT_AS] = rules::write(&rules);
    }
    let said = messages.iter().rev().find_map(|message| match message {
        Message::User(text) if !text.trim().is_empty() => Some(text.clone()),
        _ => None,
    });
    let task = said.unwrap_or_else(|| "(a conversation without words of the user)".into());
    let (has_schema, is_stream) = (asked.schema.is_some(), asked.stream);
    let spec = RunSpec {
        task: cut(&task, TASK_BYTES).into(),
        agent: Some(served.agent.name.clone()),
        plan: None,
        // These protocols know no folders.
        workspace: "".into(),
        checks: Vec::new(),
        output_schema: asked.schema,
        deadline: parts.clock.now().plus_ms(RUN_DEADLINE_DEFAULT_MS),
        tokens_max: None,
        cost_max: None,
        model: served.bare.clone(),
        origin: "api".into(),
        retry_of: None,
        grant: key.0.grant(),
    };
    let exchange = Arc::new(Exchange {
        face,
        model: asked.model.into(),
        is_bare: served.bare.is_some(),
        system: rules::system(&rules, own_from, &asked.system).into(),
        messages: Arc::new(messages),
        own_from: own_from as u32,
        options: Arc::new(asked.options),
        output_tokens_max: asked.output_tokens_max,
        repeated: Arc::new(repeated),
        is_stored: asked.store,
        is_background: asked.background,
    });
    let mut live = None;
    let (accepted, acceptance) = if let Some((run, _)) = earlier {
        (accepting::Accepted::before(run), None)
    } else {
        let known = match (idempotency, content) {
            (Some(key), _) => Known::ByKey(key),
            (None, Some(content)) => Known::ByContent(content),
            (None, None) => Known::Never,
        };
        let hears = |run| live = is_stream.then(|| parts.live.read(run));
        parts.runs.accept_exchange(spec, known, exchange.clone(), hears).await?
    };
    // What was accepted before has another run than the one that was listened for.
    let live = live.filter(|_| accepted.is_new());
    Ok(Accepted {
        run: accepted.run,
        exchange,
        has_schema,
        live: live.or_else(|| is_stream.then(|| parts.live.read(accepted.run))),
        acceptance,
        waiting: waiting.or_else(|| content.map(|content| parts.left.wait(accepted.run, content))),
    })
}

/// What was accepted under the same key of its client before: nothing that is for new work refuses it.
fn known(parts: &GatewayParts, key: Option<Idempotency>, asked: &Asked) -> Result<Option<Accepted>, ApiError> {
    let run = key.map(|key| parts.runs.known(key)).transpose()?.flatten();
    let Some(run) = run else { return Ok(None) };
    // Of a response that was deleted nothing is left but its key: it is made from the request.
    let Some(exchange) = parts.runs.exchange(run)? else {
        return Ok(None);
    };
    Ok(Some(Accepted {
        run,
        exchange: Arc::new(exchange),
        has_schema: asked.schema.is_some(),
        live: asked.stream.then(|| parts.live.read(run)),
        acceptance: None,
        waiting: None,
    }))
}

/// A client was answered while its run goes on, or may: what says the same from now on is another request.
pub fn answered_early(parts: &GatewayParts, waiting: Waiting) {
    parts.runs.was_answered(waiting.run());
    waiting.answered();
}

/// What makes two requests of one key the same.
fn content(key: &Authenticated, served: &Served, path: &str, body: &[u8]) -> Sameness {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0.key.to_bytes());
    let bare = served.bare.as_ref().map_or("", ModelAlias::as_str);
    for part in [path, served.agent.name.as_str(), bare] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(body);
    *hasher.finalize().as_bytes()
}

/// One dialect cannot end an answer at a text: better refused than passed over.
fn check_stop(parts: &GatewayParts, served: &Served, asked: &Asked) -> Result<(), ApiError> {
    let alias = served.bare.as_ref().unwrap_or(&served.agent.model);
    let chain = std::iter::once(alias.clone()).chain(parts.models.fallback(alias));
    let mut models = chain.filter_map(|alias| parts.models.get(&alias).ok());
    let lacks_it = models.any(|model| model.describe().provider == Provider::OpenAiResponses.as_str());
    if lacks_it && !asked.options.stop.is_empty() {
        let message = "the provider of this agent's model ends no answer at a text";
        return Err(super::body::unsupported("stop", message));
    }
    Ok(())
}

/// What is told of a run so far, or when it has ended.
pub fn told(parts: &GatewayParts, run: RunId, has_schema: bool) -> Result<Told, ApiError> {
    let facts = parts.runs.facts(run, 0)?;
    Ok(Told::of(facts.iter().map(|stamped| &stamped.fact), has_schema))
}

/// Waits for the end within `gateway.timeout`; gives what there is then.
///
/// **Errors**: name the run, because it was accepted; but for the one that says that it was not.
pub async fn wait(parts: &GatewayParts, mut accepted: Accepted) -> Result<Told, ApiError> {
    let waiting = accepted.waiting();
    let told = wait_for_answer(parts, accepted).await;
    if let Some(waiting) = waiting {
        // A run that has its answer never goes on; one that ended otherwise may be reopened.
        let is_over = |told: &Told| matches!(told.ending.as_ref().map(|ending| &ending.how), Some(How::Answered));
        if told.as_ref().is_ok_and(is_over) {
            waiting.answered();
        } else {
            answered_early(parts, waiting);
        }
    }
    told
}

async fn wait_for_answer(parts: &GatewayParts, mut accepted: Accepted) -> Result<Told, ApiError> {
    let run = accepted.run;
    // What is written together with the end need not be written before it.
    if let Some(acceptance) = accepted.acceptance.take() {
        acceptance.carried().await?;
    }
    let waited = wait_for_end(parts, accepted.follow(parts)).await;
    waited.map_err(|error| error.of_run(run))
}

/// Waits for the end of what is followed, at most `gateway.timeout`; gives what was told until then.
pub async fn wait_for_end(parts: &GatewayParts, mut follower: Follower) -> Result<Told, ApiError> {
    let mut told = Told::default();
    let ended = async {
        while let Some(next) = follower.next().await? {
            match next {
                Next::Stopping => break,
                Next::Say(say) => told.take(say),
            }
        }
        Ok::<(), ApiError>(())
    };
    // When the time is over, what there is then is given.
    if let Ok(ended) = tokio::time::timeout(parts.settings.load().timeout, ended).await {
        ended?;
    }
    Ok(follower.so_far(told))
}

/// The answer, or the error that stands in its place.
pub fn answered(run: RunId, told: Told) -> Result<(Told, Ending), ApiError> {
    match told.ending.clone() {
        None => Err(not_ready(run)),
        Some(ending) => match failure(run, &ending) {
            Some(error) => Err(error),
            None => Ok((told, ending)),
        },
    }
}

/// The wait has ended and the run has not.
pub fn not_ready(run: RunId) -> ApiError {
    let message = format!("there is no answer yet; {run} goes on");
    ApiError::new(code::ANSWER_NOT_READY, message)
        .of_run(run)
        .hint("GET the run's address, or send the request with `stream`; raise gateway.timeout to wait longer")
}

/// The daemon stops in the middle of a stream.
pub fn stopping(run: RunId) -> ApiError {
    let message = format!("the daemon is stopping; {run} goes on when it is back");
    ApiError::new(code::STOPPING, message).of_run(run)
}

/// What was streamed does not count any more.
pub fn diverged(run: RunId) -> ApiError {
    let message = format!("the model was asked again and answers otherwise than was streamed; {run} goes on");
    ApiError::new(code::STREAM_DIVERGED, message)
        .of_run(run)
        .hint("GET the run's address for the answer that counts")
}

/// The error of an end without an answer; none when there is one.
pub fn failure(run: RunId, ending: &Ending) -> Option<ApiError> {
    let (class, reason) = match &ending.how {
        How::Answered | How::Refused(_) => return None,
        How::Cancelled(reason) => (Some(FailureClass::Cancelled), reason),
        How::Failed { class, reason } => (*class, reason),
    };
    let code = match class {
        Some(FailureClass::Budget) => code::BUDGET_EXHAUSTED,
        _ => code::NO_ANSWER,
    };
    Some(ApiError::new(code, format!("{run} ended without an answer: {reason}")).of_run(run))
}
