//! Brings a signal to 0..1 over the entries of one query, so that signals can be added.

/// From the least to the most of a signal.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    least: f32,
    most: f32,
}

impl Span {
    /// For a signal whose absence is 0.
    pub fn from_zero() -> Self {
        Self { least: 0.0, most: 0.0 }
    }

    /// For a signal that every entry has.
    pub fn empty() -> Self {
        Self {
            least: f32::INFINITY,
            most: f32::NEG_INFINITY,
        }
    }

    /// Takes a value into account.
    pub fn take(&mut self, value: f32) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// Where a value lies, 0 to 1.
    pub fn of(self, value: f32) -> f32 {
        let width = self.most - self.least;
        // Where all are alike, the value itself says how well they fit.
        let share = if width > f32::EPSILON {
            (value - self.least) / width
        } else {
            value
        };
        share.clamp(0.0, 1.0)
    }
}
