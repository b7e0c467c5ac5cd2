//! Grid paths: find a way from `S` to `G` past the walls.
//!
//! A grid has free fields `.` and walls `#`. An answer is a list of moves, `U` up, `D` down, `L`
//! left, `R` right, with or without blanks or commas between them. The verifier walks it: it must
//! stay on free fields of the grid and end on `G`, not merely pass it. Any path will do that takes
//! as few moves as possible, or, where the settings ask for no shortest path, no more moves than
//! the grid has fields.

mod grid;

use rand::Rng;
use serde::{Deserialize, Serialize};

use self::grid::{Grid, Move};
use super::question::{Question, Wording};
use super::recorded::{foreign, recorded};
use super::traces::{Attempt, Author, Check, Traces};
use super::{Split, Task, levels};
use crate::data::Problem;
use crate::error::Result;
use crate::seed::Seed;

/// The hardest level.
const HIGHEST_LEVEL: u8 = 5;

/// Settings of [`GridPath`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GridPathConfig {
    /// Difficulty levels, drawn evenly: square grids of 4, 5, 7, 9 and 12 fields a side. `S` and
    /// `G` are at least a side apart.
    pub levels: Vec<u8>,
    /// Whether only a shortest path is right.
    pub shortest: bool,
    /// Seed of the problems. The train/test divide does not depend on it.
    pub seed: u64,
    /// In how many words the problem is asked.
    pub wording: Wording,
    /// The make-up of pretraining traces; who slips takes a turn that leads away from `G`.
    pub traces: Traces,
}

impl Default for GridPathConfig {
    fn default() -> Self {
        Self {
            levels: vec![1],
            shortest: true,
            seed: 0,
            wording: Wording::default(),
            traces: Traces::default(),
        }
    }
}

/// The task of grid paths.
#[derive(Clone, Debug)]
pub struct GridPath {
    config: GridPathConfig,
    seed: Seed,
}

/// What the verifier needs to know of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Maze {
    /// The rows, from the top.
    grid: Grid,
    /// Moves that a right answer takes at most.
    most_moves: usize,
}

impl GridPath {
    /// Checks the settings and builds the task.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn new(config: GridPathConfig) -> Result<Self> {
        levels::validate(&config.levels, HIGHEST_LEVEL)?;
        config.traces.validate()?;
        let seed = Seed::new(config.seed).named("grid_path");
        Ok(Self { config, seed })
    }

    fn question(&self, maze: &Maze) -> Question {
        let grid = maze.grid.to_string();
        let (short, goal) = if self.config.shortest {
            ("shortest path", "a shortest path".to_string())
        } else {
            (
                "path",
                format!("a path of at most {} moves", maze.most_moves),
            )
        };
        Question {
            short: format!("{short}:\n{grid}"),
            full: format!(
                "Find {goal} from S to G through this grid. You can move up, down, left and right, \
                 not through walls (#).\n\n{grid}\n\nReturn the moves as letters U, D, L, R in \
                 <answer> </answer> tags, for example <answer> R R D </answer>."
            ),
        }
    }
}

impl Task for GridPath {
    fn name(&self) -> &'static str {
        "grid_path"
    }

    fn problem(&self, split: Split, index: u64) -> Problem {
        let draft = |rng: &mut dyn Rng| {
            let level = levels::draw(&self.config.levels, rng);
            (level, Grid::random(level, rng))
        };
        let canonical = |(_, grid): &(u8, Grid)| grid.to_string();
        let (level, grid) = split.draw(self.seed, index, draft, canonical);
        let most_moves = match grid.shortest() {
            Some(shortest) if self.config.shortest => shortest,
            _ => grid.field_count(),
        };
        let maze = Maze { grid, most_moves };
        Problem {
            prompt: self.config.wording.prompt(self.question(&maze)),
            answer: serde_json::json!(maze),
            level: Some(level.to_string()),
            language: None,
            part: None,
        }
    }

    fn verify(&self, problem: &Problem, answer: &str) -> Result<bool> {
        Ok(Maze::of(problem)?.is_solved_by(answer))
    }

    fn trace(&self, problem: &Problem, rng: &mut dyn Rng) -> Result<String> {
        let maze = Maze::of(problem)?;
        Ok(self.config.traces.write(rng, |author| maze.walk(author)))
    }
}

impl Maze {
    /// The record of `problem`, whose grid has a path.
    fn of(problem: &Problem) -> Result<Self> {
        const EXAMPLE: &str = "{\"grid\":[\"S.\",\"#G\"],\"most_moves\":2}";
        let maze: Self = recorded("grid_path", problem, EXAMPLE)?;
        match maze.grid.shortest() {
            Some(shortest) if shortest <= maze.most_moves => Ok(maze),
            _ => {
                let reason = "expected a grid with a path from S to G in so many moves";
                Err(foreign("grid_path", problem, reason))
            }
        }
    }

    fn is_solved_by(&self, answer: &str) -> bool {
        let moves = read_moves(answer, self.most_moves);
        moves.is_some_and(|moves| self.grid.walk(&moves) == Some(self.grid.goal()))
    }

    /// One way to find a path: write down how far every field is from `G`, then go down the
    /// numbers.
    fn walk(&self, author: &mut Author<'_>) -> Attempt {
        let grid = &self.grid;
        let distances = grid.distances();
        let mut thinking = grid.spelled(&distances);
        let mut place = grid.start();
        let mut moves = Vec::new();
        while place != grid.goal() && moves.len() < 2 * grid.field_count() {
            let slips = author.slips();
            let Some((taken, next)) = grid.step(place, &distances, slips, author.rng) else {
                break;
            };
            let distance = distances[next.row][next.column].unwrap_or_default();
            thinking.push_str(&format!("{}{distance} ", char::from(taken)));
            moves.push(taken);
            place = next;
        }
        thinking.push('\n');
        let letters: Vec<String> = moves.iter().map(|m| char::from(*m).to_string()).collect();
        let holds = place == grid.goal() && moves.len() <= self.most_moves;
        Attempt {
            thinking,
            answer: letters.join(" "),
            check: Some(Check {
                text: format!("{} moves of {}", moves.len(), self.most_moves),
                holds,
            }),
        }
    }
}

/// The moves of `text`, of which there are at most `most`; `None` for anything else.
fn read_moves(text: &str, most: usize) -> Option<Vec<Move>> {
    let text = text.trim();
    // A move takes a letter, a comma and a few blanks at most.
    (text.len() <= 4 * most).then_some(())?;
    let mut moves = Vec::new();
    for part in text.split(',') {
        let letters = part.chars().filter(|letter| !letter.is_whitespace());
        let read: Option<Vec<Move>> = letters.map(Move::from_letter).collect();
        let read = read.filter(|read| !read.is_empty())?;
        moves.extend(read);
    }
    (moves.len() <= most).then_some(moves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::checks;

    fn task(levels: &[u8], shortest: bool, seed: u64) -> Box<dyn Task> {
        let config = GridPathConfig {
            levels: levels.to_vec(),
            shortest,
            seed,
            traces: Traces::careful(),
            ..GridPathConfig::default()
        };
        Box::new(GridPath::new(config).unwrap())
    }

    const ALL: [u8; 5] = [1, 2, 3, 4, 5];

    fn maze(rows: &[&str], most_moves: usize) -> Maze {
        let answer = serde_json::json!({ "grid": rows, "most_moves": most_moves });
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn recorded_answers_are_right_and_mutated_ones_wrong() {
        checks::assert_judged(task(&ALL, true, 1).as_ref(), 2000, |_, answer| {
            let letters: Vec<&str> = answer.split(' ').collect();
            let opposite = |letter: &str| match letter {
                "U" => "D",
                "D" => "U",
                "L" => "R",
                _ => "L",
            };
            // A shortest path with a move turned around, left out or added ends elsewhere or is
            // too long.
            let mut wrong = vec![letters.join(" x ")];
            for place in 0..letters.len() {
                let mut turned = letters.clone();
                turned[place] = opposite(letters[place]);
                wrong.push(turned.join(" "));
                turned.remove(place);
                wrong.push(turned.join(" "));
                let mut longer = letters.clone();
                longer.insert(place, opposite(letters[place]));
                wrong.push(longer.join(" "));
                longer.insert(place, letters[place]);
                wrong.push(longer.join(" "));
            }
            wrong
        });
    }

    #[test]
    fn any_shortest_path_is_right_in_any_spelling() {
        let maze = maze(&["S..", ".#.", "..G"], 4);
        for answer in ["RRDD", "D D R R", "r,r,d,d", "R, R, D, D", "RR DD"] {
            assert!(maze.is_solved_by(answer), "{answer}");
        }
        for answer in [
            "RDRD", "RRD", "RRDDR", "RRDDLR", "R;R;D;D", "right", ",R,R,D,D", "LRRRDD",
        ] {
            assert!(!maze.is_solved_by(answer), "{answer}");
        }
    }

    #[test]
    fn path_that_need_not_be_the_shortest_may_wander_but_not_for_ever() {
        let maze = maze(&["S..", ".#.", "..G"], 9);
        assert!(maze.is_solved_by("RLRRDD") && maze.is_solved_by("RRDDUD"));
        assert!(!maze.is_solved_by("RLRLRLRRDD"));
        let task = task(&[1], false, 1);
        let problem = task.problem(Split::Train, 0);
        assert_eq!(Maze::of(&problem).unwrap().most_moves, 16);
    }

    #[test]
    fn sides_share_no_problem() {
        for level in ALL {
            let canonical = |problem: &Problem| Maze::of(problem).unwrap().grid.to_string();
            checks::assert_sides_disjoint(|seed| task(&[level], true, seed), 500, canonical);
        }
    }

    #[test]
    fn problems_are_deterministic_varied_and_harder_by_level() {
        checks::assert_deterministic(|seed| task(&ALL, true, seed));
        checks::assert_levels_grow(5, |level| task(&[level], true, 1));
        for level in ALL {
            let distinct = checks::distinct_prompts(task(&[level], true, 4).as_ref());
            assert!(distinct > 950, "level {level}: {distinct} of 1000");
        }
        checks::assert_refuses_foreign(task(&ALL, true, 1).as_ref());
    }

    #[test]
    fn first_problem_stays_as_it_is() {
        let problem = task(&[2], true, 0).problem(Split::Train, 0);
        assert_eq!(
            checks::prompt_of(&problem),
            "shortest path:\n#....\n.....\n...#G\n#....\n.S..#\n"
        );
    }

    #[test]
    fn careful_trace_goes_down_the_distances() {
        let task = task(&[1], true, 0);
        let problem = Problem {
            answer: serde_json::json!({ "grid": ["S..", "##.", "G.."], "most_moves": 6 }),
            ..task.problem(Split::Train, 0)
        };
        let trace = task.trace(&problem, &mut Seed::new(1).rng()).unwrap();
        let expected = "<think>\n6 5 4\n# # 3\n0 1 2\nR5 R4 D3 D2 L1 L0 \n\
                        check 6 moves of 6 yes\n</think>\n<answer>R R D D L L</answer>";
        assert_eq!(trace, expected);
    }

    #[test]
    fn grid_without_a_path_is_the_verifiers_failure() {
        for rows in [
            &["S#G"][..],
            &["S.", "G"],
            &["SS", "GG"],
            &["..", ".."],
            &["S?G"],
            &[],
        ] {
            let problem = Problem {
                answer: serde_json::json!({ "grid": rows, "most_moves": 9 }),
                ..task(&[1], true, 0).problem(Split::Train, 0)
            };
            assert!(
                task(&[1], true, 0).verify(&problem, "RR").is_err(),
                "{rows:?}"
            );
        }
    }
}
