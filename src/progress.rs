//! Progress of long steps: a moving bar on a terminal, now and then a plain line anywhere else.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};

/// Where progress is shown: standard error. Clones share the screen.
#[derive(Clone, Debug)]
pub struct Screen {
    /// `None`: plain lines.
    bars: Option<MultiProgress>,
    quiet: bool,
}

impl Screen {
    /// Nothing if `quiet`, else bars if standard error is a terminal, else plain lines.
    pub fn new(quiet: bool) -> Self {
        let moving = !quiet && io::stderr().is_terminal();
        Self {
            bars: moving.then(MultiProgress::new),
            quiet,
        }
    }

    /// Begins a long step of `total` parts, of which `done` were done by an earlier run.
    pub fn begin(&self, title: &str, done: u64, total: u64) -> Progress {
        let gauge = match &self.bars {
            Some(bars) => Gauge::Bar(begin_bar(bars, title, done, total)),
            None if self.quiet => Gauge::None,
            None => Gauge::Lines(Lines::new(title, done, total, Instant::now())),
        };
        Progress { gauge, done }
    }

    /// A writer for log lines: they scroll by above the bars instead of through them.
    pub fn log_writer(&self) -> LogWriter {
        LogWriter {
            bars: self.bars.clone(),
        }
    }
}

/// One long step on its way; dropped, it leaves its last message standing.
#[derive(Debug)]
pub struct Progress {
    gauge: Gauge,
    done: u64,
}

impl Progress {
    /// `done` parts of the whole are done; `message` says how it goes, such as
    /// `reward 0.41 · 88 tokens · 1530 tokens/s`.
    pub fn set(&mut self, done: u64, message: impl Into<String>) {
        self.done = done;
        match &mut self.gauge {
            Gauge::None => {}
            Gauge::Bar(bar) => {
                bar.set_message(message.into());
                bar.set_position(done);
            }
            Gauge::Lines(lines) => {
                if let Some(line) = lines.report(done, &message.into(), Instant::now()) {
                    print(&line);
                }
            }
        }
    }

    /// `count` more parts are done.
    pub fn advance(&mut self, count: u64, message: impl Into<String>) {
        self.set(self.done + count, message);
    }
}

/// Writes log lines to standard error without tearing the bars.
#[derive(Clone, Debug)]
pub struct LogWriter {
    bars: Option<MultiProgress>,
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.bars {
            Some(bars) => bars.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[derive(Debug)]
enum Gauge {
    None,
    Bar(ProgressBar),
    Lines(Lines),
}

/// What a bar shows; the message takes the rest of the terminal's width.
const TEMPLATE: &str = "{prefix:>12.cyan.bold} {bar:24.cyan/black.bright} {pos:>4}/{len} {elapsed:>4}<{eta:<4} {wide_msg}";

fn begin_bar(bars: &MultiProgress, title: &str, done: u64, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).expect("the template is a constant");
    let bar = ProgressBar::new(total)
        .with_position(done)
        .with_finish(ProgressFinish::Abandon);
    let bar = bars.add(bar);
    bar.set_style(style.progress_chars("━╸━"));
    bar.set_prefix(title.to_owned());
    bar.reset_eta();
    // The clock goes on while a part takes long.
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Decides which plain lines are worth printing.
#[derive(Debug)]
struct Lines {
    title: String,
    begun_with: u64,
    total: u64,
    begun_at: Instant,
    /// Parts done and time of the last line.
    last: Option<(u64, Instant)>,
}

impl Lines {
    /// After this long a line is due however little was done.
    const LONGEST_SILENCE: Duration = Duration::from_secs(10);
    /// A line is due after this share of the whole, in percent, …
    const STRIDE_PERCENT: u64 = 10;
    /// … but not sooner than this after the last.
    const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

    fn new(title: &str, done: u64, total: u64, now: Instant) -> Self {
        Self {
            title: title.to_owned(),
            begun_with: done,
            total,
            begun_at: now,
            last: None,
        }
    }

    /// The line to print now, if one is due: the first, the last, and some between.
    fn report(&mut self, done: u64, message: &str, now: Instant) -> Option<String> {
        let due = match self.last {
            None => true,
            Some((before, _)) if before >= self.total => false,
            Some((before, at)) => {
                let silence = now.saturating_duration_since(at);
                let stride = 100 * done.saturating_sub(before) >= Self::STRIDE_PERCENT * self.total;
                done >= self.total
                    || silence >= Self::LONGEST_SILENCE
                    || (stride && silence >= Self::SHORTEST_SILENCE)
            }
        };
        due.then(|| {
            self.last = Some((done, now));
            self.line(done, message, now)
        })
    }

    fn line(&self, done: u64, message: &str, now: Instant) -> String {
        let elapsed = now.saturating_duration_since(self.begun_at);
        let time = if done >= self.total {
            format!("took {}", clock(elapsed))
        } else if done > self.begun_with {
            let share = (self.total - done) as f64 / (done - self.begun_with) as f64;
            format!("{} left", clock(elapsed.mul_f64(share)))
        } else {
            "begins".to_owned()
        };
        let width = self.total.to_string().len();
        let count = format!("{} {done:>width$}/{}", self.title, self.total);
        match message {
            "" => format!("{count}  {time}"),
            message => format!("{count}  {message}  {time}"),
        }
    }
}

/// A duration for people: `42s`, `3m05s`, `2h07m`.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Prints a line to standard error. A closed standard error must not end a run, so it is no error.
fn print(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines printed when `total` parts take `seconds_each`.
    fn lines(total: u64, seconds_each: f64) -> Vec<String> {
        let begun = Instant::now();
        let mut lines = Lines::new("grpo", 0, total, begun);
        (1..=total)
            .filter_map(|done| {
                let now = begun + Duration::from_secs_f64(done as f64 * seconds_each);
                lines.report(done, "reward 0.5", now)
            })
            .collect()
    }

    #[test]
    fn the_first_and_the_last_part_and_every_tenth_are_printed() {
        let printed = lines(100, 0.5);
        assert_eq!(printed.len(), 11, "{printed:#?}");
        assert_eq!(printed[0], "grpo   1/100  reward 0.5  50s left");
        assert_eq!(printed[1], "grpo  11/100  reward 0.5  45s left");
        assert_eq!(printed[10], "grpo 100/100  reward 0.5  took 50s");
    }

    #[test]
    fn quick_steps_print_little_and_slow_ones_every_ten_seconds() {
        assert_eq!(lines(1000, 1e-4).len(), 2);
        assert_eq!(lines(50, 12.0).len(), 50);
        assert_eq!(lines(1, 3.0), ["grpo 1/1  reward 0.5  took 3s"]);
    }

    #[test]
    fn a_resumed_step_counts_only_its_own_time() {
        let begun = Instant::now();
        let mut lines = Lines::new("sft", 90, 100, begun);
        let line = lines.report(95, "", begun + Duration::from_secs(5));
        assert_eq!(line.unwrap(), "sft  95/100  5s left");
    }

    #[test]
    fn nothing_is_printed_after_the_last_part() {
        let begun = Instant::now();
        let mut lines = Lines::new("sft", 0, 2, begun);
        assert!(lines.report(2, "", begun).is_some());
        assert!(
            lines
                .report(2, "", begun + Duration::from_secs(60))
                .is_none()
        );
    }

    #[test]
    fn a_step_without_parts_is_over_at_once() {
        let begun = Instant::now();
        let line = Lines::new("eval", 0, 0, begun).report(0, "", begun);
        assert_eq!(line.unwrap(), "eval 0/0  took 0s");
    }

    #[test]
    fn durations_are_short() {
        let clocks = [42, 185, 7620].map(|seconds| clock(Duration::from_secs(seconds)));
        assert_eq!(clocks, ["42s", "3m05s", "2h07m"]);
    }
}
