"""The worker of the app tier: receives jobs, classifies their images, stores results."""
