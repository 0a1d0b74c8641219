"""BERT, ERNIE 2.0 and their relatives: models, pre-training objectives, schedules, fine-tuning."""

__version__ = "0.1.0"
