//! Checks that the operator defines: an address over HTTP, a port, a command, a figure of this daemon's own metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::fault::in_one_line;
use crate::runtime::telemetry::{METRICS, Metric, MetricKind, Telemetry};

use super::check::{Check, Finding, Severity, Verdict};
use super::program;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// GET; good is this status, or any below 400.
    Http {
        /// The address.
        url: String,
        /// The status that is good.
        status: Option<u16>,
    },
    /// A connection to host and port is accepted.
    Tcp {
        /// Where.
        address: String,
    },
    /// A command ends with 0.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// A figure stays between two bounds.
    Metric {
        /// A metric's name, with labels when it has several series: `name{label="value"}`.
        metric: String,
        /// It fails above this.
        above: Option<f64>,
        /// It fails below this.
        below: Option<f64>,
    },
}

/// A check of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorCheck {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub question: Question,
    /// Longest wait.
    pub timeout: Duration,
    /// How bad it is when it fails.
    pub severity: Severity,
}

impl OperatorCheck {
    /// The check. `http` asks addresses; its certificates are those of the machine.
    pub fn into_check(self, http: &reqwest::Client, telemetry: &Telemetry) -> Check {
        let (http, telemetry) = (http.clone(), telemetry.clone());
        let question = Arc::new(self.question);
        let ask = move || {
            let (question, http, telemetry) = (question.clone(), http.clone(), telemetry.clone());
            async move {
                match &*question {
                    Question::Http { url, status } => ask_http(&http, url, *status).await,
                    Question::Tcp { address } => ask_tcp(address).await,
                    Question::Command { argv } => ask_command(argv).await,
                    Question::Metric { metric, above, below } => {
                        judge_metric(METRICS, &telemetry.render(), metric, *above, *below)
                    }
                }
            }
        };
        Check {
            timeout: self.timeout,
            ..Check::new(&self.name, self.severity, ask)
        }
    }
}

fn failed(why: impl Into<Arc<str>>) -> Verdict {
    Verdict::Failed(Finding::new(
        why,
        "this check is defined in the configuration; look at what it asks",
    ))
}

/// The innermost cause: the layers around it say nothing to a person.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

async fn ask_http(http: &reqwest::Client, url: &str, wanted: Option<u16>) -> Verdict {
    match http.get(url).send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let is_good = wanted.map_or(status < 400, |wanted| wanted == status);
            let said = format!("it answered {status}");
            if is_good {
                Verdict::Good(said.into())
            } else {
                failed(said)
            }
        }
        Err(error) => failed(format!("it did not answer: {}", root(&error))),
    }
}

async fn ask_tcp(address: &str) -> Verdict {
    match tokio::net::TcpStream::connect(address).await {
        Ok(_) => Verdict::Good("it accepts connections".into()),
        Err(error) => failed(format!("no connection: {error}")),
    }
}

/// It ends with the wait for it, and with it whatever it started.
async fn ask_command(argv: &[String]) -> Verdict {
    match program::run(argv, &[], None).await {
        Ok(ended) if ended.status.success() => Verdict::Good("it ended with 0".into()),
        Ok(ended) => failed(format!("it ended with {}: {}", ended.status, ended.said)),
        Err(error) => failed(in_one_line(&error)),
    }
}

/// Judges the figure of a text in Prometheus' form. A series that may come is no failure before anything was counted:
/// it is none. One that never can is.
pub fn judge_metric(families: &[Metric], text: &str, metric: &str, above: Option<f64>, below: Option<f64>) -> Verdict {
    let value = text.lines().find_map(|line| {
        let rest = line.strip_prefix(metric)?;
        // Another metric may begin with the same letters.
        let rest = rest.strip_prefix(' ')?;
        rest.trim().parse::<f64>().ok()
    });
    let Some(value) = value else {
        return match never_there(families, metric) {
            Some(why) => failed(why),
            None => Verdict::Good("it has no value yet".into()),
        };
    };
    match (above, below) {
        (Some(limit), _) if value > limit => failed(format!("it is {value}, more than {limit}")),
        (_, Some(limit)) if value < limit => failed(format!("it is {value}, less than {limit}")),
        _ => Verdict::Good(format!("it is {value}").into()),
    }
}

/// Why no series of these families is ever written so.
fn never_there(families: &[Metric], metric: &str) -> Option<String> {
    let (name, labels) = metric.split_once('{').map_or((metric, ""), |(name, rest)| (name, rest));
    let is_part = |family: &Metric| {
        let part = name.strip_prefix(family.name);
        matches!(family.kind, MetricKind::Histogram(_)) && matches!(part, Some("_sum" | "_count" | "_bucket"))
    };
    let Some(family) = families.iter().find(|family| family.name == name || is_part(family)) else {
        return Some(format!("there is no metric `{name}`"));
    };
    let is_whole_histogram = matches!(family.kind, MetricKind::Histogram(_)) && family.name == name;
    if is_whole_histogram {
        return Some(format!(
            "`{name}` is a histogram: name {name}_sum, {name}_count or a series of {name}_bucket"
        ));
    }
    let mut wanted = family.labels.to_vec();
    if name.ends_with("_bucket") && family.name != name {
        wanted.push("le");
    }
    if label_names(labels) == wanted {
        return None;
    }
    let form: Vec<String> = wanted.iter().map(|label| format!("{label}=\"…\"")).collect();
    Some(match form.as_slice() {
        [] => format!("`{name}` has no labels"),
        form => format!("`{name}` has several series: name one, as {name}{{{}}}", form.join(",")),
    })
}

/// The names in `name="value",other="value"}`.
fn label_names(mut rest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        let mut is_escaped = false;
        let end = after.find(|sign| {
            let ends = sign == '"' && !is_escaped;
            is_escaped = sign == '\\' && !is_escaped;
            ends
        });
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Good(_))
    }

    fn family(name: &'static str, kind: MetricKind, labels: &'static [&'static str]) -> Metric {
        Metric {
            name,
            kind,
            labels,
            help: "",
        }
    }

    #[test]
    fn a_figure_is_found_by_its_whole_name_and_held_against_its_bounds() {
        let families = [
            family("a", MetricKind::Gauge, &[]),
            family("a_total", MetricKind::Counter, &["x", "y"]),
            family("a_seconds", MetricKind::Histogram(&[1.0]), &["x"]),
        ];
        let text = "# TYPE a gauge\nab 9\na 3\na_total{x=\"y\",y=\"z\"} 5\n";
        let check = |metric: &str, above, below, wanted: Result<&str, &str>| {
            let found = match judge_metric(&families, text, metric, above, below) {
                Verdict::Good(seen) => Ok(seen),
                Verdict::Failed(finding) => Err(finding.why),
            };
            assert_eq!(
                found.as_deref().map_err(|why| &**why),
                wanted,
                "{metric} {above:?} {below:?}"
            );
        };
        check("a", Some(3.0), None, Ok("it is 3"));
        check("a", Some(2.9), None, Err("it is 3, more than 2.9"));
        check("a", None, Some(3.1), Err("it is 3, less than 3.1"));
        check("a", Some(4.0), Some(2.0), Ok("it is 3"));
        check("a_total{x=\"y\",y=\"z\"}", Some(4.0), None, Err("it is 5, more than 4"));
        // One that may come.
        check(
            "a_total{x=\"\\\"=\",y=\"w\"}",
            Some(4.0),
            None,
            Ok("it has no value yet"),
        );
        check("a_seconds_count{x=\"z\"}", Some(4.0), None, Ok("it has no value yet"));
        check(
            "a_seconds_bucket{x=\"z\",le=\"1\"}",
            Some(4.0),
            None,
            Ok("it has no value yet"),
        );
        // And those that never do.
        check("nosuch", Some(4.0), None, Err("there is no metric `nosuch`"));
        check("a_count", Some(4.0), None, Err("there is no metric `a_count`"));
        check("a{x=\"z\"}", Some(4.0), None, Err("`a` has no labels"));
        let several = "`a_total` has several series: name one, as a_total{x=\"…\",y=\"…\"}";
        check("a_total", Some(4.0), None, Err(several));
        check("a_total{y=\"z\",x=\"y\"}", Some(4.0), None, Err(several));
        check("a_total{x=\"y\"}", Some(4.0), None, Err(several));
        check(
            "a_seconds",
            Some(4.0),
            None,
            Err("`a_seconds` is a histogram: name a_seconds_sum, a_seconds_count or a series of a_seconds_bucket"),
        );
    }

    #[tokio::test]
    async fn an_address_a_port_and_a_command_are_good_when_they_answer_so() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("an address").to_string();
        assert!(is_good(&ask_tcp(&address).await));
        drop(listener);
        assert!(!is_good(&ask_tcp(&address).await));
        let command = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_good(&ask_command(&command("true")).await));
        let said = ask_command(&["sh".into(), "-c".into(), "echo no >&2; exit 3".into()]).await;
        assert!(
            matches!(&said, Verdict::Failed(finding) if finding.why.ends_with(": no")),
            "{said:?}"
        );
        let missing = ask_command(&command("/nowhere/at-all")).await;
        assert!(
            matches!(&missing, Verdict::Failed(finding) if finding.why.starts_with("it did not start: No such file")),
            "{missing:?}"
        );
    }

    #[tokio::test]
    async fn a_command_that_ended_well_is_good_whatever_it_left_behind() {
        let argv = ["sh", "-c", "sleep 300 & exit 0"].map(str::to_owned);
        let asked = tokio::time::timeout(Duration::from_secs(20), ask_command(&argv)).await;
        assert_eq!(
            asked.expect("its end is told at once"),
            Verdict::Good("it ended with 0".into())
        );
    }
}
