//! A server of embeddings in the OpenAI form, on loopback, that misbehaves on order.
//!
//! In its space `zibblewick` and `quanfrotz`, which mean nothing elsewhere, point one way; every other text points
//! another.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::accepting::serve_each;

/// What is in a text that it refuses to embed.
pub const POISON: &str = "poison";

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Well,
    /// As it should so many times, then with 503.
    WellFor(usize),
    /// With vectors of five dimensions.
    Short,
    /// With as much as anybody reads and more.
    Endless,
}

struct Shared {
    mood: Mood,
    made: BTreeMap<String, usize>,
    keys: Vec<String>,
}

/// The server; it serves until the test program ends.
#[derive(Clone)]
pub struct EmbeddingServer {
    shared: Arc<Mutex<Shared>>,
    url: String,
}

impl EmbeddingServer {
    /// Starts it.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let shared = Shared {
            mood: Mood::Well,
            made: BTreeMap::new(),
            keys: Vec::new(),
        };
        let server = Self {
            shared: Arc::new(Mutex::new(shared)),
            url: format!("http://{}/v1", listener.local_addr().expect("an address")),
        };
        let serving = server.clone();
        serve_each(listener, move |stream| serving.serve(stream));
        server
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no panic")
    }

    /// How it answers from now on.
    pub fn is(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// How often it made a vector of each text.
    pub fn made(&self) -> BTreeMap<String, usize> {
        self.lock().made.clone()
    }

    /// The keys that came with requests.
    pub fn keys(&self) -> Vec<String> {
        self.lock().keys.clone()
    }

    /// The lines of `openclaw.toml` that make it the embedder.
    pub fn config(&self, model: &str, dimensions: usize) -> String {
        format!(
            "[memory.embedder]\nprovider = \"openai\"\nbaseUrl = \"{}\"\nmodel = \"{model}\"\n\
             dimensions = {dimensions}\napiKey = \"${{TEST_EMBEDDER_KEY}}\"\n",
            self.url
        )
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some((key, body)) = read(&stream) else { return };
        let texts = body["input"].as_array().expect("texts");
        let texts: Vec<&str> = texts.iter().map(|text| text.as_str().expect("a text")).collect();
        let (status, answer) = {
            let mut shared = self.lock();
            shared.keys.push(key);
            let is_down = shared.mood == Mood::WellFor(0);
            let is_refused = texts.iter().any(|text| text.contains(POISON));
            let dimensions = match shared.mood {
                Mood::Short => 5,
                _ if body["model"] == "beta" => 12,
                _ => 8,
            };
            if is_down {
                (503, String::new())
            } else if is_refused {
                (
                    400,
                    json!({ "error": { "message": "this text is refused" } }).to_string(),
                )
            } else if shared.mood == Mood::Endless {
                (200, " ".repeat(40 * 1024 * 1024))
            } else {
                if let Mood::WellFor(times) = &mut shared.mood {
                    *times -= 1;
                }
                if shared.mood != Mood::Short {
                    for text in &texts {
                        *shared.made.entry((*text).to_owned()).or_default() += 1;
                    }
                }
                (200, answer(&texts, dimensions).to_string())
            }
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        // The client may have gone, or had enough.
        stream.write_all(format!("{head}{answer}").as_bytes()).ok();
    }
}

fn answer(texts: &[&str], dimensions: usize) -> Value {
    let vector = |text: &str| {
        let is_ours = text.contains("zibblewick") || text.contains("quanfrotz");
        let mut vector = vec![0.01; dimensions];
        vector[usize::from(!is_ours)] = 1.0;
        vector
    };
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({ "index": index, "embedding": vector(text) }))
        .collect();
    json!({ "object": "list", "data": data, "model": "m" })
}

/// Key and body of a request.
fn read(stream: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    assert!(line.starts_with("POST /v1/embeddings "), "{line}");
    let (mut length, mut key) = (0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => value.trim_start_matches("Bearer ").clone_into(&mut key),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((key, serde_json::from_slice(&body).expect("a request is JSON")))
}
