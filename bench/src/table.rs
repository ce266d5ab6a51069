//! Figures as one table.

use std::time::Duration;

/// One figure.
pub struct Row {
    /// What.
    pub figure: String,
    /// Its value, as printed.
    pub value: String,
    /// Its target, as printed; empty for figures that only inform.
    pub target: String,
    /// The floor, as printed.
    pub floor: String,
    /// Value to floor.
    pub ratio: Option<f64>,
    /// Whether the target is met.
    pub met: Option<bool>,
}

impl Row {
    /// A figure without target and floor.
    pub fn new(figure: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            figure: figure.into(),
            value: value.into(),
            target: String::new(),
            floor: String::new(),
            ratio: None,
            met: None,
        }
    }

    /// With the floor and the ratio to it.
    #[must_use]
    pub fn over(mut self, floor: impl Into<String>, ratio: f64) -> Self {
        self.floor = floor.into();
        self.ratio = Some(ratio);
        self
    }

    /// With a target.
    #[must_use]
    pub fn wanted(mut self, target: impl Into<String>, met: bool) -> Self {
        self.target = target.into();
        self.met = Some(met);
        self
    }
}

/// The table as text.
pub fn render(rows: &[Row]) -> String {
    let mut lines = vec![["figure", "value", "target", "", "floor", "ratio"].map(str::to_owned)];
    for row in rows {
        let met = row.met.map_or("", |met| if met { "met" } else { "MISSED" });
        lines.push([
            row.figure.clone(),
            row.value.clone(),
            row.target.clone(),
            met.to_owned(),
            row.floor.clone(),
            row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
        ]);
    }
    let widths: Vec<usize> = (0..6)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The value below which the given part (0 to 1) of the sorted values lies.
pub fn part<T: Copy + Ord + Default>(values: &mut [T], part: f64) -> T {
    values.sort_unstable();
    let place = ((values.len().max(1) - 1) as f64 * part).round() as usize;
    values.get(place).copied().unwrap_or_default()
}

/// Milliseconds with two decimals.
pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// MiB with one decimal.
pub fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}
