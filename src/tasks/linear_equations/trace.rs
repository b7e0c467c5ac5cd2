//! How people solve linear equations: gather, divide, put the result in to check.

use num_rational::Ratio;

use super::equation::{Equation, Side};
use crate::tasks::traces::{Attempt, Author, Check};

/// One way through an equation in `x`, whose coefficient does not cancel.
pub(super) fn solve_one(equation: &Equation, author: &mut Author<'_>) -> Attempt {
    let (left, right) = (equation.left.expanded(), equation.right.expanded());
    let mut thinking = String::new();
    if equation.left.factor != 1 {
        thinking.push_str(&format!("{left}={right}\n"));
    }
    let coefficient = sure_nonzero(left.x - right.x, author);
    let value = author.number(right.constant - left.constant);
    if right.x != 0 {
        let (x, minus) = (Side::x(left.x, 0), signed(-right.x));
        thinking.push_str(&format!("{x}{minus}x={}x\n", plain(coefficient)));
    }
    let minus = signed(-left.constant);
    let gathered = format!(
        "{}x={}{minus}={value}\n",
        plain(coefficient),
        right.constant
    );
    thinking.push_str(&gathered);
    let x = divided("x", value, coefficient, &mut thinking);
    let sides = [&equation.left, &equation.right].map(|side| side.value(x, Ratio::default()));
    Attempt {
        thinking,
        answer: format!("x={x}"),
        check: Some(Check {
            text: format!("{} and {}", sides[0], sides[1]),
            holds: sides[0] == sides[1],
        }),
    }
}

/// One way through two equations of the form `ax+by=c`: eliminate `x`, then put `y` in.
pub(super) fn solve_two(one: &Equation, other: &Equation, author: &mut Author<'_>) -> Attempt {
    // The equation put into must have an `x`; one of two with one solution does.
    let (one, other) = if one.left.x == 0 {
        (other, one)
    } else {
        (one, other)
    };
    let (a, b) = (one.left, other.left);
    let (c, d) = (one.right.constant, other.right.constant);
    let mut thinking = String::new();
    for (side, value, times) in [(a, c, b.x), (b, d, a.x)] {
        let multiplied = Side {
            factor: times,
            ..side
        }
        .expanded();
        thinking.push_str(&format!("times {times} {multiplied}={}\n", value * times));
    }
    let coefficient = sure_nonzero(a.y * b.x - b.y * a.x, author);
    let value = author.number(c * b.x - d * a.x);
    thinking.push_str(&format!("{}y={value}\n", plain(coefficient)));
    let y = divided("y", value, coefficient, &mut thinking);
    let whole = |number: i64| Ratio::from_integer(i128::from(number));
    let rest = whole(c) - whole(a.y) * y;
    let x = rest / whole(a.x);
    thinking.push_str(&format!(
        "{}x={c}{}*{y}={rest}\nx={x}\n",
        plain(a.x),
        signed(-a.y)
    ));
    let values = [one, other].map(|equation| equation.left.value(x, y));
    Attempt {
        thinking,
        answer: format!("x={x}, y={y}"),
        check: Some(Check {
            text: format!("{} and {}", values[0], values[1]),
            holds: values == [whole(c), whole(d)],
        }),
    }
}

/// What the author takes `exact`, which is not 0, for: never 0, which nobody divides by.
fn sure_nonzero(exact: i64, author: &mut Author<'_>) -> i64 {
    match author.number(exact) {
        0 => exact,
        number => number,
    }
}

/// Writes `x=15/3=5` and returns the value.
fn divided(name: &str, value: i64, by: i64, thinking: &mut String) -> Ratio<i128> {
    let quotient = Ratio::new(i128::from(value), i128::from(by));
    let text = quotient.to_string();
    let steps = match format!("{value}/{by}") {
        steps if by == 1 || steps == text => text,
        steps => format!("{steps}={text}"),
    };
    thinking.push_str(&format!("{name}={steps}\n"));
    quotient
}

/// A term's number with its sign, as after another term.
fn signed(number: i64) -> String {
    format!("{number:+}")
}

/// The number before an unknown.
fn plain(coefficient: i64) -> String {
    match coefficient {
        1 => String::new(),
        -1 => "-".into(),
        number => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use crate::tasks::traces::Traces;

    #[test]
    fn steps_lead_to_the_solution_and_the_check_holds() {
        let equation = Equation::new(Side::x(3, 5), Side::x(0, 20));
        let mut rng = Seed::new(1).rng();
        let trace = Traces::careful().write(&mut rng, |author| solve_one(&equation, author));
        let thinking = "3x=20-5=15\nx=15/3=5\ncheck 20 and 20 yes\n";
        assert_eq!(
            trace,
            format!("<think>\n{thinking}</think>\n<answer>x=5</answer>")
        );
    }

    #[test]
    fn two_equations_are_solved_by_elimination() {
        let equation = |x, y, value| {
            let left = Side { y, ..Side::x(x, 0) };
            Equation::new(left, Side::x(0, value))
        };
        let (one, other) = (equation(2, 3, 7), equation(4, -1, 1));
        let mut rng = Seed::new(1).rng();
        let trace = Traces::careful().write(&mut rng, |author| solve_two(&one, &other, author));
        let thinking = "times 4 8x+12y=28\ntimes 2 8x-2y=2\n14y=26\ny=26/14=13/7\n\
                        2x=7-3*13/7=10/7\nx=5/7\ncheck 7 and 1 yes\n";
        let expected = format!("<think>\n{thinking}</think>\n<answer>x=5/7, y=13/7</answer>");
        assert_eq!(trace, expected);
    }

    #[test]
    fn slips_fail_the_check() {
        let equation = Equation::new(Side::x(3, 5), Side::x(1, 21));
        let mut rng = Seed::new(3).rng();
        let slipping = Traces {
            slip: 0.5,
            ..Traces::careful()
        };
        let traces: Vec<String> = (0..200)
            .map(|_| slipping.write(&mut rng, |author| solve_one(&equation, author)))
            .collect();
        assert!(traces.iter().any(|trace| trace.contains(" no\n")));
        assert!(
            traces
                .iter()
                .all(|trace| trace.contains(" no\n") || trace.contains("x=8<"))
        );
    }
}
