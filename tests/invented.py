"""Invented people, for the scripts beside this file."""

WEIGHTS = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]


def number(n):
    """The `n`th invented number, with a valid check character."""
    year, rest = 1950 + n % 50, n // 50
    month, rest = 1 + rest % 12, rest // 12
    day, rest = 1 + rest % 28, rest // 28
    digits = f"{110101 + rest // 1000}{year}{month:02}{day:02}{rest % 1000:03}"
    return digits + "10X98765432"[sum(int(d) * w for d, w in zip(digits, WEIGHTS)) % 11]
