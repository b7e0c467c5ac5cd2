//! Tables of plain text.

use std::fmt;

/// A table: the first column to the left, numbers in the others to the right.
///
/// # Examples
/// ```
/// use emberl::report::Table;
/// let mut table = Table::new(["task", "pass@1"]);
/// table.row(["countdown", "0.84"]);
/// assert_eq!(table.to_string(), "task       pass@1\n---------  ------\ncountdown    0.84\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with only its head.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self {
            rows: vec![head.into_iter().map(Into::into).collect()],
        }
    }

    /// Adds a row; cells it lacks are empty.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let widths = self.widths();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> = (widths.iter().enumerate())
                .map(|(column, &width)| {
                    let cell = row.get(column).map_or("", String::as_str);
                    match column {
                        0 => format!("{cell:<width$}"),
                        _ => format!("{cell:>width$}"),
                    }
                })
                .collect();
            writeln!(formatter, "{}", cells.join("  ").trim_end())?;
            if index == 0 {
                let rules: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
                writeln!(formatter, "{}", rules.join("  "))?;
            }
        }
        Ok(())
    }
}

/// One held-out result of two models.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was measured: `pass@1`, `mean_tokens`.
    pub name: String,
    /// Before training; `None` if it was not measured.
    pub before: Option<f64>,
    /// After training; `None` if it was not measured.
    pub after: Option<f64>,
}

/// What a model was measured at.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What was measured: `pass@1`, `mean_tokens`.
    pub name: String,
    /// The value.
    pub value: f64,
    /// The ends of its 95 % interval, if it is known.
    pub interval: Option<[f64; 2]>,
}

impl Measured {
    /// The value as a table shows it, with its interval.
    fn written(&self) -> String {
        let decimals = decimals(&self.name);
        let value = format!("{:.decimals$}", self.value);
        match self.interval {
            Some([low, high]) => format!("{value} ({low:.decimals$} to {high:.decimals$})"),
            None => value,
        }
    }
}

/// A model's held-out results.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelResults {
    /// What made it.
    pub stage: String,
    /// The results; all models of a table have the same.
    pub results: Vec<Measured>,
}

/// The held-out results after every stage, a row each.
pub fn stage_table(models: &[ModelResults]) -> Table {
    let names = models.first().into_iter().flat_map(|model| &model.results);
    let names = names.map(|result| result.name.replace('_', " "));
    let mut table = Table::new(std::iter::once("after".to_owned()).chain(names));
    for model in models {
        let values = model.results.iter().map(Measured::written);
        table.row(std::iter::once(model.stage.clone()).chain(values));
    }
    table
}

/// The held-out results before and after training, with what changed.
pub fn held_out_table(results: &[Comparison]) -> Table {
    let mut table = Table::new(["held-out", "before", "after", "change"]);
    for result in results {
        let decimals = decimals(&result.name);
        let written = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
        };
        let change = result.before.zip(result.after).map_or_else(
            || "-".to_owned(),
            |(before, after)| format!("{:+.decimals$}", after - before),
        );
        let name = result.name.replace('_', " ");
        table.row([name, written(result.before), written(result.after), change]);
    }
    table
}

/// Shares are told apart by their third decimal, token counts by their first.
fn decimals(name: &str) -> usize {
    match name.contains("tokens") {
        true => 1,
        false => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(name: &str, before: Option<f64>, after: Option<f64>) -> Comparison {
        Comparison {
            name: name.to_owned(),
            before,
            after,
        }
    }

    #[test]
    fn results_are_aligned_and_changes_have_a_sign() {
        let table = held_out_table(&[
            comparison("pass@1", Some(0.21), Some(0.8425)),
            comparison("mean_tokens", Some(104.25), Some(88.0)),
            comparison("cons@16", None, Some(0.9)),
        ]);
        let expected = "\
held-out     before  after  change
-----------  ------  -----  ------
pass@1        0.210  0.843  +0.633
mean tokens   104.2   88.0   -16.2
cons@16           -  0.900       -
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn every_stage_has_a_row() {
        let results = |stage: &str, pass: f64, interval, tokens: f64| {
            let measured = |name: &str, value, interval| Measured {
                name: name.to_owned(),
                value,
                interval,
            };
            ModelResults {
                stage: stage.to_owned(),
                results: vec![
                    measured("pass@1", pass, interval),
                    measured("mean_tokens", tokens, None),
                ],
            }
        };
        let table = stage_table(&[
            results("cold_start", 0.25, Some([0.125, 0.5]), 80.0),
            results("zero", 0.5, None, 9.25),
        ]);
        let expected = "\
after                       pass@1  mean tokens
----------  ----------------------  -----------
cold_start  0.250 (0.125 to 0.500)         80.0
zero                         0.500          9.2
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn rows_may_be_short_and_names_may_be_foreign() {
        let mut table = Table::new(["a", "b"]);
        table.row(["ärger"]);
        assert_eq!(table.to_string(), "a      b\n-----  -\närger\n");
    }
}
