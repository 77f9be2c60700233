"""The doctor sees each thing that would lose messages or the one-shot history, and says what helps."""

from __future__ import annotations

from pathlib import Path

from shell import open_desk, worse


async def test_all_is_well(tmp_path: Path) -> None:
    """With everything as it must be there is neither failure nor warning, and nothing was changed at Meta."""
    async with open_desk(tmp_path) as desk:
        lines = await desk.examine()
        for line in lines:
            print(line)
        assert worse(lines) == {}
        result = await desk.shell("doctor")
        print(result.output)
        assert result.exit_code == 0, result.output
