"""The garbage collector, told what this program is like: a large heap that stays, and young objects without cycles."""

import gc

YOUNG_OBJECTS = 50_000
"""How many more objects than before it takes to look for cycles; 700 by default, which a busy second reaches often."""


def keep_what_is_loaded() -> None:
    """To be called once, when everything is loaded: what is there now is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
