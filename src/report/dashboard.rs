//! The picture of a run: a title, and for each stage a heading with its panels in a grid.

use image::RgbImage;

use super::canvas::{Area, Canvas, Font};
use super::palette::{INK, MUTED, PAGE};
use super::panel::{self, Panel};

/// What the picture shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dashboard {
    /// The run's name.
    pub title: String,
    /// What else is worth a line.
    pub note: String,
    /// The parts, from top to bottom.
    pub sections: Vec<Section>,
}

/// The panels of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// The stage's name.
    pub title: String,
    /// What else is worth saying beside it.
    pub note: String,
    /// The panels, in reading order.
    pub panels: Vec<Panel>,
}

/// Space around the picture and between the cards, in pixels.
const MARGIN: f32 = 32.0;
const GAP: f32 = 16.0;
/// Heights of a card, the title line and a stage's heading, with the space below.
const CARD_HEIGHT: f32 = 250.0;
const TITLE_HEIGHT: f32 = 44.0;
const HEADING_HEIGHT: f32 = 36.0;
/// Space above a stage's heading.
const SECTION_GAP: f32 = 24.0;
/// The narrowest card that is still readable.
const MIN_CARD_WIDTH: f32 = 400.0;

/// Draws `dashboard` `width` pixels wide and as high as it needs.
pub fn render(dashboard: &Dashboard, width: u32) -> RgbImage {
    let width = width.max((2.0 * MARGIN + MIN_CARD_WIDTH) as u32);
    let inner_width = width as f32 - 2.0 * MARGIN;
    let rows: Vec<_> = (dashboard.sections.iter())
        .map(|section| split_into_rows(section.panels.len(), inner_width))
        .collect();
    let row_count: usize = rows.iter().map(Vec::len).sum();
    let sections_height = dashboard.sections.len() as f32 * (HEADING_HEIGHT + SECTION_GAP - GAP);
    let height = 2.0 * MARGIN + TITLE_HEIGHT - SECTION_GAP
        + sections_height
        + row_count as f32 * (CARD_HEIGHT + GAP);
    let mut canvas = Canvas::new(width, height.max(2.0 * MARGIN + TITLE_HEIGHT) as u32, PAGE);
    draw_line(
        &mut canvas,
        MARGIN - 4.0,
        &dashboard.title,
        Font::LARGE_BOLD,
        &dashboard.note,
    );
    let mut top = MARGIN + TITLE_HEIGHT;
    for (section, rows) in dashboard.sections.iter().zip(rows) {
        draw_line(
            &mut canvas,
            top,
            &section.title,
            Font::MEDIUM_BOLD,
            &section.note,
        );
        top += HEADING_HEIGHT;
        let mut panels = section.panels.iter();
        for count in rows {
            for column in 0..count {
                if let Some(panel) = panels.next() {
                    panel::draw(&mut canvas, card(column, count, top, inner_width), panel);
                }
            }
            top += CARD_HEIGHT + GAP;
        }
        top += SECTION_GAP - GAP;
    }
    canvas.into_image()
}

/// How many cards each row has: as few rows as the width allows, as equal as can be. A fourth card
/// is squeezed into a row of three rather than that two rows of two are made.
fn split_into_rows(count: usize, width: f32) -> Vec<usize> {
    let columns = ((width + GAP) / (MIN_CARD_WIDTH + GAP)) as usize;
    let rows = match (count, columns) {
        (4, 3) => 1,
        _ => count.div_ceil(columns.max(1)),
    };
    (0..rows)
        .map(|row| count / rows + usize::from(row < count % rows))
        .collect()
}

fn card(column: usize, count: usize, top: f32, width: f32) -> Area {
    let card_width = (width + GAP) / count as f32 - GAP;
    Area {
        left: (MARGIN + column as f32 * (card_width + GAP)).round(),
        top,
        width: card_width.floor(),
        height: CARD_HEIGHT,
    }
}

/// A bold title with a note on the same base line.
fn draw_line(canvas: &mut Canvas, top: f32, title: &str, font: Font, note: &str) {
    canvas.text(MARGIN, top, title, font, INK);
    let below = (font.line_height() - Font::SMALL.line_height()) * 0.8;
    let left = MARGIN + font.width(title) + 16.0;
    canvas.text(left, top + below, note, Font::SMALL, MUTED);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Mark, Series};

    fn drawn(panels: Vec<Panel>) -> RgbImage {
        let section = Section {
            title: "grpo".to_owned(),
            note: String::new(),
            panels,
        };
        let dashboard = Dashboard {
            title: "run".to_owned(),
            note: String::new(),
            sections: vec![section],
        };
        render(&dashboard, 1600)
    }

    fn panel(points: &[(f64, f64)]) -> Panel {
        Panel {
            title: "reward".to_owned(),
            series: vec![Series {
                name: "total".to_owned(),
                points: points.to_vec(),
            }],
            ..Panel::default()
        }
    }

    #[test]
    fn rows_are_as_equal_as_can_be() {
        assert_eq!(split_into_rows(3, 1536.0), [3]);
        assert_eq!(split_into_rows(4, 1536.0), [4]);
        assert_eq!(split_into_rows(5, 1536.0), [3, 2]);
        assert_eq!(split_into_rows(9, 1536.0), [3, 3, 3]);
        assert_eq!(split_into_rows(2, 100.0), [1, 1]);
        assert!(split_into_rows(0, 1536.0).is_empty());
    }

    #[test]
    fn curves_without_numbers_are_drawn_as_no_data() {
        let empty = drawn(vec![panel(&[])]);
        assert_eq!(
            drawn(vec![panel(&[(1.0, f64::NAN), (f64::INFINITY, 2.0)])]),
            empty
        );
        assert_ne!(drawn(vec![panel(&[(1.0, 2.0)])]), empty);
    }

    #[test]
    fn extreme_numbers_do_not_panic() {
        let huge = [(0.0, -f64::MAX), (1.0, f64::MAX)];
        let tiny = [(0.0, 0.0), (1.0, f64::MIN_POSITIVE)];
        let far = [(1e300, 1.0), (1e300, 1.0)];
        let mut marked = panel(&[(1.0, 1.0), (2.0, f64::NEG_INFINITY)]);
        marked.marks = vec![Mark {
            label: "held-out".to_owned(),
            x: f64::NAN,
            y: 1.0,
        }];
        marked.limits = Some([1.0, 1.0]);
        let image = drawn(vec![panel(&huge), panel(&tiny), panel(&far), marked]);
        assert_eq!(image.width(), 1600);
    }

    #[test]
    fn a_picture_without_panels_or_very_narrow_is_still_a_picture() {
        let image = render(&Dashboard::default(), 1);
        assert!(image.width() > 300 && image.height() > 50);
    }
}
