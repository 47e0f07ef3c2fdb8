"""Reads what callgrind writes: what each function cost itself, and what it cost its callers with all that it called."""

import re
from collections import Counter

NAME = re.compile(r"(?:\((\d+)\))? ?(.*)")


class Profile:
    """`own`: (function, source file) → instructions; `edges`: (caller, callee) → instructions of the callee, inclusive."""

    def __init__(self):
        self.own, self.edges = Counter(), Counter()

    def total(self):
        return sum(self.own.values())

    def minus(self, other, divisor):
        """The difference to a shorter run, for each of the `divisor` requests that it had less."""
        difference = Profile()
        for mine, theirs, result in ((self.own, other.own, difference.own), (self.edges, other.edges, difference.edges)):
            for key in mine.keys() | theirs.keys():
                if count := mine[key] - theirs[key]:
                    result[key] = count / divisor
        return difference

    def inclusive(self, pattern):
        """What functions of this name cost with all that they called, by caller. Not for functions that call each other."""
        found = re.compile(pattern)
        return Counter({edge: count for edge, count in self.edges.items() if found.search(edge[1]) and not found.search(edge[0])})


def read(paths):
    """The sum of these files."""
    profile = Profile()
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as lines:
            add(profile, lines)
    return profile


def add(profile, lines):
    files, functions = {}, {}

    def name(text, known):
        number, rest = NAME.fullmatch(text).groups()
        if number is None:
            return rest
        if rest:
            known[number] = rest
        return known[number]

    function = callee = file = None
    is_call = False
    for line in lines:
        line = line.rstrip("\n")
        key, equals, value = line.partition("=")
        if line[:1] and line[0] in "0123456789+-*":
            cost = int(line.split()[1])
            if is_call:
                profile.edges[function, callee] += cost
            else:
                profile.own[function, file] += cost
            is_call = False
        elif not equals:
            continue
        elif key == "fn":
            function = name(value, functions)
        elif key in ("fl", "fi", "fe"):
            file = name(value, files)
        elif key in ("cfi", "cfl"):
            name(value, files)
        elif key == "cfn":
            callee = name(value, functions)
        elif key == "calls":
            is_call = True
