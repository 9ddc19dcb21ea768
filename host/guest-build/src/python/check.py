# Made by `patchbay policy build`: whether a value is what the router takes. What is below would end the hook without a word.
#
# A check says what is wrong with a value, as the end of a sentence that begins with its name, or nothing.

import inspect


def wrong(value, wanted):
    if isinstance(value, type):
        return f" is the class {value.__name__}, not {wanted}"
    return f" is {value!r:.80}, not {wanted}"


def text(value):
    if not isinstance(value, str):
        return wrong(value, "a str")
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        return " has half of a character (a lone surrogate)"


def truth(value):
    if not isinstance(value, int):
        return wrong(value, "True or False")


def octets(value):
    if not isinstance(value, bytes):
        return wrong(value, "bytes")


def whole(low, above):
    def check(value):
        if not isinstance(value, int) or not low <= value < above:
            return wrong(value, f"an int from {low} to {above - 1}")

    return check


def optional(inner):
    def check(value):
        if value is not None:
            return inner(value)

    return check


def sequence(inner):
    def check(value):
        if not isinstance(value, list):
            return wrong(value, "a list")
        for at, each in enumerate(value):
            problem = inner(each)
            if problem is not None:
                return f"[{at}]{problem}"

    return check


def parts(*inner):
    def check(value):
        if not isinstance(value, tuple) or len(value) != len(inner):
            return wrong(value, f"a tuple of {len(inner)}")
        for at, each in enumerate(value):
            problem = inner[at](each)
            if problem is not None:
                return f"[{at}]{problem}"

    return check


def record(kind, /, **fields):
    def check(value):
        if not isinstance(value, kind):
            return wrong(value, f"{kind.__name__}(…)")
        for name, inner in fields.items():
            problem = inner(getattr(value, name))
            if problem is not None:
                return f".{name}{problem}"

    return check


def member(kind):
    def check(value):
        if not isinstance(value, kind):
            return wrong(value, f"one of {kind.__name__}, such as {next(iter(kind))}")

    return check


def variant(kinds):
    def check(value):
        kind = type(value)
        if kind not in kinds:
            return wrong(value, "one of " + ", ".join(each.__name__ + ("()" if inner is None else "(…)") for each, inner in kinds.items()))
        inner = kinds[kind]
        problem = None if inner is None else inner(value.value)
        if problem is not None:
            return f".value{problem}"

    return check


def checked(module, name, /, **parameters):
    """Puts checks before a function of the router."""
    function = getattr(module, name)
    bind = inspect.signature(function).bind
    named_checks = list(parameters.items())

    def call(*values, **named):
        if named:
            values = bind(*values, **named).args
        for (parameter, check), value in zip(named_checks, values):
            problem = check(value)
            if problem is not None:
                raise TypeError(f"{module.__name__.rpartition('.')[2]}.{name}: {parameter}{problem}")
        return function(*values)

    setattr(module, name, call)


VERDICTS = {}
