//! Ordinary programs: those that are right pass, those that are slightly wrong do not.

use emberl::rewards::Reward;
use serde_json::{Value, json};

use super::{attempt, code, completion, problem};

/// A problem, a right program, and what to replace in it to make it wrong.
struct Case {
    tests: Value,
    right: &'static str,
    wrong: (&'static str, &'static str),
}

fn asserts(asserts: &[&str]) -> Value {
    json!({ "asserts": asserts })
}

fn script(pairs: &[(&str, &str)]) -> Value {
    let test = |(stdin, stdout): &(&str, &str)| json!({"stdin": stdin, "stdout": stdout});
    json!({"tests": pairs.iter().map(test).collect::<Vec<_>>()})
}

fn judge(cases: Vec<Case>) {
    let Some(code) = code(false) else { return };
    for Case {
        tests,
        right,
        wrong,
    } in cases
    {
        let problem = problem(tests);
        let bad = right.replace(wrong.0, wrong.1);
        assert_ne!(bad, right, "nothing was replaced");
        let texts = [completion(right), completion(&bad)];
        let attempts = texts.each_ref().map(|text| attempt(&problem, text));
        let scores = code.score_group(&attempts).into_iter();
        let scores: Vec<_> = scores.map(|score| score.expect("a verdict")).collect();
        assert_eq!(scores, [Some(1.0), Some(0.0)], "{right}");
    }
}

#[test]
fn functions_of_numbers_texts_and_lists() {
    judge(vec![
        Case {
            tests: asserts(&[
                "assert fib(10) == 55",
                "assert fib(1) == 1",
                "assert fib(0) == 0",
            ]),
            right: "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)",
            wrong: ("n < 2", "n < 3"),
        },
        Case {
            tests: asserts(&["assert primes(20) == [2, 3, 5, 7, 11, 13, 17, 19]"]),
            right: "def primes(n):\n    return [i for i in range(2, n) if all(i % j for j in range(2, int(i ** 0.5) + 1))]",
            wrong: ("+ 1", ""),
        },
        Case {
            tests: asserts(&[
                "assert is_palindrome('A man, a plan, a canal: Panama')",
                "assert not is_palindrome('ab')",
            ]),
            right: "def is_palindrome(s):\n    t = [c.lower() for c in s if c.isalnum()]\n    return t == t[::-1]",
            wrong: (".lower()", ""),
        },
        Case {
            tests: asserts(&[
                "assert rotate([1, 2, 3, 4], 1) == [4, 1, 2, 3]",
                "assert rotate([], 3) == []",
            ]),
            right: "def rotate(xs, k):\n    if not xs: return []\n    k %= len(xs)\n    return xs[-k:] + xs[:-k]",
            wrong: ("if not xs: return []", "pass"),
        },
        Case {
            tests: asserts(&[
                "assert abs(mean([1, 2, 4]) - 2.3333333) < 1e-6",
                "assert power(2, 200) == 2 ** 200",
            ]),
            right: "def mean(xs): return sum(xs) / len(xs)\ndef power(a, b): return a ** b",
            wrong: ("/ len", "// len"),
        },
        Case {
            tests: json!({
                "setup": "def check(candidate):\n    assert candidate([1.0, 2.8, 3.0, 4.0], 0.3)\n    assert not candidate([1.0, 2.0], 0.5)\n",
                "asserts": ["check(candidate)"],
                "entry": "has_close",
            }),
            right: "from typing import List\n\ndef has_close(xs: List[float], t: float) -> bool:\n    ys = sorted(xs)\n    return any(b - a < t for a, b in zip(ys, ys[1:]))",
            wrong: ("< t", "< t / 2"),
        },
    ]);
}

#[test]
fn dictionaries_sorting_and_the_standard_library() {
    judge(vec![
        Case {
            tests: asserts(&["assert top('a b b c c c', 2) == [('c', 3), ('b', 2)]"]),
            right: "from collections import Counter\ndef top(text, k):\n    return sorted(Counter(text.split()).items(), key=lambda p: (-p[1], p[0]))[:k]",
            wrong: ("-p[1]", "p[1]"),
        },
        Case {
            tests: asserts(&[
                "assert groups(['eat', 'tea', 'bat']) == {'aet': ['eat', 'tea'], 'abt': ['bat']}",
            ]),
            right: "from collections import defaultdict\ndef groups(words):\n    out = defaultdict(list)\n    for w in words: out[''.join(sorted(w))].append(w)\n    return out",
            wrong: ("sorted(w)", "w"),
        },
        Case {
            tests: asserts(&[
                "assert smallest([5, 1, 4, 2], 2) == [1, 2]",
                "assert place([1, 3, 5], 3) == 1",
            ]),
            right: "import heapq, bisect\ndef smallest(xs, k): return heapq.nsmallest(k, xs)\ndef place(xs, x): return bisect.bisect_left(xs, x)",
            wrong: ("bisect_left", "bisect_right"),
        },
        Case {
            tests: asserts(&[
                "assert dates('on 2024-02-29 and 1999-12-31') == [(2024, 2, 29), (1999, 12, 31)]",
            ]),
            right: "import re\ndef dates(s): return [tuple(map(int, m)) for m in re.findall(r'(\\d+)-(\\d+)-(\\d+)', s)]",
            wrong: ("(\\d+)-(\\d+)-(\\d+)", "(\\d)-(\\d+)-(\\d+)"),
        },
        Case {
            tests: asserts(&["assert table({'b': 1.5, 'a': 20}) == 'a:  20.00|b:   1.50'"]),
            right: "def table(d): return '|'.join(f'{k}: {v:6.2f}' for k, v in sorted(d.items()))",
            wrong: ("6.2f", "6.1f"),
        },
        Case {
            tests: asserts(&["assert load('{\"a\": [1, 2.5, null]}') == {'a': [1, 2.5, None]}"]),
            right: "import json\ndef load(s): return json.loads(s)",
            wrong: ("json.loads(s)", "s"),
        },
        Case {
            tests: asserts(&[
                "assert pairs([1, 2, 3]) == [(1, 2), (1, 3), (2, 3)]",
                "assert product([2, 3, 4]) == 24",
            ]),
            right: "import itertools, functools, operator\ndef pairs(xs): return list(itertools.combinations(xs, 2))\ndef product(xs): return functools.reduce(operator.mul, xs, 1)",
            wrong: ("xs, 1)", "xs, 0)"),
        },
    ]);
}

#[test]
fn classes_closures_generators_and_exceptions() {
    judge(vec![
        Case {
            tests: asserts(&[
                "s = Stack()\ns.push(1)\ns.push([2])\nassert s.pop() == [2] and len(s) == 1",
                "s = Stack()\ntry:\n    s.pop()\n    assert False\nexcept IndexError as e:\n    assert str(e) == 'empty'",
            ]),
            right: "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n    def pop(self):\n        if not self.items: raise IndexError('empty')\n        return self.items.pop()\n    def __len__(self): return len(self.items)",
            wrong: ("'empty'", "'nothing'"),
        },
        Case {
            tests: asserts(&[
                "assert Square(3).area() == 9",
                "assert str(Square(3)) == 'Square of 9'",
                "assert isinstance(Square(1), Shape)",
            ]),
            right: "from dataclasses import dataclass\nclass Shape:\n    def __str__(self): return f'{type(self).__name__} of {self.area()}'\n@dataclass(repr=False)\nclass Square(Shape):\n    side: int\n    def area(self): return self.side ** 2",
            wrong: ("** 2", "* 2"),
        },
        Case {
            tests: asserts(&[
                "c = counter()\nassert [c(), c(), c()] == [1, 2, 3]",
                "assert counter()() == 1",
            ]),
            right: "def counter():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    return up",
            wrong: ("n = 0", "n = 1"),
        },
        Case {
            tests: asserts(&[
                "assert list(walk([1, [2, [3]], 4])) == [1, 2, 3, 4]",
                "assert next(walk([7])) == 7",
            ]),
            right: "def walk(xs):\n    for x in xs:\n        if isinstance(x, list): yield from walk(x)\n        else: yield x",
            wrong: ("yield from walk(x)", "yield walk(x)"),
        },
        Case {
            tests: asserts(&[
                "x = [3, 1, 2]\nsort(x)\nassert x == [1, 2, 3]",
                "assert apply(lambda v: v + 1, 3) == 5",
            ]),
            right: "def sort(xs):\n    for i in range(len(xs)):\n        for j in range(len(xs) - 1):\n            if xs[j] > xs[j + 1]: xs[j], xs[j + 1] = xs[j + 1], xs[j]\ndef apply(f, x): return f(f(x))",
            wrong: ("f(f(x))", "f(x)"),
        },
        Case {
            tests: json!({
                "setup": "head = Node(1)\nhead.next = Node(2)\nhead.next.next = Node(3)",
                "asserts": ["r = reverse(head)\nassert [r.value, r.next.value, r.next.next.value] == [3, 2, 1]\nassert r.next.next.next is None"],
            }),
            right: "class Node:\n    def __init__(self, value): self.value, self.next = value, None\ndef reverse(node):\n    last = None\n    while node: node.next, last, node = last, node, node.next\n    return last",
            wrong: ("return last", "return node"),
        },
    ]);
}

#[test]
fn programs_that_read_and_write() {
    judge(vec![
        Case {
            tests: script(&[("3\n1 2 3\n", "6\n"), ("1\n-5\n", "-5")]),
            right: "n = int(input())\nprint(sum(map(int, input().split())))",
            wrong: ("sum(", "max("),
        },
        Case {
            tests: script(&[("2\nab\ncd\n", "ba\ndc\n"), ("0\n", "")]),
            right: "import sys\nlines = sys.stdin.read().split('\\n')\nfor line in lines[1:int(lines[0]) + 1]:\n    sys.stdout.write(line[::-1] + '\\n')",
            wrong: ("[::-1]", ""),
        },
        Case {
            tests: script(&[("4 5\n..#.\n", "3"), ("1 1\n#\n", "0")]),
            right: "import sys\nfrom collections import deque\ndef main():\n    rows = deque(sys.stdin)\n    rows.popleft()\n    print(sum(row.count('.') for row in rows))\nif __name__ == '__main__':\n    main()\n    sys.exit(0)",
            wrong: ("sys.exit(0)", "sys.exit(1)"),
        },
        Case {
            tests: script(&[("x\n", "error: x"), ("7\n", "7.0")]),
            right: "try:\n    s = input()\n    print(float(s))\nexcept ValueError:\n    print('error:', s)",
            wrong: ("'error:', s", "'error', s"),
        },
    ]);
}
