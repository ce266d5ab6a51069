//! Figures of agents, days and runs, and the text of their keys.

use bincode::{Decode, Encode};

use crate::domain::id::RunId;
use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias};
use crate::domain::statistics::{Figures, Histogram, StatisticsKey, Tokens};

/// Stands for a model where none was asked; no alias can be this.
const NO_MODEL: &str = "-";

/// Figures. A later form is a new variant at the end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum StatisticsRecord {
    /// The first form.
    First(FiguresRecord),
}

/// The first form of figures.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FiguresRecord {
    turns: [u64; 2],
    tokens: [u64; 5],
    cost: u64,
    orders: [u64; 4],
    order_ms: Vec<(u16, u64)>,
    turn_ms: Vec<(u16, u64)>,
}

impl From<&Figures> for StatisticsRecord {
    fn from(figures: &Figures) -> Self {
        let Tokens {
            input,
            output,
            cache_read,
            cache_write,
            charged,
        } = figures.tokens;
        Self::First(FiguresRecord {
            turns: [figures.turns, figures.turns_failed],
            tokens: [input, output, cache_read, cache_write, charged],
            cost: figures.cost.0,
            orders: [figures.done, figures.failed, figures.unknown, figures.cancelled],
            order_ms: figures.order_ms.buckets().collect(),
            turn_ms: figures.turn_ms.buckets().collect(),
        })
    }
}

impl From<StatisticsRecord> for Figures {
    fn from(StatisticsRecord::First(record): StatisticsRecord) -> Self {
        let [turns, turns_failed] = record.turns;
        let [input, output, cache_read, cache_write, charged] = record.tokens;
        let [done, failed, unknown, cancelled] = record.orders;
        Self {
            turns,
            turns_failed,
            tokens: Tokens {
                input,
                output,
                cache_read,
                cache_write,
                charged,
            },
            cost: MicroUsd(record.cost),
            done,
            failed,
            unknown,
            cancelled,
            order_ms: Histogram::of(record.order_ms),
            turn_ms: Histogram::of(record.turn_ms),
        }
    }
}

/// The key of a row. Names of agents and models cannot contain a slash, so the text is unambiguous; days are padded, so
/// that their order is that of time.
pub fn statistics_row(key: &StatisticsKey) -> String {
    let shown = |model: &Option<ModelAlias>| model.as_ref().map_or_else(|| NO_MODEL.to_owned(), ToString::to_string);
    match key {
        StatisticsKey::Agent { agent, prompt, model } => format!("agent/{agent}/{prompt}/{}", shown(model)),
        StatisticsKey::Day { day, agent, model } => format!("{}/{agent}/{}", day_prefix(*day), shown(model)),
        StatisticsKey::Run(run) => format!("run/{run}"),
    }
}

/// How the rows of a day begin.
pub fn day_prefix(day: u32) -> String {
    format!("day/{day:010}")
}

/// The key of a row's text; none when it is not of the form that [`statistics_row`] writes.
pub fn read_statistics_row(row: &str) -> Option<StatisticsKey> {
    let model = |text: &str| match text {
        NO_MODEL => Some(None),
        alias => ModelAlias::new(alias).ok().map(Some),
    };
    let (kind, rest) = row.split_once('/')?;
    match kind {
        "agent" => {
            let (agent, rest) = rest.split_once('/')?;
            let (prompt, alias) = rest.rsplit_once('/')?;
            Some(StatisticsKey::Agent {
                agent: AgentName::new(agent).ok()?,
                prompt: prompt.into(),
                model: model(alias)?,
            })
        }
        "day" => {
            let (day, rest) = rest.split_once('/')?;
            let (agent, alias) = rest.split_once('/')?;
            Some(StatisticsKey::Day {
                day: day.parse().ok()?,
                agent: AgentName::new(agent).ok()?,
                model: model(alias)?,
            })
        }
        "run" => rest.parse::<RunId>().ok().map(StatisticsKey::Run),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UtcMillis;
    use crate::storage::codec;

    #[test]
    fn rows_and_figures_survive_the_disk() {
        let agent = AgentName::new("rust-coder").expect("valid");
        let model = ModelAlias::new("gpt").ok();
        let check = |key: StatisticsKey, row: &str| {
            assert_eq!(statistics_row(&key), row);
            assert_eq!(read_statistics_row(row), Some(key));
        };
        let of_agent = |prompt: &str, model: &Option<ModelAlias>| StatisticsKey::Agent {
            agent: agent.clone(),
            prompt: prompt.into(),
            model: model.clone(),
        };
        check(of_agent("v1", &model), "agent/rust-coder/v1/gpt");
        check(of_agent("release/2", &None), "agent/rust-coder/release/2/-");
        check(of_agent("", &model), "agent/rust-coder//gpt");
        let day = StatisticsKey::Day {
            day: 20_000,
            agent,
            model,
        };
        check(day, "day/0000020000/rust-coder/gpt");
        let run = RunId::new(UtcMillis(3), 9);
        check(StatisticsKey::Run(run), &format!("run/{run}"));
        assert_eq!(read_statistics_row("other/x"), None);
        assert_eq!(read_statistics_row("agent/x"), None);

        let mut figures = Figures {
            turns: 1,
            turns_failed: 2,
            tokens: Tokens {
                input: 3,
                output: 4,
                cache_read: 5,
                cache_write: 6,
                charged: 7,
            },
            cost: MicroUsd(8),
            done: 9,
            failed: 10,
            unknown: 11,
            cancelled: 12,
            ..Figures::default()
        };
        figures.order_ms.record(1_000);
        figures.turn_ms.record(u64::MAX);
        let bytes = codec::encode(&StatisticsRecord::from(&figures));
        // What the first program with this form wrote.
        let golden = [
            1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 0x6f, 1, 1, 0xfb, 0xcf, 3, 1,
        ];
        assert_eq!(bytes, golden);
        let record: StatisticsRecord = codec::decode(|| "figures".into(), &bytes).expect("decodes");
        assert_eq!(Figures::from(record), figures);
    }
}
