"""The saga's tables and its picture, written from `services/order/domain/saga.py` into the page that explains them."""

from __future__ import annotations

import re
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import get_args

from tradewind.services.order.domain.order import Status
from tradewind.services.order.domain.saga import COMMANDS, DEADLINES, SAGA, STEPS, Move

PAGE = Path("docs/concepts/saga.md")
PICTURE = Path("docs/images/saga.svg")
STATUSES: tuple[Status, ...] = get_args(Status)

_BLOCK = re.compile(r"(<!-- (\w+), written by `make docs` -->\n).*?(<!-- end -->)", re.DOTALL)
_CENTRES: dict[Status, tuple[int, int]] = {
    "pending": (150, 64),
    "confirmed": (430, 64),
    "shipped": (710, 64),
    "delivered": (990, 64),
    "cancelled": (290, 284),
}
_WIDTH, _HEIGHT = 200, 64
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1120 348" role="img" aria-labelledby="t"'
    ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
)
_ARROWHEAD = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#486581"/></marker></defs>'
)


def page(text: str) -> str:
    """`text`, the page as it is, with its tables as the code has them."""
    tables = {"steps": _steps(), "moves": _moves(), "deadlines": _deadlines()}
    return _BLOCK.sub(lambda block: f"{block[1]}\n{tables[block[2]]}\n\n{block[3]}", text)


def picture() -> str:
    """The statuses and what leads from one to another, as SVG."""
    arrows: defaultdict[tuple[Status, Status], list[str]] = defaultdict(list)
    for signal, row in SAGA.items():
        for status, move in row.items():
            if move.to is not None:
                arrows[status, move.to].append(signal)
    lines = [
        _HEAD,
        '<title id="t">The statuses of an order, and what leads from one to another</title>',
        _ARROWHEAD,
        '<rect width="1120" height="348" rx="14" fill="#f7fafc"/>',
    ]
    lines += [_arrow(before, after, signals) for (before, after), signals in arrows.items()]
    lines += [_box(status) for status in STATUSES]
    return "\n".join([*lines, "</svg>", ""])


def _steps() -> str:
    rows = ["| step | by | how | deadline | undone by | tried again by |", "|---|---|---|---|---|---|"]
    rows += [
        f"| {step.name} | {step.by} | {step.how} | {step.deadline or '-'} | {step.undone_by} | {step.tried_again_by} |"
        for step in STEPS
    ]
    return "\n".join(rows)


def _moves() -> str:
    rows = [f"| signal | {' | '.join(STATUSES)} |", "|---" * (len(STATUSES) + 1) + "|"]
    for signal, row in SAGA.items():
        cells = [_cell(row.get(status), late="illegal" if signal in COMMANDS else "") for status in STATUSES]
        rows.append(f"| `{signal}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(move: Move | None, late: str) -> str:
    if move is None:
        return late
    done = [f"**{move.to}**" if move.to else f"told: `{move.says}`"]
    if move.stock:
        done.append(f"stock: {move.stock}")
    if move.asks:
        done.append("asks again")
    return ", ".join(done)


def _deadlines() -> str:
    rows = ["| status | deadline | after | setting | waits for | then |", "|---|---|---|---|---|---|"]
    for status, deadline in DEADLINES.items():
        then = deadline.then.replace("_", " ") + (", again after twice the time each" if deadline.again else "")
        rows.append(
            f"| {status} | `{deadline.name}` | {_duration(deadline.after_s)} | `{deadline.setting}` |"
            f" {deadline.waits_for} | {then} |"
        )
    return "\n".join(rows)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 3_600 else f"{seconds / 86_400:.0f} days"


def _box(status: Status) -> str:
    x, y = _CENTRES[status]
    deadline = DEADLINES.get(status)
    below = f"{_duration(deadline.after_s)}: {deadline.then.replace('_', ' ')}" if deadline else "the end"
    return (
        f'<rect x="{x - _WIDTH // 2}" y="{y - _HEIGHT // 2}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"'
        f' fill="#fff" stroke="#0b7285" stroke-width="1.5"/>'
        f'<text x="{x}" y="{y - 3}" text-anchor="middle" font-size="15" font-weight="600" fill="#102a43">{status}</text>'
        f'<text x="{x}" y="{y + 17}" text-anchor="middle" font-size="11.5" fill="#627d98">{escape(below)}</text>'
    )


def _arrow(before: Status, after: Status, signals: list[str]) -> str:
    (x, y), (to_x, to_y) = _CENTRES[before], _CENTRES[after]
    if y == to_y:
        ends, text_x, text_y, anchor = (x + _WIDTH // 2, y, to_x - _WIDTH // 2, to_y), (x + to_x) // 2, y - 10, "middle"
    else:
        ends = (x, y + _HEIGHT // 2, to_x + (x - to_x) // 3, to_y - _HEIGHT // 2)
        text_x, text_y = (x - 6, y + 70) if x < to_x else (x + 6, y + 70)
        anchor = "end" if x < to_x else "start"
    words = "".join(
        f'<tspan x="{text_x}" dy="{15 if row else 0}">{escape(signal)}</tspan>' for row, signal in enumerate(signals)
    )
    return (
        f'<path d="M{ends[0]} {ends[1]}L{ends[2]} {ends[3]}" stroke="#486581" stroke-width="1.6" fill="none"'
        f' marker-end="url(#a)"/>'
        f'<text x="{text_x}" y="{text_y}" text-anchor="{anchor}" font-size="11.5" fill="#486581">{words}</text>'
    )
