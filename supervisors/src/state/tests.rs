//! The core against a naive model, and against a world that answers late and in any order.

mod generate;
mod late;
mod model;
