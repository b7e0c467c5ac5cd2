# Runs a program, says what it defines, and then does what its tests ask for.


def names():
    space = {"__name__": "program"}
    try:
        exec(compile(source, "program.py", "exec"), space)
        del space["__builtins__"], space["__name__"]
        encoded = []
        for name, value in space.items():
            try:
                encoded.append([name, side.encode(value)])
            except Exception:
                # What does not go over is as good as not defined.
                pass
        return ["names", encoded]
    except BaseException as error:
        return ["raised", type(error).__name__]


side = Side(wrap=Remote, serves=OPERATIONS)
send(names())
while True:
    send(side.answer(receive()))
