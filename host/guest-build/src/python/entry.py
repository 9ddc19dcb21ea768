# Made by `patchbay policy build`: the exports of the component.

from componentize_py_types import Err
from wit_world.imports import log

# It comes before the policy, which gets the functions with their checks.
import patchbay_checks
import {{policy}} as policy

# The folder of the sources while the component is made. What comes from elsewhere (Python, the bindings) is not the author's.
FOLDER = __file__.removesuffix(__name__ + ".py")
NOT_THE_POLICY = [__file__, patchbay_checks.__file__]

# How many places are told: of an endless recursion there are a thousand.
MOST = 10


def told(error):
    """What an exception is and where it came from, in one line. The module `traceback` would look for the sources, which are not there."""
    places = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_filename.startswith(FOLDER) and code.co_filename not in NOT_THE_POLICY:
            places.append(f"{code.co_filename.removeprefix(FOLDER)}:{step.tb_lineno} in {code.co_name}")
        step = step.tb_next
    text = repr(error)
    if places:
        text += " (" + ", from ".join(places[: -MOST - 1 : -1]) + ")"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text if cause is None else text + ", after " + told(cause)


def guarded(name, hook, *values):
    """An exception that nobody catches ends the hook; the log tells where it came from. So does a value that is no verdict."""
    try:
        verdict = hook(*values)
        check = patchbay_checks.VERDICTS.get(name)
        problem = None if check is None else check(verdict)
        if problem is not None:
            raise TypeError("the verdict" + problem)
        return verdict
    except BaseException as error:
        log.log(log.Level.ERROR, name + ": " + told(error))
        raise


def refused(name, hook):
    """In `init` it is the error text."""
    try:
        hook()
    except Exception as error:
        if isinstance(error, Err) and isinstance(error.value, str):
            raise
        raise Err(told(error)) from error


def listed(hook, name, method):
    if not hasattr(policy, name):
        raise RuntimeError("policy.toml lists " + hook + ": the policy has to have a class " + name + " with a method " + method)


def not_listed(hook, name):
    if hasattr(policy, name):
        raise RuntimeError("the policy has a class " + name + ": " + hook + " has to be in the hooks of policy.toml")
