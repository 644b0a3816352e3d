"""The paper on a cluster: Ray places the work, `bar_model` does it, MLflow tracks it.

Rooms lie above each other, from `workflows/` down to `storage.py`, and import only what lies below. The tree and the
four ways of the data are in docs/architecture.md, command lines in `jobs/`. Begin with `execution/`, which all stages
share, or with the room that you need.
"""

from bar_model.errors import BadInput
from pipeline.redaction import redact_text

BadInput.hide = staticmethod(redact_text)
