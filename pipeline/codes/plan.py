"""Which image is in which unit: plans in the output folder, each adding to those before what its source has gained.

A plan is written before its units are worked on, and never changes. So a run that was killed is continued with the very
same units, however the source has grown meanwhile, and of two runs at once one makes the plan and the other uses it.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.codes.comparison import Comparison, OnChange
from pipeline.codes.plan_files import check_sequence, read_plans
from pipeline.codes.source_identity import settle_source
from pipeline.execution.manifest import claim_stage, claimed_configuration, open_stage
from pipeline.execution.unit import Unit
from pipeline.images.left_out import LeftOut
from pipeline.images.source import Source
from pipeline.images.survey import SurveyedSource
from pipeline.storage import Folder


def plan_units(
    folder: Folder,
    stage: str,
    configuration: Mapping[str, Any],
    source: Source,
    unit_size: int,
    *,
    on_change: OnChange,
    source_moved: bool = False,
    left_out: LeftOut | None = None,
) -> list[Unit]:
    """The units of all plans in the folder of the stage, after images that are in none were added as a new plan.

    `on_change` says what to do with a published image that has changed or is gone: `reencode` takes it as it is now,
    `drop` leaves it out, `stop` refuses. What was planned but never published may change freely. An image that was
    quarantined for a reason that may pass is planned anew, to be tried again. One that only has another time or ETag
    is read, and has changed if its bytes have.

    `configuration["source"]` is the identity of the source. Class numbers of class folders that the plans know are
    kept, and new ones follow them. With `source_moved` the source may lie elsewhere than it did, if the names and sizes
    of all published images agree. `left_out` is told what of the source is in no unit, and why.

    Raises:
        BadInput: the folder is another stage's, or a published image has changed or is gone (`stop`).
    """
    shown = surveyed = None
    while True:
        claim = claimed_configuration(folder, stage)
        plans = read_plans(folder)
        check_sequence(folder, plans)
        settled = settle_source(folder, configuration, claim, plans, source, source_moved=source_moved)
        published = open_stage(folder, stage, settled.configuration, claim=False)
        if settled.summary not in (None, shown):
            shown = settled.summary
            print(shown, flush=True)
        if surveyed is None or surveyed.source != settled.source:
            surveyed = SurveyedSource(settled.source, source.identity.get("url", "the source"))
        comparison = Comparison(folder, plans, published, surveyed, unit_size, on_change, moved_to=settled.moved_to)
        plan = comparison.run(classes=settled.new_classes)
        if plan is None:
            units = comparison.units()
            break
        # The folder is claimed after the source was read to its end: until then, labels may be mended by an option.
        if claim is None and not claim_stage(folder, stage, settled.configuration):
            continue  # Another run was faster, and has decided the class numbers.
        if folder.create(plan.name, plan.encode()):
            units = comparison.units(*plan.units())
            break
        # Another run was faster: the source is compared with its plan, too.
    if left_out is not None:
        left_out.update(comparison.left_out)
    return units
