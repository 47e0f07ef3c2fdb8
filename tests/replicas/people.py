"""Invented people, and what the provider says about them."""

import hashlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from invented import number

__all__ = ["NAME", "number", "verdict_of"]

NAME = "测试者"


def verdict_of(id_number):
    """Each verdict must come back unchanged, whichever replica tells it."""
    return "match" if hashlib.sha256(id_number.encode()).digest()[0] % 2 else "mismatch"
