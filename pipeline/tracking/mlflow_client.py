"""MLflow's client, and whether runs can be kept where it leads. Only this module and mlflow_server.py know MLflow."""

import functools
import logging
import os
from typing import TYPE_CHECKING

from bar_model.errors import BadInput, one_line
from pipeline.redaction import redacted
from pipeline.tracking.database import check_database, unusable

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The error codes by which MLflow refuses a record for good.
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST")
# Those by which it refuses this user, or shows that it is no MLflow server.
FORBIDDEN = ("PERMISSION_DENIED", "ENDPOINT_NOT_FOUND")
UNKNOWN_USER = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
# By default, MLflow waits 245 s for a dead server. To give up soon costs nothing, since records wait in the spool.
# The other settings keep it from printing and from sending telemetry.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@functools.cache
def client_of(uri: str) -> "MlflowClient":
    """MLflow's client for a server or database, which gives up soon and logs little. It takes seconds to import."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(uri)


def make_tables(uri: str) -> None:
    """Makes MLflow's tables in a database, unless they are there.

    Raises:
        BadInput: The database can't be opened or written.
    """
    check_database(uri)  # MLflow itself would try for minutes.
    try:
        client_of(uri).search_experiments(max_results=1)
    except Exception as error:  # SQLAlchemy's, MLflow's or the system's, of many kinds.
        raise unusable(uri, error) from error


def check_experiment(uri: str, name: str) -> None:
    """Checks that runs can be logged to an experiment. A server that does not answer is no reason to refuse them.

    Raises:
        BadInput: The experiment was deleted, or the server does not know this user.
    """
    from mlflow.exceptions import MlflowException

    server = redacted(uri)
    if is_databricks(uri):  # Which warns of each way to log in that it tries.
        logging.getLogger("mlflow.utils.databricks_utils").setLevel(logging.ERROR)
    try:
        found = client_of(uri).get_experiment_by_name(name)
    except MlflowException as error:
        reason = one_line(error)[:300]
        if error.error_code in (*UNKNOWN_USER, *FORBIDDEN):
            raise BadInput(
                f"tracking.uri: {server} refuses this user or is no MLflow server ({reason}): correct the address, or "
                "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            ) from error
        if error.error_code in REFUSALS:
            raise BadInput(f"experiment {name!r} is refused by {server} ({reason}): name another") from error
        if is_databricks(uri) and "credential configuration" in str(error):
            raise BadInput(
                f"tracking.uri: {server} can't be logged in to: install databricks-sdk, and set DATABRICKS_HOST and "
                "DATABRICKS_TOKEN, or a profile in ~/.databrickscfg"
            ) from error
        return
    except ImportError as error:
        raise BadInput(f"tracking.uri: {server} needs a library ({one_line(error)}): install it") from error
    except Exception:  # No answer, which the outbox will report.
        return
    if found is not None and found.lifecycle_stage != "active":
        raise BadInput(explain_deletion(name, found.experiment_id))


@functools.cache
def check_experiment_once(uri: str, name: str) -> None:
    """`check_experiment`, unless it has passed in this process: a server that is away answers slowly."""
    check_experiment(uri, name)


def is_server(uri: str) -> bool:
    """Whether this leads to a server, and not to a database."""
    return is_databricks(uri) or uri.startswith(("http://", "https://"))


def is_databricks(uri: str) -> bool:
    """Whether MLflow takes this for a workspace of Databricks: `databricks`, or with a profile `databricks://NAME`."""
    return uri == "databricks" or uri.startswith("databricks://")


def explain_deletion(name: str, number: str) -> str:
    """That an experiment was deleted, and how it is restored, in a line."""
    return (
        f"experiment {name!r} was deleted: restore it (`mlflow experiments restore --experiment-id {number}`), or name "
        "another by --experiment"
    )
