//! The one table of metrics: storage of the counters, and their names, labels and help. Nobody else knows a metric's name.
