//! A grid of free fields and walls, and the ways through it.

use std::collections::VecDeque;
use std::fmt;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Longest side of a grid.
const MAX_SIDE: usize = 32;

/// How far every field is from the goal, in moves; `None` for walls and fields cut off.
pub(super) type Distances = Vec<Vec<Option<usize>>>;

/// One step to a neighbouring field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Up,
    Down,
    Left,
    Right,
}

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub row: usize,
    pub column: usize,
}

/// A rectangle of free fields and walls with a start and a goal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(super) struct Grid {
    /// `is_wall[row][column]`.
    is_wall: Vec<Vec<bool>>,
    start: Place,
    goal: Place,
}

impl Move {
    const ALL: [Self; 4] = [Self::Right, Self::Down, Self::Left, Self::Up];

    /// The move that a letter, large or small, stands for.
    pub(super) fn from_letter(letter: char) -> Option<Self> {
        match letter.to_ascii_uppercase() {
            'U' => Some(Self::Up),
            'D' => Some(Self::Down),
            'L' => Some(Self::Left),
            'R' => Some(Self::Right),
            _ => None,
        }
    }
}

impl From<Move> for char {
    fn from(step: Move) -> Self {
        match step {
            Move::Up => 'U',
            Move::Down => 'D',
            Move::Left => 'L',
            Move::Right => 'R',
        }
    }
}

impl Grid {
    /// A grid of `level` with a path from start to goal at least as long as its side.
    pub(super) fn random(level: u8, rng: &mut dyn Rng) -> Self {
        let (side, walls) = match level {
            1 => (4, 0.2),
            2 => (5, 0.25),
            3 => (7, 0.3),
            4 => (9, 0.3),
            _ => (12, 0.3),
        };
        loop {
            let mut place = || Place {
                row: rng.random_range(0..side),
                column: rng.random_range(0..side),
            };
            let (start, goal) = (place(), place());
            let mut row = || (0..side).map(|_| rng.random_bool(walls)).collect();
            let mut is_wall: Vec<Vec<bool>> = (0..side).map(|_| row()).collect();
            for free in [start, goal] {
                is_wall[free.row][free.column] = false;
            }
            let grid = Self {
                is_wall,
                start,
                goal,
            };
            if grid.shortest().is_some_and(|shortest| shortest >= side) {
                return grid;
            }
        }
    }

    pub(super) fn start(&self) -> Place {
        self.start
    }

    pub(super) fn goal(&self) -> Place {
        self.goal
    }

    pub(super) fn field_count(&self) -> usize {
        self.is_wall.iter().map(Vec::len).sum()
    }

    /// Moves of a shortest path from start to goal; `None` when there is no path.
    pub(super) fn shortest(&self) -> Option<usize> {
        self.distances()[self.start.row][self.start.column]
    }

    /// How far every field is from the goal.
    pub(super) fn distances(&self) -> Distances {
        let row = |row: &Vec<bool>| vec![None; row.len()];
        let mut distances: Distances = self.is_wall.iter().map(row).collect();
        distances[self.goal.row][self.goal.column] = Some(0);
        let mut waiting = VecDeque::from([(self.goal, 0)]);
        while let Some((place, distance)) = waiting.pop_front() {
            for next in Move::ALL.iter().filter_map(|step| self.after(place, *step)) {
                let known = &mut distances[next.row][next.column];
                if known.is_none() {
                    *known = Some(distance + 1);
                    waiting.push_back((next, distance + 1));
                }
            }
        }
        distances
    }

    /// Where `moves` lead; `None` when one leads off the grid or into a wall.
    pub(super) fn walk(&self, moves: &[Move]) -> Option<Place> {
        let mut steps = moves.iter();
        steps.try_fold(self.start, |place, step| self.after(place, *step))
    }

    /// A step from `place` towards the goal, or, for someone who slips, to any free field; `None`
    /// where there is none.
    pub(super) fn step(
        &self,
        place: Place,
        distances: &Distances,
        slips: bool,
        rng: &mut dyn Rng,
    ) -> Option<(Move, Place)> {
        let distance = |place: Place| distances[place.row][place.column];
        let free = Move::ALL
            .iter()
            .filter_map(|step| Some((*step, self.after(place, *step)?)));
        let mut choices: Vec<(Move, Place)> = free.collect();
        if !slips {
            choices.retain(|(_, next)| distance(*next) < distance(place));
        }
        choices.choose(rng).copied()
    }

    /// `distances` in rows as people write them.
    pub(super) fn spelled(&self, distances: &Distances) -> String {
        let field = |(is_wall, distance): (&bool, &Option<usize>)| match (is_wall, distance) {
            (true, _) => "#".to_string(),
            (false, Some(distance)) => distance.to_string(),
            (false, None) => "-".to_string(),
        };
        let mut text = String::new();
        for (walls, distances) in self.is_wall.iter().zip(distances) {
            let fields: Vec<String> = walls.iter().zip(distances).map(field).collect();
            text.push_str(&fields.join(" "));
            text.push('\n');
        }
        text
    }

    /// The field after `step` from `place`, if it is one and is free.
    fn after(&self, place: Place, step: Move) -> Option<Place> {
        let Place { row, column } = place;
        let (row, column) = match step {
            Move::Up => (row.checked_sub(1)?, column),
            Move::Down => (row + 1, column),
            Move::Left => (row, column.checked_sub(1)?),
            Move::Right => (row, column + 1),
        };
        let is_wall = *self.is_wall.get(row)?.get(column)?;
        (!is_wall).then_some(Place { row, column })
    }
}

impl From<Grid> for Vec<String> {
    fn from(grid: Grid) -> Self {
        let symbol = |row: usize, column: usize| {
            let place = Place { row, column };
            match grid.is_wall[row][column] {
                true => '#',
                false if place == grid.start => 'S',
                false if place == grid.goal => 'G',
                false => '.',
            }
        };
        let rows = grid.is_wall.iter().enumerate();
        rows.map(|(row, fields)| {
            (0..fields.len())
                .map(|column| symbol(row, column))
                .collect()
        })
        .collect()
    }
}

impl TryFrom<Vec<String>> for Grid {
    type Error = String;

    fn try_from(rows: Vec<String>) -> Result<Self, String> {
        let width = rows.first().map_or(0, String::len);
        let sides = 1..=MAX_SIDE;
        let is_square = rows.iter().all(|row| row.len() == width);
        if !is_square || !sides.contains(&width) || !sides.contains(&rows.len()) {
            return Err(format!(
                "rows are not all of one length from 1 to {MAX_SIDE}"
            ));
        }
        let (mut start, mut goal) = (None, None);
        let mut is_wall = vec![vec![false; width]; rows.len()];
        for (row, text) in rows.iter().enumerate() {
            for (column, symbol) in text.bytes().enumerate() {
                let place = Some(Place { row, column });
                match symbol {
                    b'.' => {}
                    b'#' => is_wall[row][column] = true,
                    b'S' if start.is_none() => start = place,
                    b'G' if goal.is_none() => goal = place,
                    _ => return Err("symbols other than . # and one S and G".into()),
                }
            }
        }
        Ok(Self {
            is_wall,
            start: start.ok_or("no S")?,
            goal: goal.ok_or("no G")?,
        })
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Vec::<String>::from(self.clone()).join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(rows: &[&str]) -> Result<Grid, String> {
        Grid::try_from(rows.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn distances_go_around_walls() {
        let grid = grid(&["S#G", "...", "##."]).unwrap();
        assert_eq!(grid.shortest(), Some(4));
        assert_eq!(grid.spelled(&grid.distances()), "4 # 0\n3 2 1\n# # 2\n");
        assert_eq!(grid.to_string(), "S#G\n...\n##.");
    }

    #[test]
    fn walks_stay_on_free_fields() {
        let grid = grid(&["S#G", "..."]).unwrap();
        let walk = |letters: &str| {
            let moves: Vec<Move> = letters.chars().filter_map(Move::from_letter).collect();
            grid.walk(&moves)
        };
        assert_eq!(walk("DRRU"), Some(grid.goal()));
        assert_eq!(walk(""), Some(grid.start()));
        for letters in ["R", "U", "L", "DD", "DRRRU", "DRU"] {
            assert_eq!(walk(letters), None, "{letters}");
        }
    }

    #[test]
    fn rows_that_are_no_grid_are_refused() {
        for rows in [
            &[][..],
            &[""],
            &["SG", "."],
            &["SG", "éG"],
            &["SSG"],
            &["S."],
            &["G."],
            &["S G"],
        ] {
            assert!(grid(rows).is_err(), "{rows:?}");
        }
        let wide = "S".to_string() + &".".repeat(40) + "G";
        assert!(grid(&[&wide]).is_err());
    }
}
