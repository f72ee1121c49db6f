"""Knowledge distillation: train a network on a teacher's answers to unlabelled photos (Hinton et al. 2015)."""
