//! The dashboard's colours.

use super::canvas::Colour;

/// Behind everything.
pub(super) const PAGE: Colour = [246, 247, 249];
/// A panel.
pub(super) const CARD: Colour = [255, 255, 255];
/// The edge of a panel.
pub(super) const CARD_EDGE: Colour = [225, 229, 234];
/// Lines at the ticks.
pub(super) const GRID: Colour = [236, 239, 243];
/// Titles.
pub(super) const INK: Colour = [31, 41, 55];
/// Labels.
pub(super) const MUTED: Colour = [107, 119, 133];
/// Curves, the chief one first; easy to tell apart for colour-blind eyes, too.
pub(super) const CURVES: [Colour; 6] = [
    [45, 104, 232],
    [234, 129, 34],
    [22, 160, 133],
    [155, 89, 208],
    [214, 62, 88],
    [128, 138, 150],
];
