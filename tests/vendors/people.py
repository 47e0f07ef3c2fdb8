"""The people the clients ask about: invented ones from `GET /sandbox/people`, and two that are not on that list."""

BY_CASE = {
    "match": ("张三", "11010519491231002X"),
    "mismatch": ("李四", "11010519491231002X"),
    # Not on the list.
    "no_record": ("张三", "440524188001010014"),
    # Two digits short.
    "invalid": ("张三", "1101051949123100"),
    "throttled": ("张测试", "110101199003079972"),
    "down": ("李样例", "310104198512019988"),
    "unknown": ("王示范", "440106197806159916"),
    "at_once": ("赵小样", "510104200002299921"),
    "seed": ("欧阳测试", "320102199211119938"),
}
