//! Between JSON and the few Python values that messages are made of: `None`, truth values, texts, lists.

use rustpython_vm::builtins::{PyList, PyStr};
use rustpython_vm::{AsObject, PyObject, PyObjectRef, PyResult, VirtualMachine};
use serde_json::Value;

/// The JSON of `object`.
///
/// # Errors
/// For a value of another type, a text with a lone surrogate, and what is nested too deep.
pub(super) fn to_json(object: &PyObject, vm: &VirtualMachine) -> PyResult<Value> {
    if vm.is_none(object) {
        return Ok(Value::Null);
    }
    if object.is(&vm.ctx.true_value) || object.is(&vm.ctx.false_value) {
        return Ok(Value::Bool(object.is(&vm.ctx.true_value)));
    }
    if let Some(text) = object.downcast_ref::<PyStr>() {
        let text = text.to_str();
        return text
            .map(Value::from)
            .ok_or_else(|| vm.new_value_error("a text with a lone surrogate".to_string()));
    }
    let Some(list) = object.downcast_ref::<PyList>() else {
        return Err(vm.new_type_error("no message".to_string()));
    };
    let items: Vec<PyObjectRef> = list.borrow_vec().to_vec();
    let items = items
        .iter()
        .map(|item| vm.with_recursion("in a message", || to_json(item, vm)));
    items.collect::<PyResult<Vec<Value>>>().map(Value::Array)
}

/// The Python value of `json`; numbers and objects, which no message holds, are `None`.
pub(super) fn to_python(json: &Value, vm: &VirtualMachine) -> PyObjectRef {
    match json {
        Value::Null | Value::Number(_) | Value::Object(_) => vm.ctx.none(),
        Value::Bool(value) => vm.ctx.new_bool(*value).into(),
        Value::String(text) => vm.ctx.new_str(text.as_str()).into(),
        Value::Array(items) => {
            let items = items.iter().map(|item| to_python(item, vm)).collect();
            vm.ctx.new_list(items).into()
        }
    }
}
