# Made by `patchbay policy build`: the exports of the component.

import traceback

from componentize_py_types import Err
from wit_world.imports import log

import {{policy}} as policy


def guarded(name, hook, *values):
    """An exception that nobody catches ends the hook; the log tells where it came from."""
    try:
        return hook(*values)
    except BaseException:
        log.log(log.Level.ERROR, name + ": " + traceback.format_exc())
        raise


def refused(name, hook):
    """In `init` it is the error text."""
    try:
        hook()
    except Err:
        raise
    except Exception as error:
        raise Err(str(error)) from error


def not_listed(hook, name):
    if hasattr(policy, name):
        raise RuntimeError("the policy has a class " + name + ": " + hook + " has to be in the hooks of policy.toml")
