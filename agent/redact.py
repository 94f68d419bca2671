"""Takes passwords out of what is said: camera addresses hold them, and errors quote addresses."""

from __future__ import annotations

import re
from typing import Final

# One slash where the address went through a Path. To the last @ of the word: rather too much is hidden than too little.
_PASSWORD: Final = re.compile(r"(\w:/{1,2}[^\s:/@]*):[^\s]*@")


def without_passwords(text: str) -> str:
    """Return the text with `***` for each password in `scheme://user:password@host`."""
    return _PASSWORD.sub(r"\1:***@", text)
