//! What an operator asks to be changed is done to its end, whether or not its client waits.
//!
//! A handler goes with its connection: between the row of the audit log and the change that it tells, or between two
//! steps of one change. So each request that changes something is a supervised task of its own, and the connection
//! waits for its answer.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use supervisors::{TaskExit, TaskRefused, Tasks};
use tokio::sync::oneshot;

use crate::domain::code;
use crate::gateway::error::ApiError;

/// Longest change: a backup, a check or a compaction of a large store.
const CHANGE_MAX: Duration = Duration::from_secs(30 * 60);

/// Answers what only reads in place, and has everything else done as a task.
pub async fn to_its_end(State(changes): State<Tasks>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let name = format!("{} {}", request.method(), request.uri().path());
    let (tell, told) = oneshot::channel();
    let work = tokio::time::timeout(CHANGE_MAX, next.run(request));
    // Whoever asked may have left.
    let begun = changes.spawn(name, work, |exit| drop(tell.send(exit)));
    if let Err(refused) = begun {
        return not_begun(refused).into_response();
    }
    match told.await {
        Ok(TaskExit::Done(Ok(response))) => response,
        Ok(TaskExit::Done(Err(_))) => unfinished("it did not come to its end in half an hour").into_response(),
        Ok(TaskExit::Panicked(why)) => ApiError::new(code::BUG, format!("it crashed: {why}")).into_response(),
        Ok(TaskExit::Cancelled) | Err(_) => unfinished("a part of the daemon was ended meanwhile").into_response(),
    }
}

fn not_begun(refused: TaskRefused) -> ApiError {
    let message = match refused {
        TaskRefused::Overloaded { capacity } => format!("{capacity} changes are being made; nothing of this one was"),
        _ => "no change is made at this moment; nothing of this one was".to_owned(),
    };
    ApiError::new(code::OVERLOADED, message).retry_after(1)
}

fn unfinished(why: &str) -> ApiError {
    ApiError::new(code::CHANGE_UNFINISHED, why).hint("`openclaw audit` tells whether it was made")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::body::Body;
    use axum::http::{Method, StatusCode};
    use axum::middleware::from_fn_with_state;
    use axum::routing::any;
    use supervisors::{ChildSpec, Strategy, Supervisor, SupervisorSpec, TaskSupervisor};
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    fn request(method: Method) -> Request {
        Request::builder()
            .method(method)
            .uri("/x")
            .body(Body::empty())
            .expect("a request")
    }

    #[tokio::test]
    async fn a_change_whose_client_left_is_made_and_there_are_no_more_at_once_than_may_be() {
        let making = TaskSupervisor::new(1);
        let changes = making.handle();
        let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::tasks("changes", making));
        let root = Supervisor::start("root", root).await.expect("starts");
        let (leave, made) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (waits, counts) = (leave.clone(), made.clone());
        let work = move || {
            let (leave, made) = (waits.clone(), counts.clone());
            async move {
                leave.notified().await;
                made.fetch_add(1, Ordering::Relaxed);
            }
        };
        let router = Router::new()
            .route("/x", any(work))
            .layer(from_fn_with_state(changes.clone(), to_its_end));
        let asked = |method: Method| router.clone().oneshot(request(method));
        let patience = Duration::from_millis(1);
        for (method, expected) in [(Method::POST, 1), (Method::GET, 1)] {
            let left = tokio::time::timeout(patience, asked(method.clone())).await;
            assert!(left.is_err(), "{method} waits");
            assert_eq!(changes.running(), expected, "{method}");
        }
        let refused = asked(Method::PUT).await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        leave.notify_one();
        changes.idle().await;
        assert_eq!(made.load(Ordering::Relaxed), 1, "only the change went on");
        leave.notify_one();
        let answered = asked(Method::DELETE).await.expect("an answer");
        assert_eq!((answered.status(), made.load(Ordering::Relaxed)), (StatusCode::OK, 2));
        // One that is cut off says that it may have been made.
        let (hanging, _) = tokio::join!(asked(Method::POST), root.shutdown());
        let body = axum::body::to_bytes(hanging.expect("an answer").into_body(), 4096).await;
        let body = body.expect("read");
        assert!(String::from_utf8_lossy(&body).contains("OC-7021"), "{body:?}");
    }
}
