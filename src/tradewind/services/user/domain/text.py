"""The kinds of text that people type in."""

from __future__ import annotations

from typing import Annotated

import msgspec

# At least one character that shows, and none that would break a line or a label. Written without `$`, which Python lets match
# before a newline at the end.
LINE_PATTERN = r"^(?![\s\S]*[\u0000-\u001f\u007f])[\s\S]*\S"

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=LINE_PATTERN)]
"""One line of text; blanks around it are taken away."""

ShortLine = Annotated[str, msgspec.Meta(min_length=1, max_length=20, pattern=LINE_PATTERN)]

Locale = Annotated[
    str,
    msgspec.Meta(
        max_length=35,
        pattern=r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*(?![\s\S])",
        description="BCP 47 language tag.",
        examples=["en-GB"],
    ),
]

Phone = Annotated[
    str,
    msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}(?![\s\S])", description="E.164 number.", examples=["+441632960961"]),
]
