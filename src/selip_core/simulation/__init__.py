"""Simulated head-MRI studies on real anatomy, with the reports and the truth behind them."""

from selip_core.simulation.study_set import simulate

__all__ = ["simulate"]
