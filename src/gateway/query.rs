//! Queries and names in paths, with refusals in the one shape of errors.

use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// What stands after the `?`.
pub struct Query<T>(pub T);

/// The names in a path.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let read = AxumQuery::<T>::try_from_uri(&parts.uri).map_err(|why| {
            ApiError::invalid(why.body_text()).hint("each parameter once, as GET /openapi.json describes it")
        });
        read.map(|AxumQuery(read)| Self(read))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = AxumPath::<T>::from_request_parts(parts, state).await;
        let AxumPath(read) = read.map_err(|why| ApiError::invalid(why.body_text()))?;
        Ok(Self(read))
    }
}
