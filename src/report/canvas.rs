//! A picture to draw on: anti-aliased lines, rounded boxes, rings and text.
//!
//! Every shape is a coverage: how much of a pixel lies inside, from the pixel centre's distance to
//! the shape's edge.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// A colour as red, green and blue.
pub(super) type Colour = [u8; 3];

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

impl Area {
    pub(super) fn right(self) -> f32 {
        self.left + self.width
    }

    pub(super) fn bottom(self) -> f32 {
        self.top + self.height
    }

    /// The area with its edges moved inwards.
    pub(super) fn inset(self, left: f32, top: f32, right: f32, bottom: f32) -> Self {
        Self {
            left: self.left + left,
            top: self.top + top,
            width: (self.width - left - right).max(1.0),
            height: (self.height - top - bottom).max(1.0),
        }
    }

    /// The smallest area around `points`, with a `margin`.
    fn around(points: &[(f32, f32)], margin: f32) -> Self {
        let low = |pick: fn(&(f32, f32)) -> f32| points.iter().map(pick).fold(f32::MAX, f32::min);
        let high = |pick: fn(&(f32, f32)) -> f32| points.iter().map(pick).fold(f32::MIN, f32::max);
        let (left, top) = (low(|p| p.0) - margin, low(|p| p.1) - margin);
        Self {
            left,
            top,
            width: high(|p| p.0) + margin - left,
            height: high(|p| p.1) + margin - top,
        }
    }

    fn common_part(self, other: Self) -> Self {
        let (left, top) = (self.left.max(other.left), self.top.max(other.top));
        Self {
            left,
            top,
            width: self.right().min(other.right()) - left,
            height: self.bottom().min(other.bottom()) - top,
        }
    }
}

/// How text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Font {
    weight: FontWeight,
    height: RasterHeight,
}

impl Font {
    pub(super) const SMALL: Self = Self {
        weight: FontWeight::Regular,
        height: RasterHeight::Size16,
    };
    pub(super) const SMALL_BOLD: Self = Self {
        weight: FontWeight::Bold,
        height: RasterHeight::Size16,
    };
    pub(super) const MEDIUM_BOLD: Self = Self {
        weight: FontWeight::Bold,
        height: RasterHeight::Size20,
    };
    pub(super) const LARGE_BOLD: Self = Self {
        weight: FontWeight::Bold,
        height: RasterHeight::Size24,
    };

    /// The width of `text` in pixels.
    pub(super) fn width(self, text: &str) -> f32 {
        (text.chars().count() * get_raster_width(self.weight, self.height)) as f32
    }

    /// The line height in pixels.
    pub(super) fn line_height(self) -> f32 {
        self.height.val() as f32
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stroke {
    pub(super) width: f32,
    pub(super) colour: Colour,
    /// From 0, unseen, to 1.
    pub(super) opacity: f32,
}

/// The picture.
pub(super) struct Canvas {
    image: RgbImage,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32, background: Colour) -> Self {
        Self {
            image: RgbImage::from_pixel(width, height, Rgb(background)),
        }
    }

    pub(super) fn into_image(self) -> RgbImage {
        self.image
    }

    /// A filled box with round corners.
    pub(super) fn rounded_box(&mut self, area: Area, radius: f32, colour: Colour) {
        let (half_width, half_height) = (area.width / 2.0, area.height / 2.0);
        let (middle_x, middle_y) = (area.left + half_width, area.top + half_height);
        self.shade(area.inset(-1.0, -1.0, -1.0, -1.0), colour, 1.0, |x, y| {
            let outside_x = ((x - middle_x).abs() - half_width + radius).max(0.0);
            let outside_y = ((y - middle_y).abs() - half_height + radius).max(0.0);
            radius + 0.5 - outside_x.hypot(outside_y)
        });
    }

    /// A ring, or a disc where `stroke.width` is at least twice the radius.
    pub(super) fn ring(&mut self, centre: (f32, f32), radius: f32, stroke: Stroke) {
        let bounds = Area::around(&[centre], radius + stroke.width);
        self.shade(bounds, stroke.colour, stroke.opacity, |x, y| {
            let distance = (x - centre.0).hypot(y - centre.1);
            stroke.width / 2.0 + 0.5 - (distance - radius).abs()
        });
    }

    /// A disc.
    pub(super) fn disc(&mut self, centre: (f32, f32), radius: f32, colour: Colour) {
        let bounds = Area::around(&[centre], radius + 1.0);
        self.shade(bounds, colour, 1.0, |x, y| {
            radius + 0.5 - (x - centre.0).hypot(y - centre.1)
        });
    }

    /// A line through `points`, seen inside `clip` only; where it crosses itself it is no darker.
    pub(super) fn polyline(&mut self, points: &[(f32, f32)], clip: Area, stroke: Stroke) {
        let mut mask = Mask::new(clip);
        for ends in points.windows(2) {
            mask.add_segment(ends[0], ends[1], stroke.width);
        }
        self.shade(clip, stroke.colour, stroke.opacity, |x, y| mask.at(x, y));
    }

    /// A line of text with its top left corner at `left`, `top`.
    pub(super) fn text(&mut self, left: f32, top: f32, text: &str, font: Font, colour: Colour) {
        let mut left = left.round();
        for character in text.chars() {
            let glyph = get_raster(character, font.weight, font.height)
                .or_else(|| get_raster('?', font.weight, font.height));
            if let Some(glyph) = glyph {
                let area = Area {
                    left,
                    top: top.round(),
                    width: glyph.width() as f32,
                    height: glyph.height() as f32,
                };
                self.shade(area, colour, 1.0, |x, y| {
                    let pixel = glyph.pixel((x - area.left) as usize, (y - area.top) as usize);
                    f32::from(pixel.unwrap_or(0)) / 255.0
                });
                left += area.width;
            }
        }
    }

    /// Lays `colour` over the pixels of `area`, each as much as `coverage` of its centre says.
    fn shade(
        &mut self,
        area: Area,
        colour: Colour,
        opacity: f32,
        coverage: impl Fn(f32, f32) -> f32,
    ) {
        let (width, height) = self.image.dimensions();
        // Casts from float saturate, so what lies outside the picture becomes an empty range.
        let columns = area.left.floor() as u32..(area.right().ceil() as u32).min(width);
        for y in area.top.floor() as u32..(area.bottom().ceil() as u32).min(height) {
            for x in columns.clone() {
                let share = opacity * coverage(x as f32 + 0.5, y as f32 + 0.5).clamp(0.0, 1.0);
                if share > 0.0 {
                    let Rgb(pixel) = self.image.get_pixel_mut(x, y);
                    for (below, above) in pixel.iter_mut().zip(colour) {
                        let mixed =
                            f32::from(*below) + share * (f32::from(above) - f32::from(*below));
                        *below = mixed.round() as u8;
                    }
                }
            }
        }
    }
}

/// The coverage of a line that may cross itself.
struct Mask {
    clip: Area,
    columns: usize,
    coverage: Vec<f32>,
}

impl Mask {
    fn new(clip: Area) -> Self {
        let (left, top) = (clip.left.floor(), clip.top.floor());
        let columns = (clip.right().ceil() - left) as usize;
        let rows = (clip.bottom().ceil() - top) as usize;
        let clip = Area {
            left,
            top,
            width: columns as f32,
            height: rows as f32,
        };
        Self {
            clip,
            columns,
            coverage: vec![0.0; columns * rows],
        }
    }

    fn add_segment(&mut self, from: (f32, f32), to: (f32, f32), width: f32) {
        let bounds = Area::around(&[from, to], width / 2.0 + 1.0).common_part(self.clip);
        let rows = self.rows_and_columns(bounds.top, bounds.bottom(), self.clip.top);
        let columns = self.rows_and_columns(bounds.left, bounds.right(), self.clip.left);
        for row in rows {
            for column in columns.clone() {
                let x = self.clip.left + column as f32 + 0.5;
                let y = self.clip.top + row as f32 + 0.5;
                let coverage = width / 2.0 + 0.5 - distance_to_segment((x, y), from, to);
                let pixel = &mut self.coverage[row * self.columns + column];
                *pixel = pixel.max(coverage);
            }
        }
    }

    fn rows_and_columns(&self, low: f32, high: f32, origin: f32) -> std::ops::Range<usize> {
        (low - origin).floor() as usize..(high - origin).ceil() as usize
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let column = (x - self.clip.left) as usize;
        let row = (y - self.clip.top) as usize;
        self.coverage[row * self.columns + column]
    }
}

fn distance_to_segment(point: (f32, f32), from: (f32, f32), to: (f32, f32)) -> f32 {
    let (along_x, along_y) = (to.0 - from.0, to.1 - from.1);
    let (x, y) = (point.0 - from.0, point.1 - from.1);
    let squared_length = along_x * along_x + along_y * along_y;
    let share = match squared_length > 0.0 {
        true => ((x * along_x + y * along_y) / squared_length).clamp(0.0, 1.0),
        false => 0.0,
    };
    (x - share * along_x).hypot(y - share * along_y)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Colour = [255; 3];
    const BLACK: Colour = [0; 3];

    fn whole(canvas: &Canvas) -> Area {
        let (width, height) = canvas.image.dimensions();
        Area {
            left: 0.0,
            top: 0.0,
            width: width as f32,
            height: height as f32,
        }
    }

    fn thin(opacity: f32) -> Stroke {
        Stroke {
            width: 1.0,
            colour: BLACK,
            opacity,
        }
    }

    #[test]
    fn a_line_through_pixel_centres_covers_just_them() {
        let mut canvas = Canvas::new(8, 3, WHITE);
        let clip = whole(&canvas);
        canvas.polyline(&[(0.0, 1.5), (8.0, 1.5)], clip, thin(1.0));
        let row = |y| {
            (0..8)
                .map(|x| canvas.image.get_pixel(x, y)[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(row(0), [255; 8]);
        assert_eq!(row(1), [0; 8]);
        assert_eq!(row(2), [255; 8]);
    }

    #[test]
    fn a_line_between_pixels_is_shared_by_both() {
        let mut canvas = Canvas::new(4, 4, WHITE);
        let clip = whole(&canvas);
        canvas.polyline(&[(0.0, 2.0), (4.0, 2.0)], clip, thin(1.0));
        assert_eq!(canvas.image.get_pixel(1, 1), canvas.image.get_pixel(1, 2));
        assert!((100..156).contains(&canvas.image.get_pixel(1, 1)[0]));
    }

    #[test]
    fn a_faint_line_that_retraces_itself_is_no_darker() {
        let mut canvas = Canvas::new(8, 3, WHITE);
        let clip = whole(&canvas);
        let there_and_back = [(0.0, 1.5), (8.0, 1.5), (0.0, 1.5)];
        canvas.polyline(&there_and_back, clip, thin(0.5));
        assert_eq!(canvas.image.get_pixel(4, 1)[0], 128);
    }

    #[test]
    fn shapes_outside_the_picture_or_the_clip_are_not_drawn() {
        let mut canvas = Canvas::new(8, 8, WHITE);
        let clip = whole(&canvas).inset(0.0, 4.0, 0.0, 0.0);
        canvas.polyline(&[(-50.0, 1.5), (50.0, 1.5)], clip, thin(1.0));
        canvas.disc((-20.0, 90.0), 3.0, BLACK);
        canvas.text(-40.0, 100.0, "far away", Font::SMALL, BLACK);
        assert!(canvas.image.pixels().all(|pixel| pixel.0 == WHITE));
    }

    #[test]
    fn characters_without_a_glyph_become_question_marks() {
        let drawn = |text: &str| {
            let mut canvas = Canvas::new(20, 20, WHITE);
            canvas.text(0.0, 0.0, text, Font::SMALL, BLACK);
            canvas.into_image()
        };
        assert_eq!(drawn("\u{4e16}"), drawn("?"));
        assert_ne!(drawn("a"), drawn("?"));
    }
}
