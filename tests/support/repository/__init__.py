"""The files of the repository as tests read them: documents, commands, settings, manifests, the dashboard, migrations."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
