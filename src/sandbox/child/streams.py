# Standard input with `text` in it, standard output that `take` gives back, standard error that nobody reads.
import sys
from _io import BytesIO, TextIOWrapper


def stream(content=b""):
    memory = BytesIO(content)
    return memory, TextIOWrapper(memory, encoding="utf-8", newline="\n", write_through=True)


output, sys.stdout = stream()
_, sys.stdin = stream(text.encode())
_, sys.stderr = stream()
sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr


def take(stdout=sys.stdout):
    stdout.flush()
    return output.getvalue().decode("utf-8", "replace")
