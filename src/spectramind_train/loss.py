"""Training objectives, under the name that an objective of one's own imports."""

from spectramind_train.learning.loss import CompositeLoss, Loss, build_loss

__all__ = ["CompositeLoss", "Loss", "build_loss"]
