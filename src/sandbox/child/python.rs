//! The interpreter inside the sandbox.

use std::io;

use rustpython_vm::builtins::PyBaseExceptionRef;
use rustpython_vm::scope::Scope;
use rustpython_vm::{
    AsObject, Interpreter, PyObjectRef, PyResult, Settings, VirtualMachine, compiler::Mode,
};
use serde_json::{Value, json};

use super::json::{to_json, to_python};
use super::{ProcessLimits, READY, Task, confine, refuse, write_line};

/// Stack of the interpreter's thread; Python's recursion limit, or a check of what is left of the stack
/// where a program raises it, comes first.
pub(super) const STACK_BYTES: usize = 128 << 20;

/// Stand-ins for the modules that the standard library expects of a system.
const SYSTEM: &str = include_str!("system.py");
/// Standard input and output in memory.
const STREAMS: &str = include_str!("streams.py");
/// Values and calls between a program and its tests.
const BRIDGE: &str = include_str!("bridge.py");
/// Runs a program for tests.
const PROGRAM: &str = include_str!("program.py");
/// Runs tests.
const TESTS: &str = include_str!("tests.py");

/// Native modules of the standard library that only compute.
const MODULES: &[&str] = &[
    "_bisect",
    "_blake2",
    "_contextvars",
    "_csv",
    "_datetime",
    "_hashlib",
    "_heapq",
    "_json",
    "_md5",
    "_opcode",
    "_random",
    "_sha1",
    "_sha2",
    "_sha256",
    "_sha3",
    "_sha512",
    "_statistics",
    "_struct",
    "_suggestions",
    "_tokenize",
    "array",
    "binascii",
    "cmath",
    "math",
    "unicodedata",
    "zlib",
];

/// Makes the interpreter, closes the process, and does the task that it is given.
pub(super) fn serve(limits: ProcessLimits) {
    let interpreter = interpreter();
    interpreter.enter(|vm| {
        let prepared = run(vm, SYSTEM, "system.py", &vm.new_scope_with_builtins());
        if let Err(error) = prepared {
            return refuse(&format!(
                "the interpreter does not start: {}",
                text(vm, &error)
            ));
        }
        if let Err(error) = confine::lock(limits) {
            return refuse(&format!("the system does not confine it: {error}"));
        }
        write_line(READY);
        let answer = match task() {
            Ok(task) => perform(vm, task, limits),
            Err(error) => Ok(json!({ "broken": error.to_string() })),
        };
        let answer = answer.unwrap_or_else(|error| json!({ "raised": told(&error) }));
        write_line(&answer.to_string());
    });
    // Nothing that a program left behind runs again: no destructors, no handlers at exit.
    std::process::exit(0);
}

fn interpreter() -> Interpreter {
    let mut settings = Settings::default();
    settings.isolated = true;
    settings.ignore_environment = true;
    settings.import_site = false;
    settings.install_signal_handlers = false;
    settings.write_bytecode = false;
    // Sets come in the same order in every run.
    settings.hash_seed = Some(0);
    let builder = Interpreter::builder(settings);
    let mut modules = rustpython_stdlib::stdlib_module_defs(&builder.ctx);
    modules.retain(|module| MODULES.contains(&module.name.as_str()));
    builder
        .add_native_modules(&modules)
        .add_frozen_modules(rustpython_pylib::FROZEN_STDLIB)
        .build()
}

fn task() -> io::Result<Task> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn perform(vm: &VirtualMachine, task: Task, limits: ProcessLimits) -> PyResult<Value> {
    match task {
        Task::Script { source, stdin } => script(vm, &source, &stdin, limits.output_bytes),
        Task::Program { source } => {
            stream(vm, "")?;
            seed(vm, &source)?;
            let scope = bridge(vm)?;
            set(vm, &scope, "source", vm.ctx.new_str(source).into())?;
            run(vm, PROGRAM, "program.py", &scope)?;
            Ok(Value::Null)
        }
        Task::Tests {
            setup,
            asserts,
            entry,
            names,
        } => {
            seed(vm, &setup)?;
            let scope = bridge(vm)?;
            for (name, value) in [
                ("setup", json!(setup)),
                ("asserts", json!(asserts)),
                ("entry", json!(entry)),
                ("names", names),
            ] {
                set(vm, &scope, name, to_python(&value, vm))?;
            }
            run(vm, TESTS, "tests.py", &scope)?;
            Ok(Value::Null)
        }
    }
}

/// Runs `source` as the main program and says what it wrote.
fn script(vm: &VirtualMachine, source: &str, stdin: &str, most: usize) -> PyResult<Value> {
    let streams = stream(vm, stdin)?;
    seed(vm, source)?;
    let scope = vm.new_scope_with_builtins();
    set(vm, &scope, "__name__", vm.ctx.new_str("__main__").into())?;
    if let Err(error) = run(vm, source, "program.py", &scope)
        && !is_clean_exit(vm, &error)
    {
        return Err(error);
    }
    run(vm, "written = take()", "streams.py", &streams)?;
    let written = streams.globals.get_item("written", vm)?;
    match to_json(&written, vm)? {
        Value::String(text) if text.len() <= most => Ok(json!({ "stdout": text })),
        _ => Ok(json!({ "raised": "it writes too much" })),
    }
}

/// Gives `random` its one seed, where `source` may use it; loading it takes a while.
fn seed(vm: &VirtualMachine, source: &str) -> PyResult<()> {
    if !source.contains("random") {
        return Ok(());
    }
    let scope = vm.new_scope_with_builtins();
    run(vm, "import random\nrandom.seed(0)", "seed.py", &scope)
}

/// Puts standard input and output into memory.
fn stream(vm: &VirtualMachine, stdin: &str) -> PyResult<Scope> {
    let scope = vm.new_scope_with_builtins();
    set(vm, &scope, "text", vm.ctx.new_str(stdin).into())?;
    run(vm, STREAMS, "streams.py", &scope)?;
    Ok(scope)
}

/// A scope with `send` and `receive`, through which a message goes to the other side and comes back.
fn bridge(vm: &VirtualMachine) -> PyResult<Scope> {
    let scope = vm.new_scope_with_builtins();
    let send = |message: PyObjectRef, vm: &VirtualMachine| -> PyResult<()> {
        write_line(&to_json(&message, vm)?.to_string());
        Ok(())
    };
    let receive = |vm: &VirtualMachine| -> PyResult<PyObjectRef> {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        let gone = || std::process::exit(0);
        match read.map(|_| serde_json::from_str::<Value>(&line)) {
            Ok(Ok(message)) => Ok(to_python(&message, vm)),
            // The parent has closed the pipe: all was said.
            _ => gone(),
        }
    };
    set(vm, &scope, "send", vm.new_function("send", send).into())?;
    let receive = vm.new_function("receive", receive);
    set(vm, &scope, "receive", receive.into())?;
    run(vm, BRIDGE, "bridge.py", &scope)?;
    Ok(scope)
}

fn run(vm: &VirtualMachine, source: &str, name: &str, scope: &Scope) -> PyResult<()> {
    let code = vm
        .compile(source, Mode::Exec, name.to_string())
        .map_err(|error| vm.new_syntax_error(&error, Some(source)))?;
    vm.run_code_obj(code, scope.clone()).map(|_| ())
}

fn set(vm: &VirtualMachine, scope: &Scope, name: &str, value: PyObjectRef) -> PyResult<()> {
    scope.globals.set_item(name, value, vm)
}

/// Whether `error` is a `SystemExit` that says that all is well.
fn is_clean_exit(vm: &VirtualMachine, error: &PyBaseExceptionRef) -> bool {
    if !error.fast_isinstance(vm.ctx.exceptions.system_exit) {
        return false;
    }
    let code = error.as_object().get_attr("code", vm);
    // `None` and 0 are false; so is an empty message, which is no complaint either.
    let complains = code.and_then(|code| code.try_to_bool(vm));
    complains.is_ok_and(|complains| !complains)
}

/// The name of an error's class; its text is the program's own and stays here.
fn told(error: &PyBaseExceptionRef) -> String {
    error.class().name().to_string()
}

/// An object as text; empty when it has none.
fn text(vm: &VirtualMachine, object: &PyBaseExceptionRef) -> String {
    let text = object.as_object().str(vm);
    text.map(|text| text.to_string()).unwrap_or_default()
}
