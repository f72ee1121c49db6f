"""The images of the Dockerfile, built without a daemon and run in their root file systems."""
