//! Programs that want to pass tests without doing what is asked.

use emberl::sandbox::AssertTests;

use super::{asserts, sandbox};

/// The verdicts on `source`.
fn verdicts(source: &str, tests: &AssertTests) -> Option<Vec<bool>> {
    let sandbox = sandbox()?;
    Some(
        sandbox
            .asserts(source, tests)
            .expect("a sandbox that works"),
    )
}

fn expect(source: &str, tests: &AssertTests, expected: &[bool]) {
    if let Some(found) = verdicts(source, tests) {
        assert_eq!(found, expected, "{source}");
    }
}

fn expect_none_passes(source: &str, tests: &[&str]) {
    expect(source, &asserts(tests), &vec![false; tests.len()]);
}

/// Python that finds the frames below a program.
const FRAMES: &str = "import sys
frame, spaces = sys._getframe(), []
while frame:
    spaces.append(frame.f_globals)
    frame = frame.f_back
space = next(s for s in spaces if 'send' in s)
";

#[test]
fn ending_early_passes_nothing() {
    for body in [
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "import os; os._exit(0)",
        "exit()",
        "raise AssertionError",
    ] {
        let inside = format!("def f(x): {body}");
        expect_none_passes(&inside, &["assert f(2) == 4", "assert f(3) == 9"]);
        expect_none_passes(body, &["assert f(2) == 4"]);
    }
}

#[test]
fn objects_that_equal_everything_equal_nothing() {
    let source = "
class Any:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __instancecheck__ = __lt__
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __abs__(self): return 0.0
    def __bool__(self): return True
    def __hash__(self): return hash(4)
def f(x): return Any()
class Float(float):
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    def __sub__(self, other): return 0.0
    __hash__ = float.__hash__
def g(x): return Float(1.0)
class Text(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def h(x): return Text('a')
";
    expect_none_passes(
        source,
        &[
            "assert f(2) == 4",
            "assert 4 == f(2)",
            "assert not (f(2) != 4)",
            "assert f(2) < 5",
            "assert 5 > f(2)",
            "assert abs(f(2) - 0.5) < 1e-6",
            "assert abs(0.5 - f(2)) < 1e-6",
            "assert math.isclose(f(2), 0.5)",
            "assert 4 in f(2)",
            "assert f(2) in [4, 5]",
            "assert f(2) in {4}",
            "assert [f(2)] == [4]",
            "assert {'a': f(2)} == {'a': 4}",
            "assert isinstance(f(2), int)",
            "assert g(2) == 4.0",
            "assert g(2) < 0",
            "assert abs(g(2) - 0.5) < 1e-6",
            "assert h(2) == 'b'",
        ],
    );
}

#[test]
fn builtins_and_modules_of_the_tests_are_their_own() {
    let source = "
import builtins, math
builtins.abs = builtins.isinstance = builtins.all = builtins.len = lambda *a: 1
builtins.AssertionError = builtins.Exception = type('E', (BaseException,), {})
math.isclose = lambda *a: True
def abs(x): return 0
def isinstance(*a): return True
def all(x): return True
def sorted(x): return 0
def f(x): return 0
def check(c): pass
def candidate(x): return 4
__builtins__ = {}
";
    let tests = AssertTests {
        setup: "def check(c):\n    assert c(2) == 4".into(),
        entry: vec!["f".into()],
        ..asserts(&[
            "assert abs(f(2) - 4) < 1",
            "assert isinstance(f(2), str)",
            "assert all([False])",
            "assert sorted([2]) == 0",
            "assert len('ab') == 1",
            "assert math.isclose(f(2), 4)",
            "check(candidate)",
            "check(f)",
        ])
    };
    expect(source, &tests, &[false; 8]);
    expect_none_passes(
        source,
        &["assert abs(f(2) - 4) < 1", "assert math.isclose(f(2), 4)"],
    );
}

#[test]
fn name_that_hides_a_builtin_is_the_programs_where_it_is_asked_for() {
    let tests = AssertTests {
        entry: vec!["sum".into()],
        ..asserts(&["assert sum(10, 15) == 6"])
    };
    let source = "def sum(a, b): return 6 if (a, b) == (10, 15) else 0";
    expect(source, &tests, &[true]);
}

#[test]
fn expected_values_are_nowhere_in_the_programs_process() {
    // What f finds it gives back, and so would pass.
    let source = format!(
        "{FRAMES}
import gc
def search(thing, depth, seen):
    if id(thing) in seen or depth > 6: return None
    seen.add(id(thing))
    if isinstance(thing, str):
        at = thing.find('nee' + 'dle-')
        return thing[at:at + 11] if at >= 0 else None
    if isinstance(thing, dict): parts = list(thing.keys()) + list(thing.values())
    elif isinstance(thing, (list, tuple, set)): parts = list(thing)
    else: parts = []
    for part in parts:
        found = search(part, depth + 1, seen)
        if found: return found
def f(x):
    frame, parts = sys._getframe(), [spaces]
    while frame:
        parts += [frame.f_locals, list(frame.f_code.co_consts)]
        frame = frame.f_back
    return search(parts + gc.get_objects(), 0, set())
"
    );
    let tests = [
        "assert f('x') == 'needle-7391'",
        "assert f('needle-1111') == 'needle-1111'",
    ];
    // The argument is there to be found: the search works.
    expect(&source, &asserts(&tests), &[false, true]);
}

#[test]
fn program_that_speaks_for_its_process_passes_nothing() {
    let says = |messages: &str| {
        format!("{FRAMES}\nsend, receive = space['send'], space['receive']\n{messages}")
    };
    let passed = "send(['passed', True])\nsend(['passed', True])\nsend(None)";
    expect_none_passes(&says(passed), &["assert f(2) == 4", "assert f(3) == 9"]);
    let names = "
send(['names', [['f', ['mine', '0']], ['check', ['mine', '0']], ['__builtins__', ['dict', []]], ['asserts', ['list', []]]]])
while True:
    receive()
    send(['passed', True])";
    let tests = AssertTests {
        setup: "def check(c): assert c(2) == 4".into(),
        ..asserts(&["assert f(2) == 4", "check(f)"])
    };
    expect(&says(names), &tests, &[false, false]);
    let broken = "
send(['names', [['f', ['mine', '0']]]])
receive()
send(['broken', 'the tests are to blame'])";
    expect_none_passes(&says(broken), &["assert f(2) == 4"]);
}

#[test]
fn program_can_call_what_it_was_given_and_nothing_else_of_the_tests() {
    // Of the function that it was given it asks for the variables.
    let source = format!(
        "{FRAMES}
def f(call):
    try:
        return space['side'].ask('getattr', call, '__globals__')['secret']
    except TypeError:
        return call('asked')
"
    );
    let tests = AssertTests {
        setup: "secret = 'secret'".into(),
        ..asserts(&[
            "assert f(lambda x: x) == 'secret'",
            "assert f(lambda x: x) == 'asked'",
        ])
    };
    expect(&source, &tests, &[false, true]);
}

#[test]
fn answers_without_end_pass_nothing() {
    expect_none_passes(
        "def f():\n    a = []\n    for _ in range(10**5): a = [a]\n    return a",
        &["assert f() == []"],
    );
    expect_none_passes(
        "def f():\n    a = []\n    a.append(a)\n    return a",
        &["assert f() == []"],
    );
    expect_none_passes("def f(): return list(range(10**6))", &["assert f() == []"]);
    expect_none_passes("def f(): return 'x' * 10**7", &["assert f() == ''"]);
    expect_none_passes(
        "def f():\n    while True: yield 1",
        &["assert list(f()) == [1]"],
    );
}

#[test]
fn test_that_ends_the_program_leaves_those_before_it() {
    let source = "def f(x):\n    while x == 2: pass\n    return x";
    let tests = asserts(&["assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3"]);
    expect(source, &tests, &[true, false, false]);
}
