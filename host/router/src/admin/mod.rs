//! The admin API: HTTP for operators, the command line and Prometheus.
