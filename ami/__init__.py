"""The app tier's machine image: its contents, its provisioning and build on AWS, and the worker's supervisor in it."""
