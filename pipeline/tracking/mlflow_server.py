"""Sends a run's records to MLflow.

Each record may come a second time, at any age: what MLflow has already is not sent again.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from PIL import Image

from bar_model.errors import one_line
from pipeline.redaction import redacted
from pipeline.tracking.address import RunAddress
from pipeline.tracking.file_delivery import FileDelivery
from pipeline.tracking.lineage import Judged
from pipeline.tracking.mlflow_client import FORBIDDEN, REFUSALS, client_of, explain_deletion
from pipeline.tracking.spool import Record, Undeliverable

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

# So that MLflow's pages show training runs and their curves, not the traces of agents.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
# MLflow's limits: metrics of a batch, parameters or tags of a batch, characters of a parameter and of a digest.
MAX_METRICS, MAX_PAIRS, MAX_VALUE, MAX_DIGEST = 1000, 100, 6000, 36
EXTERNAL = "mlflow.model.isExternal"  # Tag of a model whose files lie outside of MLflow.

Item = TypeVar("Item")


class MlflowRun:
    """A run as MLflow has it. It is found by our key, and made by the driver's record `open`.

    The kinds of records are those that the methods of `Run` make, and the driver's `open` and `close`.
    """

    def __init__(self, address: RunAddress, *, quiet: bool = False) -> None:
        self._address = address
        self._delivery = FileDelivery(f"run {address.name}", address.folder, quiet=quiet)
        self._experiment: str | None = None
        self._id: str | None = None
        self._is_new = False
        self._steps: dict[str, set[int]] = {}
        self._figures: set[str] | None = None
        self._models: dict[str, str] = {}

    def run_id(self) -> str | None:
        """MLflow's id of the run. None as long as the run has not been made there."""
        return self._id or self._find(self._address.key)

    def deliver(self, records: list[Record]) -> list[Record]:
        """Sends records in their order and then their files, except what MLflow has already.

        Gives the records of files whose store can't be reached, which does not hold up the others.

        Raises:
            Undeliverable: MLflow refuses all of the run for good.
            Exception: Of MLflow or its client, if MLflow can't be reached.
        """
        from mlflow.exceptions import MlflowException

        files = [record for record in records if record["kind"] in self._files]
        try:
            self._send([record for record in records if record["kind"] not in self._files])
            if files:
                self._require_id()
            return self._delivery.send(files, self._send_file, self._store)
        except MlflowException as error:
            if error.error_code in FORBIDDEN:
                raise Undeliverable(one_line(error)[:300]) from error
            raise

    def _send(self, records: Iterable[Record]) -> None:
        one_by_one = {
            "open": self._send_open,
            "input": self._send_input,
            "model": self._send_model,
            "close": self._send_close,
        }
        for kind, group in groupby(records, key=lambda record: record["kind"]):
            if kind == "metrics":
                self._send_points(group)
            elif kind == "tags":
                self._send_tags({name: value for record in group for name, value in record["values"].items()})
            elif kind in one_by_one:
                for record in group:
                    self._send_unless_refused([record], lambda records, kind=kind: one_by_one[kind](records[0]))

    @property
    def _files(self) -> dict[str, Callable[[Record], None]]:
        return {"figure": self._send_figure, "artifact": self._send_artifact}

    def _send_file(self, record: Record) -> None:
        self._send_unless_refused([record], lambda records: self._files[records[0]["kind"]](records[0]))

    def _store(self) -> str:
        """Where MLflow keeps the run's files."""
        try:
            return redacted(str(self._client.get_run(self._require_id()).info.artifact_uri))
        except Exception:  # Of MLflow, which can't be reached any more.
            return "it"

    def _send_open(self, record: Record) -> None:
        """Makes the run, or opens it again; the reason why it ended before is no longer true then."""
        self._id = self._find(self._address.key, opened_by=record["driver"])
        self._is_new = self._id is None
        if self._id is None:
            tags = {"bar.key": self._address.key}
            if self._address.parent is not None:
                tags["mlflow.parentRunId"] = self._require(self._find(self._address.parent))
            self._id = self._create(record["time"], tags)
        else:
            self._client.update_run(self._id, status="RUNNING")
            if "bar.reason" in self._client.get_run(self._id).data.tags:
                self._client.delete_tag(self._id, "bar.reason")
        self._send_parameters(record["parameters"])
        self._send_tags({**record["tags"], "bar.driver": record["driver"]})

    def _create(self, started: int, tags: dict[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.create_run(self._experiment_id(), started, tags, self._address.name).info.run_id
        except MlflowException as error:
            if error.error_code in REFUSALS:
                raise Undeliverable(one_line(error)[:300]) from error
            raise

    def _send_close(self, record: Record) -> None:
        """Ends the run, unless another driver has opened it since."""
        if self._client.get_run(self._require_id()).data.tags.get("bar.driver") == record["driver"]:
            if record["reason"] is not None:
                self._send_tags({"bar.reason": record["reason"]})
            self._client.set_terminated(self._require_id(), record["status"], record["time"])

    def _send_points(self, records: Iterable[Record]) -> None:
        from mlflow.entities import Metric

        points = {
            (name, record["step"]): Metric(
                name, value, record["time"], record["step"], **self._judged(record.get("of"))
            )
            for record in records
            for name, value in record["values"].items()
            if record["step"] not in self._steps_of(name)
        }
        for batch in _batches(list(points.values()), MAX_METRICS):
            self._send_unless_refused(batch, lambda some: self._client.log_batch(self._require_id(), metrics=some))
            for point in batch:
                self._steps[point.key].add(point.step)

    def _judged(self, of: Sequence[str | None] | None) -> dict[str, str | None]:
        """The checkpoint that a point is a figure of, as MLflow names it; nothing if MLflow does not know it."""
        judged = Judged(*of) if of is not None else None  # pyright: ignore[reportArgumentType]
        if judged is None or (model := self._model_of(judged.model)) is None:
            return {}
        return {"model_id": model, "dataset_name": judged.protocol, "dataset_digest": judged.digest}

    def _steps_of(self, name: str) -> set[int]:
        """The steps of a metric that MLflow has. It is asked once, and for a new run not at all."""
        if name not in self._steps:
            history = [] if self._is_new else self._client.get_metric_history(self._require_id(), name)
            self._steps[name] = {point.step for point in history}
        return self._steps[name]

    def _send_parameters(self, parameters: Mapping[str, str]) -> None:
        """Parameters can't change in MLflow, so a resumed job's new values become tags `changed.NAME`."""
        from mlflow.entities import Param

        mark = "… (see config.json)"
        short = {k: v if len(v) <= MAX_VALUE else v[: MAX_VALUE - len(mark)] + mark for k, v in parameters.items()}
        known = {} if self._is_new else self._client.get_run(self._require_id()).data.params
        for batch in _batches([Param(name, value) for name, value in short.items() if name not in known], MAX_PAIRS):
            self._send_unless_refused(batch, lambda some: self._client.log_batch(self._require_id(), params=some))
        self._send_tags({f"changed.{name}": value for name, value in short.items() if known.get(name, value) != value})

    def _send_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        for batch in _batches([RunTag(name, value) for name, value in tags.items()], MAX_PAIRS):
            self._send_unless_refused(batch, lambda some: self._client.log_batch(self._require_id(), tags=some))

    def _send_figure(self, record: Record) -> None:
        name, step, file = record["name"], record["step"], self._address.folder / record["file"]
        if self._figures is None:
            there = self._client.list_artifacts(self._require_id(), "images")
            self._figures = {Path(entry.path).name.split("+timestamp+")[0] for entry in there}
        figure = f"{name.replace('/', '~')}+step+{step}"  # MLflow's name of an image begins so.
        if figure not in self._figures and file.exists():
            with Image.open(file) as image:
                self._client.log_image(self._require_id(), image, key=name, step=step, timestamp=record["time"])
            self._figures.add(figure)
        file.unlink(missing_ok=True)

    def _send_artifact(self, record: Record) -> None:
        name, file = Path(record["name"]), self._address.folder / record["file"]
        if file.exists():
            with tempfile.TemporaryDirectory() as folder:  # MLflow takes a file's name from the disk.
                named = Path(folder, name.name)
                named.write_bytes(file.read_bytes())
                self._client.log_artifact(
                    self._require_id(), str(named), str(name.parent) if name.parent.name else None
                )
            file.unlink(missing_ok=True)

    def _send_input(self, record: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name, url, fingerprint = record["name"], record["url"], record["fingerprint"]
        source_type = urlsplit(url).scheme or "local"
        dataset = Dataset(name, fingerprint[:MAX_DIGEST], source_type, json.dumps({"uri": url}))
        tags = [InputTag("mlflow.data.context", name), InputTag("fingerprint", fingerprint)]
        self._client.log_inputs(self._require_id(), [DatasetInput(dataset, tags)])

    def _send_model(self, record: Record) -> None:
        """A checkpoint lies outside of MLflow, which keeps its URL, its fingerprint and its figures."""
        from mlflow.entities import LoggedModelOutput

        if self._model_of(record["fingerprint"]) is None:
            tags = {"uri": record["url"], "fingerprint": record["fingerprint"], EXTERNAL: "true"}
            if record["sha256"] is not None:
                tags["sha256"] = record["sha256"]
            made = self._client.create_logged_model(self._experiment_id(), record["name"], self._require_id(), tags)
            self._client.finalize_logged_model(made.model_id, "READY")
            self._client.log_outputs(self._require_id(), [LoggedModelOutput(made.model_id, 0)])
            self._models[record["fingerprint"]] = made.model_id

    def _model_of(self, fingerprint: str) -> str | None:
        """MLflow's id of a checkpoint from any experiment. None if MLflow does not know the checkpoint."""
        if fingerprint not in self._models:
            experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
            found = self._client.search_logged_models(experiments, f"tags.fingerprint = '{fingerprint}'")
            if not found:
                return None
            self._models[fingerprint] = found[0].model_id
        return self._models[fingerprint]

    @property
    def _client(self) -> "MlflowClient":
        return client_of(self._address.uri)

    def _experiment_id(self) -> str:
        """The id of the run's experiment, which is made if it is missing.

        Raises:
            Undeliverable: It was deleted, or MLflow refuses its name.
        """
        from mlflow.exceptions import MlflowException

        name = self._address.experiment
        while self._experiment is None:
            if (found := self._client.get_experiment_by_name(name)) is not None:
                if found.lifecycle_stage != "active":
                    raise Undeliverable(explain_deletion(name, found.experiment_id))
                self._experiment = found.experiment_id
                break
            try:
                self._experiment = self._client.create_experiment(name, tags=EXPERIMENT_TAGS)
            except MlflowException as error:
                if error.error_code in REFUSALS:
                    raise Undeliverable(one_line(error)[:300]) from error
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # Else another process was first.
                    raise
        return self._experiment

    def _require_id(self) -> str:
        self._id = self._require(self.run_id())
        return self._id

    def _require(self, run_id: str | None) -> str:
        if run_id is None:
            raise ConnectionError(f"the driver of {self._address.name} has not made the run yet")
        return run_id

    def _find(self, key: str, *, opened_by: str | None = None) -> str | None:
        """MLflow's id of the run of a key. None if it was not made yet, or deleted before this driver opened it.

        Raises:
            Undeliverable: It was deleted.
        """
        from mlflow.entities import ViewType

        found = self._client.search_runs([self._experiment_id()], f"tags.`bar.key` = '{key}'", ViewType.ALL)
        active = [run for run in found if run.info.lifecycle_stage == "active"]
        if active or not found:
            return active[0].info.run_id if active else None
        if opened_by is not None and found[0].data.tags.get("bar.driver") != opened_by:
            return None
        raise Undeliverable(f"the run was deleted: `mlflow runs restore --run-id {found[0].info.run_id}` restores it")

    def _send_unless_refused(self, items: Sequence[Item], send: Callable[[Sequence[Item]], Any]) -> None:
        """Sends the items that MLflow takes. One that it refuses for good is skipped with a warning; the rest is sent.

        Raises:
            Undeliverable: It refuses every item of this run, which was deleted, or the experiment of which was.
        """
        from mlflow.exceptions import MlflowException

        try:
            send(items)
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            self._check_not_deleted()
            if len(items) == 1:
                logger.warning("MLflow refuses %s: %s", items[0], str(error).splitlines()[0])
                return
            for item in items:
                self._send_unless_refused([item], send)

    def _check_not_deleted(self) -> None:
        self._experiment = None
        self._experiment_id()
        if self._id is not None and self._find(self._address.key) is None:
            raise Undeliverable("the run was deleted for good")


def _batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
