//! Programs that want more than they may have.

use std::time::Instant;

use super::{WALL, sandbox};

/// Runs each of `sources` and expects that it fails, in time.
fn expect_failures(sources: &[&str]) {
    let Some(sandbox) = sandbox() else { return };
    std::thread::scope(|scope| {
        for source in sources {
            let sandbox = &sandbox;
            scope.spawn(move || {
                let started = Instant::now();
                let output = sandbox.script(source, "").expect("a sandbox that works");
                assert_eq!(output, None, "{source}");
                let most = WALL * sources.len() as u32;
                assert!(started.elapsed() < most, "{source}");
            });
        }
    });
}

/// Runs each program with what it should write.
fn expect_outputs(programs: &[(&str, &str)]) {
    let Some(sandbox) = sandbox() else { return };
    for (source, expected) in programs {
        let output = sandbox.script(source, "").expect("a sandbox that works");
        assert_eq!(output.as_deref(), Some(*expected), "{source}");
    }
}

/// Runs each of `statements`; it must raise an exception before it has what it wants.
fn expect_exceptions(imports: &str, statements: &[&str]) {
    let Some(sandbox) = sandbox() else { return };
    for statement in statements {
        let source = format!(
            "try:\n    {imports}\n    {statement}\n    print('escaped')\nexcept Exception:\n    print('held')"
        );
        let output = sandbox.script(&source, "").expect("a sandbox that works");
        assert_eq!(output.as_deref(), Some("held\n"), "{statement}");
    }
}

#[test]
fn programs_without_end_are_ended() {
    expect_failures(&[
        "while True: pass",
        "import math\nmath.factorial(10**8)",
        "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
        "for _ in iter(int, 1): pass",
        "def f():\n    try:\n        f()\n    finally:\n        f()\nf()",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "class A:\n    def __del__(self): A()\nA()\nwhile True: A()",
    ]);
}

#[test]
fn programs_without_measure_are_ended() {
    expect_failures(&[
        "l = []\nwhile True: l.append('x' * 1000)",
        "x = 'a' * 10**10",
        "x = [0] * 10**11",
        "x = bytearray(10**12)",
        "10**10**9",
        "1 << 10**11",
        "list(range(10**12))",
        "'x'.join(['y' * 10**6] * 10**6)",
        "format(1, '10000000000d')",
        "while True: print('x' * 10**5)",
        "print('x' * 200_000)",
        "import sys\nsys.stdout.buffer.write(b'\\x00' * 200_000)",
    ]);
}

#[test]
fn output_up_to_the_limit_is_whole() {
    let Some(sandbox) = sandbox() else { return };
    let output = sandbox.script("print('\\0' * 99_999)", "").unwrap();
    assert_eq!(output.map(|output| output.len()), Some(100_000));
}

#[test]
fn recursion_is_an_exception_however_deep_it_may_go() {
    let recursion = |prelude: &str, body: &str| {
        format!("{prelude}\ntry:\n    {body}\nexcept RecursionError:\n    print('caught')")
    };
    let function = "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)";
    let nested = "a = []\nfor _ in range(10**5): a = [a]";
    let programs = [
        recursion("def f(n): return f(n + 1)", "f(0)"),
        recursion(function, "f(0)"),
        recursion(nested, "repr(a)"),
    ];
    let programs: Vec<_> = programs.iter().map(|p| (p.as_str(), "caught\n")).collect();
    expect_outputs(&programs);
}

#[test]
fn source_that_overwhelms_the_parser_is_a_failure() {
    expect_failures(&[
        "eval('(' * 10**6)",
        "eval('-' * 10**6 + '1')",
        "exec('if 1:\\n' * 10)",
        "print(1)\0",
        "print('never closed",
    ]);
}

#[test]
fn other_writing_systems_and_control_characters_are_text() {
    expect_outputs(&[
        ("é = '\u{1F600}'\nprint(é)", "\u{1F600}\n"),
        ("print(len('a\\0b'))", "3\n"),
        ("print('\u{202E}x')", "\u{202E}x\n"),
        ("\u{FEFF}print(1)", "1\n"),
    ]);
    expect_failures(&["print('\\ud800')"]);
}

#[test]
fn processes_cannot_be_started() {
    expect_exceptions(
        "import os",
        &[
            "os.fork()",
            "os.system('true')",
            "os.posix_spawn('/bin/true', [], {})",
        ],
    );
    expect_exceptions("import subprocess", &["subprocess.run(['true'])"]);
    expect_exceptions(
        "import multiprocessing",
        &["multiprocessing.Process(target=print).start()"],
    );
    expect_exceptions("import posix", &["posix.fork()"]);
    expect_exceptions("import _posixsubprocess", &["_posixsubprocess.fork_exec"]);
    expect_exceptions("import signal", &["signal.alarm(1)"]);
    expect_exceptions("import _interpreters", &["_interpreters.create()"]);
}

#[test]
fn thread_is_no_thread_of_the_system() {
    // It runs at once, in the one thread there is.
    expect_outputs(&[(
        "import threading\nt = threading.Thread(target=print, args=(1,))\nt.start()\nt.join()\nprint(2)",
        "1\n2\n",
    )]);
    expect_failures(&[
        "import _thread\ndef f():\n    while True: _thread.start_new_thread(f, ())\nf()",
    ]);
}

#[test]
fn files_cannot_be_read() {
    let own = env!("CARGO_MANIFEST_DIR");
    let manifest = format!("open({own:?} + '/Cargo.toml').read()");
    expect_exceptions(
        "import io, os",
        &[
            &manifest,
            "open('/etc/passwd').read()",
            "open(0).read()",
            "open(3, 'rb').read()",
            "open('x', opener=lambda path, flags: 1).read()",
            "io.open('/proc/self/environ').read()",
            "io.FileIO('/etc/passwd').read()",
            "io.open_code('/etc/passwd').read()",
            "os.listdir('/')",
            "os.open('/etc/passwd', 0)",
            "os.stat('/')",
        ],
    );
    expect_exceptions(
        "import pathlib",
        &["pathlib.Path('/etc/passwd').read_text()"],
    );
    expect_exceptions("import mmap", &["mmap.mmap(-1, 10)"]);
    expect_exceptions(
        "import linecache",
        &["linecache.getlines('/etc/passwd')[0]"],
    );
    expect_exceptions(
        "import fileinput",
        &["list(fileinput.input('/etc/passwd'))"],
    );
    expect_exceptions("import sqlite3", &["sqlite3.connect(':memory:')"]);
}

#[test]
fn files_cannot_be_written() {
    let Some(sandbox) = sandbox() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written");
    let text = path.to_str().unwrap();
    for source in [
        format!("open({text:?}, 'w').write('x')"),
        format!("import io\nio.FileIO({text:?}, 'w').write(b'x')"),
        format!("import os\nos.mkdir({text:?})"),
        format!("import tempfile\ntempfile.NamedTemporaryFile(dir={text:?})"),
        format!("import shelve\nshelve.open({text:?})"),
        "open('written', 'w').write('x')".to_string(),
    ] {
        assert_eq!(sandbox.script(&source, "").unwrap(), None, "{source}");
    }
    assert!(!path.exists());
}

#[test]
fn network_cannot_be_reached() {
    expect_exceptions(
        "import socket",
        &["socket.socket()", "socket.gethostname()"],
    );
    expect_exceptions("import _socket", &["_socket.socket()"]);
    expect_exceptions("import ssl", &["ssl.create_default_context()"]);
    expect_exceptions(
        "import urllib.request",
        &["urllib.request.urlopen('http://127.0.0.1')"],
    );
    expect_exceptions(
        "import http.client",
        &["http.client.HTTPConnection('127.0.0.1').connect()"],
    );
    expect_exceptions(
        "import asyncio",
        &["asyncio.run(asyncio.open_connection('127.0.0.1', 80))"],
    );
}

#[test]
fn environment_and_arguments_are_empty() {
    expect_outputs(&[
        (
            "import os\nprint(dict(os.environ), os.getenv('PATH'))",
            "{} None\n",
        ),
        (
            "import sys\nprint(sys.argv, sys.path, sys.executable)",
            "[] [] \n",
        ),
    ]);
}

#[test]
fn foreign_code_cannot_be_loaded() {
    expect_exceptions("import ctypes", &["ctypes.CDLL(None)"]);
    expect_exceptions("import _ctypes", &["_ctypes.dlopen('libc.so.6', 0)"]);
    expect_exceptions(
        "import _imp, importlib, sys",
        &[
            "importlib.import_module('_ctypes')",
            "importlib.import_module('posix').system('true')",
            "_imp.create_dynamic(None)",
            "sys.path.append('/usr/lib/python3'); import numpy",
            "importlib.reload(sys.modules['_io']).FileIO('/etc/passwd')",
        ],
    );
    expect_exceptions("import zipimport", &["zipimport.zipimporter('x.zip')"]);
    expect_exceptions("import faulthandler", &["faulthandler._sigsegv()"]);
}

#[test]
fn bytecode_that_is_none_ends_the_program_only() {
    // What the interpreter does with it is not defined; no answer comes of it.
    expect_failures(&[
        "def f(): pass\nf.__code__ = f.__code__.replace(co_code=b'\\xff' * 100)\nf()",
        "import marshal\nexec(marshal.loads(b'\\xe3' + b'\\xff' * 50))",
    ]);
}

#[test]
fn waiting_takes_no_time() {
    expect_outputs(&[
        ("import time\ntime.sleep(10**6)\nprint(1)", "1\n"),
        ("from time import sleep\nsleep(10**6)\nprint(1)", "1\n"),
    ]);
}

#[test]
fn runs_repeat() {
    let Some(sandbox) = sandbox() else { return };
    let source = "import random\nprint(random.random(), random.sample(range(99), 5))\n\
                  print(hash('x'), {'a', 'b', 'c', 'd'}, id(1) > 0)";
    let first = sandbox.script(source, "").unwrap();
    assert!(first.is_some());
    assert_eq!(sandbox.script(source, "").unwrap(), first);
}
