//! Skills: those that can be called, the packages that can be read, and the servers whose tools are skills.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::domain::name::{PackageName, ServerName, SkillName};
use crate::domain::skill::SkillManifest;
use crate::gateway::auth::Authenticated;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;
use crate::gateway::query::{Path, Query};
use crate::skills::mcp::handle::RestartError;
use crate::skills::package::library::{Package, Shelf};

/// What a list may be asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// A folder whose packages are listed too.
    workspace: Option<String>,
}

/// `GET /v1/skills`.
pub async fn list(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    key.needs("skills:read")?;
    let workspace = match query.workspace {
        Some(named) => {
            // What a run there could be told may be read by whoever may submit one, and from no other folder.
            key.needs("runs:write")?;
            Some(parts.runs.admitted(std::path::Path::new(&named))?)
        }
        None => None,
    };
    let catalogue = parts.skills.catalogue();
    let skills: Vec<Value> = catalogue.manifests().map(view).collect();
    let shelf = look(&parts, workspace, |shelf| {
        let packages: Vec<Value> = shelf.packages.values().map(package_view).collect();
        let warnings: Vec<String> = shelf.warnings.iter().map(ToString::to_string).collect();
        json!({ "packages": packages, "warnings": warnings })
    })
    .await?;
    Ok(Json(
        json!({ "skills": skills, "packages": shelf["packages"], "warnings": shelf["warnings"] }),
    ))
}

/// `GET /v1/skills/{name}`: a skill, or a package of this name.
pub async fn show(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("skills:read")?;
    let catalogue = parts.skills.catalogue();
    if let Some(manifest) = SkillName::new(&name).ok().and_then(|name| catalogue.manifest(&name)) {
        let mut view = whole_view(manifest);
        // Without arguments and a folder: all that any call of it could touch.
        let needs = parts.skills.needs(&manifest.name, &json!({}), std::path::Path::new(""));
        view["needs"] = needs.iter().map(|needed| json!(needed.to_string())).collect();
        return Ok(Json(json!({ "skill": view })));
    }
    let wanted = PackageName::new(&name).ok();
    let found = look(&parts, None, move |shelf| {
        let package = wanted.and_then(|name| shelf.packages.get(&name).cloned());
        package.map_or(Value::Null, |package| {
            let mut view = package_view(&package);
            let files = package.open().and_then(|folder| folder.files());
            let files = files.unwrap_or_default();
            let files = files
                .iter()
                .map(|file| json!({ "path": file.path, "bytes": file.bytes }));
            view["files"] = files.collect();
            view["body"] = package.document.body.into();
            view
        })
    })
    .await?;
    if found.is_null() {
        let name = crate::domain::text::preview(&name, 80);
        let error = ApiError::new(
            code::SKILL_NOT_FOUND,
            format!("there is no skill and no package `{name}`"),
        );
        return Err(error.hint("GET /v1/skills lists them"));
    }
    Ok(Json(json!({ "package": found })))
}

/// `GET /v1/mcp`.
pub async fn servers(State(parts): State<GatewayParts>, key: Authenticated) -> Result<Json<Value>, ApiError> {
    key.needs("skills:read")?;
    let servers = parts.skills.mcp().reports().into_iter().map(|server| {
        let tools = server.tools.iter();
        let tools = tools.map(|(tool, skill)| json!({ "name": tool, "skill": skill }));
        json!({
            "name": server.name.as_str(),
            "transport": server.way,
            "state": server.state,
            "reason": server.reason,
            "protocol": server.revision,
            "tools": tools.collect::<Vec<Value>>(),
            "starts": server.lives,
            "progress": server.progress,
            "last_words": server.last_words,
        })
    });
    Ok(Json(json!({ "servers": servers.collect::<Vec<Value>>() })))
}

/// `POST /v1/mcp/{name}/restart`.
pub async fn restart(
    State(parts): State<GatewayParts>,
    key: Authenticated,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    key.needs("skills:write")?;
    let shown = crate::domain::text::preview(&name, 80);
    let absent = || {
        ApiError::new(code::MCP_NOT_FOUND, format!("no server is named `{shown}`"))
            .hint("GET /v1/mcp lists the servers")
    };
    let server = ServerName::new(&name).map_err(|_| absent())?;
    parts.skills.mcp().restart(&server).await.map_err(|error| match error {
        RestartError::NoServer(_) => absent(),
        other => ApiError::new(code::MCP_UNAVAILABLE, in_one_line(&other)),
    })?;
    servers(State(parts), key).await
}

/// Looks at the packages on a thread that may wait for the disk.
async fn look(
    parts: &GatewayParts,
    workspace: Option<PathBuf>,
    view: impl FnOnce(Shelf) -> Value + Send + 'static,
) -> Result<Value, ApiError> {
    let library = parts.skills.library().clone();
    let looked = tokio::task::spawn_blocking(move || view(library.look(workspace.as_deref()))).await;
    looked.map_err(|error| ApiError::new(code::BUG, format!("the packages cannot be looked at: {error}")))
}

fn view(manifest: &SkillManifest) -> Value {
    json!({
        "name": manifest.name.as_str(),
        "description": &*manifest.description,
        "class": manifest.class.as_str(),
        "timeout_ms": manifest.timeout_ms,
        "concurrency": manifest.concurrency,
    })
}

/// Everything that a skill says of itself.
fn whole_view(manifest: &SkillManifest) -> Value {
    let mut view = view(manifest);
    view["input_schema"] = (*manifest.input_schema).clone();
    view["approval"] = manifest.approval.as_str().into();
    view["output_bytes_max"] = manifest.output_bytes_max.into();
    view["resources"] = manifest.resources.iter().map(|name| json!(&**name)).collect();
    view["undo"] = manifest.undo.as_ref().map(SkillName::as_str).into();
    view["examples"] = manifest.examples.iter().cloned().collect();
    view
}

fn package_view(package: &Package) -> Value {
    let document = &package.document;
    let capabilities = package.pin.iter().flat_map(|pin| pin.capabilities.iter());
    let capabilities: Vec<String> = capabilities.map(ToString::to_string).collect();
    let standing = match package.standing() {
        Ok(standing) => standing.as_str().to_owned(),
        Err(error) => format!("unusable: {}", in_one_line(&error)),
    };
    json!({
        "name": document.name.as_str(),
        "description": document.description,
        "license": document.license,
        "compatibility": document.compatibility,
        "metadata": document.metadata,
        "requested_tools": document.requested_tools,
        "origin": package.origin.as_str(),
        "folder": package.folder.display().to_string(),
        "standing": standing,
        "capabilities": capabilities,
    })
}
