"""Search hyperparameters with Optuna: each trial is a short training run."""
