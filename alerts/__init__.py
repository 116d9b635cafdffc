"""KPI windows become alerts, and alerts become notifications."""
