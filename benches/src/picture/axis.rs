//! An axis along the bottom of a picture.

use super::{Side, Svg};

/// Maps values to positions between two points of the picture.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    least: f64,
    most: f64,
    logarithmic: bool,
    left: f64,
    right: f64,
}

impl Axis {
    /// An axis from zero to a little more than `most`, between these two points.
    pub fn linear(most: f64, [left, right]: [f64; 2]) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        Self { least: 0.0, most, logarithmic: false, left, right }
    }

    /// An axis from the power of ten below `least` to the one above `most`.
    pub fn logarithmic(least: f64, most: f64, [left, right]: [f64; 2]) -> Self {
        let least = 10f64.powf(least.max(1e-9).log10().floor());
        let most = 10f64.powf(most.max(least * 1.1).log10().ceil());
        Self { least, most, logarithmic: true, left, right }
    }

    /// The position of `value`.
    pub fn at(&self, value: f64) -> f64 {
        let Self { least, most, logarithmic, left, right } = *self;
        let share = if logarithmic {
            (value.max(least) / least).log10() / (most / least).log10()
        } else {
            (value - least) / (most - least)
        };
        left + share.clamp(0.0, 1.0) * (right - left)
    }

    /// Round values, each of which gets a line.
    pub fn ticks(&self) -> Vec<f64> {
        let Self { least, most, logarithmic, left, right } = *self;
        if logarithmic {
            let decades = (most / least).log10().round() as i32;
            return (0..=decades).map(|decade| least * 10f64.powi(decade)).collect();
        }
        // About one tick per hundred pixels.
        let rough = most / ((right - left).abs() / 100.0).max(1.0);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter();
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
        (0..=(most / step + 1e-9) as usize).map(|tick| tick as f64 * step).collect()
    }

    /// Draws the lines from `top` to `bottom`, the values below them, and the label below that.
    pub fn draw(
        &self,
        svg: &mut Svg,
        [top, bottom]: [f64; 2],
        label: &str,
        format: impl Fn(f64) -> String,
    ) {
        for tick in self.ticks() {
            let x = self.at(tick);
            svg.line([x, top], [x, bottom], "grid");
            svg.text([x, bottom + 18.0], Side::Middle, "soft", &format(tick));
        }
        svg.text(
            [f64::midpoint(self.left, self.right), bottom + 38.0],
            Side::Middle,
            "soft",
            label,
        );
    }
}

/// The height that [`Axis::draw`] needs below the picture.
pub const BELOW: f64 = 48.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_ticks() {
        let linear = Axis::linear(28.4, [100.0, 600.0]);
        assert_eq!((linear.at(0.0), linear.at(14.2), linear.at(99.0)), (100.0, 350.0, 600.0));
        assert_eq!(linear.ticks(), [0.0, 10.0, 20.0]);
        let log = Axis::logarithmic(140.0, 5e7, [0.0, 600.0]);
        assert_eq!(log.ticks().len(), 7);
        assert_eq!((log.at(0.0), log.at(1e5), log.at(1e8)), (0.0, 300.0, 600.0));
        assert_eq!(Axis::linear(0.0, [0.0, 100.0]).at(0.0), 0.0);
    }
}
