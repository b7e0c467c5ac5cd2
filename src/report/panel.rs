//! One panel of the dashboard: a card with a title, axes, curves and marks.

use super::axis::short;
use super::canvas::{Area, Canvas, Colour, Font};
use super::palette::{CARD, CARD_EDGE, CURVES, INK, MUTED};
use super::plot::{Axes, Curve};

/// What one panel shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What the numbers are.
    pub title: String,
    /// The curves, the chief one first.
    pub series: Vec<Series>,
    /// Single results beside the curves.
    pub marks: Vec<Mark>,
    /// The lowest and highest value of the vertical axis; what the data need if `None`.
    pub limits: Option<[f64; 2]>,
    /// Whether the curves are without noise, to be drawn as they are.
    pub exact: bool,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Step and value, steps rising. Points that are no numbers are left out.
    pub points: Vec<(f64, f64)>,
}

/// One result at one step, drawn as a ring.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// What it is: `held-out`.
    pub label: String,
    /// The step.
    pub x: f64,
    /// The value.
    pub y: f64,
}

/// Space between a card's edge and what is in it, in pixels.
const PADDING: f32 = 16.0;
/// Radius of a card's corners.
const CORNER: f32 = 8.0;

/// Draws `panel` as a card that fills `card`.
pub(super) fn draw(canvas: &mut Canvas, card: Area, panel: &Panel) {
    canvas.rounded_box(card, CORNER, CARD_EDGE);
    canvas.rounded_box(card.inset(1.0, 1.0, 1.0, 1.0), CORNER - 1.0, CARD);
    let inner = card.inset(PADDING, PADDING - 4.0, PADDING, PADDING - 4.0);
    canvas.text(inner.left, inner.top, &panel.title, Font::SMALL_BOLD, INK);
    let curves: Vec<_> = (panel.series.iter().zip(CURVES.into_iter().cycle()))
        .map(|(series, colour)| Curve::new(series, colour, panel.exact))
        .collect();
    let used = draw_legend(canvas, inner, panel, &curves);
    let inner = inner.inset(0.0, used + 10.0, 0.0, 0.0);
    match Axes::fit(inner, panel, &curves) {
        Some(axes) => {
            axes.draw(canvas);
            // The chief curve is drawn last, on top.
            for curve in curves.iter().rev() {
                axes.draw_curve(canvas, curve);
            }
            for mark in &panel.marks {
                axes.draw_mark(canvas, mark, &curves);
            }
        }
        None => {
            let left = inner.left + (inner.width - Font::SMALL.width("no data")) / 2.0;
            canvas.text(
                left,
                inner.top + inner.height / 2.0 - 8.0,
                "no data",
                Font::SMALL,
                MUTED,
            );
        }
    }
}

/// Writes names and last values at the right of the title, or below it if they do not fit there;
/// returns the height of title and legend.
fn draw_legend(canvas: &mut Canvas, inner: Area, panel: &Panel, curves: &[Curve]) -> f32 {
    let font = Font::SMALL;
    let entries: Vec<(String, Colour)> = curves
        .iter()
        .filter_map(|curve| {
            let last = short(*curve.smooth.last()?);
            let text = match curves.len() {
                1 => last,
                _ => format!("{} {last}", curve.name),
            };
            Some((text, curve.colour))
        })
        .collect();
    let space = 14.0 + 16.0;
    let width: f32 = entries
        .iter()
        .map(|entry| font.width(&entry.0) + space)
        .sum::<f32>()
        - 16.0;
    let beside = Font::SMALL_BOLD.width(&panel.title) + 20.0 + width <= inner.width;
    let (mut left, mut top) = match beside {
        true => (inner.right() - width, inner.top),
        false => (inner.left, inner.top + font.line_height() + 4.0),
    };
    for (text, colour) in entries {
        let entry_width = font.width(&text) + 14.0;
        if left + entry_width > inner.right() + 1.0 && left > inner.left {
            (left, top) = (inner.left, top + font.line_height() + 2.0);
        }
        canvas.disc((left + 4.0, top + 8.0), 4.0, colour);
        canvas.text(left + 14.0, top, &text, font, MUTED);
        left += entry_width + 16.0;
    }
    top + font.line_height() - inner.top
}
