//! Schedules and their ledger.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::automation::handle::{AutomationError, ScheduleView};
use crate::automation::zone::Zone;
use crate::domain::fault::in_one_line;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::document::write_schedule;
use crate::domain::schedule::slot::{SlotRow, SlotState};
use crate::domain::text::preview;
use crate::domain::time::UtcMillis;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::{Path, Query};
use crate::gateway::wire::run::time;

/// Slots that are shown ahead when nobody says how many.
const NEXT_DEFAULT: usize = 5;
/// Slots that are shown ahead at most.
const NEXT_MAX: usize = 100;
/// Rows of one list.
const ROWS_MAX: usize = 1_000;
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 1_000;

/// What is shown of a schedule.
#[derive(Debug, Deserialize)]
pub struct Shown {
    /// Slots ahead.
    next: Option<usize>,
    /// Whether nothing is to be saved.
    #[serde(default)]
    dry_run: bool,
}

/// Which rows are listed.
#[derive(Debug, Deserialize)]
pub struct Rows {
    state: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    from: String,
    to: Option<String>,
}

impl From<AutomationError> for ApiError {
    fn from(error: AutomationError) -> Self {
        let answer = Self::new(error.code(), in_one_line(&error));
        match &error {
            AutomationError::Invalid(findings) => answer
                .findings(findings)
                .hint("each entry of details names a place in the schedule"),
            AutomationError::NotFound(_) => answer.hint("GET /v1/schedules lists the schedules"),
            AutomationError::Exists(_) => answer.hint("remove it first, or edit its file and restart the daemon"),
            AutomationError::Refused(_) => {
                answer.hint("GET /v1/schedules/{name}/slots shows the ledger; ask for a shorter time")
            }
            AutomationError::Unanswered(_) | AutomationError::Down(_) => answer.hint("try again in some seconds"),
            _ => answer,
        }
    }
}

fn name_of(text: &str) -> Result<ScheduleName, ApiError> {
    ScheduleName::new(text).map_err(|error| ApiError::invalid(error.to_string()))
}

/// RFC 3339, or milliseconds since 1970.
fn time_of(text: &str) -> Result<UtcMillis, ApiError> {
    if let Ok(ms) = text.parse() {
        return Ok(UtcMillis(ms));
    }
    let read: Result<jiff::Timestamp, _> = text.parse();
    let ms = read.ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    let shown = preview(text, 40);
    ms.map(UtcMillis)
        .ok_or_else(|| ApiError::invalid(format!("`{shown}` is no time such as 2030-01-31T09:00:00Z")))
}

fn next(shown: &Shown) -> usize {
    shown.next.unwrap_or(NEXT_DEFAULT).min(NEXT_MAX)
}

/// `GET /v1/schedules`.
pub async fn list(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Query(shown): Query<Shown>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("schedules:read")?;
    let mut views = Vec::new();
    for schedule in parts.automation.all() {
        match parts
            .automation
            .show(&schedule.name, shown.next.unwrap_or(1).min(NEXT_MAX))
        {
            Ok(view) => views.push(wire(&view)),
            // Removed meanwhile.
            Err(AutomationError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let age = parts.automation.tick_age();
    let age = age.map(|(schedule, age)| json!({ "schedule": schedule.as_str(), "ms": age.as_millis() as u64 }));
    Ok(Json(json!({ "schedules": views, "tick_age": age })))
}

/// `POST /v1/schedules`.
pub async fn add(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Query(shown): Query<Shown>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    caller.needs("schedules:write")?;
    let mut document = body.json()?;
    let fields = document.as_object_mut();
    let name = fields.and_then(|fields| fields.remove("name"));
    let Some(Value::String(name)) = name else {
        return Err(ApiError::invalid("the body is an object with the text `name`"));
    };
    let view = parts
        .automation
        .add(name_of(&name)?, &document, shown.dry_run, next(&shown))
        .await?;
    let status = if shown.dry_run {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(wire(&view))))
}

/// `GET /v1/schedules/{name}`.
pub async fn show(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(name): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("schedules:read")?;
    let view = parts.automation.show(&name_of(&name)?, next(&shown))?;
    Ok(Json(wire(&view)))
}

/// `DELETE /v1/schedules/{name}`.
pub async fn remove(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("schedules:write")?;
    parts.automation.remove(&name_of(&name)?).await?;
    Ok(Json(json!({ "removed": name })))
}

/// `GET /v1/schedules/{name}/slots`: the ledger, newest first.
pub async fn slots(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(name): Path<String>,
    Query(rows): Query<Rows>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("schedules:read")?;
    let state = match rows.state.as_deref().map(|word| (word, SlotState::from_word(word))) {
        None => None,
        Some((_, Some(state))) => Some(state),
        Some((word, None)) => {
            let known: Vec<&str> = SlotState::ALL.iter().map(|state| state.as_str()).collect();
            let message = format!("state `{}` is none of {}", preview(word, 40), known.join(", "));
            return Err(ApiError::invalid(message));
        }
    };
    let since = rows.since.as_deref().map_or(Ok(UtcMillis(0)), time_of)?;
    let until = rows.until.as_deref().map_or(Ok(UtcMillis(u64::MAX)), time_of)?;
    let limit = rows.limit.unwrap_or(50).clamp(1, ROWS_MAX);
    let name = name_of(&name)?;
    let filter = |row: &SlotRow| state.is_none_or(|state| state == row.state);
    let found = parts.automation.slots(&name, since..=until, limit, &filter)?;
    let found: Vec<Value> = found.iter().map(row).collect();
    Ok(Json(json!({ "schedule": name.as_str(), "slots": found })))
}

/// `POST /v1/schedules/{name}/run`.
pub async fn run(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    caller.needs("schedules:write")?;
    parts.takes_work()?;
    let name = name_of(&name)?;
    let slot = parts.automation.run_now(&name, by(&caller)).await?;
    let view = parts.automation.slot(&name, slot)?.as_ref().map(row);
    Ok((StatusCode::ACCEPTED, Json(json!({ "slot": time(slot), "row": view }))))
}

/// `POST /v1/schedules/{name}/pause`.
pub async fn pause(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    caller.needs("schedules:write")?;
    let name = name_of(&name)?;
    let why = body
        .read_or_empty::<Reason>()?
        .reason
        .unwrap_or_else(|| format!("by {}", by(&caller)));
    if why.len() > REASON_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "a reason has at most {REASON_BYTES_MAX} bytes"
        )));
    }
    parts.automation.pause(&name, why.into()).await?;
    Ok(Json(wire(&parts.automation.show(&name, NEXT_DEFAULT)?)))
}

/// `POST /v1/schedules/{name}/resume`.
pub async fn resume(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.needs("schedules:write")?;
    let name = name_of(&name)?;
    parts.automation.resume(&name).await?;
    Ok(Json(wire(&parts.automation.show(&name, NEXT_DEFAULT)?)))
}

/// `POST /v1/schedules/{name}/backfill`: runs what did not run.
pub async fn backfill(
    State(parts): State<GatewayParts>,
    caller: Authenticated,
    Path(name): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    caller.needs("schedules:write")?;
    parts.takes_work()?;
    let asked: Between = body.read()?;
    let from = time_of(&asked.from)?;
    let to = asked.to.as_deref().map_or_else(|| Ok(parts.clock.now()), time_of)?;
    if to < from {
        return Err(ApiError::invalid("`to` is before `from`"));
    }
    let slots = parts
        .automation
        .backfill(&name_of(&name)?, (from, to), by(&caller))
        .await?;
    let slots: Vec<Value> = slots.into_iter().map(time).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({ "queued": slots }))))
}

fn by(caller: &Authenticated) -> std::sync::Arc<str> {
    format!("person:{}", caller.0.name).into()
}

fn row(row: &SlotRow) -> Value {
    json!({
        "slot": time(row.slot),
        "state": row.state.as_str(),
        "why": &*row.why,
        "run": row.run.map(|run| run.to_string()),
        "decided_at": time(row.decided_at),
        "ended_at": row.ended_at.map(time),
        "count": row.count,
        "first": time(row.first),
    })
}

fn wire(view: &ScheduleView) -> Value {
    let zone: Option<&Zone> = view.zone.as_ref();
    let mut value = write_schedule(&view.schedule);
    value["name"] = view.schedule.name.as_str().into();
    value["starts"] = view.schedule.target.kind().into();
    let next = view
        .next
        .iter()
        .map(|slot| json!({ "slot": time(*slot), "local": zone.map(|zone| zone.show(*slot)) }));
    value["next"] = next.collect();
    let paused = view.kept.as_ref().and_then(|kept| kept.paused.as_ref());
    value["paused"] = paused
        .map(|(since, why)| json!({ "since": time(*since), "why": &**why }))
        .into();
    value["last_success"] = view.kept.as_ref().and_then(|kept| kept.succeeded_at).map(time).into();
    value["last"] = view.last.as_ref().map(row).into();
    if let Some(command) = &view.command {
        value["resolved"] = json!({
            "program": command.program.as_ref().ok().map(|file| file.display().to_string()),
            "problem": command.program.as_ref().err(),
            "path": command.path,
        });
    }
    value
}
