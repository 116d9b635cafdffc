"""Inspection results become KPI windows."""
