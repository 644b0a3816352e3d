"""Tracking of runs: what a job logs, how it reaches the server, and what is kept of it beside the output.

A job begins its run with `start_run` (start.py) and logs to a `Run` (run.py): begin reading there. Below it, one way:
lifecycle.py, outbox.py, address.py. Only mlflow_client.py and mlflow_server.py know MLflow. What is logged is decided
elsewhere.
"""
