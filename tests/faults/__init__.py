"""Faults on every store as users notice them, and an hour of churn."""
