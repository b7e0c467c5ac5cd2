//! The inside of a panel: axes, curves and marks.

use super::axis::{Range, labels, short};
use super::canvas::{Area, Canvas, Colour, Font, Stroke};
use super::palette::{CARD, GRID, INK, MUTED};
use super::panel::{Mark, Panel, Series};
use super::smoothing::smoothed;

/// Space between an axis and its labels, in pixels.
const LABEL_GAP: f32 = 8.0;
/// Pixels between ticks, about, across and up.
const TICK_DISTANCE: (f32, f32) = (64.0, 36.0);
/// Above this many points the curve as it is fades behind its smoothed form.
const FEW_POINTS: usize = 12;

/// A series ready to draw: numbers only, and smoothed.
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    pub(super) colour: Colour,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) smooth: Vec<f64>,
}

impl<'a> Curve<'a> {
    pub(super) fn new(series: &'a Series, colour: Colour, exact: bool) -> Self {
        let numbers = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let points: Vec<_> = series.points.iter().filter(numbers).copied().collect();
        let values: Vec<_> = points.iter().map(|point| point.1).collect();
        Self {
            name: &series.name,
            colour,
            smooth: if exact { values } else { smoothed(&values) },
            points,
        }
    }

    /// The values the vertical axis must hold: a few stray points may leave it.
    fn weighty_values(&self) -> impl Iterator<Item = f64> {
        let mut raw: Vec<_> = self.points.iter().map(|point| point.1).collect();
        raw.sort_by(f64::total_cmp);
        let stray = raw.len() / 50;
        let kept = raw.len() - stray;
        let raw = raw.into_iter().take(kept).skip(stray);
        raw.chain(self.smooth.iter().copied())
    }
}

/// Where numbers lie on the card.
pub(super) struct Axes {
    plot: Area,
    x: Range,
    y: Range,
    x_ticks: Vec<f64>,
    y_ticks: Vec<f64>,
}

impl Axes {
    /// Axes inside `inner` that hold the panel's data; `None` if there are none.
    pub(super) fn fit(inner: Area, panel: &Panel, curves: &[Curve]) -> Option<Self> {
        let font = Font::SMALL;
        let steps = curves
            .iter()
            .flat_map(|curve| curve.points.iter().map(|point| point.0));
        let x = Range::of(steps.chain(panel.marks.iter().map(|mark| mark.x)))?;
        let x = if x.low < x.high { x } else { x.padded(0.0) };
        let values = curves.iter().flat_map(Curve::weighty_values);
        let y = Range::of(values.chain(panel.marks.iter().map(|mark| mark.y)))?.padded(0.06);
        let y = match panel.limits {
            Some([low, high]) => Range { low, high },
            None => y,
        };
        let bottom = font.line_height() + LABEL_GAP;
        let y_ticks = y.ticks(((inner.height - bottom) / TICK_DISTANCE.1) as usize);
        let widths = labels(&y_ticks).into_iter().map(|label| font.width(&label));
        let left = widths.fold(0.0, f32::max) + LABEL_GAP;
        let plot = inner.inset(left, 4.0, 4.0, bottom);
        let x_ticks = x.ticks((plot.width / TICK_DISTANCE.0) as usize);
        Some(Self {
            plot,
            x,
            y,
            x_ticks,
            y_ticks,
        })
    }

    /// The pixel where a point lies; far outside the plot it is cut, so that it stays a pixel.
    fn place(&self, x: f64, y: f64) -> (f32, f32) {
        let across = self.x.share(x).clamp(-1.0, 2.0);
        let up = self.y.share(y).clamp(-1.0, 2.0);
        let top = self.plot.top + (1.0 - up) * self.plot.height;
        (self.plot.left + across * self.plot.width, top)
    }

    pub(super) fn draw(&self, canvas: &mut Canvas) {
        self.draw_values(canvas);
        self.draw_steps(canvas);
    }

    /// The horizontal lines, with their values at the left.
    fn draw_values(&self, canvas: &mut Canvas) {
        let stroke = Stroke {
            width: 1.0,
            colour: GRID,
            opacity: 1.0,
        };
        for (tick, label) in self.y_ticks.iter().zip(labels(&self.y_ticks)) {
            let (left, y) = self.place(self.x.low, *tick);
            let y = y.round() + 0.5;
            let clip = self.plot.inset(0.0, -2.0, 0.0, -2.0);
            canvas.polyline(&[(left, y), (self.plot.right(), y)], clip, stroke);
            let left = left - LABEL_GAP - Font::SMALL.width(&label);
            canvas.text(left, y - 8.0, &label, Font::SMALL, MUTED);
        }
    }

    /// The steps below the plot, and the word at their left if there is room.
    fn draw_steps(&self, canvas: &mut Canvas) {
        let font = Font::SMALL;
        let top = self.plot.bottom() + LABEL_GAP;
        let mut free = self.plot.right();
        for (tick, label) in self.x_ticks.iter().zip(labels(&self.x_ticks)) {
            let (x, _) = self.place(*tick, self.y.low);
            let width = font.width(&label);
            // Labels at the ends stay inside the card.
            let left = (x - width / 2.0).min(self.plot.right() + 4.0 - width);
            canvas.text(left, top, &label, font, MUTED);
            free = free.min(left);
        }
        if self.plot.left + font.width("step") + LABEL_GAP < free {
            canvas.text(self.plot.left, top, "step", font, MUTED);
        }
    }

    pub(super) fn draw_curve(&self, canvas: &mut Canvas, curve: &Curve) {
        let raw: Vec<_> = curve.points.iter().map(|p| self.place(p.0, p.1)).collect();
        let smooth: Vec<_> = (curve.points.iter().zip(&curve.smooth))
            .map(|(point, value)| self.place(point.0, *value))
            .collect();
        let clip = self.plot.inset(-2.0, -2.0, -2.0, -2.0);
        let stroke = |width: f32, opacity: f32| Stroke {
            width,
            colour: curve.colour,
            opacity,
        };
        if raw.len() > FEW_POINTS {
            canvas.polyline(&raw, clip, stroke(1.0, 0.28));
        }
        canvas.polyline(&smooth, clip, stroke(2.0, 1.0));
        if let [only] = smooth.as_slice() {
            canvas.disc(*only, 3.5, curve.colour);
        }
    }

    /// A ring, with its label where it hides least of the curves.
    pub(super) fn draw_mark(&self, canvas: &mut Canvas, mark: &Mark, curves: &[Curve]) {
        if !(mark.x.is_finite() && mark.y.is_finite()) {
            return;
        }
        let (x, y) = self.place(mark.x, mark.y);
        let ring = Stroke {
            width: 2.0,
            colour: INK,
            opacity: 1.0,
        };
        canvas.disc((x, y), 5.0, CARD);
        canvas.ring((x, y), 5.0, ring);
        let font = Font::SMALL;
        let label = format!("{} {}", mark.label, short(mark.y));
        let width = font.width(&label);
        let left = match x + 10.0 + width <= self.plot.right() {
            true => x + 10.0,
            false => x - 10.0 - width,
        };
        let place = |top: f32| Area {
            left,
            top,
            width,
            height: font.line_height(),
        };
        let fits = |area: &Area| area.top >= self.plot.top && area.bottom() <= self.plot.bottom();
        let places = [y - 8.0, y + 8.0, y - 24.0, y + 24.0, y - 40.0].map(place);
        let free =
            (places.into_iter().filter(fits)).min_by_key(|area| self.points_inside(*area, curves));
        let area = free.unwrap_or_else(|| place(y - 8.0));
        canvas.text(area.left, area.top, &label, font, INK);
    }

    /// How many points of the smoothed curves lie in `area` or next to it.
    fn points_inside(&self, area: Area, curves: &[Curve]) -> usize {
        let area = area.inset(-4.0, -2.0, -4.0, -2.0);
        let points = curves.iter().flat_map(|c| c.points.iter().zip(&c.smooth));
        points
            .map(|(point, value)| self.place(point.0, *value))
            .filter(|(x, y)| {
                (area.left..=area.right()).contains(x) && (area.top..=area.bottom()).contains(y)
            })
            .count()
    }
}
