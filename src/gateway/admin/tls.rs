//! Certificates: `/admin/v1/tls`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::fault::in_one_line;
use crate::domain::time::UtcMillis;
use crate::gateway::auth::Authenticated;
use crate::gateway::body::Body;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::wire::run::time;
use crate::identity::authority::handle::{AuthorityError, AuthorityView, Step};
use crate::identity::authority::issue::Wanted;
use crate::identity::checkpoint::{hex, unhex};
use crate::storage::record::certificate::CertificateRecord;

/// Life of a certificate when the request does not say, in seconds: thirty days.
const LIFE_S_DEFAULT: u64 = 30 * 24 * 3600;

fn of(record: &CertificateRecord) -> Value {
    json!({
        "serial": hex(&record.serial),
        "identity": record.identity,
        "authority": record.authority,
        "fingerprint": hex(&record.fingerprint),
        "not_before": time(UtcMillis(record.not_before)),
        "not_after": time(UtcMillis(record.not_after)),
        "revoked_at": record.revoked_at.map(|at| time(UtcMillis(at))),
    })
}

fn view(view: &AuthorityView) -> Value {
    let certificates: Vec<Value> = view.certificates.iter().map(of).collect();
    json!({
        "trusted": view.trusted, "issuing": view.issuing, "next": view.next.as_str(), "certificates": certificates,
    })
}

impl From<AuthorityError> for ApiError {
    fn from(error: AuthorityError) -> Self {
        let answer = Self::new(error.code(), in_one_line(&error));
        match error {
            AuthorityError::Step(_) => answer.hint("`openclaw tls rotate` without a step takes the next one"),
            AuthorityError::NotFound(_) | AuthorityError::IsRevoked(_) => {
                answer.hint("`openclaw tls show` lists the certificates")
            }
            _ => answer,
        }
    }
}

/// `GET /admin/v1/tls`, and the same as `GET /admin/v1/tls/show`, beside what is done to it.
pub async fn show(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("tls:read")?;
    Ok(Json(view(&parts.authority.view())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueWire {
    identity: String,
    /// Seconds.
    life: Option<u64>,
    #[serde(default)]
    dns: Vec<String>,
}

/// `POST /admin/v1/tls/issue`: a certificate with its key, which is shown this once.
pub async fn issue(State(parts): State<GatewayParts>, key: Authenticated, body: Body) -> Result<Response, ApiError> {
    key.needs("tls:write")?;
    let wire: IssueWire = body.read()?;
    let identity = wire.identity.parse();
    let identity = identity.map_err(|error: crate::identity::authority::name::IdentityError| {
        ApiError::new(crate::domain::code::CERTIFICATE_TERMS, error.to_string())
    })?;
    let wanted = Wanted {
        identity,
        life_ms: wire.life.unwrap_or(LIFE_S_DEFAULT).saturating_mul(1000),
        dns: wire.dns,
    };
    let issued = parts.authority.issue(&key.0.actor(), wanted).await?;
    let mut body = of(&issued.record);
    body["certificate"] = issued.pem.into();
    body["key"] = issued.key_pem.into();
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateWire {
    step: Option<String>,
}

/// `POST /admin/v1/tls/rotate`: the next step towards another authority.
pub async fn rotate(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs("tls:write")?;
    let wire: RotateWire = body.read_or_empty()?;
    let step = match wire.step.as_deref() {
        None => None,
        Some(word) => {
            Some(Step::from_word(word).ok_or_else(|| ApiError::invalid("step is one of trust, issue, drop"))?)
        }
    };
    let after = parts.authority.rotate(&key.0.actor(), step).await?;
    Ok(Json(view(&after)))
}

/// `POST /admin/v1/tls/renew`: the daemon's own certificate anew, now.
pub async fn renew(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("tls:write")?;
    parts.authority.renew().await?;
    Ok(Json(view(&parts.authority.view())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeWire {
    serial: String,
}

/// `POST /admin/v1/tls/revoke`: a certificate opens nothing any more, and its connections are closed.
pub async fn revoke(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    key.needs("tls:write")?;
    let wire: RevokeWire = body.read()?;
    let serial = unhex::<16>(&wire.serial.to_ascii_lowercase());
    let serial = serial.ok_or_else(|| ApiError::invalid("`serial` has 32 hexadecimal digits"))?;
    parts.authority.revoke(&key.0.actor(), serial).await?;
    Ok(Json(json!({ "revoked": hex(&serial) })))
}
