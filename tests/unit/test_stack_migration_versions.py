"""The newest revision, read from the files as Alembic would."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tradewind.chassis.migrations import CHASSIS_VERSIONS
from tradewind.stack.rooms import migrations_of, rooms_with_database
from tradewind.stack.up_to_date import newest_revision


def test_it_agrees_with_alembic() -> None:
    folders = [CHASSIS_VERSIONS, *(path for room in rooms_with_database() if (path := migrations_of(room)))]
    for folder in folders:
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.set_main_option("path_separator", "os")
        assert newest_revision(folder / "versions") == ScriptDirectory.from_config(config).get_current_head()


def test_two_newest_revisions_are_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"0001_{name}.py").write_text(f'revision = "{name}"\ndown_revision = None\n')
    with pytest.raises(ValueError, match="2 newest revisions: a, b"):
        newest_revision(tmp_path)
