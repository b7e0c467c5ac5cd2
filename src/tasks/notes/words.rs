//! Whom notes are written to, what for, and what makes them warm.

/// Names, none of which is also a thing.
pub(super) const NAMES: [&str; 16] = [
    "Anna", "Ben", "Chen", "Dana", "Emil", "Hana", "Hugo", "Ivan", "Kofi", "Lena", "Maya", "Nora",
    "Omar", "Tom", "Vera", "Yuki",
];

/// Things to thank for, each one word that no other sentence of a note has.
pub(super) const THINGS: [&str; 16] = [
    "book", "bread", "cake", "chair", "clock", "hat", "honey", "lamp", "map", "photo", "puzzle",
    "rose", "scarf", "song", "soup", "tea",
];

/// Sentences that are nice to read and say nothing, without their full stop.
pub(super) const WARM: [&str; 8] = [
    "It was so kind of you",
    "You are the best",
    "You made my day",
    "I am so happy",
    "I think of you often",
    "What a nice surprise",
    "I hope to see you soon",
    "All my love to you",
];
