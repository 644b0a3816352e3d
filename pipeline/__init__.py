"""The paper on a cluster: Ray places the work, `bar_model` does it, MLflow remembers it."""
