//! Names and things that texts are about.

/// First names.
pub(super) const FIRST_NAMES: [&str; 32] = [
    "Ada", "Amir", "Anna", "Ben", "Bruno", "Carla", "Chen", "Dana", "Elif", "Emil", "Fatima",
    "Felix", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jonas", "Kofi", "Lena", "Luca", "Maya",
    "Nils", "Nora", "Omar", "Paula", "Priya", "Rosa", "Samir", "Tom", "Vera", "Yuki",
];

/// Last names.
pub(super) const LAST_NAMES: [&str; 32] = [
    "Adler", "Bauer", "Becker", "Brook", "Castro", "Costa", "Diaz", "Dube", "Evans", "Fischer",
    "Garcia", "Hill", "Ito", "Jansen", "Kaya", "Khan", "Klein", "Kumar", "Lopez", "Mensah",
    "Meyer", "Moreau", "Novak", "Olsen", "Park", "Rossi", "Sato", "Silva", "Stone", "Vogel",
    "Weber", "Yilmaz",
];

/// Cities.
pub(super) const CITIES: [&str; 24] = [
    "Accra", "Athens", "Berlin", "Bogota", "Cairo", "Dakar", "Dublin", "Graz", "Hanoi", "Helsinki",
    "Izmir", "Kyoto", "Lagos", "Lima", "Lisbon", "Lyon", "Madrid", "Nairobi", "Oslo", "Porto",
    "Prague", "Quito", "Seoul", "Turin",
];

/// Occupations, each after `a`.
pub(super) const OCCUPATIONS: [&str; 20] = [
    "baker",
    "barber",
    "carpenter",
    "chemist",
    "cook",
    "dancer",
    "dentist",
    "farmer",
    "gardener",
    "judge",
    "lawyer",
    "librarian",
    "mechanic",
    "nurse",
    "painter",
    "pilot",
    "plumber",
    "tailor",
    "teacher",
    "welder",
];

/// Languages.
pub(super) const LANGUAGES: [&str; 14] = [
    "Arabic", "Bengali", "Czech", "Dutch", "English", "French", "German", "Greek", "Hindi",
    "Italian", "Japanese", "Polish", "Spanish", "Turkish",
];

/// Companies.
pub(super) const COMPANIES: [&str; 12] = [
    "Bluefin",
    "Castellan",
    "Delta Mills",
    "Evergrain",
    "Fernway",
    "Greystone",
    "Harborline",
    "Kestrel",
    "Lumen",
    "Nordwind",
    "Oakridge",
    "Silverbay",
];

/// Kinds of pets, each after `a`.
pub(super) const PETS: [&str; 6] = ["cat", "dog", "hamster", "parrot", "rabbit", "tortoise"];

/// Things to order, in the plural.
pub(super) const PRODUCTS: [&str; 16] = [
    "baskets", "blankets", "bowls", "candles", "chairs", "clocks", "cups", "desks", "hammers",
    "kettles", "lamps", "mirrors", "pillows", "shelves", "towels", "vases",
];

/// What meetings are about.
pub(super) const TOPICS: [&str; 16] = [
    "Archive", "Bridge", "Budget", "Canal", "Garden", "Harbor", "Library", "Lighting", "Market",
    "Museum", "Orchard", "Railway", "River", "School", "Theater", "Water",
];

/// Kinds of meetings.
pub(super) const MEETINGS: [&str; 6] = [
    "Forum", "Hearing", "Meeting", "Review", "Seminar", "Workshop",
];

/// Rooms.
pub(super) const ROOMS: [&str; 10] = [
    "the Blue Room",
    "the Cellar",
    "the Gallery",
    "the Great Hall",
    "the Green Room",
    "the Old Chapel",
    "the Red Room",
    "the Studio",
    "the Tower",
    "the West Wing",
];

/// Months.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
