//! Axes: the position of values, the values with a tick, and their labels.

/// The kind of values on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Plain numbers.
    Count,
    /// Shares, written in percent.
    Share,
    /// Microseconds, written in the unit that suits their size.
    Micros,
}

/// An axis.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) unit: Unit,
    log: bool,
    low: f64,
    high: f64,
}

impl Axis {
    /// A linear axis. Ends that are equal or not finite are replaced.
    pub(crate) fn linear(label: &str, unit: Unit, low: f64, high: f64) -> Self {
        let low = if low.is_finite() { low } else { 0.0 };
        let high = if high.is_finite() && high > low { high } else { low + 1.0 };
        Self { label: label.to_owned(), unit, log: false, low, high }
    }

    /// A logarithmic axis, whose ends must be above zero.
    pub(crate) fn log(label: &str, unit: Unit, low: f64, high: f64) -> Self {
        let low = if low.is_finite() && low > 0.0 { low } else { 1.0 };
        let high = if high.is_finite() && high > low { high } else { low * 10.0 };
        Self { label: label.to_owned(), unit, log: true, low, high }
    }

    pub(crate) fn low(&self) -> f64 {
        self.low
    }

    pub(crate) fn high(&self) -> f64 {
        self.high
    }

    /// A value on the evenly drawn scale.
    fn even(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }

    /// Both ends on the evenly drawn scale.
    fn ends(&self) -> (f64, f64) {
        (self.even(self.low), self.even(self.high))
    }

    /// The position of a value between the ends, from 0 to 1, clamped to the ends.
    pub(crate) fn position(&self, value: f64) -> f64 {
        let (low, high) = self.ends();
        let position = (self.even(value.clamp(self.low, self.high)) - low) / (high - low);
        if position.is_finite() { position.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Values with a label, at most `most` (at least 2), and values with a fine line only.
    pub(crate) fn ticks(&self, most: usize) -> (Vec<f64>, Vec<f64>) {
        let most = most.max(2);
        if !self.log {
            return (self.linear_ticks(most), Vec::new());
        }
        let (low, high) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let at = |factors: &[u32]| -> Vec<f64> {
            let decades = (low..=high)
                .flat_map(|d| factors.iter().map(move |&f| decimal(f, d)).collect::<Vec<f64>>());
            decades.filter(|v| self.contains(*v)).collect()
        };
        let all = at(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for factors in [&[1, 2, 3, 4, 5, 6, 7, 8, 9][..], &[1, 2, 5], &[1, 3], &[1]] {
            let ticks = at(factors);
            // Nine ticks per decade are crowded towards its end; they are used only for parts of a
            // decade.
            let crowded = factors.len() == 9 && self.high / self.low > 6.0;
            if ticks.len() <= most && ticks.len() > 1 && !crowded {
                return (ticks, all);
            }
        }
        let whole = at(&[1]);
        if whole.len() < 2 {
            return (self.linear_ticks(most.min(4)), Vec::new());
        }
        let stride = whole.len().div_ceil(most).max(1);
        let few = whole.iter().copied().rev().step_by(stride).collect::<Vec<_>>();
        (few.into_iter().rev().collect(), whole)
    }

    fn contains(&self, value: f64) -> bool {
        // Computed ends are off by a rounding error.
        value >= self.low * (1.0 - 1e-9) && value <= self.high * (1.0 + 1e-9)
    }

    fn linear_ticks(&self, most: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / most as f64;
        let power = rough.log10().floor() as i32;
        let whole = self.unit == Unit::Count;
        let mut steps = (power..=power + 1).flat_map(|d| [1, 2, 5].map(|f| decimal(f, d)));
        let step = steps.find(|s| *s >= rough * 0.999 && (!whole || *s >= 1.0));
        let step = step.unwrap_or(1.0);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        // Division, where the step is a fraction of one, gives the number nearest to 0.3, for
        // example.
        let inverse = (1.0 / step).round();
        let by = |i: i64| if step < 1.0 { i as f64 / inverse } else { i as f64 * step };
        (first..=last).map(by).collect()
    }

    /// The label of a value at a tick.
    pub(crate) fn write(&self, value: f64) -> String {
        match self.unit {
            Unit::Count => count(value),
            Unit::Share => share(value),
            Unit::Micros => micros(value),
        }
    }
}

/// The number nearest to f · 10^d.
fn decimal(f: u32, d: i32) -> f64 {
    let f = f64::from(f);
    if d < 0 { f / 10f64.powi(-d) } else { f * 10f64.powi(d) }
}

/// At most `decimals` decimals, without trailing zeros.
fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Three significant figures, without trailing zeros.
pub(crate) fn figures(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { "-".to_owned() };
    }
    let magnitude = value.abs().log10().floor() as i32;
    trimmed(value, usize::try_from(2 - magnitude).unwrap_or(0).min(9))
}

/// A number with separated thousands.
pub(crate) fn count(value: f64) -> String {
    let power = value.abs().log10().round();
    if value >= 1e6 && (value / 10f64.powf(power) - 1.0).abs() < 1e-9 {
        return format!("10{}", superscript(power as i32));
    }
    if value.abs() < 1000.0 {
        return figures(value);
    }
    grouped(value.round() as u64)
}

/// A whole number with separated thousands.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && digits.len() > 4 {
            // A narrow space that does not break a line.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// The space between a number and its unit, at which no line is broken.
pub(crate) const NO_BREAK: char = '\u{a0}';

/// A share in percent.
pub(crate) fn share(value: f64) -> String {
    let percent = value * 100.0;
    if percent > 0.0 && percent < 0.0009 {
        let power = percent.log10().floor();
        let lead = (percent / 10f64.powf(power)).round();
        let lead = if lead == 1.0 { String::new() } else { format!("{lead}·") };
        return format!("{lead}10{}{NO_BREAK}%", superscript(power as i32));
    }
    format!("{}{NO_BREAK}%", figures(percent))
}

/// A time in µs, ms or s.
pub(crate) fn micros(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value < 1e3 {
        format!("{}{NO_BREAK}µs", figures(value))
    } else if value < 1e6 {
        format!("{}{NO_BREAK}ms", figures(value / 1e3))
    } else {
        format!("{}{NO_BREAK}s", figures(value / 1e6))
    }
}

fn superscript(power: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raised = |c: char| match c.to_digit(10) {
        Some(digit) => DIGITS[digit as usize],
        None => '⁻',
    };
    power.to_string().chars().map(raised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, most: usize) -> Vec<String> {
        axis.ticks(most).0.iter().map(|&v| axis.write(v).replace(NO_BREAK, " ")).collect()
    }

    #[test]
    fn ticks_are_round_numbers_within_the_limit() {
        let degrees = Axis::log("k", Unit::Count, 2.5, 130.0);
        assert_eq!(labels(&degrees, 9), ["5", "10", "20", "50", "100"]);
        let share = Axis::log("P", Unit::Share, 1e-4, 1.0);
        assert_eq!(labels(&share, 6), ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"]);
        assert_eq!(labels(&share, 3), ["0.01 %", "1 %", "100 %"]);
        let narrow = Axis::log("t", Unit::Micros, 32_000.0, 41_000.0);
        assert!(labels(&narrow, 6).len() >= 2, "{:?}", labels(&narrow, 6));
        let linear = Axis::linear("s", Unit::Share, 0.0, 1.0);
        assert_eq!(labels(&linear, 6), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]);
        let hops = Axis::linear("h", Unit::Count, 0.0, 3.0);
        assert_eq!(labels(&hops, 9), ["0", "1", "2", "3"]);
        for axis in [degrees, share, narrow, linear, hops] {
            for most in 2..12 {
                let (ticks, fine) = axis.ticks(most);
                assert!(ticks.len() <= most + 1, "{axis:?} {most}: {ticks:?}");
                assert!(
                    fine.iter().chain(&ticks).all(|v| (0.0..=1.0).contains(&axis.position(*v)))
                );
            }
        }
    }

    #[test]
    fn numbers_are_written_in_short_form() {
        assert_eq!(count(1000.0), "1000");
        assert_eq!(count(25_000.0), "25\u{202f}000");
        assert_eq!(count(1e7), "10⁷");
        assert_eq!(share(0.000_001), "10⁻⁴\u{a0}%");
        assert_eq!(share(0.5), "50\u{a0}%");
        assert_eq!(micros(1500.0), "1.5\u{a0}ms");
        assert_eq!(micros(0.0), "0");
        assert_eq!(micros(2_340_000.0), "2.34\u{a0}s");
        assert_eq!(figures(f64::NAN), "-");
    }

    #[test]
    fn meaningless_axis_ends_are_replaced() {
        for axis in [
            Axis::log("", Unit::Count, 0.0, f64::NAN),
            Axis::linear("", Unit::Count, 5.0, 5.0),
            Axis::linear("", Unit::Count, f64::NAN, f64::INFINITY),
            Axis::log("", Unit::Count, 7.0, 7.0),
        ] {
            assert!(axis.position(f64::NAN).is_finite() && axis.position(1e300) == 1.0, "{axis:?}");
        }
    }
}
