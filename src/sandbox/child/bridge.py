# Values and calls between two interpreters: a program in one, its tests in the other.
#
# Plain data goes over as a copy; of everything else goes a number, under which the side that has it keeps it.
# A message is a list of texts, truth values, None and lists; one side speaks, then the other.
#
# What the tests' side may be asked for is to call a function that it has passed itself, nothing else: its
# variables hold the results that are expected.


class Side:
    """One end of the bridge."""

    def __init__(self, wrap, serves):
        self.kept = {}
        self.wrap = wrap
        self.serves = serves

    def encode(self, value):
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if isinstance(value, int):
            return ["int", hex(value)]
        if isinstance(value, float):
            return ["float", float.hex(value)]
        if isinstance(value, complex):
            return ["complex", float.hex(value.real), float.hex(value.imag)]
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, (bytes, bytearray)):
            return ["bytearray" if isinstance(value, bytearray) else "bytes", bytes(value).hex()]
        for name, sequence in SEQUENCES:
            if isinstance(value, sequence):
                return [name, [self.encode(item) for item in value]]
        if isinstance(value, dict):
            pairs = [[self.encode(key), self.encode(item)] for key, item in value.items()]
            return ["dict", pairs]
        if kind is MODULE:
            return ["module", value.__name__]
        if kind is Remote:
            return ["yours", value._number]
        number = str(id(value))
        self.kept[number] = value
        return ["mine", number]

    def decode(self, message):
        if type(message) is not list:
            return message
        kind = message[0]
        if kind == "int":
            return int(message[1], 16)
        if kind == "float":
            return float.fromhex(message[1])
        if kind == "complex":
            return complex(float.fromhex(message[1]), float.fromhex(message[2]))
        if kind == "bytes":
            return bytes.fromhex(message[1])
        if kind == "bytearray":
            return bytearray.fromhex(message[1])
        if kind == "dict":
            return {self.decode(key): self.decode(item) for key, item in message[1]}
        for name, sequence in SEQUENCES:
            if kind == name:
                return sequence([self.decode(item) for item in message[1]])
        if kind == "module":
            return load(message[1])
        if kind == "yours":
            return self.kept[message[1]]
        return self.wrap(message[1])

    def ask(self, operation, *operands, **named):
        """What the other side answers; it may ask back before."""
        arguments = [self.encode(operand) for operand in operands]
        send(["ask", operation, arguments, [[key, self.encode(named[key])] for key in named]])
        while True:
            message = receive()
            if message[0] == "ask":
                send(self.answer(message))
            elif message[0] == "raised":
                raise exception(message[1], message[2])
            else:
                for operand, sent, now in zip(operands, arguments, message[2]):
                    if now != sent:
                        replace(operand, self.decode(now))
                return self.decode(message[1])

    def answer(self, message):
        """The answer to one question: the result and the arguments as they are afterwards."""
        try:
            operation = message[1]
            if operation not in self.serves:
                raise TypeError("no such operation")
            operands = [self.decode(operand) for operand in message[2]]
            named = {key: self.decode(value) for key, value in message[3]}
            result = OPERATIONS[operation](*operands, **named)
            return ["result", self.encode(result), [self.encode(operand) for operand in operands]]
        except BaseException as error:
            names = [kind.__name__ for kind in type(error).__mro__]
            try:
                text = str(error)
            except BaseException:
                text = ""
            return ["raised", names, text]


def replace(operand, now):
    """Gives a container that was passed the content that it has on the other side."""
    if type(operand) is list or type(operand) is bytearray:
        operand[:] = now
    elif type(operand) is dict or type(operand) is set:
        operand.clear()
        operand.update(now)


def exception(names, text):
    """The built-in exception that comes closest."""
    for name in names:
        kind = EXCEPTIONS.get(name)
        if kind is not None:
            try:
                return kind(text)
            except TypeError:
                continue
    return RuntimeError(text)


def load(name):
    """A module of this side's own standard library."""
    return __import__(name, fromlist=["*"])


class Remote:
    """Something that the other side has. Plain data of this side never goes into a comparison or a sum
    with it: the other side would learn what is expected, and could answer as it likes."""

    __slots__ = ("_number",)

    def __init__(self, number):
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name):
        return ask("getattr", self, name)

    def __setattr__(self, name, value):
        ask("setattr", self, name, value)

    def __call__(self, *operands, **named):
        return ask("call", self, *operands, **named)

    def __getitem__(self, key):
        return ask("getitem", self, key)

    def __setitem__(self, key, value):
        ask("setitem", self, key, value)

    def __len__(self):
        return ask("len", self)

    def __bool__(self):
        return ask("bool", self)

    def __str__(self):
        return ask("str", self)

    def __repr__(self):
        return ask("repr", self)

    def __iter__(self):
        items = ask("iter", self)
        while True:
            try:
                item = ask("next", items)
            except StopIteration:
                return
            yield item

    def __next__(self):
        return ask("next", self)

    def __instancecheck__(self, value):
        return isinstance(value, Remote) and ask("isinstance", value, self)

    def __hash__(self):
        return hash(self._number)

    def __enter__(self):
        return ask("enter", self)

    def __exit__(self, *error):
        return ask("exit", self)

    def __neg__(self):
        return ask("neg", self)

    def __abs__(self):
        return ask("abs", self)


def between(operation):
    def method(self, other):
        if isinstance(other, Remote):
            return ask(operation, self, other)
        return NotImplemented

    return method


import _operator as operator

BINARY = ["eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]
BINARY += ["matmul"]
BITWISE = {"and_": "and", "or_": "or", "xor": "xor"}
OPERATIONS = {name: getattr(operator, name) for name in BINARY}
OPERATIONS.update({name: getattr(operator, name) for name in BITWISE})
for name in BINARY:
    setattr(Remote, f"__{name}__", between(name))
for name, method in BITWISE.items():
    setattr(Remote, f"__{method}__", between(name))
OPERATIONS.update(
    getattr=getattr,
    setattr=setattr,
    call=lambda function, *operands, **named: function(*operands, **named),
    getitem=operator.getitem,
    setitem=operator.setitem,
    len=len,
    bool=bool,
    str=str,
    repr=repr,
    iter=iter,
    next=next,
    isinstance=isinstance,
    enter=lambda context: context.__enter__(),
    exit=lambda context: context.__exit__(None, None, None),
    neg=operator.neg,
    abs=abs,
)
from _collections import deque

SEQUENCES = [
    ("list", list),
    ("tuple", tuple),
    ("set", set),
    ("frozenset", frozenset),
    ("deque", deque),
]
MODULE = type(operator)
EXCEPTIONS = {
    name: value
    for name, value in vars(__import__("builtins")).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}


def ask(operation, *operands, **named):
    return side.ask(operation, *operands, **named)
