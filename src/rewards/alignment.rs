//! The best pairing of two lists, given what each pair is worth.

/// The most that pairs can be worth together when each row and each column is used once at most and
/// pairs keep the order of both lists. Pairs are worth 0 or more.
///
/// The recurrence of the longest common subsequence, `rows × columns` steps.
pub(super) fn best_in_order(worth: &[Vec<f64>]) -> f64 {
    let columns = worth.first().map_or(0, Vec::len);
    let mut best = vec![0.0_f64; columns + 1];
    for row in worth {
        let mut before = 0.0;
        for (column, pair) in row.iter().enumerate() {
            let with_pair = before + pair;
            before = best[column + 1];
            best[column + 1] = before.max(best[column]).max(with_pair);
        }
    }
    best[columns]
}

/// The most that pairs can be worth together when each row and each column is used once at most.
///
/// The Hungarian method with potentials over costs `−worth` (Kuhn 1955), `rows² × columns` steps.
pub(super) fn best_in_any_order(worth: &[Vec<f64>]) -> f64 {
    let columns = worth.first().map_or(0, Vec::len);
    if worth.len() > columns {
        return best_in_any_order(&transposed(worth, columns));
    }
    let mut matching = Matching::new(worth, columns);
    (0..worth.len()).for_each(|row| matching.add(row));
    let pairs = matching.row_of.iter().enumerate();
    pairs
        .filter_map(|(column, row)| row.map(|row| worth[row][column]))
        .sum()
}

fn transposed(worth: &[Vec<f64>], columns: usize) -> Vec<Vec<f64>> {
    let column = |number: usize| worth.iter().map(|row| row[number]).collect();
    (0..columns).map(column).collect()
}

/// A cheapest matching of the rows so far, each with a column of its own.
struct Matching<'a> {
    worth: &'a [Vec<f64>],
    row_of: Vec<Option<usize>>,
    row_potential: Vec<f64>,
    column_potential: Vec<f64>,
}

/// How far a search for a free column has come.
struct Search {
    is_reached: Vec<bool>,
    /// The least slack of an unreached column, and the reached column (none: the new row) it is from.
    slack: Vec<f64>,
    from: Vec<Option<usize>>,
}

impl<'a> Matching<'a> {
    fn new(worth: &'a [Vec<f64>], columns: usize) -> Self {
        Self {
            worth,
            row_of: vec![None; columns],
            row_potential: vec![0.0; worth.len()],
            column_potential: vec![0.0; columns],
        }
    }

    /// Adds `row`, moving others along the cheapest path to a free column.
    fn add(&mut self, row: usize) {
        let columns = self.row_of.len();
        let mut search = Search {
            is_reached: vec![false; columns],
            slack: vec![f64::INFINITY; columns],
            from: vec![None; columns],
        };
        let (mut current, mut current_row) = (None, row);
        let mut free = loop {
            let next = self.step(&mut search, row, current, current_row);
            match self.row_of[next] {
                Some(matched) => (current, current_row) = (Some(next), matched),
                None => break next,
            }
        };
        while let Some(previous) = search.from[free] {
            self.row_of[free] = self.row_of[previous];
            free = previous;
        }
        self.row_of[free] = Some(row);
    }

    /// Reaches the unreached column of least slack, seen from column `current` matched to `current_row`.
    fn step(
        &mut self,
        search: &mut Search,
        row: usize,
        current: Option<usize>,
        current_row: usize,
    ) -> usize {
        let mut next: Option<usize> = None;
        for column in 0..self.row_of.len() {
            if search.is_reached[column] {
                continue;
            }
            let cost = -self.worth[current_row][column];
            let slack = cost - self.row_potential[current_row] - self.column_potential[column];
            if slack < search.slack[column] {
                search.slack[column] = slack;
                search.from[column] = current;
            }
            if next.is_none_or(|best| search.slack[column] < search.slack[best]) {
                next = Some(column);
            }
        }
        let next = next.expect("there are no fewer columns than rows");
        self.shift(search, row, search.slack[next]);
        search.is_reached[next] = true;
        next
    }

    /// Changes the potentials by `delta`, so that the column of that slack has none.
    fn shift(&mut self, search: &mut Search, row: usize, delta: f64) {
        self.row_potential[row] += delta;
        for column in 0..self.row_of.len() {
            match self.row_of[column] {
                Some(matched) if search.is_reached[column] => {
                    self.row_potential[matched] += delta;
                    self.column_potential[column] -= delta;
                }
                _ => search.slack[column] -= delta,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The best of all ways to pair, row by row; columns from `first` on when order counts.
    fn by_trying(worth: &[Vec<f64>], used: &mut Vec<bool>, in_order: bool, first: usize) -> f64 {
        let Some((row, rest)) = worth.split_first() else {
            return 0.0;
        };
        let mut best = by_trying(rest, used, in_order, first);
        for (column, pair) in row.iter().enumerate() {
            if used[column] || (in_order && column < first) {
                continue;
            }
            used[column] = true;
            best = best.max(pair + by_trying(rest, used, in_order, column + 1));
            used[column] = false;
        }
        best
    }

    #[test]
    fn best_pairing_is_that_found_by_trying_all() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..400 {
            let (rows, columns) = (rng.random_range(0..6), rng.random_range(1..6));
            let mut pair = || f64::from(rng.random_range(0..5_u32)) / 4.0;
            let worth: Vec<Vec<f64>> = (0..rows)
                .map(|_| (0..columns).map(|_| pair()).collect())
                .collect();
            let mut used = vec![false; columns];
            let in_order = by_trying(&worth, &mut used, true, 0);
            assert!((best_in_order(&worth) - in_order).abs() < 1e-9, "{worth:?}");
            let any = by_trying(&worth, &mut used, false, 0);
            assert!((best_in_any_order(&worth) - any).abs() < 1e-9, "{worth:?}");
        }
    }

    #[test]
    fn nothing_pairs_with_nothing() {
        assert_eq!(best_in_order(&[]), 0.0);
        assert_eq!(best_in_any_order(&[]), 0.0);
        assert_eq!(best_in_any_order(&[vec![], vec![]]), 0.0);
    }

    #[test]
    fn large_lists_are_paired_quickly() {
        let worth: Vec<Vec<f64>> = (0..64)
            .map(|row| {
                (0..64)
                    .map(|column| f64::from((row * column) % 7))
                    .collect()
            })
            .collect();
        assert!(best_in_any_order(&worth) >= best_in_order(&worth));
    }
}
