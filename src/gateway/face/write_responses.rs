//! Answers as responses: the object, and the events that build it up.
//!
//! **Invariants**: the numbers of events rise by one from 0; the state of [`Events`] is the fold of the events that it
//! wrote, so another life of the process goes on from those that were kept.

use serde_json::{Value, json};

use crate::domain::conversation::{CallRequest, Message, Stop, Usage};
use crate::domain::exchange::Exchange;
use crate::domain::failure::FailureClass;
use crate::domain::id::RunId;

use super::rules;
use super::told::{Ending, How, Say, Told};
use super::write_chat::{arguments, digits};

/// The id of a response.
pub fn response_id(run: RunId) -> String {
    format!("resp_{}", digits(run))
}

/// The run of the id of a response.
pub fn run_of(id: &str) -> Option<RunId> {
    let digits = id.strip_prefix("resp_")?;
    format!("{}_{digits}", RunId::PREFIX).parse().ok()
}

fn usage(usage: Usage) -> Value {
    json!({ "input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": usage.total(),
            "input_tokens_details": { "cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write },
            "output_tokens_details": { "reasoning_tokens": 0 } })
}

fn text_part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

fn message_item(id: &str, status: &str, content: &Value) -> Value {
    json!({ "id": id, "type": "message", "role": "assistant", "status": status, "content": content })
}

fn call_item(run: RunId, place: usize, call: &CallRequest) -> Value {
    json!({ "id": format!("fc_{}_{place}", digits(run)), "type": "function_call", "status": "completed",
            "call_id": &*call.id, "name": &*call.skill, "arguments": arguments(call) })
}

fn message_id(run: RunId, place: usize, drops: usize) -> String {
    match drops {
        0 => format!("msg_{}_{place}", digits(run)),
        drops => format!("msg_{}_{place}r{drops}", digits(run)),
    }
}

/// The items of an answer.
fn items(run: RunId, told: &Told) -> Vec<Value> {
    let mut items = Vec::new();
    for text in &told.texts {
        let id = message_id(run, items.len(), 0);
        items.push(message_item(&id, "completed", &json!([text_part(text)])));
    }
    for call in &told.calls {
        items.push(call_item(run, items.len(), call));
    }
    if let (true, Some(How::Refused(reason))) = (items.is_empty(), told.ending.as_ref().map(|ending| &ending.how)) {
        let refusal = json!([{ "type": "refusal", "refusal": &**reason }]);
        items.push(message_item(&message_id(run, 0, 0), "completed", &refusal));
    }
    items
}

/// A response that has no output yet.
fn head(run: RunId, exchange: &Exchange, status: &str) -> Value {
    let mut response = json!({
        "id": response_id(run),
        "object": "response",
        "created_at": run.made_at().0 / 1000,
        "completed_at": null,
        "status": status,
        "background": exchange.is_background,
        "error": null,
        "incomplete_details": null,
        "model": &*exchange.model,
        "output": [],
        "usage": null,
        "store": exchange.is_stored,
        "service_tier": "default",
        "reasoning": { "effort": null, "summary": null },
        "user": null,
    });
    for (name, value) in exchange.repeated.as_object().into_iter().flatten() {
        if name != rules::KEPT_AS {
            response[name] = value.clone();
        }
    }
    response
}

/// What an end makes of a response.
fn end(response: &mut Value, ending: &Ending, ended_at_s: Option<u64>) {
    response["usage"] = usage(ending.usage);
    let status = match &ending.how {
        How::Answered if ending.stop == Stop::Length => {
            response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
            "incomplete"
        }
        How::Answered | How::Refused(_) => {
            response["completed_at"] = ended_at_s.into();
            "completed"
        }
        How::Cancelled(_) => "cancelled",
        How::Failed { class, reason } => {
            let code = match class {
                Some(FailureClass::Budget | FailureClass::Rate) => "rate_limit_exceeded",
                _ => "server_error",
            };
            response["error"] = json!({ "code": code, "message": &**reason });
            "failed"
        }
    };
    response["status"] = status.into();
}

/// The response as it stands. `ended_at_s` is Unix time.
pub fn object(run: RunId, exchange: &Exchange, told: &Told, ended_at_s: Option<u64>) -> Value {
    let waits = exchange.is_background && !told.has_begun;
    let mut response = head(run, exchange, if waits { "queued" } else { "in_progress" });
    if let Some(ending) = &told.ending {
        response["output"] = items(run, told).into();
        end(&mut response, ending, ended_at_s);
    }
    response
}

/// What came with the request, as items; `instructions` are none.
pub fn input_items(run: RunId, exchange: &Exchange) -> Vec<Value> {
    let own_from = exchange.own_from as usize;
    let said = |role: &str, text: &str| {
        json!({ "type": "message", "role": role, "status": "completed",
                "content": [{ "type": "input_text", "text": text }] })
    };
    let own = rules::of(exchange).into_iter().filter(|rule| rule.at >= own_from);
    let mut own = own.peekable();
    let mut items: Vec<Value> = Vec::new();
    for (place, message) in exchange.messages.iter().enumerate().skip(own_from) {
        while let Some(rule) = own.next_if(|rule| rule.at <= place) {
            items.push(said(&rule.role, &rule.text));
        }
        match message {
            Message::User(text) => items.push(said("user", text)),
            Message::Assistant { text, calls, .. } => {
                if !text.is_empty() {
                    let content = json!([text_part(text)]);
                    items.push(message_item("", "completed", &content));
                }
                items.extend(calls.iter().map(|call| call_item(run, 0, call)));
            }
            Message::Results(results) => items.extend(results.iter().map(|result| {
                json!({ "type": "function_call_output", "call_id": &*result.id, "output": &*result.content,
                        "status": "completed" })
            })),
        }
    }
    items.extend(own.map(|rule| said(&rule.role, &rule.text)));
    for (place, item) in items.iter_mut().enumerate() {
        item["id"] = format!("in_{}_{place}", digits(run)).into();
    }
    items
}

/// Writes events, each as JSON text.
#[derive(Debug, Clone)]
pub struct Events {
    run: RunId,
    next: u64,
    /// Items that count.
    output: Vec<Value>,
    /// Items that were begun and are over.
    index: usize,
    drops: usize,
    open: Option<Open>,
}

#[derive(Debug, Clone)]
struct Open {
    id: String,
    text: String,
}

impl Events {
    /// Of this run, before the first.
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            next: 0,
            output: Vec::new(),
            index: 0,
            drops: 0,
            open: None,
        }
    }

    /// The number of the next event.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// What was written of a text that is not complete.
    pub fn open_text(&self) -> &str {
        self.open.as_ref().map_or("", |open| &open.text)
    }

    /// Takes in an event that was written before.
    pub fn fold(&mut self, event: &Value) {
        self.next += 1;
        match event["type"].as_str().unwrap_or("") {
            "response.output_item.added" if event["item"]["type"] == "message" => {
                let id = event["item"]["id"].as_str().unwrap_or("").to_owned();
                self.open = Some(Open {
                    id,
                    text: String::new(),
                });
            }
            "response.output_text.delta" => {
                if let Some(open) = &mut self.open {
                    open.text.push_str(event["delta"].as_str().unwrap_or(""));
                }
            }
            "response.output_item.done" => {
                self.open = None;
                self.index += 1;
                if event["item"]["status"] == "incomplete" {
                    self.drops += 1;
                } else {
                    self.output.push(event["item"].clone());
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, kind: &str, mut event: Value, events: &mut Vec<String>) {
        event["type"] = kind.into();
        event["sequence_number"] = self.next.into();
        self.fold(&event);
        events.push(event.to_string());
    }

    /// What comes first.
    pub fn begin(&mut self, exchange: &Exchange, events: &mut Vec<String>) {
        let status = if exchange.is_background {
            "queued"
        } else {
            "in_progress"
        };
        let created = head(self.run, exchange, status);
        self.write("response.created", json!({ "response": created }), events);
        if exchange.is_background {
            self.write("response.queued", json!({ "response": created }), events);
        }
        let begun = head(self.run, exchange, "in_progress");
        self.write("response.in_progress", json!({ "response": begun }), events);
    }

    /// What is told.
    pub fn say(&mut self, say: &Say, exchange: &Exchange, ended_at_s: u64, events: &mut Vec<String>) {
        match say {
            Say::Text(text) => {
                let id = match &self.open {
                    Some(open) => open.id.clone(),
                    None => self.begin_message(&text_part(""), events),
                };
                let delta = json!({ "item_id": id, "output_index": self.index, "content_index": 0, "delta": &**text,
                                    "logprobs": [] });
                self.write("response.output_text.delta", delta, events);
            }
            Say::EndText => self.end_text("completed", events),
            Say::Dropped => self.end_text("incomplete", events),
            Say::Anew => {}
            Say::Calls(calls) => {
                for call in calls {
                    self.call(call, events);
                }
            }
            Say::End(ending) => {
                self.end_text("incomplete", events);
                if let (true, How::Refused(reason)) = (self.output.is_empty(), &ending.how) {
                    self.refuse(reason, events);
                }
                let mut response = head(self.run, exchange, "in_progress");
                response["output"] = self.output.clone().into();
                end(&mut response, ending, Some(ended_at_s));
                let kind = match response["status"].as_str() {
                    Some("completed") => "response.completed",
                    Some("incomplete") => "response.incomplete",
                    // The protocol has no event of its own for what was cancelled; the status says it.
                    _ => "response.failed",
                };
                self.write(kind, json!({ "response": response }), events);
            }
        }
    }

    fn begin_message(&mut self, part: &Value, events: &mut Vec<String>) -> String {
        let id = message_id(self.run, self.output.len(), self.drops);
        let item = message_item(&id, "in_progress", &json!([]));
        self.write(
            "response.output_item.added",
            json!({ "output_index": self.index, "item": item }),
            events,
        );
        let place = json!({ "item_id": id, "output_index": self.index, "content_index": 0, "part": part });
        self.write("response.content_part.added", place, events);
        id
    }

    fn end_text(&mut self, status: &str, events: &mut Vec<String>) {
        let Some(Open { id, text }) = self.open.clone() else {
            return;
        };
        let at = |more: Value| {
            let mut event = json!({ "item_id": id, "output_index": self.index, "content_index": 0 });
            for (name, value) in more.as_object().into_iter().flatten() {
                event[name] = value.clone();
            }
            event
        };
        let done = at(json!({ "text": text, "logprobs": [] }));
        let part = at(json!({ "part": text_part(&text) }));
        let item = message_item(&id, status, &json!([text_part(&text)]));
        let item = json!({ "output_index": self.index, "item": item });
        self.write("response.output_text.done", done, events);
        self.write("response.content_part.done", part, events);
        self.write("response.output_item.done", item, events);
    }

    fn call(&mut self, call: &CallRequest, events: &mut Vec<String>) {
        let item = call_item(self.run, self.output.len(), call);
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        begun["arguments"] = "".into();
        let index = self.index;
        self.write(
            "response.output_item.added",
            json!({ "output_index": index, "item": begun }),
            events,
        );
        let place = |name: &str| json!({ "item_id": item["id"], "output_index": index, name: item["arguments"] });
        self.write("response.function_call_arguments.delta", place("delta"), events);
        let mut done = place("arguments");
        done["name"] = item["name"].clone();
        self.write("response.function_call_arguments.done", done, events);
        self.write(
            "response.output_item.done",
            json!({ "output_index": index, "item": item }),
            events,
        );
    }

    fn refuse(&mut self, reason: &str, events: &mut Vec<String>) {
        let part = json!({ "type": "refusal", "refusal": "" });
        let id = self.begin_message(&part, events);
        let place = |name: &str| json!({ "item_id": id, "output_index": self.index, "content_index": 0, name: reason });
        let (delta, done) = (place("delta"), place("refusal"));
        let part = json!({ "type": "refusal", "refusal": reason });
        let item = message_item(&id, "completed", &json!([part]));
        let ended = json!({ "item_id": id, "output_index": self.index, "content_index": 0, "part": part });
        let item = json!({ "output_index": self.index, "item": item });
        self.write("response.refusal.delta", delta, events);
        self.write("response.refusal.done", done, events);
        self.write("response.content_part.done", ended, events);
        self.write("response.output_item.done", item, events);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::conversation::Arguments;
    use crate::domain::exchange::Face;
    use crate::domain::time::UtcMillis;

    fn exchange() -> Exchange {
        Exchange {
            face: Face::OpenAiResponses,
            model: "helper".into(),
            is_bare: false,
            system: "".into(),
            messages: Arc::default(),
            own_from: 0,
            options: Arc::default(),
            output_tokens_max: None,
            repeated: Arc::new(json!({ "metadata": { "a": "b" } })),
            is_stored: true,
            is_background: true,
        }
    }

    fn says() -> Vec<Say> {
        let call = CallRequest {
            id: "c".into(),
            skill: "f".into(),
            arguments: Arguments::Object(Arc::new(json!({ "x": 1 }))),
        };
        vec![
            Say::Text("I lo".into()),
            Say::Text("ok".into()),
            Say::EndText,
            Say::Text("Wro".into()),
            Say::Dropped,
            Say::Text("Right".into()),
            Say::EndText,
            Say::Calls(vec![call]),
            Say::End(Ending {
                how: How::Answered,
                stop: Stop::End,
                usage: Usage::default(),
            }),
        ]
    }

    fn written() -> Vec<String> {
        let mut events = Vec::new();
        let mut writer = Events::new(RunId::new(UtcMillis(5_000), 7));
        writer.begin(&exchange(), &mut events);
        for say in says() {
            writer.say(&say, &exchange(), 9, &mut events);
        }
        events
    }

    #[test]
    fn numbers_rise_by_one_and_what_was_dropped_is_not_in_the_end() {
        let events: Vec<Value> = written()
            .iter()
            .map(|event| serde_json::from_str(event).expect("JSON"))
            .collect();
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{event}");
        }
        let last = &events[events.len() - 1]["response"];
        let texts: Vec<&Value> = last["output"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| {
                if item["type"] == "message" {
                    &item["content"][0]["text"]
                } else {
                    &item["arguments"]
                }
            })
            .collect();
        assert_eq!(texts, ["I look", "Right", "{\"x\":1}"]);
        assert_eq!(
            (&last["status"], &last["metadata"]["a"]),
            (&json!("completed"), &json!("b"))
        );
        let ids: Vec<&Value> = events
            .iter()
            .filter(|event| event["type"] == "response.output_item.added")
            .map(|event| &event["item"]["id"])
            .collect();
        let mut distinct = ids.clone();
        distinct.sort_by_key(ToString::to_string);
        distinct.dedup();
        assert_eq!(ids.len(), distinct.len(), "every item has an id of its own: {ids:?}");
    }

    #[test]
    fn cut_after_any_event_the_rest_is_written_the_same() {
        let all = written();
        let run = RunId::new(UtcMillis(5_000), 7);
        // After each say, another life takes up what was kept and goes on with what is told next.
        for cut in 0..says().len() {
            let mut events = Vec::new();
            let mut writer = Events::new(run);
            writer.begin(&exchange(), &mut events);
            for say in &says()[..cut] {
                writer.say(say, &exchange(), 9, &mut events);
            }
            let mut next = Events::new(run);
            for event in &events {
                next.fold(&serde_json::from_str(event).expect("JSON"));
            }
            assert_eq!(next.open_text(), writer.open_text(), "cut after {cut}");
            for say in &says()[cut..] {
                next.say(say, &exchange(), 9, &mut events);
            }
            assert_eq!(events, all, "cut after {cut}");
        }
    }

    #[test]
    fn rules_are_items_of_the_request_that_brought_them_and_no_member_of_the_response() {
        let rule = |text: &str, at: usize| rules::Rule {
            role: "developer".into(),
            text: text.into(),
            at,
        };
        let user = |text: &str| Message::User(text.into());
        let answer = Message::Assistant {
            text: "a".into(),
            calls: Vec::new(),
            kept: Arc::new([]),
        };
        let kept = rules::write(&[rule("earlier", 0), rule("mine", 2), rule("last", 3)]);
        let asked = Exchange {
            messages: Arc::new(vec![user("one"), answer, user("two")]),
            own_from: 2,
            repeated: Arc::new(json!({ "metadata": {}, "rules": kept })),
            ..exchange()
        };
        let run = RunId::new(UtcMillis(5_000), 7);
        let items = input_items(run, &asked);
        let said: Vec<(&Value, &Value)> = items
            .iter()
            .map(|item| (&item["role"], &item["content"][0]["text"]))
            .collect();
        let expected =
            [("developer", "mine"), ("user", "two"), ("developer", "last")].map(|(a, b)| (json!(a), json!(b)));
        assert_eq!(said, expected.each_ref().map(|(role, text)| (role, text)));
        assert_eq!(object(run, &asked, &Told::default(), None).get("rules"), None);
    }

    #[test]
    fn the_id_of_a_response_is_that_of_its_run() {
        let run = RunId::new(UtcMillis(5_000), 7);
        assert_eq!(run_of(&response_id(run)), Some(run));
        for text in ["", "resp_", "resp_x", "run_01arz3ndektsv4rrffq69g5fav"] {
            assert_eq!(run_of(text), None, "{text}");
        }
    }
}
