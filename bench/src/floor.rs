//! The floor under the model turns: a bare loop of the same HTTP client that sends the very bodies the daemon sent.

use std::time::{Duration, Instant};

use hyper::body::Bytes;

use crate::daemon::cpu_of;
use crate::model_server::ModelServer;

/// The client as the daemon makes it.
pub fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client without special wishes can be made")
}

/// Sends the bodies one after the other, each when the answer before it was read.
pub async fn send(client: &reqwest::Client, server: &ModelServer, bodies: &[Bytes]) -> Result<(), String> {
    let url = format!("{}/chat/completions", server.base_url());
    for body in bodies {
        let sent = client
            .post(&url)
            .header("content-type", "application/json")
            .body(body.clone())
            .send();
        let response = sent.await.map_err(|error| error.to_string())?;
        let answer = response.bytes().await.map_err(|error| error.to_string())?;
        serde_json::from_slice::<serde_json::Value>(&answer).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What many loops at once came to.
pub struct Crowd {
    /// Requests per second.
    pub per_second: f64,
    /// Processor time of the client per request.
    pub cpu_each: Duration,
}

/// Sends the bodies in `loops` loops at once, on a runtime like the daemon's.
pub fn crowd(server: &ModelServer, bodies: &[Bytes], loops: usize) -> Result<Crowd, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("floor")
        .build()
        .map_err(|error| error.to_string())?;
    let client = client();
    let before = cpu_of_threads("floor");
    let began = Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..loops {
            let (client, server, bodies) = (client.clone(), server.clone(), bodies.to_vec());
            tasks.spawn(async move { send(&client, &server, &bodies).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Ok::<_, String>(())
    })?;
    let requests = (loops * bodies.len()) as u32;
    Ok(Crowd {
        per_second: f64::from(requests) / began.elapsed().as_secs_f64(),
        cpu_each: cpu_of_threads("floor").saturating_sub(before) / requests.max(1),
    })
}

fn cpu_of_threads(name: &str) -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let named = format!("({name})");
    stats
        .filter(|stat| stat.contains(&named))
        .map(|stat| cpu_of(&stat))
        .sum()
}
